# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The platform value of Istio's charts, and what the pod network must look like for ambient mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The charts fail on any other value.
CHART_PLATFORMS = ("gke", "k3d", "k3s", "microk8s", "minikube", "openshift")
CHOICES = ("auto", "plain", *CHART_PLATFORMS)
# Distributions that keep their CNI where Kubernetes expects it.
_PLAIN = ("plain", "kind", "eks", "aks", "rke2")
# On k3s these replace the bundled flannel and take the usual folders.
_OWN_FOLDERS = ("calico", "canal", "cilium", "kube-router", "antrea", "weave", "ovn-kubernetes", "kube-ovn")
# Node agents may not run elsewhere there.
AGENT_NAMESPACES = {"openshift": "kube-system"}


@dataclass(frozen=True)
class Platform:
    """``chart`` is the value for the charts, empty for none; ``why`` says how it was found."""

    chart: str
    why: str


def detect(wanted: str, cluster: Mapping[str, Any]) -> Platform | str:
    """The platform, or a sentence that says why it is not known."""
    if wanted not in CHOICES:
        return (
            f"bulkhead_istio.platform is {wanted!r}, which Istio's charts do not know: use auto, plain, or one of "
            f"{', '.join(CHART_PLATFORMS)}."
        )
    if wanted != "auto":
        return Platform("" if wanted == "plain" else wanted, "bulkhead_istio.platform")
    finding = cluster["platform"]
    seen = finding["value"]
    if seen == "unknown":
        return (
            f"The platform of {cluster['server']} is unknown ({finding['reason']}): set bulkhead_istio.platform to "
            f"plain, or to one of {', '.join(CHART_PLATFORMS)}."
        )
    if seen in _PLAIN:
        return Platform("", finding["found_by"])
    if seen == "k3s" and cluster["cni"]["name"]["value"] in _OWN_FOLDERS:
        return Platform("", f"k3s with {cluster['cni']['name']['value']}")
    if seen == "minikube" and not _docker(cluster["nodes"]["value"]):
        return Platform("", "minikube without Docker as runtime")
    if seen in CHART_PLATFORMS:
        return Platform(seen, finding["found_by"])
    return (
        f"The platform of {cluster['server']} is {seen}, for which no setting of Istio is known: set "
        f"bulkhead_istio.platform to plain, or to one of {', '.join(CHART_PLATFORMS)}."
    )


def agent_namespace(platform: str, namespace: str) -> str:
    """Where istio-cni and ztunnel live."""
    return AGENT_NAMESPACES.get(platform, namespace)


def network_problems(network: Mapping[str, Any], platform: str) -> list[str]:
    """What of the pod network breaks ambient mode; ``network`` is the part of that name of ``istio_info``."""
    found = []
    cilium = network.get("cilium")
    if cilium is not None and platform != "gke":  # there Google keeps the settings
        found += _cilium(cilium["settings"], f"{cilium['namespace']}/cilium-config")
    aws = network.get("aws")
    if aws and aws["enforcing_mode"] == "strict" and aws["pod_security_groups"]:
        found.append(
            f"The AWS VPC CNI (DaemonSet {aws['namespace']}/aws-node) gives pods security groups in the mode strict, "
            "which drops probes of enrolled pods: set POD_SECURITY_GROUP_ENFORCING_MODE to standard."
        )
    return found


def _cilium(settings: Mapping[str, str], where: str) -> list[str]:
    found = []
    if settings.get("cni-exclusive", "true") != "false":
        found.append(
            f"Cilium removes the configuration of other CNI plugins (cni-exclusive in ConfigMap {where} is not false), "
            "so istio-cni cannot stay: set cni.exclusive=false in Cilium's values."
        )
    if settings.get("enable-bpf-masquerade", "false") == "true":
        found.append(
            f"Cilium masquerades by BPF (enable-bpf-masquerade in ConfigMap {where}), which breaks probes of enrolled "
            "pods: set bpf.masquerade=false in Cilium's values."
        )
    replaced = settings.get("kube-proxy-replacement", "false") in ("true", "strict")
    if replaced and settings.get("bpf-lb-sock-hostns-only", "false") != "true":
        found.append(
            "Cilium replaces kube-proxy inside pods (bpf-lb-sock-hostns-only in ConfigMap "
            f"{where} is not true), which hides Services from ztunnel: set socketLB.hostNamespaceOnly=true in Cilium's "
            "values."
        )
    return found


def _docker(nodes: object) -> bool:
    return isinstance(nodes, Sequence) and any(str(node["runtime"]).startswith("docker://") for node in nodes)
