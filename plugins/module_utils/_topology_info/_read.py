# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Read once what the picture shows; what cannot be read is named, never taken for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _registry
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import METADATA_ONLY, Answer, Request

_GATEWAY_API = "/apis/gateway.networking.k8s.io/v1"
_APPS = "/apis/apps/v1"
PROXY_NAMESPACE, PROXY_NAME = "tailscale.com/parent-resource-ns", "tailscale.com/parent-resource"
_MANAGED = "tailscale.com/managed"
PROXY_LABELS = f"{_MANAGED}=true,tailscale.com/parent-resource-type=svc"
# Kinds that a cluster may not have: not served means that there is none.
_OPTIONAL = ("Gateway", "HTTPRoute", "GRPCRoute")
_Object = Mapping[str, Any]


class Seen:
    """Objects that were read, by kind, and why others were not."""

    def __init__(self, objects: Mapping[str, Iterable[_Object]], why: Mapping[str, str]) -> None:
        self._objects = {kind: [{**one, "kind": kind} for one in found] for kind, found in objects.items()}
        self._why = dict(why)

    def all(self, *kinds: str) -> list[dict[str, Any]]:
        """All objects of these kinds that were read; ask ``missing`` first whether that means anything."""
        return [one for kind in kinds for one in self._objects.get(kind, [])]

    def missing(self, *kinds: str) -> str:
        """Why objects of one of these kinds were not read; empty if all were."""
        return next((self._why[kind] for kind in kinds if kind in self._why), "")

    def unreadable(self) -> list[dict[str, str]]:
        """What could not be read, as the module returns it."""
        return [{"kind": kind, "reason": reason} for kind, reason in self._why.items()]


def requests() -> dict[str, Request]:
    """One LIST for each kind, in all namespaces."""
    registry = ",".join(f"{key}={value}" for key, value in _registry.LABELS.items())
    return {
        "Namespace": Request("/api/v1/namespaces", "list namespaces", accept=METADATA_ONLY),
        "Pod": Request("/api/v1/pods", "list pods"),
        "Service": Request("/api/v1/services", "list services"),
        "StatefulSet": Request(f"{_APPS}/statefulsets", "list statefulsets.apps"),
        "Deployment": Request(f"{_APPS}/deployments", "list deployments.apps"),
        "ReplicaSet": Request(f"{_APPS}/replicasets", "list replicasets.apps", accept=METADATA_ONLY),
        "ConfigMap": Request("/api/v1/configmaps", "list configmaps", query={"labelSelector": registry}),
        "Gateway": Request(f"{_GATEWAY_API}/gateways", "list gateways.gateway.networking.k8s.io"),
        "HTTPRoute": Request(f"{_GATEWAY_API}/httproutes", "list httproutes.gateway.networking.k8s.io"),
        "GRPCRoute": Request(f"{_GATEWAY_API}/grpcroutes", "list grpcroutes.gateway.networking.k8s.io"),
    }


def _tailnet_requests(proxies: Iterable[_Object]) -> dict[str, Request]:
    """State of the Tailscale operator's proxies, beside them: the only place that has the name of a Service's device."""
    homes = {one["metadata"]["namespace"] for one in proxies if _MANAGED in (one["metadata"].get("labels") or {})}
    query = {"labelSelector": PROXY_LABELS}
    return {
        home: Request(f"/api/v1/namespaces/{home}/secrets", f"list secrets in {home}", query=query)
        for home in sorted(homes)
    }


def read(client: _client.Caller, exposed: Callable[[_Object], bool]) -> Seen:
    """Everything at once. No connection is a KubeError; a refused request is only a missing part.

    The Secrets of tailnet proxies are asked for only where ``exposed`` says so of a Service; of their content only name
    and addresses of the device are kept.
    """
    asked = requests()
    objects, why = _sort(asked, _client.read_all(client, asked))
    if any(exposed(one) for one in objects.get("Service", [])):
        more = _tailnet_requests(objects.get("StatefulSet", []))
        devices, reasons = _sort(more, _client.read_all(client, more))
        objects["Secret"] = [_public(one) for found in devices.values() for one in found]
        if reasons:
            why["Secret"] = "; ".join(reasons.values())
    return Seen(objects, why)


def _sort(asked: Mapping[str, Request], answers: Mapping[str, Answer]) -> tuple[dict[str, list[Any]], dict[str, str]]:
    objects: dict[str, list[Any]] = {}
    why: dict[str, str] = {}
    for kind, request in asked.items():
        answer = answers[kind]
        if answer.ok and isinstance(answer.body.get("items"), list):
            objects[kind] = answer.body["items"]
        elif answer.status == 404 and kind in _OPTIONAL:
            objects[kind] = []
        else:
            why[kind] = f"not able to {request.what} (status {answer.status}: {answer.message})"
    return objects, why


def _public(secret: _Object) -> dict[str, Any]:
    """A proxy's Secret without its keys."""
    data = secret.get("data") or {}
    kept = {key: data[key] for key in ("device_fqdn", "device_ips") if key in data}
    return {"metadata": {"labels": secret["metadata"].get("labels") or {}}, "data": kept}
