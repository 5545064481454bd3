# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Version, distribution and nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import _discovery
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import (
    Finding,
    Snapshot,
    Unknown,
    annotations_of,
    finding,
    known,
    labels_of,
)

# more special first: k3d is k3s in containers, a minikube or kind node runs plain Kubernetes
_NODE_MARKS = (  # distribution, label
    ("minikube", "minikube.k8s.io/name"),
    ("microk8s", "microk8s.io/cluster"),
    ("gke", "cloud.google.com/gke-nodepool"),
    ("eks", "eks.amazonaws.com/nodegroup"),
    ("aks", "kubernetes.azure.com/cluster"),
    ("openshift", "node.openshift.io/os_id"),
)
_VERSION_MARKS = (("k3s", "+k3s"), ("rke2", "+rke2"), ("gke", "-gke."), ("eks", "-eks-"))


def version(body: Mapping[str, Any]) -> dict[str, Any]:
    """``{git, major, minor}`` with whole numbers, from the answer of /version ("27+" is 27).

    >>> version({"major": "1", "minor": "27+", "gitVersion": "v1.27.3-gke.100"})
    {'git': 'v1.27.3-gke.100', 'major': 1, 'minor': 27}
    """
    numbers = [re.match(r"\d+", str(body.get(part, ""))) for part in ("major", "minor")]
    git = str(body.get("gitVersion", ""))
    if not all(numbers):
        from_git = re.match(r"v?(\d+)\.(\d+)", git)
        if not from_git:
            raise ValueError(f"no version in {git!r}")
        return {"git": git, "major": int(from_git.group(1)), "minor": int(from_git.group(2))}
    return {"git": git, "major": int(numbers[0].group()), "minor": int(numbers[1].group())}  # type: ignore[union-attr]


@finding
def platform(git: str, snapshot: Snapshot) -> Finding:
    """The distribution: k3s, k3d, rke2, microk8s, minikube, kind, gke, eks, aks, openshift, or plain."""
    try:
        nodes = snapshot.listing("nodes")
    except Unknown as exc:
        nodes, blind = [], exc
    else:
        blind = None
    for node in nodes:
        provider = (node.get("spec") or {}).get("providerID", "")
        name = node["metadata"]["name"]
        if provider.startswith("kind://"):
            return known("kind", f"providerID of node {name}")
        if "+k3s" in git and name.startswith("k3d-"):
            return known("k3d", f"version {git} and name of node {name}")
        for distribution, label in _NODE_MARKS:
            if label in labels_of(node):
                return known(distribution, f"label {label} of node {name}")
    for distribution, mark in _VERSION_MARKS:
        if mark in git:
            return known(distribution, f"version {git}")
    if _discovery.has_group(snapshot, "config.openshift.io"):
        return known("openshift", "API group config.openshift.io")
    if blind:
        raise blind
    if not nodes:
        raise Unknown("there is no node yet to look at")
    return known("plain", "no mark of a distribution on version, nodes or API groups")


@finding
def nodes(snapshot: Snapshot) -> Finding:
    """All nodes in the server's order."""
    return known([_node(item) for item in snapshot.listing("nodes")], "list nodes")


def _node(item: Mapping[str, Any]) -> dict[str, Any]:
    status, spec = item.get("status") or {}, item.get("spec") or {}
    info = status.get("nodeInfo") or {}
    ready = [c["status"] for c in status.get("conditions") or [] if c["type"] == "Ready"]
    return {
        "name": item["metadata"]["name"],
        "ready": {"True": "yes", "False": "no"}.get(ready[0], "unknown") if ready else "unknown",
        "addresses": [
            address["address"]
            for address in status.get("addresses") or []
            if address["type"] in ("InternalIP", "ExternalIP")
        ],
        "pod_cidrs": list(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])),
        "kubelet": info.get("kubeletVersion"),
        "runtime": info.get("containerRuntimeVersion"),
        "os_image": info.get("osImage"),
        "kernel": info.get("kernelVersion"),
        "architecture": info.get("architecture"),
    }


def node_arguments(node: Mapping[str, Any]) -> str:
    """What k3s and rke2 write about their own command line, or an empty string."""
    annotations = annotations_of(node)
    return annotations.get("k3s.io/node-args", "") or annotations.get("rke2.io/node-args", "")
