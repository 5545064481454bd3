# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small cluster as the API server shows it, for tests of what is read."""

from __future__ import annotations

import base64
import threading
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request

MADE = "2026-11-21T10:00:00Z"
GATEWAY_API = "gateway.networking.k8s.io"
GUARD = {"initContainers": [{"name": "bulkhead-guard"}], "containers": [{"name": "app"}], "nodeName": "one"}
CLIENT_LABELS = {
    "app": "qbittorrent",
    "bulkhead.mesh/vpn-client": "downloads.qbittorrent",
    "bulkhead.mesh/vpn-gateway": "north",
}
GATEWAY_LABELS = {"bulkhead.mesh/role": "gateway", "bulkhead.mesh/vpn-gateway": "north"}
REGISTRY = '{"gateways": {"north": {"network": "10.222.1.0/24", "vni": 7001, "port": 14789, "clients": {}}}}'


def obj(name: str, labels: Any = None, annotations: Any = None, **rest: Any) -> dict[str, Any]:
    namespace, dummy, short = name.rpartition("/")
    metadata = {"name": short, "creationTimestamp": MADE, "generation": 1, "labels": labels or {}}
    if namespace:
        metadata["namespace"] = namespace
    return {"metadata": {**metadata, "annotations": annotations or {}}, **rest}


def fine(*types: str) -> list[dict[str, Any]]:
    return [{"type": one, "status": "True", "observedGeneration": 1} for one in types]


def pod(name: str, labels: Any = None, owner: Any = None, spec: Any = None, **more: Any) -> dict[str, Any]:
    made = obj(
        name,
        labels,
        {"ambient.istio.io/redirection": "enabled"},
        spec=spec or {"containers": [{"name": "app"}], "nodeName": "one"},
        status={"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
    )
    if owner:
        made["metadata"]["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "controller": True}]
    made["metadata"].update(more)
    return made


def route(name: str, gateway: str, service: str, accepted: str = "True") -> dict[str, Any]:
    parent = {"group": GATEWAY_API, "kind": "Gateway", "namespace": f"gateway-{gateway}", "name": gateway}
    conditions = fine("Accepted", "ResolvedRefs")
    conditions[0] |= {"status": accepted, "reason": "NotAllowedByListeners"}
    rule = {"matches": [{"path": {"value": f"/{service}"}}], "backendRefs": [{"name": service, "port": 8080}]}
    status = {"parents": [{"parentRef": parent, "conditions": conditions}]}
    return obj(name, spec={"parentRefs": [parent], "rules": [rule]}, status=status)


def gateway(name: str, address: str) -> dict[str, Any]:
    label = {f"bulkhead.mesh/segment-{name}": "true"}
    allowed = {"namespaces": {"from": "Selector", "selector": {"matchLabels": label}}}
    listener = {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": allowed}
    status = {
        "addresses": [{"type": "IPAddress", "value": address}],
        "conditions": fine("Accepted", "Programmed"),
        "listeners": [{"name": "http", "attachedRoutes": 1, "conditions": fine("ResolvedRefs", "Programmed")}],
    }
    return obj(f"gateway-{name}/{name}", spec={"gatewayClassName": "istio", "listeners": [listener]}, status=status)


def cluster() -> dict[str, list[dict[str, Any]]]:
    """Collection's path -> objects: the demo with the gateway arr, also on a tailnet."""
    owned = {f"{GATEWAY_API}/gateway-name": "arr"}
    ready = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    secret = {
        "tailscale.com/parent-resource": "arr-istio",
        "tailscale.com/parent-resource-ns": "gateway-arr",
        "tailscale.com/managed": "true",
    }
    device = {"device_fqdn": "arr.tail.ts.net.", "device_ips": '["100.64.0.3"]', "private-key": "SECRET"}
    template = {"metadata": {"labels": CLIENT_LABELS}, "spec": GUARD}
    ambient = {"istio.io/dataplane-mode": "ambient", "bulkhead.mesh/segment-arr": "true"}
    return {
        "/api/v1/namespaces": [obj("downloads", ambient), obj("vpn"), obj("gateway-arr"), obj("other")],
        "/api/v1/pods": [
            pod("downloads/qbittorrent-0", CLIENT_LABELS, ("StatefulSet", "qbittorrent"), GUARD),
            pod("vpn/north-0", GATEWAY_LABELS, ("StatefulSet", "north")),
        ],
        "/api/v1/services": [
            obj("downloads/qbittorrent", spec={"selector": {"app": "qbittorrent"}}),
            obj(
                "gateway-arr/arr-istio",
                owned,
                {"tailscale.com/expose": "true", "tailscale.com/hostname": "arr"},
                spec={"type": "LoadBalancer"},
            ),
        ],
        "/apis/apps/v1/statefulsets": [
            obj("downloads/qbittorrent", spec={"template": template}),
            obj("vpn/north", spec={"template": {"metadata": {"labels": GATEWAY_LABELS}, "spec": {}}}),
            obj("tailscale/ts-arr", secret, spec={"template": {}}),
        ],
        "/apis/apps/v1/deployments": [obj("gateway-arr/arr-istio", owned, spec={"replicas": 1}, status=ready)],
        "/apis/apps/v1/replicasets": [],
        "/api/v1/configmaps": [obj("vpn/bulkhead-vpn-registry", data={"registry.json": REGISTRY})],
        f"/apis/{GATEWAY_API}/v1/gateways": [gateway("arr", "172.30.0.101")],
        f"/apis/{GATEWAY_API}/v1/httproutes": [route("downloads/qbittorrent", "arr", "qbittorrent")],
        f"/apis/{GATEWAY_API}/v1/grpcroutes": [],
        "/api/v1/namespaces/tailscale/secrets": [
            obj("tailscale/ts-arr", secret, data={k: base64.b64encode(v.encode()).decode() for k, v in device.items()})
        ],
    }


class Api:
    """Answers LISTs of ``held``; ``refuse`` names collections that are forbidden. Anything but a GET fails."""

    target = Target("192.0.2.1:6443", "context test")

    def __init__(self, held: dict[str, list[dict[str, Any]]] | None = None, refuse: tuple[str, ...] = ()) -> None:
        self.held = cluster() if held is None else held
        self.refuse = refuse
        self.asked: list[str] = []
        self._lock = threading.Lock()

    def call(self, request: Request) -> Answer:
        """One call."""
        assert request.method == "GET", f"a write: {request.method} {request.path}"
        with self._lock:
            self.asked.append(request.path)
        if request.path.endswith(self.refuse):
            return Answer(403, {"message": "forbidden"})
        if request.path not in self.held:
            return Answer(404, {"message": "not found"})
        return Answer(200, {"items": self.held[request.path]})
