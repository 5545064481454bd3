# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Namespaces that are sealed, and those that must not be."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _sealed

GATEWAYS = [{"name": "vpnarr", "namespace": "vpn"}, {"name": "old", "namespace": "former", "state": "absent"}]
INGRESS = [{"name": "arr", "namespace": "edge"}, {"name": "bare"}]


def problems(*names: str, egress: str = "sealed") -> list[str]:
    entries: list[Any] = [{"name": name, "egress": egress} for name in names]
    return _sealed.problems(entries, GATEWAYS, INGRESS, ["kube-system"])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("vpn", "the endpoint controller of VPN gateway vpnarr has to reach the API server"),
        ("edge", "ingress gateway arr could not reach what it is for"),
        ("kube-system", "the cluster or the mesh itself needs its pods to reach others"),
    ],
)
def test_namespaces_whose_pods_have_to_get_out(name: str, why: str) -> None:
    assert problems("downloads", name) == [
        f"bulkhead_namespaces[1].egress is sealed for the namespace {name}: {why}; leave it open, and have VPN clients in "
        "a namespace of their own."
    ]
    assert problems(name, egress="open") == []


def test_others_may_be_sealed() -> None:
    assert problems("downloads", "former") == []
    assert _sealed.problems([{"name": "vpn"}], GATEWAYS, INGRESS, []) == []


def test_it_selects_every_pod_and_lets_nothing_out() -> None:
    policy = _sealed.policy("downloads")
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Egress"]}
