# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small network in memory: gateways, Services and who may call them; tests change one thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _parse as _vpn
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _gateways
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths import _judge, _plan, _seen
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import (
    CLIENT,
    LAN,
    POD,
    Answer,
    Row,
    Try,
    Vantage,
)

SILENCE, ROUTE = Answer("timeout"), Answer("ENETUNREACH")
NOWHERE = Answer("answered", 404)
LAN_, CORE, MEDIA = Vantage(LAN), Vantage(POD, "core"), Vantage(POD, "media")
OUTSIDER = Vantage(POD, "default", meshed=False)
QBIT = Vantage(CLIENT, "downloads", "qbit")

GATEWAYS = [
    {
        "name": "arr",
        "address": "192.0.2.101",
        "routes": [
            {"name": "radarr", "namespace": "core", "port": 7878, "path": "/radarr", "rewrite": "/"},
            {"name": "qbit", "namespace": "downloads", "port": 8080, "path": "/qbit", "rewrite": "/"},
        ],
    },
    {"name": "media", "address": "192.0.2.102", "routes": [{"name": "jellyfin", "namespace": "media", "port": 8096}]},
    {"name": "admin", "exposure": "cluster", "routes": [{"name": "dash", "namespace": "admin", "port": 9000}]},
]
CLIENTS = [
    {
        "kind": "StatefulSet",
        "namespace": "downloads",
        "name": "qbit",
        "gateway": "north",
        "egress": [{"service": "core/radarr", "ports": [7878]}],
        "ingress": [
            {"from": {"namespace": "core"}, "ports": [8080]},
            {"from": {"ingress_gateway": "arr"}, "ports": [8080]},
        ],
    }
]
VPN = [{"name": "north", "namespace": "vpn", "config_secret": "wg0"}]
NAMESPACES = [
    {"name": "core", "segments": ["arr"]},
    {"name": "media", "segments": ["media"]},
    {"name": "vpn", "mesh": "none"},
]
SERVICES = {
    ("core", "radarr"): ("10.96.0.11", 7878),
    ("downloads", "qbit"): ("10.96.0.12", 8080),
    ("media", "jellyfin"): ("10.96.0.13", 8096),
    ("admin", "dash"): ("10.96.0.14", 9000),
}
INSIDE = {"arr": "10.96.0.101", "media": "10.96.0.102", "admin": "10.96.0.103"}
API = "10.96.0.1"
POD_OF_QBIT: dict[str, Any] = {
    "metadata": {"namespace": "downloads", "name": "qbit-0", "labels": {"app": "qbit"}},
    "spec": {"containers": [{"name": "app", "ports": [{"name": "web", "containerPort": 8080}]}]},
}


def page(name: str, **more: Any) -> Answer:
    """What an application answers."""
    return Answer("answered", 200, digest=f"digest of {name}", title=name, **more)


def gateways(changes: Any = None) -> list[Any]:
    """The gateways as values; ``changes`` by name."""
    raw = [{**one, **(changes or {}).get(one["name"], {})} for one in GATEWAYS]
    found, problems = _gateways.parse_gateways([{k: v for k, v in one.items() if v is not None} for one in raw])
    assert not problems, problems
    return found


def clients() -> list[Any]:
    """The VPN clients as values."""
    vpn, problems = _vpn.parse_gateways(VPN)
    found, more = _vpn.parse_clients(CLIENTS, vpn)
    assert not problems and not more, [*problems, *more]
    return found


def seen(**more: Any) -> _seen.Seen:
    """The cluster."""
    doors = {
        f"{namespace}/{name}": _seen.Door(
            inside=(address,),
            ports={port: 0},
            selector={"app": name},
            targets={port: "web" if name == "qbit" else port},
        )
        for (namespace, name), (address, port) in SERVICES.items()
    }
    doors["default/kubernetes"] = _seen.Door(inside=(API,), ports={443: 0})
    outside = {"arr": "192.0.2.101", "media": "192.0.2.102"}
    gates = {
        f"gateway-{name}/{name}": _seen.Door(
            inside=(address,), outside=(outside[name],) if name in outside else (), ports={80: 0}
        )
        for name, address in INSIDE.items()
    }
    held = {"doors": doors, "gateways": gates, "nodes": ("192.0.2.10",), "clients": {"downloads.qbit": [POD_OF_QBIT]}}
    return _seen.Seen(**{**held, **more})


@dataclass
class Network:
    """Where addresses lead, what is served there, and who is let through; every answer can be replaced."""

    addresses: dict[str, str] = field(default_factory=dict)
    served: dict[str, dict[str, str]] = field(default_factory=dict)  # gateway -> path prefix -> application
    pages: dict[str, Answer] = field(default_factory=dict)
    others: dict[tuple[str, str], Answer] = field(default_factory=dict)  # what an application answers at other paths
    says: dict[tuple[str, str], Answer] = field(default_factory=dict)  # to a vantage at a place, whatever is there
    refuse: Callable[[Vantage, str], bool] = lambda vantage, place: False
    down: set[str] = field(default_factory=set)

    def ask(self, vantage: Vantage, one: Try) -> Answer:
        """The answer to one request."""
        if one.address == _plan.LOOPBACK:
            return self._page("qbit", one) if vantage == QBIT and one.port == 8080 else SILENCE
        place = self.addresses.get(one.address)
        if place is None or place in self.down or self.refuse(vantage, place):
            return SILENCE
        if (str(vantage), place) in self.says:
            return self.says[str(vantage), place]
        if place not in self.served:
            return Answer("answered", 401) if place == "api" else self._page(place, one)
        for prefix, application in sorted(self.served[place].items(), reverse=True):
            if one.path.startswith(prefix):
                return self._page(application, one)
        return NOWHERE

    def _page(self, application: str, one: Try) -> Answer:
        if application in self.down:
            return Answer("answered", 503, digest="no healthy upstream")
        answer = self.others.get((application, one.path)) or self.pages.get(application, page(application))
        return Answer(**{**vars(answer), "content": bool(one.content) and one.content in answer.title})


def network() -> Network:
    """As the inventory says."""
    made = Network()
    made.addresses = {address: name for (dummy, name), (address, port) in SERVICES.items()}
    made.addresses |= {address: f"gateway {name}" for name, address in INSIDE.items()}
    made.addresses |= {"192.0.2.101": "gateway arr", "192.0.2.102": "gateway media", API: "api"}
    made.served = {
        "gateway arr": {"/radarr/": "radarr", "/qbit/": "qbit"},
        "gateway media": {"/": "jellyfin"},
        "gateway admin": {"/": "dash"},
    }
    inside = {*INSIDE.values(), *(address for address, port in SERVICES.values()), API}
    exposed = {"gateway arr", "gateway media"}

    def refuse(vantage: Vantage, place: str) -> bool:
        if vantage.kind == LAN:
            return place not in exposed
        if vantage.kind == CLIENT:
            return place != "radarr"
        return place == "qbit" and vantage.namespace != "core"

    assert inside <= set(made.addresses)
    made.refuse = refuse
    return made


def evidence(rows: Sequence[Row], net: Network, world: _plan.World | None = None, **more: Any) -> _judge.Evidence:
    """What every vantage of the rows would bring back."""
    world = world or _plan.World({one.name: one for one in gateways()}, seen())
    pages = _plan.pages(rows, world)
    brought = {}
    for vantage in dict.fromkeys(row.source for row in rows):
        own = [row for row in rows if row.source == vantage]
        first, then = _plan.controls(vantage, own, world), _plan.requests(vantage, own, pages, world)
        spoke = any(net.ask(vantage, one).spoke for one in first)
        brought[vantage] = _judge.Brought({one: net.ask(vantage, one) for one in then}, spoke)
    return _judge.Evidence(world, list(rows), {**brought, **more.pop("brought", {})}, **more)


def results(rows: Sequence[Row], net: Network, world: _plan.World | None = None, **more: Any) -> dict[str, str]:
    """Everything that does not pass, by its words; controls by id and words."""
    told = _judge.judge(evidence(rows, net, world, **more))
    return {
        f"{one.id} {one.target}" if one.layer == "control" else one.target: one.result
        for one in told
        if one.result != "pass"
    }
