# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.bulkhead.mesh.plugins.filter.metallb_plan import metallb_plan

CONFIG = {"version": "0.16.1", "namespace": "metallb-system", "chart": "metallb", "chart_repo": "https://c.example.org"}
FACTS = {"server": "192.0.2.1:6443", "metallb": {"controllers": [], "crds": False, "states": False, "pools": []}}
CONTROLLER = {"namespace": "metallb-system", "name": "metallb-controller", "owner": "helm:metallb-system/metallb"}
POOL = {"namespace": "metallb-system", "name": "old", "addresses": [], "auto_assign": True, "ours": False}


def facts(**metallb):
    return {**FACTS, "metallb": {**FACTS["metallb"], **metallb}}


def told(config, seen=None, state="present"):
    return [one["msg"] for one in metallb_plan(config, seen, state)["problems"]]


@pytest.mark.parametrize(
    ("frr", "k8s", "old"), [("none", False, False), ("frr", False, True), ("frr-k8s", True, False)]
)
def test_both_switches_are_always_set(frr, k8s, old):
    made = metallb_plan({**CONFIG, "frr": frr})["values"]
    assert (made["frrk8s"]["enabled"], made["speaker"]["frr"]["enabled"]) == (k8s, old)


def test_the_users_values_are_on_top_and_nothing_is_lost():
    mine = {"speaker": {"image": {"tag": "v1"}}, "loadBalancerClass": "mine"}
    made = metallb_plan({**CONFIG, "values": mine, "load_balancer_class": "x"})["values"]
    assert made == {
        "frrk8s": {"enabled": False},
        "speaker": {"frr": {"enabled": False}, "image": {"tag": "v1"}},
        "loadBalancerClass": "mine",
    }


@pytest.mark.parametrize(
    ("chart", "options"),
    [
        ("metallb", {"chart_ref": "metallb", "chart_repo_url": "https://c.example.org", "chart_version": "0.16.1"}),
        ("oci://r.example.org/metallb", {"chart_ref": "oci://r.example.org/metallb", "chart_version": "0.16.1"}),
        ("/srv/metallb", {"chart_ref": "/srv/metallb"}),
        ("metallb-0.16.1.tgz", {"chart_ref": "metallb-0.16.1.tgz"}),
    ],
)
def test_where_the_chart_is(chart, options):
    assert metallb_plan({**CONFIG, "chart": chart})["chart"] == options


@pytest.mark.parametrize(
    ("values", "frr", "names"),
    [
        ({}, "none", ["metallb-controller", "metallb-speaker"]),
        ({}, "frr-k8s", ["metallb-controller", "metallb-speaker", "metallb-frr-k8s"]),
        ({"speaker": {"enabled": False}}, "none", ["metallb-controller"]),
    ],
)
def test_what_is_waited_for(values, frr, names):
    made = metallb_plan({**CONFIG, "values": values, "frr": frr})["workloads"]
    assert [one["name"] for one in made] == names


def test_nothing_stands_in_the_way():
    assert told(CONFIG) == []
    assert told(CONFIG, facts(controllers=[CONTROLLER])) == []
    assert told(CONFIG, facts(crds=True), "external") == []
    assert told(CONFIG, facts(pools=[{**POOL, "ours": True}]), "absent") == []


@pytest.mark.parametrize(
    ("config", "seen", "state", "sentence"),
    [
        (
            {**CONFIG, "version": "0.16.0"},
            None,
            "present",
            "bulkhead_metallb.version is 0.16.0, whose chart does not install: set it to 0.16.1.",
        ),
        (
            {**CONFIG, "version": "latest"},
            None,
            "present",
            "bulkhead_metallb.version: 'latest' is no version: write it like 1.6.1.",
        ),
        (
            {**CONFIG, "frr": "bird"},
            None,
            "present",
            "bulkhead_metallb.frr is 'bird', which does not exist: use none or frr or frr-k8s.",
        ),
        (
            {**CONFIG, "values": {"frrk8s": {"enabled": True}}},
            None,
            "present",
            "bulkhead_metallb.values sets frrk8s.enabled to true, and bulkhead_metallb.frr is none: leave it out of the "
            "values and choose the mode with frr.",
        ),
        (
            {**CONFIG, "frr": "frr", "values": {"speaker": {"frr": {"enabled": False}}}},
            None,
            "present",
            "bulkhead_metallb.values sets speaker.frr.enabled to false, and bulkhead_metallb.frr is frr: leave it out of "
            "the values and choose the mode with frr.",
        ),
        (
            CONFIG,
            facts(controllers=[{**CONTROLLER, "name": "controller", "owner": "unknown"}]),
            "present",
            "A MetalLB that this collection did not install runs on 192.0.2.1:6443 (Deployment metallb-system/controller, "
            "owner unknown): set bulkhead_components.metallb to external, or remove it.",
        ),
        (
            CONFIG,
            FACTS,
            "external",
            "MetalLB is not on 192.0.2.1:6443, but bulkhead_components.metallb is external: install it, or set the "
            "component to managed.",
        ),
        (
            CONFIG,
            facts(pools=[POOL]),
            "absent",
            "IPAddressPool metallb-system/old was made by somebody else and would go with MetalLB: remove it first, or set "
            "bulkhead_components.metallb to external.",
        ),
    ],
)
def test_refused(config, seen, state, sentence):
    assert told(config, seen, state) == [sentence]


def test_an_external_one_says_where_it_is():
    seen = facts(controllers=[{**CONTROLLER, "namespace": "lb"}], crds=True)
    assert metallb_plan(CONFIG, seen, "external")["namespace"] == "lb"
    assert metallb_plan(CONFIG, seen, "present")["namespace"] == "metallb-system"
