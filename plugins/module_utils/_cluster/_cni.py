# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The pod network's provider and whether it enforces NetworkPolicy: from what runs, never from CRDs left behind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import (
    Finding,
    Snapshot,
    Unknown,
    annotations_of,
    finding,
    images_of,
    known,
    name_of,
    tag_of,
    unknown,
    yes_no,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._version import node_arguments

_DAEMONSETS = {  # name -> provider
    "calico-node": "calico",
    "canal": "canal",
    "cilium": "cilium",
    "anetd": "cilium",  # GKE Dataplane V2
    "kube-flannel-ds": "flannel",
    "kube-flannel": "flannel",
    "kube-router": "kube-router",
    "antrea-agent": "antrea",
    "weave-net": "weave",
    "kindnet": "kindnet",
    "ovnkube-node": "ovn-kubernetes",
    "kube-ovn-cni": "kube-ovn",
    "aws-node": "aws-vpc-cni",
    "azure-cns": "azure-cni",
    "azure-npm": "azure-npm",
}
# Present beside a provider, these only enforce policy.
_POLICY_ENGINES = ("calico", "cilium", "azure-npm", "kube-router")
_ENFORCING = ("calico", "canal", "cilium", "kube-router", "antrea", "weave", "ovn-kubernetes", "kube-ovn", "azure-npm")
_NETWORK_REASONS = {"CalicoIsUp": "calico", "CiliumIsUp": "cilium", "FlannelIsUp": "flannel", "WeaveIsUp": "weave"}
_ANNOTATIONS = (  # set on nodes by providers that need no DaemonSet of their own
    ("flannel.alpha.coreos.com/backend-type", "flannel"),
    ("projectcalico.org/IPv4Address", "calico"),
    ("k8s.ovn.org/node-subnets", "ovn-kubernetes"),
)
KINDNET_WITH_POLICY = 20240813  # date in the image tag of kind 0.24, the first whose kindnetd enforces


@finding
def name(snapshot: Snapshot) -> Finding:
    """The provider's name; a policy engine that stands beside it is not the provider."""
    daemonsets = _found(snapshot)
    providers = [provider for provider in daemonsets if provider not in _POLICY_ENGINES] or list(daemonsets)
    if len(providers) == 1:
        return known(providers[0], f"DaemonSet {name_of(daemonsets[providers[0]])}")
    if providers:
        raise Unknown(f"several providers run: {', '.join(sorted(providers))}")
    from_nodes = _from_nodes(snapshot)
    if from_nodes:
        return from_nodes
    raise Unknown("no DaemonSet, node condition or node annotation of a provider we know")


@finding
def policy_support(snapshot: Snapshot) -> Finding:
    """Whether NetworkPolicy objects have an effect; ``unknown`` until someone proves it by traffic."""
    daemonsets = _found(snapshot)
    reasons = []
    for provider, daemonset in daemonsets.items():
        support = _support(provider, daemonset, snapshot)
        if support["value"] == "yes":
            return support
        reasons.append(support)
    if any(support["value"] == "unknown" for support in reasons):
        return next(support for support in reasons if support["value"] == "unknown")
    embedded = _embedded(snapshot)
    if embedded:
        return embedded
    if reasons:
        return reasons[0]
    raise Unknown("the provider is not known: NetworkPolicy objects may have no effect")


@finding
def socket_lb(snapshot: Snapshot) -> Finding:
    """Whether Services are translated inside the sockets of pods, so that a pod's packets name a backend, not the Service.

    Cilium: docs.cilium.io, "Kubernetes Without kube-proxy", socketLB.hostNamespaceOnly. Calico in eBPF mode does the same
    for TCP by default.
    """
    for provider, daemonset in _found(snapshot).items():
        place = f"DaemonSet {name_of(daemonset)}"
        if provider == "cilium":
            settings = (snapshot.maybe("cilium_config") or {}).get("data") or {}
            replaced = settings.get("kube-proxy-replacement", "false") in ("true", "strict")
            inside = replaced or settings.get("bpf-lb-sock", "false") == "true"
            only_host = settings.get("bpf-lb-sock-hostns-only", "false") == "true"
            return yes_no(inside and not only_host, f"ConfigMap cilium-config beside {place}")
        if provider == "calico" and "FELIX_BPFENABLED=true" in _variables(daemonset):
            off = "FELIX_BPFCONNECTTIMELOADBALANCING=Disabled" in _variables(daemonset)
            return yes_no(not off, f"{place} in eBPF mode")
    if not snapshot.listing("daemonsets"):
        raise Unknown("no DaemonSet of a provider we know")
    return yes_no(False, "no provider that does it was found")


def _variables(daemonset: Mapping[str, Any]) -> list[str]:
    containers = daemonset["spec"]["template"]["spec"]["containers"]
    return [f"{one['name']}={one.get('value', '')}" for c in containers for one in c.get("env") or []]


def _found(snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for item in snapshot.listing("daemonsets"):
        provider = _DAEMONSETS.get(item["metadata"]["name"])
        if provider:
            found[provider] = item
    return found


def _from_nodes(snapshot: Snapshot) -> Finding | None:
    for node in snapshot.listing("nodes"):
        for condition in (node.get("status") or {}).get("conditions") or []:
            if condition["type"] == "NetworkUnavailable" and condition.get("reason") in _NETWORK_REASONS:
                return known(
                    _NETWORK_REASONS[condition["reason"]],
                    f"condition NetworkUnavailable ({condition['reason']}) of node {name_of(node)}",
                )
        for annotation, provider in _ANNOTATIONS:
            if annotation in annotations_of(node):
                return known(provider, f"annotation {annotation} of node {name_of(node)}")
    return None


def _embedded(snapshot: Snapshot) -> Finding | None:
    """The distribution k3s runs flannel and a policy controller inside its own process."""
    for node in snapshot.listing("nodes"):
        if "+k3s" in ((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion", ""):
            arguments = node_arguments(node)
            if "--disable-network-policy" in arguments:
                return yes_no(False, f"k3s argument --disable-network-policy of node {name_of(node)}")
            if "--flannel-backend" in arguments and '"none"' in arguments:
                return None
            return yes_no(True, "k3s has a policy controller unless it is disabled")
    return None


def _support(provider: str, daemonset: Mapping[str, Any], snapshot: Snapshot) -> Finding:
    place = f"DaemonSet {name_of(daemonset)}"
    if provider == "cilium":
        return _cilium(place, snapshot)
    if provider == "kube-router":
        off = any(re.match(r"--run-firewall=false", argument) for argument in _arguments(daemonset))
        return yes_no(not off, f"{place}{' with --run-firewall=false' if off else ''}")
    if provider == "aws-vpc-cni":
        on = "--enable-network-policy=true" in _arguments(daemonset)
        return yes_no(on, f"{place}: its policy agent is {'on' if on else 'off'}")
    if provider == "kindnet":
        dates = [re.match(r"v(\d{8})", tag_of(image) or "") for image in images_of(daemonset)]
        if not dates or not dates[0]:
            return unknown(f"the image of {place} has no date to tell whether it enforces policies")
        return yes_no(int(dates[0].group(1)) >= KINDNET_WITH_POLICY, f"{place}: image of {dates[0].group(1)}")
    if provider in _ENFORCING:
        return yes_no(True, place)
    if provider == "flannel":
        return yes_no(False, f"{place}: flannel alone enforces nothing")
    return unknown(f"{provider} enforces policies only with an add-on that was not found")


def _cilium(place: str, snapshot: Snapshot) -> Finding:
    try:
        config = snapshot.maybe("cilium_config")
    except Unknown as exc:
        return unknown(f"{place}: its enforcement mode cannot be read ({exc})")
    mode = ((config or {}).get("data") or {}).get("enable-policy", "default")
    return yes_no(mode != "never", f"{place}, enable-policy={mode}")


def _arguments(daemonset: Mapping[str, Any]) -> list[str]:
    containers = daemonset["spec"]["template"]["spec"]["containers"]
    return [argument for c in containers for argument in [*(c.get("command") or []), *(c.get("args") or [])]]
