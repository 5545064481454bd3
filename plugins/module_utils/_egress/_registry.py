# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The registry of a gateway namespace: which gateways there are and who is behind them.

One ConfigMap in each gateway namespace holds it as JSON. The endpoint controller reads it there, and what a gateway has
to know of its clients comes from it, so that gateways can be set up again without looking at workloads::

    {"gateways": {"vpnarr": {"network": "10.222.1.0/24", "vni": 7001, "port": 14789, "clients": {
        "downloads.qbittorrent": {"namespace": "downloads", "first_index": 10, "size": 4,
            "selector": {"matchLabels": {"app": "qbittorrent"}},
            "services": {"radarr.core": "10.96.3.4"},
            "direct": [{"protocol": "tcp", "address": "10.96.3.4", "port": 7878}],
            "selectors": {"radarr.core": {"app": "radarr"}}}}}}}

``selector`` is the workload's own, for the gateway's NetworkPolicy; ``services`` are names the gateway's resolver
answers, without the cluster's domain. ``direct`` is what its pods reach without the VPN; the endpoint controller tells
them, so that another address of a Service replaces no pod. ``selectors`` are those of the Services, as the client's
policy was made for them. Keys that are not named here are kept as they are.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _address, _names
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import NOT_GIVEN, Gateway, Problem

NAME = "bulkhead-vpn-registry"
KEY = "registry.json"
LABELS = {_names.ROLE_LABEL: "vpn-registry"}  # all registries of a cluster are found by it
LINK_KEYS = ("vni", "port", "network")

Registry = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Entry:
    """A client to register. ``services``: name as ``service.namespace`` -> cluster IP; ``direct``: the guard's set.

    ``selectors``: the Services' own, by the same names.
    """

    demand: _address.Demand
    namespace: str
    selector: Mapping[str, Any]
    services: Mapping[str, str] = field(default_factory=dict)
    direct: Sequence[Mapping[str, Any]] = ()
    selectors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def parse(config_map: Mapping[str, Any] | None, namespace: str) -> tuple[Registry, list[Problem]]:
    """The registry in a ConfigMap; none yet is an empty one."""
    if config_map is None:
        return {"gateways": {}}, []
    text = (config_map.get("data") or {}).get(KEY)
    try:
        registry = json.loads(text or "")
        for link in registry["gateways"].values():
            if not all(key in link for key in LINK_KEYS):
                raise ValueError
            for room in link["clients"].values():
                if not isinstance(room["first_index"] + room["size"], int) or not isinstance(room["namespace"], str):
                    raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = "it is not a registry, and guessing would give clients the addresses of others"
        remedy = "put back what was there, or detach all clients of the namespace's gateways and delete it"
        value = NOT_GIVEN if text is None else text
        return {"gateways": {}}, [Problem(f"ConfigMap {namespace}/{NAME}", f"data.{KEY}", value, reason, remedy)]
    return registry, []


def config_map(namespace: str, registry: Registry) -> dict[str, Any]:
    """The ConfigMap of a registry; the same registry is always the same text."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": namespace, "labels": dict(LABELS)},
        "data": {KEY: json.dumps(registry, sort_keys=True, separators=(",", ":"))},
    }


def clients_of(registry: Registry, gateway: str) -> dict[str, Any]:
    """Clients registered at one gateway, by client id."""
    return registry["gateways"].get(gateway, {}).get("clients", {})


def update(
    registries: Mapping[str, Registry],
    gateways: Sequence[Gateway],
    entries: Sequence[Entry] = (),
    cluster_networks: Mapping[str, Iterable[str]] | None = None,
    released: Iterable[str] = (),
) -> tuple[dict[str, Registry], list[Problem]]:
    """Registries by namespace with these gateways and clients in them, and everything that cannot be.

    ``registries`` are all of the cluster. What is not mentioned stays as it is; numbers once given to a client are its
    own until its id is in ``released``. The result is to be used only if there are no problems.
    """
    gone = set(released)
    problems = [*_moved(registries, gateways), *occupied(registries, gateways, gone)]
    absent = {gateway.name for gateway in gateways if gateway.state == "absent"}
    previous = allocation(registries)
    allocated, more = _address.allocate(
        gateways,
        [entry.demand for entry in entries],
        previous,
        cluster_networks,
        gone | absent,
    )
    problems += more
    if problems:
        return {}, problems
    problems += _renumbered(previous, allocated, gateways)
    homes = {name: namespace for namespace, registry in registries.items() for name in registry["gateways"]}
    homes.update({gateway.name: gateway.namespace for gateway in gateways})
    known = {client: room for registry in registries.values() for client, room in _rooms(registry)}
    for entry in entries:
        known[entry.demand.client] = {**known.get(entry.demand.client, {}), **_facts(entry)}
    links = {name: link for registry in registries.values() for name, link in registry["gateways"].items()}
    result: dict[str, Registry] = {namespace: {"gateways": {}} for namespace in registries}
    for name, link in allocated["gateways"].items():
        rooms = {client: room for client, room in allocated["clients"].items() if room["gateway"] == name}
        clients = {
            client: {**known[client], "first_index": room["first_index"], "size": room["size"]}
            for client, room in rooms.items()
        }
        gateways_there = result.setdefault(homes[name], {"gateways": {}})["gateways"]
        numbers = {key: link[key] for key in LINK_KEYS}
        gateways_there[name] = copy.deepcopy({**links.get(name, {}), **numbers, "clients": clients})
    return result, problems


def allocation(registries: Mapping[str, Registry]) -> _address.Allocation:
    """What all registries say, in the form ``_address.allocate`` keeps."""
    made: _address.Allocation = {"gateways": {}, "clients": {}}
    for registry in registries.values():
        for name, link in registry["gateways"].items():
            made["gateways"][name] = {key: link[key] for key in LINK_KEYS}
            for client, room in link["clients"].items():
                made["clients"][client] = {
                    "gateway": name,
                    "first_index": room["first_index"],
                    "size": room["size"],
                }
    return made


def complete(gateway: Gateway, registry: Registry) -> Gateway:
    """The gateway with the numbers it was given."""
    link = registry["gateways"][gateway.name]
    return replace(gateway, vni=link["vni"], port=link["port"], network=link["network"])


def _facts(entry: Entry) -> dict[str, Any]:
    return {
        "namespace": entry.namespace,
        "selector": copy.deepcopy(dict(entry.selector)),
        "services": dict(entry.services),
        "direct": [dict(one) for one in entry.direct],
        "selectors": {name: dict(selector) for name, selector in entry.selectors.items()},
    }


def _rooms(registry: Registry) -> Iterable[tuple[str, dict[str, Any]]]:
    for link in registry["gateways"].values():
        yield from link["clients"].items()


def _moved(registries: Mapping[str, Registry], gateways: Sequence[Gateway]) -> list[Problem]:
    problems = []
    for gateway in gateways:
        for namespace, registry in sorted(registries.items()):
            if gateway.name in registry["gateways"] and namespace != gateway.namespace:
                reason = f"a gateway of that name is already in namespace {namespace}"
                remedy = "choose another name, or remove that one first (state: absent)"
                problems.append(Problem(gateway.object, "name", gateway.name, reason, remedy))
    return problems


def occupied(
    registries: Mapping[str, Registry], gateways: Sequence[Gateway], released: Iterable[str] = ()
) -> list[Problem]:
    """Gateways that are to go and still have clients, other than those in ``released``."""
    problems, gone = [], set(released)
    for gateway in gateways:
        clients = sorted(set(clients_of(registries.get(gateway.namespace, {"gateways": {}}), gateway.name)) - gone)
        if gateway.state == "absent" and clients:
            reason = f"clients are behind it: {', '.join(clients)}"
            remedy = "detach them first (state: absent), or give them another gateway"
            problems.append(Problem(gateway.object, "state", gateway.state, reason, remedy))
    return problems


def _renumbered(before: _address.Allocation, after: _address.Allocation, gateways: Sequence[Gateway]) -> list[Problem]:
    """Changes that would pull the ground from under clients which are already attached."""
    problems = []
    held = {room["gateway"] for room in before["clients"].values()} & {
        room["gateway"] for room in after["clients"].values()
    }
    for gateway in gateways:
        old, new = before["gateways"].get(gateway.name), after["gateways"].get(gateway.name)
        if gateway.name not in held or old is None or new is None:
            continue
        for key in LINK_KEYS:
            if old[key] != new[key]:
                reason = f"its clients use {old[key]}"
                remedy = f"put {old[key]} back, or detach the clients first (state: absent)"
                problems.append(Problem(gateway.object, key, new[key], reason, remedy))
    return problems
