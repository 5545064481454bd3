# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who takes care of what, when the inventory says it and when it does not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.plugin_utils import _components

ABSENT = {"gateway_api": "absent", "istio": "absent", "metallb": "absent", "tailscale": "absent"}


def states(named: dict[str, str], **lists: Any) -> dict[str, str]:
    held = {"namespaces": [], "gateways": [], "pools": [], **lists}
    return _components.effective(named, _components.needs(**held))


def managed(*names: str) -> dict[str, str]:
    return {**ABSENT, **dict.fromkeys(names, "managed")}


@pytest.mark.parametrize(
    ("lists", "wanted"),
    [
        ({}, ABSENT),
        ({"namespaces": [{"name": "vpn", "mesh": "none"}, {"name": "downloads"}]}, ABSENT),  # VPN only
        ({"namespaces": [{"name": "core", "mesh": "ambient"}]}, managed("istio")),
        ({"namespaces": [{"name": "core", "mesh": "sidecar"}]}, managed("istio")),
        ({"pools": [{"name": "arr"}]}, managed("metallb")),
        ({"gateways": [{"name": "arr", "exposure": "cluster"}]}, managed("gateway_api", "istio")),
        ({"gateways": [{"name": "arr", "address": "192.0.2.1"}]}, managed("gateway_api", "istio", "metallb")),
        ({"gateways": [{"name": "arr", "exposure": "both"}]}, managed("gateway_api", "istio", "tailscale")),
    ],
)
def test_only_what_is_needed_is_managed(lists: dict[str, Any], wanted: dict[str, str]) -> None:
    assert states({}, **lists) == wanted


def test_what_the_inventory_says_counts() -> None:
    assert states({"metallb": "external"}, pools=[{"name": "arr"}])["metallb"] == "external"
    assert states({"istio": "managed"}) == managed("istio")
    assert states({"istio": "absent"}) == ABSENT


@pytest.mark.parametrize(
    ("named", "lists", "sentence"),
    [
        ({"cilium": "managed"}, {}, "names 'cilium', which is no component: use gateway_api, istio"),
        ({"istio": "yes"}, {}, "bulkhead_components.istio is 'yes': use one of managed, external, absent."),
        (
            {"istio": "absent"},
            {"namespaces": [{"name": "core", "mesh": "ambient"}]},
            "istio is absent, but the mesh of namespace core needs Istio: set it to managed or external",
        ),
        (
            {"metallb": "absent"},
            {"gateways": [{"name": "arr", "address": "192.0.2.1"}]},
            "metallb is absent, but an address in bulkhead_ingress_gateways needs MetalLB",
        ),
    ],
)
def test_contradictions_are_one_sentence(named: dict[str, str], lists: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        states(named, **lists)
