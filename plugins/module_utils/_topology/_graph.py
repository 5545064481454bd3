# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What the module found -> nodes in five layers, and who leads to whom. Pure.

The layers are who calls, ingress gateways, services and clients by namespace, VPN gateways, and where traffic leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._topology import _words
from ansible_collections.bulkhead.mesh.plugins.module_utils._topology._words import BAD, PLAIN, UNSURE, Badge

CALLERS, INGRESS, WORKLOADS, EGRESS, EXITS = range(5)
LAYERS = ("Who calls", "Ingress gateways", "Services and VPN clients", "VPN gateways", "Leaves by")
LINES = 5  # routes that a service's box names; the others are counted
NODE_EXIT = "exit:node"
Topology = Mapping[str, Any]


@dataclass(frozen=True)
class Node:
    """A box. ``group`` is the namespace it is drawn in, empty for none."""

    id: str
    layer: int
    title: str
    lines: tuple[str, ...] = ()
    badge: Badge | None = None
    group: str = ""


@dataclass(frozen=True)
class Edge:
    """From one box to another; ``broken`` is drawn as a dashed line."""

    source: str
    target: str
    tone: str = PLAIN
    broken: bool = False


@dataclass(frozen=True)
class Graph:
    """``groups``: namespace -> what is said beside its name."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    groups: Mapping[str, str] = field(default_factory=dict)


def build(topology: Topology) -> Graph:
    """The graph; every edge leads from an existing box to an existing one."""
    ingress = topology["ingress_gateways"]
    services, roads = _routes(topology)
    nodes = [*_callers(ingress), *map(_ingress, ingress), *services.values()]
    edges = [*_calls(ingress), *roads]
    egress, ways = _egress(topology)
    nodes += egress
    edges += ways
    groups = {one["name"]: _words.capture(one["capture"]) for one in topology["namespaces"]}
    used = {one.group for one in nodes if one.group}
    return Graph(tuple(nodes), tuple(dict.fromkeys(edges)), {name: groups.get(name, "") for name in sorted(used)})


_WHO = {
    "lan": ("Home network", "by address"),
    "tailnet": ("Tailnet", "by device name"),
    "cluster": ("Pods in the cluster", "by Service"),
    "unknown": ("Not known", "who can call"),
}


def _entrances(gateway: Mapping[str, Any]) -> tuple[str, ...]:
    exposure = gateway["exposure"]
    if gateway["state"] == "missing":
        return ()
    return ("lan", "tailnet") if exposure == "both" else (exposure if exposure in _WHO else "unknown",)


def _callers(ingress: Iterable[Mapping[str, Any]]) -> list[Node]:
    used = {who for one in ingress for who in _entrances(one)}
    return [Node(f"caller:{who}", CALLERS, title, (line,)) for who, (title, line) in _WHO.items() if who in used]


def _calls(ingress: Iterable[Mapping[str, Any]]) -> list[Edge]:
    return [
        Edge(f"caller:{who}", _id("ingress", one), UNSURE if who == "unknown" else PLAIN, who == "unknown")
        for one in ingress
        for who in _entrances(one)
    ]


def _id(kind: str, one: Mapping[str, Any]) -> str:
    return f"{kind}:{one['namespace']}/{one['name']}"


def _ingress(one: Mapping[str, Any]) -> Node:
    lines = list(one["addresses"])
    if one["tailnet"]:
        lines.append(one["tailnet"]["name"] or "tailnet name unknown")
    ports = [f"{listener['protocol']} :{listener['port']}" for listener in one["listeners"]]
    lines += [", ".join(dict.fromkeys(ports))] if ports else []
    lines += [f"in {one['namespace']}", *_stranger(one)]
    return Node(_id("ingress", one), INGRESS, one["name"], tuple(lines), _words.badge(_words.GATEWAY, one["state"]))


def _stranger(one: Mapping[str, Any]) -> list[str]:
    return [] if one["declared"] else ["not in the inventory"]


def _client_id(one: Mapping[str, Any]) -> str:
    return f"client:{one['kind']}/{one['namespace']}/{one['name']}"


def _routes(topology: Topology) -> tuple[dict[str, Node], list[Edge]]:
    """Boxes of the services that routes lead to and of the clients; a client's own services are in its box."""
    homes = {service: _client_id(one) for one in topology["vpn_clients"] for service in one["services"]}
    said: dict[str, list[str]] = {}
    edges = []
    for gateway in topology["ingress_gateways"]:
        for route in gateway["routes"]:
            lost = route["state"] != "attached"
            for backend in route["backends"]:
                id_ = homes.get(backend["service"], f"service:{backend['service']}")
                said.setdefault(id_, []).append(f"{gateway['name']} {backend['path']} → :{backend['port']}")
                edges.append(Edge(_id("ingress", gateway), id_, BAD if lost else PLAIN, lost))
    nodes = {id_: _service(id_, lines) for id_, lines in said.items() if id_.startswith("service:")}
    for one in topology["vpn_clients"]:
        nodes[_client_id(one)] = _client(one, said.get(_client_id(one), []))
    return nodes, _merged(edges)


def _merged(edges: Iterable[Edge]) -> list[Edge]:
    """One line between two boxes, however many routes; a broken one shows."""
    found: dict[tuple[str, str], Edge] = {}
    for one in edges:
        key = (one.source, one.target)
        found[key] = one if one.broken or key not in found else found[key]
    return list(found.values())


def _some(lines: Iterable[str]) -> tuple[str, ...]:
    every = list(dict.fromkeys(lines))
    return tuple(every) if len(every) <= LINES else (*every[: LINES - 1], f"and {len(every) - LINES + 1} more")


def _service(id_: str, lines: list[str]) -> Node:
    namespace, dummy, name = id_.partition(":")[2].partition("/")
    return Node(id_, WORKLOADS, name, _some(lines), None, namespace)


def _client(one: Mapping[str, Any], lines: list[str]) -> Node:
    layers = one["layers"]
    holding = [name.replace("_", " ") for name, state in layers.items() if state == "holds"]
    facts = [f"{one['kind']}, {one['pods']} {'pod' if one['pods'] == 1 else 'pods'}", *_some(lines)]
    if layers:
        facts.append(f"{len(holding)} of {len(layers)} layers hold")
    facts += _stranger(one)
    badge = _words.client_badge(one)
    return Node(_client_id(one), WORKLOADS, one["name"], tuple(facts), badge, one["namespace"])


def _egress(topology: Topology) -> tuple[list[Node], list[Edge]]:
    """VPN gateways, exits, and the ways to them. A client that is not held back leaves by the node."""
    nodes, edges = [], []
    known = {}
    for one in topology["vpn_gateways"]:
        known[one["name"]] = _id("vpn", one)
        lines = [f"in {one['namespace']}", *([f"overlay {one['network']}"] if one["network"] else []), *_stranger(one)]
        badge = _words.badge(_words.GATEWAY, one["state"])
        nodes.append(Node(_id("vpn", one), EGRESS, one["name"], tuple(lines), badge))
        nodes.append(_exit(one))
        seen = _words.badge(_words.EXIT, one["exit"]["state"])
        edges.append(Edge(_id("vpn", one), _id("exit", one), seen.tone, seen.tone != _words.GOOD))
    for one in topology["vpn_clients"]:
        badge = _words.client_badge(one)
        if one["state"] == "unprotected":
            edges.append(Edge(_client_id(one), NODE_EXIT, BAD, True))
        elif one["gateway"]:
            if one["gateway"] not in known:
                known[one["gateway"]] = f"vpn:/{one['gateway']}"
                nodes.append(
                    Node(known[one["gateway"]], EGRESS, one["gateway"], (), _words.badge(_words.GATEWAY, "missing"))
                )
            edges.append(Edge(_client_id(one), known[one["gateway"]], badge.tone, badge.tone != _words.GOOD))
    if any(one.target == NODE_EXIT for one in edges):
        nodes.append(Node(NODE_EXIT, EXITS, "The node itself", ("its own address",), Badge("✗", "not the VPN", BAD)))
    return nodes, edges


def _exit(gateway: Mapping[str, Any]) -> Node:
    found = gateway["exit"]
    lines = found["addresses"] or ["address not named"]
    badge = _words.badge(_words.EXIT, found["state"])
    return Node(_id("exit", gateway), EXITS, "VPN provider", tuple(_some(lines)), badge)
