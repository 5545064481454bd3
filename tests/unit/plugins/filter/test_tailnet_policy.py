# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible_collections.bulkhead.mesh.plugins.filter.tailnet_policy import tailnet_policy

ARR = {"name": "arr", "exposure": "both", "tailscale": {"tags": ["tag:gw-arr"]}}
MEDIA = {
    "name": "media",
    "exposure": "tailnet",
    "tailscale": {"tags": ["tag:gw-media"]},
    "listeners": [{"port": 80}, {"name": "tls", "protocol": "HTTPS", "tls_secret": "x"}],
}
ADMIN = {"name": "admin", "exposure": "lan"}
GATEWAYS = (ARR, MEDIA, ADMIN)


def made(groups, gateways=GATEWAYS, **more):
    found = tailnet_policy({"file": "p.hujson", "groups": groups, **more}, gateways)
    assert found["problems"] == []
    return json.loads("\n".join(one for one in found["text"].splitlines() if not one.startswith("//")))


def told(groups, gateways=GATEWAYS):
    found = tailnet_policy({"file": "p.hujson", "groups": groups}, gateways)
    assert found["text"] == ""
    return found["problems"]


def test_each_group_reaches_its_segments_on_their_ports():
    tree = made({"family": ["arr", "media"], "friends": ["media"], "nobody": []})
    assert tree["grants"] == [
        {"src": ["group:family"], "dst": ["tag:gw-arr"], "ip": ["tcp:80"]},
        {"src": ["group:family"], "dst": ["tag:gw-media"], "ip": ["tcp:80", "tcp:443"]},
        {"src": ["group:friends"], "dst": ["tag:gw-media"], "ip": ["tcp:80", "tcp:443"]},
    ]
    assert "groups" not in tree and "tests" not in tree


def test_the_operator_owns_the_tags():
    assert made({"family": ["arr"]})["tagOwners"] == {
        "tag:k8s-operator": [],
        "tag:gw-arr": ["tag:k8s-operator"],
        "tag:gw-media": ["tag:k8s-operator"],
    }
    assert made({"family": ["arr"]}, operator_tags=["tag:op"])["tagOwners"]["tag:gw-arr"] == ["tag:op"]


def test_members_are_tested_by_the_policy_itself():
    tree = made(
        {
            "family": {"segments": ["arr"], "members": ["ada@example.org", "bob@example.org"]},
            "friends": {"segments": ["media"], "members": ["cleo@example.org"]},
            "all": {"segments": ["media"], "members": ["ada@example.org"]},
        }
    )
    assert tree["groups"]["group:family"] == ["ada@example.org", "bob@example.org"]
    assert tree["tests"][1] == {
        "src": "cleo@example.org",
        "accept": ["tag:gw-media:80", "tag:gw-media:443"],
        "deny": ["tag:gw-arr:80"],
    }
    # In two groups: what the other one opens is no refusal.
    assert tree["tests"][0] == {
        "src": "ada@example.org",
        "accept": ["tag:gw-arr:80", "tag:gw-media:80", "tag:gw-media:443"],
    }


@pytest.mark.parametrize(
    ("groups", "gateways", "words"),
    [
        ({"family": ["admin"]}, GATEWAYS, "no gateway of this segment is on the tailnet; use arr or media."),
        ({}, GATEWAYS, "a mapping of groups to segments is needed"),
        (["family"], GATEWAYS, "a mapping of groups to segments is needed"),
        ({"family": {"segment": "arr"}}, GATEWAYS, "no such key exists; write segments, or one of members."),
        ({"fam ily": ["arr"]}, GATEWAYS, "a group has letters, digits and dashes"),
        (
            {"family": {"segments": ["arr"], "members": ["ada"]}},
            GATEWAYS,
            "a member is the name that somebody logs in with",
        ),
        ({"family": ["arr"]}, [{**ARR, "tailscale": {}}], "cannot tell this gateway from other proxies"),
        (
            {"family": ["arr"]},
            [ARR, {**MEDIA, "tailscale": {"tags": ["tag:gw-arr"]}}],
            "gateway arr of segment arr has it as well, so who reaches one reaches both",
        ),
    ],
)
def test_what_no_policy_can_say(groups, gateways, words):
    (problem,) = told(groups, gateways)
    assert words in problem


def test_two_gateways_of_a_segment_may_share_a_tag():
    other = {**MEDIA, "name": "inner", "segment": "arr", "tailscale": {"tags": ["tag:gw-arr"], "hostname": "inner"}}
    assert len(made({"family": ["arr"]}, [ARR, other])["grants"]) == 2


def test_a_policy_without_a_file():
    found = tailnet_policy({"groups": {"family": ["arr"]}}, GATEWAYS)
    assert found["problems"] == [
        "bulkhead_tailnet_policy: file is not given: the policy is written to a file; name one, such as policy.hujson."
    ]
