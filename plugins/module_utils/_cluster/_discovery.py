# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Which kinds the API server has, from aggregated discovery (one request; Kubernetes 1.27 and later)."""

from __future__ import annotations

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import (
    Finding,
    Snapshot,
    Unknown,
    finding,
    known,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._discovery import entries, is_aggregated

HOW = "API discovery"
POLICY_GROUPS = {
    "networking.k8s.io": ("networkpolicies",),
    "policy.networking.k8s.io": ("adminnetworkpolicies", "baselineadminnetworkpolicies", "clusternetworkpolicies"),
    "cilium.io": ("ciliumnetworkpolicies", "ciliumclusterwidenetworkpolicies"),
    "crd.projectcalico.org": ("networkpolicies", "globalnetworkpolicies"),
    "projectcalico.org": ("networkpolicies", "globalnetworkpolicies"),
    "crd.antrea.io": ("networkpolicies", "clusternetworkpolicies"),
    "security.istio.io": ("authorizationpolicies", "peerauthentications"),
    "policy.linkerd.io": ("authorizationpolicies", "serverauthorizations"),
}


def resources(snapshot: Snapshot) -> dict[tuple[str, str], list[str]]:
    """(group, resource) -> versions served, preferred first."""
    body = snapshot.body("discovery")
    if not is_aggregated(body):
        raise Unknown("the API server does not answer aggregated discovery")
    found: dict[tuple[str, str], list[str]] = {}
    for group, version, resource in entries(body):
        found.setdefault((group, resource["resource"]), []).append(version)
    return found


@finding
def policy_kinds(snapshot: Snapshot) -> Finding:
    """Kinds that can forbid traffic, as ``resource.group``; being present does not mean that they are enforced."""
    present = resources(snapshot)
    wanted = [(group, resource) for group, names in POLICY_GROUPS.items() for resource in names]
    return known([f"{resource}.{group}" for group, resource in wanted if (group, resource) in present], HOW)


def has_group(snapshot: Snapshot, group: str) -> bool:
    """Whether any kind of ``group`` is served."""
    return any(name == group for name, resource in resources(snapshot))
