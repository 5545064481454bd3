# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What Istio's control plane wrote by itself and Helm therefore does not take away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

ROOT_CERTIFICATES = ("istio-ca-root-cert", "istio-ca-crl")
CONFIG_LABEL = {"istio.io/config": "true"}
CA_SECRET = "istio-ca-secret"  # of the CA that istiod makes itself; a CA of the user's is in cacerts
CLASSES = (
    "istio",
    "istio-waypoint",
    "istio-remote",
    "istio-east-west",
    "istio-agentgateway",
    "istio-agentgateway-waypoint",
)
_CONTROLLER = "istio.io/"
_LOCK = "control-plane.alpha.kubernetes.io/leader"  # annotation of a ConfigMap by which one of several istiods leads
# In every namespace, made by Kubernetes.
_ALWAYS = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}
CREATED = "bulkhead.mesh/created-by"  # annotation of a namespace that we made
LEVELLED = "bulkhead.mesh/pod-security-by"  # annotation of one whose level we set
ROLE = "istio"
LEVEL = "pod-security.kubernetes.io/enforce"
_Object = Mapping[str, Any]


def is_left(kind: str, one: _Object, istio_namespace: str) -> bool:
    """Whether an object is one that istiod made; anything in doubt is not."""
    metadata = one["metadata"]
    name, labels = metadata["name"], metadata.get("labels") or {}
    if kind == "GatewayClass":
        return name in CLASSES and str((one.get("spec") or {}).get("controllerName", "")).startswith(_CONTROLLER)
    if kind == "ConfigMap" and name in ROOT_CERTIFICATES:
        return CONFIG_LABEL.items() <= labels.items()
    if metadata.get("namespace") != istio_namespace:
        return False
    if kind == "Secret":
        return name == CA_SECRET
    if not name.startswith("istio-"):
        return False
    return kind == "Lease" or (kind == "ConfigMap" and _LOCK in (metadata.get("annotations") or {}))


def strangers(objects: Iterable[tuple[str, str]]) -> list[str]:
    """What is in a namespace beyond what Kubernetes puts into every one; ``objects`` are kinds and names."""
    return [f"{kind} {name}" for kind, name in objects if (kind, name) not in _ALWAYS]


def namespace_patch(live: _Object | None) -> dict[str, Any] | None:
    """What a namespace of Istio lacks: a whole object, a merge patch, or None."""
    if live is None:
        return {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"labels": {LEVEL: "privileged"}, "annotations": {CREATED: ROLE, LEVELLED: ROLE}},
        }
    if (live["metadata"].get("labels") or {}).get(LEVEL):
        return None
    return {"metadata": {"labels": {LEVEL: "privileged"}, "annotations": {LEVELLED: ROLE}}}


def release_patch(live: _Object) -> dict[str, Any] | None:
    """A merge patch that takes our marks off a namespace that stays; None where there are none."""
    annotations = live["metadata"].get("annotations") or {}
    marks = {name: None for name in (CREATED, LEVELLED) if name in annotations}
    if not marks:
        return None
    labels = {LEVEL: None} if LEVELLED in marks else {}
    return {"metadata": {"annotations": marks, **({"labels": labels} if labels else {})}}
