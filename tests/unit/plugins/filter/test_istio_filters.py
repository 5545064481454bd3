# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

SEEN = {
    "namespace": {"name": "istio-system", "exists": False, "pod_security": None},
    "parts": {"istiod": [], "cni": [], "ztunnel": []},
    "releases": [],
    "crds": [],
    "sail": [],
    "network": {},
    "enrolled_namespaces": [],
    "gateways": [],
    "service_entries": [],
}


def load(name: str) -> Any:
    module = importlib.import_module(f"ansible_collections.bulkhead.mesh.plugins.filter.{name}")
    return module.FilterModule().filters()[name]


@pytest.mark.parametrize(
    "arguments, start",
    [
        (("text", SEEN), "istio_plan needs a mapping of settings"),
        (({}, {}), "istio_plan needs what istio_info returns"),
        (({}, SEEN), "istio_plan needs what cluster_info returns"),
        (({}, SEEN, {}, "gone"), "istio_plan has no state 'gone'"),
    ],
)
def test_wrong_input_is_one_sentence(arguments: Any, start: str) -> None:
    with pytest.raises(AnsibleFilterError, match=start):
        load("istio_plan")(*arguments)


def test_every_state_has_the_same_keys() -> None:
    finding = {"value": "plain", "found_by": "a test", "reason": None}
    cluster = {"server": "s", "platform": finding, "cni": {"name": finding}, "nodes": finding}
    for state, steps in (("present", 4), ("external", 0), ("absent", 0)):
        planned = load("istio_plan")({"version": "1.31.1"}, SEEN, cluster, state)
        assert {"settings", "platform", "steps", "problems"} <= planned.keys()
        assert len(planned["steps"]) == steps
        assert planned["settings"]["namespace"] == "istio-system"


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("value", ["text", None, {}])
def test_coexistence_needs_lists(which: int, value: Any) -> None:
    arguments: list[Any] = [[], [], []]
    arguments[which] = value
    with pytest.raises(AnsibleFilterError, match="^mesh_coexistence needs a list of "):
        load("mesh_coexistence")(*arguments)


def test_coexistence() -> None:
    found = load("mesh_coexistence")([{"name": "vpn", "mesh": "ambient"}], [{"name": "a", "namespace": "vpn"}])
    assert len(found) == 1 and found[0].startswith("Namespace vpn is to be in the mesh")
    assert load("mesh_coexistence")([], dns="unknown") == []
