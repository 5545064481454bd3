# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What this collection keeps for VPN clients on a cluster, whatever the inventory says by now."""

from __future__ import annotations

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import (
    Finding,
    Snapshot,
    finding,
    known,
    labels_of,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names, _registry
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._applyset import ObjectSet
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._managed import own_labels
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import METADATA_ONLY, Request

NAMESPACES = ObjectSet("bulkhead-namespaces", "kube-system")  # the set of the role namespaces


def requests() -> dict[str, Request]:
    """Two LISTs by label: policies of clients, and registries of gateways."""
    registries = ",".join(f"{key}={value}" for key, value in _registry.LABELS.items())
    return {
        "vpn_policies": Request(
            "/apis/networking.k8s.io/v1/networkpolicies",
            "list networkpolicies.networking.k8s.io",
            query={"labelSelector": _names.CLIENT_LABEL},
            accept=METADATA_ONLY,
        ),
        "vpn_registries": Request(
            "/api/v1/configmaps", "list configmaps", query={"labelSelector": registries}, accept=METADATA_ONLY
        ),
    }


@finding
def vpn(snapshot: Snapshot) -> Finding:
    """Protected workloads, namespaces with gateways, and the labels that we have given to the namespaces of the former."""
    clients = sorted(
        (one["metadata"]["namespace"], labels_of(one)[_names.CLIENT_LABEL]) for one in snapshot.listing("vpn_policies")
    )
    homes = {namespace for namespace, dummy in clients}
    given = {
        one["metadata"]["name"]: {name: labels_of(one)[name] for name in own_labels(one, NAMESPACES.manager)}
        for one in snapshot.listing("namespaces")
        if one["metadata"]["name"] in homes
    }
    value = {
        "clients": [{"namespace": namespace, "client": client} for namespace, client in clients],
        "gateways": sorted(one["metadata"]["namespace"] for one in snapshot.listing("vpn_registries")),
        "labels": {name: labels for name, labels in given.items() if labels},
    }
    return known(value, "labels of NetworkPolicies, ConfigMaps and namespaces")
