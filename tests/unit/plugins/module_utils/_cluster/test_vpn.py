# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is on a cluster of earlier runs, and what of it cannot be read."""

from __future__ import annotations

from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import _vpn

PSA = "pod-security.kubernetes.io/enforce"
MESH = "istio.io/dataplane-mode"
CLIENT = {"bulkhead.mesh/vpn-client": "downloads.qbittorrent"}


def given(namespace: Any, *names: str) -> Any:
    fields = {"f:metadata": {"f:labels": {f"f:{name}": {} for name in names}}}
    namespace["metadata"]["managedFields"] = [{"manager": _vpn.NAMESPACES.manager, "fieldsV1": fields}]
    return namespace


def test_labels_that_we_have_given_where_a_client_is(snapshot: Any, obj: Any) -> None:
    labels = {PSA: "privileged", MESH: "ambient", "team": "films"}
    namespaces = [
        given(obj("downloads", labels=labels), PSA, MESH),
        given(obj("other", labels=labels), PSA),
        obj("alone", labels=labels),
    ]
    policies = [
        obj("downloads/bulkhead-vpn-client-qbittorrent", labels=CLIENT),
        obj("alone/x", labels={"bulkhead.mesh/vpn-client": "alone.x"}),
    ]
    found = _vpn.vpn(
        snapshot(namespaces=namespaces, vpn_policies=policies, vpn_registries=[obj("vpn/bulkhead-vpn-registry")])
    )
    assert found["value"] == {
        "clients": [
            {"namespace": "alone", "client": "alone.x"},
            {"namespace": "downloads", "client": "downloads.qbittorrent"},
        ],
        "gateways": ["vpn"],
        "labels": {"downloads": {PSA: "privileged", MESH: "ambient"}},
    }


def test_nothing_of_ours(snapshot: Any, obj: Any) -> None:
    found = _vpn.vpn(snapshot(namespaces=[obj("core")], vpn_policies=[], vpn_registries=[]))
    assert found["value"] == {"clients": [], "gateways": [], "labels": {}}


def test_what_may_not_be_read_is_not_taken_for_nothing(snapshot: Any, obj: Any) -> None:
    assert _vpn.vpn(snapshot(namespaces=[obj("core")], vpn_policies=[]))["value"] == "unknown"
    assert _vpn.vpn(snapshot(namespaces=[obj("core")], vpn_registries=[]))["value"] == "unknown"
