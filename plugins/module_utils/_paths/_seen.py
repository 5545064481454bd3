# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What of the cluster decides where requests go: Services and their outside addresses, nodes, routes, clients' pods.

Pure but for ``read``; what may not be read is an error, because a path that nobody knows of would pass.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._render import GROUP
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._status import OWNER_LABEL
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import CLIENT, Vantage

TAILNET_HOSTNAME = "tailscale.com/hostname"  # of a Service: its device's name on the tailnet
TAILNET4, TAILNET6 = ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("fd7a:115c:a1e0::/48")
_Object = Mapping[str, Any]

REQUESTS = {
    "services": Request("/api/v1/services", "list services"),
    "nodes": Request("/api/v1/nodes", "list nodes"),
    "gateways": Request(f"/apis/{GROUP}/v1/gateways", f"list gateways.{GROUP}"),
    "routes": Request(f"/apis/{GROUP}/v1/httproutes", f"list httproutes.{GROUP}"),
    "clients": Request("/api/v1/pods", "list pods", query={"labelSelector": _names.CLIENT_LABEL}),
}


@dataclass(frozen=True)
class Door:
    """A Service: addresses inside the cluster, outside, and on the tailnet; ``ports`` -> (node port or 0, protocol hint)."""

    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    tailnet: tuple[str, ...] = ()
    ports: Mapping[int, int] = field(default_factory=dict)
    web: frozenset[int] = frozenset()  # ports that are said to speak HTTP
    selector: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[int, Any] = field(default_factory=dict)  # port -> target port


@dataclass(frozen=True)
class Stray:
    """A route as it is in the cluster: which gateways it names, and for what."""

    name: str  # namespace/name
    parents: frozenset[tuple[str, str]]
    path: str
    behind: str
    host: str
    service: tuple[str, str, int]


@dataclass(frozen=True)
class Seen:
    """The cluster as far as paths go. ``doors`` are Services by namespace/name, ``gateways`` the Services and
    addresses of gateways by namespace/name, ``clients`` the running pods of each VPN client by its id."""

    doors: Mapping[str, Door] = field(default_factory=dict)
    gateways: Mapping[str, Door] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()
    routes: tuple[Stray, ...] = ()
    clients: Mapping[str, Sequence[_Object]] = field(default_factory=dict)


def read(client: _client.Caller, target: Target) -> Seen:
    """One LIST for each kind; kinds that are not served have no objects."""
    answers = _client.read_all(client, REQUESTS)
    held: dict[str, list[_Object]] = {}
    for name, request in REQUESTS.items():
        there = answers[name].status != 404
        held[name] = list(_client.demand(answers[name], request, target).get("items") or []) if there else []
    return understood(held)


def understood(held: Mapping[str, Sequence[_Object]]) -> Seen:
    """Objects as values."""
    nodes = [
        one["address"]
        for node in held["nodes"]
        for one in (node.get("status") or {}).get("addresses") or []
        if one.get("type") in ("InternalIP", "ExternalIP")
    ]
    doors = {_name(one): door(one) for one in held["services"]}
    clients: dict[str, list[_Object]] = {}
    for pod in held["clients"]:
        if (pod.get("status") or {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]:
            clients.setdefault(pod["metadata"]["labels"][_names.CLIENT_LABEL], []).append(pod)
    gateways = {_name(one): _gateway(one, held["services"]) for one in held["gateways"]}
    routes = [stray for one in held["routes"] for stray in strays(one)]
    return Seen(doors, gateways, tuple(dict.fromkeys(nodes)), tuple(routes), clients)


def _name(one: _Object) -> str:
    return f"{one['metadata'].get('namespace', '')}/{one['metadata']['name']}"


def door(service: _Object) -> Door:
    """The ways to a Service."""
    spec, metadata = service.get("spec") or {}, service["metadata"]
    ports = [one for one in spec.get("ports") or [] if one.get("protocol", "TCP") == "TCP"]
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    given = [str(one[key]) for one in ingress for key in ("ip", "hostname") if one.get(key)]
    named = (metadata.get("annotations") or {}).get(TAILNET_HOSTNAME)
    tailnet = [one for one in given if is_tailnet(one)] + ([str(named)] if named else [])
    outside = [*(one for one in given if not is_tailnet(one)), *(spec.get("externalIPs") or [])]
    inside = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return Door(
        inside=tuple(one for one in inside if one not in (None, "", "None")),
        outside=tuple(dict.fromkeys(outside)),
        tailnet=tuple(dict.fromkeys(tailnet)),
        ports={int(one["port"]): int(one.get("nodePort") or 0) for one in ports},
        web=frozenset(int(one["port"]) for one in ports if _web(one)),
        selector=dict(spec.get("selector") or {}),
        targets={int(one["port"]): one.get("targetPort", one["port"]) for one in ports},
    )


def _web(port: _Object) -> bool:
    said = str(port.get("appProtocol") or port.get("name") or "")
    return said.partition("-")[0] in ("http", "http2", "web") or said in ("kubernetes.io/h2c",)


def is_tailnet(address: str) -> bool:
    """Whether an address or name is one of a tailnet."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address.endswith(".ts.net")
    return found in TAILNET4 if found.version == 4 else found in TAILNET6


def _gateway(gateway: _Object, services: Iterable[_Object]) -> Door:
    """A gateway's Services taken together, and the addresses of its status."""
    metadata = gateway["metadata"]
    own = [
        door(one)
        for one in services
        if one["metadata"].get("namespace") == metadata["namespace"]
        and (one["metadata"].get("labels") or {}).get(OWNER_LABEL) == metadata["name"]
    ]
    stated = [str(one["value"]) for one in (gateway.get("status") or {}).get("addresses") or [] if one.get("value")]
    inside = [address for one in own for address in one.inside]
    outside = [address for one in own for address in one.outside]
    # The name of a Service is stated for one without an address; it is the one that is known already.
    outside += [one for one in stated if not is_tailnet(one) and not one.endswith(".svc") and ".svc." not in one]
    tailnet = [address for one in own for address in one.tailnet] + [one for one in stated if is_tailnet(one)]
    return Door(
        inside=tuple(dict.fromkeys(inside)),
        outside=tuple(dict.fromkeys(one for one in outside if one not in inside)),
        tailnet=tuple(dict.fromkeys(tailnet)),
        ports={port: node for one in own for port, node in one.ports.items()},
    )


def strays(route: _Object) -> list[Stray]:
    """What an HTTPRoute lets in: one entry for each path and Service; kinds other than Services are left out."""
    spec, namespace = route.get("spec") or {}, route["metadata"]["namespace"]
    parents = frozenset(
        (str(one.get("namespace") or namespace), str(one["name"]))
        for one in spec.get("parentRefs") or []
        if one.get("kind", "Gateway") == "Gateway"
    )
    host = str((spec.get("hostnames") or [""])[0]).replace("*", "bulkhead", 1)
    found = []
    for rule in spec.get("rules") or []:
        paths = [str((one.get("path") or {}).get("value") or "/") for one in rule.get("matches") or [{}]]
        for backend in rule.get("backendRefs") or []:
            if backend.get("kind", "Service") == "Service" and backend.get("port"):
                service = (str(backend.get("namespace") or namespace), str(backend["name"]), int(backend["port"]))
                found += [Stray(_name(route), parents, path, _rewritten(rule, path), host, service) for path in paths]
    return found


def _rewritten(rule: _Object, path: str) -> str:
    for one in rule.get("filters") or []:
        to = ((one.get("urlRewrite") or {}).get("path")) or {}
        if to.get("replacePrefixMatch") is not None:
            return str(to["replacePrefixMatch"]) or "/"
        if to.get("replaceFullPath") is not None:
            return str(to["replaceFullPath"]) or "/"
    return path


def pod_port(target: Any, pod: _Object) -> int:
    """The number behind a Service's target port, 0 if the pod has no port of that name."""
    if isinstance(target, int):
        return target
    for container in pod["spec"].get("containers") or []:
        for port in container.get("ports") or []:
            if port.get("name") == target:
                return int(port["containerPort"])
    return int(target) if str(target).isdigit() else 0


def services_of(client: Client, seen: Seen) -> list[tuple[str, str, int, int]]:
    """(namespace, Service, port, port of the pod) of everything that leads to a client's running pods."""
    found = []
    for pod in list(seen.clients.get(client.id, ()))[:1]:
        labels = pod["metadata"].get("labels") or {}
        for name, one in seen.doors.items():
            namespace, dummy, service = name.partition("/")
            if namespace == client.namespace and one.selector and one.selector.items() <= labels.items():
                found += [(namespace, service, port, pod_port(one.targets[port], pod)) for port in sorted(one.ports)]
    return found


def owned(clients: Sequence[Client], seen: Seen) -> dict[tuple[str, str, int], tuple[Vantage, int]]:
    """Services that lead to VPN clients: namespace, name and port -> the client's vantage and the port in its pod."""
    return {
        (namespace, service, port): (Vantage(CLIENT, client.namespace, client.name), inner)
        for client in clients
        if client.state == "present"
        for namespace, service, port, inner in services_of(client, seen)
    }
