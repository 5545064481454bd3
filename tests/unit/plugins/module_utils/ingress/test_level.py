# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _level

HTTP, TCP = "httproutes.gateway.networking.k8s.io", "tcproutes.gateway.networking.k8s.io"
SERVER = "192.0.2.1:6443"


def definition(name=HTTP, version="v1.6.1", channel="standard"):
    notes = {_level.VERSION: version, _level.CHANNEL: channel}
    return {"kind": "CustomResourceDefinition", "metadata": {"name": name, "annotations": notes}, "status": {}}


def there(*entries, policy=True):
    definitions = {
        name: {"version": version, "channel": channel, "ours": ours, "owner": owner}
        for name, version, channel, ours, owner in entries
    }
    return {"definitions": definitions, "policy": policy, "classes": {}, "objects": []}


def told(seen, version="1.6.1", channel="standard", needed="1.1.0", managed=True, forced=False):
    return [
        (one.rule, one.msg)
        for one in _level.verdicts(seen, SERVER, version, channel, needed, managed=managed, forced=forced)
    ]


def test_versions_in_order():
    texts = ["v0.8.1", "1.1", "v1.5.9", "1.6.0-rc.1", "1.6.0-rc.2", "v1.6.0", "1.6.1", "1.10.0"]
    assert sorted(set(texts), key=_level.level) == texts


@pytest.mark.parametrize("text", ["", None, "one", "1", "1.6.1.2", 1.6])
def test_no_version(text):
    with pytest.raises(ValueError, match="is no version: write it like 1.6.1."):
        _level.level(text)


@pytest.mark.parametrize(
    ("istio", "needed"),
    [("", "1.1.0"), ("1.29.4", "1.1.0"), ("1.30.5", "1.5"), ("1.31.1", "1.6"), ("1.40.0", "1.6")],
)
def test_what_istio_reads(istio, needed):
    assert _level.needed_by_istio(istio) == needed


def test_bundle_without_status():
    made = _level.bundle([definition(), None], "1.6.1", "standard", "file")
    assert [sorted(one) for one in made] == [["kind", "metadata"]]


@pytest.mark.parametrize(
    ("documents", "sentence"),
    [
        (
            [definition(), {"kind": "Secret", "metadata": {"name": "x"}}],
            "file holds Secret x, which is no part of the Gateway API: give its installation file.",
        ),
        (
            [definition("pods.example.org")],
            "file holds CustomResourceDefinition pods.example.org, which is no part of the Gateway API: give its "
            "installation file.",
        ),
        (
            [definition(version="v1.6.0")],
            "file holds Gateway API 1.6.0, and bulkhead_gateway_api.version is 1.6.1: give the file of that version, or "
            "set the version to what the file holds.",
        ),
        (
            [definition(channel="experimental")],
            "file is of the channel experimental, and bulkhead_gateway_api.channel is standard: give the file of that "
            "channel, or set the channel to what the file holds.",
        ),
        ([], "file holds no CustomResourceDefinition: give the Gateway API's installation file."),
    ],
)
def test_no_bundle(documents, sentence):
    with pytest.raises(ValueError) as caught:
        _level.bundle(documents, "1.6.1", "standard", "file")
    assert str(caught.value) == sentence


def test_nothing_stands_in_the_way():
    assert told(there()) == []
    assert told(there((HTTP, "v1.6.0", "standard", False, ""))) == []
    assert told(there((HTTP, "v1.6.1", "standard", True, "helm:x/y"))) == []
    assert told(there((HTTP, None, None, False, ""))) == []
    assert told(there((HTTP, "v1.6.1", "experimental", True, "")), channel="experimental") == []


@pytest.mark.parametrize(
    ("seen", "asked", "rule", "sentence"),
    [
        (
            there((HTTP, "v1.6.3", "standard", False, "")),
            {},
            "gateway-api-downgrade",
            f"{HTTP} on {SERVER} is of Gateway API 1.6.3, which is newer than 1.6.1, and older definitions drop fields of "
            "existing routes: set bulkhead_gateway_api.version to 1.6.3, or allow_policy_removal to true if you know that "
            "no route uses them.",
        ),
        (
            there((HTTP, "v1.6.1", "standard", True, "")),
            {"channel": "experimental"},
            "gateway-api-channel",
            f"{HTTP} on {SERVER} is of the channel standard, and its policy safe-upgrades.gateway.networking.k8s.io refuses "
            "experimental definitions in its place: set bulkhead_gateway_api.channel to standard, or allow_policy_removal "
            "to true.",
        ),
        (
            there((HTTP, "v1.6.0", "standard", False, "helm:kube-system/traefik-crd")),
            {},
            "gateway-api-owned",
            f"{HTTP} on {SERVER} belongs to helm:kube-system/traefik-crd, which would set it back: set "
            "bulkhead_components.gateway_api to external, or take the Gateway API out of there first.",
        ),
        (
            there(),
            {"needed": "1.6", "version": "1.5.1"},
            "gateway-api-old",
            "bulkhead_gateway_api.version is 1.5.1, and what is installed with it needs 1.6 or newer: set it to 1.6 or "
            "newer.",
        ),
        (
            there(),
            {"managed": False},
            "gateway-api-missing",
            f"The Gateway API is not on {SERVER}, but bulkhead_components.gateway_api is external: install it, or set the "
            "component to managed.",
        ),
        (
            there((HTTP, "v1.6.0", "standard", False, "x"), (TCP, "v1.5.0", "standard", False, "x")),
            {"managed": False, "needed": "1.6"},
            "gateway-api-old",
            f"The Gateway API on {SERVER} is older than needed: {TCP} is of version 1.5.0, and 1.6 or newer is needed; "
            "upgrade it where it comes from, or set bulkhead_components.gateway_api to managed.",
        ),
        (
            there((HTTP, None, None, False, "x"), (TCP, None, None, False, "x")),
            {"managed": False},
            "gateway-api-old",
            f"The Gateway API on {SERVER} is older than needed: {HTTP} and 1 more is of version unknown, and 1.1.0 or newer "
            "is needed; upgrade it where it comes from, or set bulkhead_components.gateway_api to managed.",
        ),
    ],
)
def test_refused(seen, asked, rule, sentence):
    assert told(seen, **asked) == [(rule, sentence)]


def test_the_users_word_lifts_downgrade_and_channel_only():
    seen = there((HTTP, "v1.6.3", "standard", False, "helm:x/y"))
    assert [rule for rule, dummy in told(seen, channel="experimental", forced=True)] == ["gateway-api-owned"]


@pytest.mark.parametrize(
    ("seen", "version", "channel", "expected"),
    [
        (there((HTTP, "v1.6.3", "standard", False, "")), "1.6.1", "standard", True),
        (there((HTTP, "v1.6.3", "standard", False, ""), policy=False), "1.6.1", "standard", False),
        (there((HTTP, "v1.6.1", "standard", False, "")), "1.6.1", "standard", False),
        (there((HTTP, "v1.6.1", "standard", False, "")), "1.6.1", "experimental", True),
        (there((HTTP, "v1.6.1", "experimental", False, "")), "1.6.1", "standard", False),
    ],
)
def test_when_the_policy_is_in_the_way(seen, version, channel, expected):
    assert _level.must_lift(seen, version, channel) is expected
