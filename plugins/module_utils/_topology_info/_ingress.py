# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Objects of the cluster -> ingress gateways with their addresses and routes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _devices, _gateways, _status
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import SEGMENT_LABEL
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._render import HOSTNAME, ISTIO
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _ready
from ansible_collections.bulkhead.mesh.plugins.module_utils._topology_info._read import Seen

UNKNOWN = "unknown"
ROUTES = ("HTTPRoute", "GRPCRoute")
# Proxies inside the mesh; nobody outside comes in by them.
_INNER = ("istio-waypoint", "istio-remote", "istio-east-west", "istio-agentgateway-waypoint")
_Object = Mapping[str, Any]


def gateways(seen: Seen, declared: Sequence[_Object]) -> list[dict[str, Any]]:
    """Live gateways in the order of the inventory, then others by name; those that the inventory wants and are not there."""
    wanted = {(_gateways.namespace_of(one), one["name"]): one for one in declared}
    live = {
        (one["metadata"]["namespace"], one["metadata"]["name"]): one
        for one in seen.all("Gateway")
        if one["spec"].get("gatewayClassName") not in _INNER
    }
    order = [*wanted, *sorted(set(live) - set(wanted))]
    return [_gateway(key, live.get(key), key in wanted, seen) for key in order]


def _gateway(key: tuple[str, str], live: _Object | None, declared: bool, seen: Seen) -> dict[str, Any]:
    namespace, name = key
    made: dict[str, Any] = {
        "namespace": namespace,
        "name": name,
        "declared": declared,
        "class": "",
        "segments": [],
        "exposure": UNKNOWN,
        "addresses": [],
        "tailnet": None,
        "listeners": [],
        "routes": [],
        "routes_reason": seen.missing(*ROUTES),
    }
    if live is None:
        unread = seen.missing("Gateway")
        return {**made, "state": UNKNOWN if unread else "missing", "reason": unread or "the inventory names it"}
    services = [one for one in seen.all("Service") if _belongs(one, namespace, name)]
    routes = [one for one in seen.all(*ROUTES) if _attaches(one, namespace, name)]
    checks = _checks(live, seen, services, routes)
    bad = next((one for one in checks if one.id != "gateway-route" and one.result != _status.PASS), None)
    unread = seen.missing("Deployment")
    made |= {
        "class": live["spec"].get("gatewayClassName", ""),
        "segments": _segments(live),
        "exposure": UNKNOWN if seen.missing("Service") else _exposure(services),
        "addresses": [str(one["value"]) for one in (live.get("status") or {}).get("addresses") or [] if "value" in one],
        "tailnet": _tailnet(services, seen),
        "listeners": [_listener(one) for one in live["spec"].get("listeners") or []],
        "routes": _routes(routes, checks),
    }
    if unread:
        return {**made, "state": UNKNOWN, "reason": unread}
    return {**made, "state": "not_ready" if bad else "ready", "reason": f"{bad.id}: {bad.observed}" if bad else ""}


def _belongs(one: _Object, namespace: str, name: str) -> bool:
    labels = one["metadata"].get("labels") or {}
    return one["metadata"]["namespace"] == namespace and labels.get(_status.OWNER_LABEL) == name


def _attaches(route: _Object, namespace: str, name: str) -> bool:
    own = route["metadata"]["namespace"]
    parents = route["spec"].get("parentRefs") or []
    return any((one.get("namespace") or own, one.get("name")) == (namespace, name) for one in parents)


def _checks(live: _Object, seen: Seen, services: Sequence[_Object], routes: Sequence[_Object]) -> list[_status.Check]:
    """What its objects say of the gateway now; addresses are shown, not judged."""
    namespace, name = live["metadata"]["namespace"], live["metadata"]["name"]
    wanted = {
        "namespace": namespace,
        "name": name,
        "exposure": "cluster",
        "addresses": [],
        "announced": False,
        "listeners": {one["name"]: 0 for one in live["spec"].get("listeners") or []},
        "routes": [_name(one) for one in routes],
    }
    deployments = [
        (*_ready.ready("apps", "Deployment", one), _name(one))
        for one in seen.all("Deployment")
        if _belongs(one, namespace, name)
    ]
    left_out = {"gateway-address"}
    if not deployments and live["spec"].get("gatewayClassName") != ISTIO:
        left_out.add("gateway-pods")  # other controllers serve all their gateways by pods of their own
    found = _status.Found(live, services, deployments, {_name(one): one for one in routes})
    return [one for one in _status.checks(wanted, found) if one.id not in left_out]


def _name(one: _Object) -> str:
    return f"{one['metadata']['namespace']}/{one['metadata']['name']}"


def _segments(gateway: _Object) -> list[str]:
    """Segments whose namespaces may attach; where a listener lets every namespace attach, ``*``."""
    found = set()
    for listener in gateway["spec"].get("listeners") or []:
        allowed = (listener.get("allowedRoutes") or {}).get("namespaces") or {}
        labels = (allowed.get("selector") or {}).get("matchLabels") or {}
        found |= {key[len(SEGMENT_LABEL) :] for key in labels if key.startswith(SEGMENT_LABEL)}
        if allowed.get("from") == "All":
            found.add("*")
    return sorted(found)


def _exposure(services: Sequence[_Object]) -> str:
    """Who can come in by what its Services say: lan, tailnet, both or cluster."""
    if not services:
        return UNKNOWN
    lan = any(
        one["spec"].get("type") in ("LoadBalancer", "NodePort")
        and one["spec"].get("loadBalancerClass") != _devices.CLASS
        for one in services
    )
    tailnet = any(_devices.is_exposed(one) for one in services)
    return {(True, True): "both", (True, False): "lan", (False, True): "tailnet"}.get((lan, tailnet), "cluster")


def _tailnet(services: Sequence[_Object], seen: Seen) -> dict[str, Any] | None:
    """Name and addresses of the gateway's device; None where it is not exposed, an empty name where none is known."""
    exposed = [one for one in services if _devices.is_exposed(one)]
    if not exposed:
        return None
    asked = str((exposed[0]["metadata"].get("annotations") or {}).get(HOSTNAME, ""))
    for secret in seen.all("Secret"):
        labels = secret["metadata"]["labels"]
        if f"{labels.get(_devices.PARENT_NAMESPACE)}/{labels.get(_devices.PARENT)}" == _name(exposed[0]):
            name, addresses = _devices.identity({"device": _devices.decoded(secret.get("data") or {})})
            if name:
                return {"name": name, "addresses": addresses, "reason": ""}
    reason = seen.missing("Secret", "StatefulSet") or "its device has not joined the tailnet"
    return {"name": "", "addresses": [], "reason": f"{reason}; asked for the name {asked}" if asked else reason}


def _listener(one: _Object) -> dict[str, Any]:
    keys = ("name", "port", "protocol", "hostname")
    return {key: one.get(key, "") for key in keys}


def _routes(routes: Sequence[_Object], checks: Sequence[_status.Check]) -> list[dict[str, Any]]:
    judged = {one.object: one for one in checks if one.id == "gateway-route"}
    made = []
    for route in sorted(routes, key=_name):
        check = judged[f"HTTPRoute {_name(route)}"]  # what the check calls every route
        made.append(
            {
                "kind": route["kind"],
                "namespace": route["metadata"]["namespace"],
                "name": route["metadata"]["name"],
                "hostnames": list(route["spec"].get("hostnames") or []),
                "backends": _backends(route),
                "state": "attached" if check.result == _status.PASS else "not_attached",
                "reason": "" if check.result == _status.PASS else check.observed,
            }
        )
    return made


def _backends(route: _Object) -> list[dict[str, Any]]:
    """Where the route's rules lead, each with the path that leads there."""
    found = []
    for rule in route["spec"].get("rules") or []:
        paths = [_path(one) for one in rule.get("matches") or [{}]]
        for backend in rule.get("backendRefs") or []:
            namespace = backend.get("namespace") or route["metadata"]["namespace"]
            service = f"{namespace}/{backend.get('name', '')}"
            found += [{"path": path, "service": service, "port": backend.get("port")} for path in paths]
    return found


def _path(match: _Object) -> str:
    path = match.get("path")
    if path is not None:
        return str(path.get("value") or "/")
    method = match.get("method")
    if isinstance(method, Mapping):  # of a GRPCRoute
        return f"/{method.get('service', '*')}/{method.get('method', '*')}"
    return "/"
