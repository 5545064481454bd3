# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What else runs that this collection works with or can clash with: meshes, gateways, load balancers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import _discovery
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import (
    Finding,
    Snapshot,
    Unknown,
    annotations_of,
    finding,
    images_of,
    known,
    labels_of,
    name_of,
    tag_of,
    yes_no,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._version import node_arguments

_GATEWAY_API = "gateway.networking.k8s.io"
_PSA = "pod-security.kubernetes.io/"
PSA_MODES = ("enforce", "warn", "audit")


def owner(item: Mapping[str, Any]) -> str:
    """Who installed an object: ``helm:NAMESPACE/RELEASE``, ``istioctl``, another manager's name, or unknown."""
    annotations, labels = annotations_of(item), labels_of(item)
    release = annotations.get("meta.helm.sh/release-name")
    if release:
        return f"helm:{annotations.get('meta.helm.sh/release-namespace', '?')}/{release}"
    if any(label.startswith("install.operator.istio.io/owning-resource") for label in labels):
        return "istioctl"
    return labels.get("app.kubernetes.io/managed-by", "unknown")


@finding
def psa(snapshot: Snapshot) -> Finding:
    """Pod Security levels by namespace; a namespace without labels has the API server's default, which is not shown."""
    return known(
        {
            item["metadata"]["name"]: {mode: labels_of(item).get(_PSA + mode) for mode in PSA_MODES}
            for item in snapshot.listing("namespaces")
        },
        "labels of namespaces",
    )


@finding
def istio(snapshot: Snapshot) -> Finding:
    """Control planes, revision tags and the parts of ambient mode."""
    planes = [_plane(item, snapshot) for item in _labelled(snapshot, "deployments", "app", "istiod")]
    daemonsets = snapshot.listing("daemonsets")
    ztunnel = [
        name_of(i) for i in daemonsets if labels_of(i).get("app") == "ztunnel" or i["metadata"]["name"] == "ztunnel"
    ]
    cni = [name_of(i) for i in daemonsets if labels_of(i).get("k8s-app") == "istio-cni-node"]
    value = {
        "installed": "yes" if planes else "no",
        "control_planes": planes,
        "ztunnel": ztunnel[0] if ztunnel else None,
        "istio_cni": cni[0] if cni else None,
        "crds": "yes" if _discovery.has_group(snapshot, "networking.istio.io") else "no",
        "tags": _tags(snapshot),
    }
    return known(value, "Deployments with label app=istiod, DaemonSets ztunnel and istio-cni-node, webhook labels")


def _tags(snapshot: Snapshot) -> dict[str, str] | str:
    try:
        hooks = snapshot.listing("webhooks")
    except Unknown:
        return "unknown"
    return {
        labels_of(i)["istio.io/tag"]: labels_of(i).get("istio.io/rev", "default")
        for i in hooks
        if "istio.io/tag" in labels_of(i)
    }


def _plane(item: Mapping[str, Any], snapshot: Snapshot) -> dict[str, Any]:
    labels = labels_of(item)
    version = None
    try:
        full = snapshot.maybe(f"istiod:{name_of(item)}")
    except Unknown:
        full = None
    if full:
        version = next((tag_of(image) for image in images_of(full) if tag_of(image)), None)
    return {
        "namespace": item["metadata"]["namespace"],
        "name": item["metadata"]["name"],
        "revision": labels.get("istio.io/rev", "default"),
        "version": version
        or labels.get("app.kubernetes.io/version")
        or labels.get("operator.istio.io/version")
        or "unknown",
        "owner": owner(item),
    }


@finding
def linkerd(snapshot: Snapshot) -> Finding:
    """Linkerd's control plane."""
    found = _labelled(snapshot, "deployments", "linkerd.io/control-plane-component", "destination")
    if not found:
        return known({"installed": "no"}, "no Deployment of its control plane")
    created_by = annotations_of(found[0]).get("linkerd.io/created-by", "")
    version = labels_of(found[0]).get("app.kubernetes.io/version") or created_by.rpartition(" ")[2] or "unknown"
    value = {"installed": "yes", "namespace": found[0]["metadata"]["namespace"], "version": version}
    return known(value, f"Deployment {name_of(found[0])}")


@finding
def gateway_api(snapshot: Snapshot) -> Finding:
    """CRDs of the Gateway API with bundle version and channel, and the classes that implement it."""
    crds = [i for i in snapshot.listing("crds") if i["metadata"]["name"].endswith(f".{_GATEWAY_API}")]
    bundles = {
        (annotations_of(i).get(f"{_GATEWAY_API}/bundle-version"), annotations_of(i).get(f"{_GATEWAY_API}/channel"))
        for i in crds
    }
    bundle, channel = bundles.pop() if len(bundles) == 1 else (None, None)
    value = {
        "installed": "yes" if crds else "no",
        "crds": sorted(i["metadata"]["name"].partition(".")[0] for i in crds),
        "bundle_version": bundle or ("mixed" if bundles else None),
        "channel": channel or ("mixed" if bundles else None),
        "classes": _classes(snapshot),
    }
    return known(value, "CustomResourceDefinitions and GatewayClass objects")


def _classes(snapshot: Snapshot) -> list[dict[str, str]] | str:
    if "gateway_classes" not in snapshot:
        return []
    try:
        found = snapshot.listing("gateway_classes")
    except Unknown:
        return "unknown"
    return [{"name": i["metadata"]["name"], "controller": i["spec"]["controllerName"]} for i in found]


@finding
def metallb(snapshot: Snapshot) -> Finding:
    """MetalLB's controller and its address pools."""
    found = _labelled(snapshot, "deployments", "app.kubernetes.io/name", "metallb") or _labelled(
        snapshot, "deployments", "app", "metallb"
    )
    controllers = [i for i in found if "webhook" not in i["metadata"]["name"]]
    if not controllers:
        return known({"installed": "no"}, "no Deployment of its controller")
    try:
        pools: object = [i["metadata"]["name"] for i in snapshot.listing("address_pools")]
    except Unknown:
        pools = "unknown"
    value = {
        "installed": "yes",
        "namespace": controllers[0]["metadata"]["namespace"],
        "version": labels_of(controllers[0]).get("app.kubernetes.io/version", "unknown"),
        "owner": owner(controllers[0]),
        "pools": pools,
    }
    return known(value, f"Deployment {name_of(controllers[0])}")


@finding
def tailscale(snapshot: Snapshot) -> Finding:
    """The Tailscale operator; its Deployment is called just "operator", so its API group must be there too."""
    found = [
        item
        for item in snapshot.listing("deployments")
        if item["metadata"]["name"] in ("operator", "tailscale-operator")
        and _discovery.has_group(snapshot, "tailscale.com")
    ]
    if not found:
        return known({"installed": "no"}, "no Deployment of the operator together with its API group")
    value = {"installed": "yes", "namespace": found[0]["metadata"]["namespace"], "owner": owner(found[0])}
    return known(value, f"Deployment {name_of(found[0])}")


@finding
def servicelb(snapshot: Snapshot) -> Finding:
    """The load balancer that k3s brings: it takes every LoadBalancer Service before another one can."""
    for item in snapshot.listing("daemonsets"):
        if "svccontroller.k3s.cattle.io/svcname" in labels_of(item) or item["metadata"]["name"].startswith("svclb-"):
            return yes_no(True, f"DaemonSet {name_of(item)}")
    nodes = snapshot.listing("nodes")
    k3s = [n for n in nodes if "+k3s" in ((n.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion", "")]
    if not k3s:
        return yes_no(False, "no DaemonSet svclb-*, no node of k3s")
    servers = [node_arguments(node) for node in k3s if '"server"' in node_arguments(node)]
    if servers:
        off = all("servicelb" in arguments for arguments in servers)
        return yes_no(not off, "arguments of the k3s servers")
    raise Unknown("k3s runs without a LoadBalancer Service, and its servers do not show their arguments")


@finding
def traefik(snapshot: Snapshot) -> Finding:
    """Traefik, and the LoadBalancer addresses it holds."""
    found = _labelled(snapshot, "deployments", "app.kubernetes.io/name", "traefik")
    if not found:
        return known({"installed": "no"}, "no Deployment with label app.kubernetes.io/name=traefik")
    addresses = [
        ingress.get("ip") or ingress.get("hostname")
        for item in _labelled(snapshot, "services", "app.kubernetes.io/name", "traefik")
        for ingress in ((item.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    ]
    value = {"installed": "yes", "namespace": found[0]["metadata"]["namespace"], "addresses": addresses}
    return known(value, f"Deployment {name_of(found[0])}")


def _labelled(snapshot: Snapshot, kind: str, label: str, value: str) -> list[dict[str, Any]]:
    return [item for item in snapshot.listing(kind) if labels_of(item).get(label) == value]
