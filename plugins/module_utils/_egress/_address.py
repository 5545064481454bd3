# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Inner addresses, VXLAN identifiers and MTUs: allocated once, then kept from run to run.

An allocation is plain data, so that it can be stored as JSON and given back as ``previous``::

    {"gateways": {"vpnarr": {"vni": 7001, "port": 14789, "network": "10.222.1.0/24"}},
     "clients": {"downloads.qbittorrent": {"gateway": "vpnarr", "first_index": 2, "size": 2}}}

Index 1 of a network is the gateway. A client has the indices from ``first_index`` on, one for each ordinal, ``size``
of them. What the inventory no longer names stays allocated until it is released: a forgotten client is still sealed
behind its gateway and still uses its addresses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Gateway, Problem

POOL = "10.222.0.0/16"
FIRST_VNI = 7001
FIRST_CLIENT_INDEX = 2


Allocation = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Demand:
    """A client and the number of consecutive indices it needs now; ``fixed``: it can never need more."""

    client: str
    gateway: str
    object: str
    pods: int
    fixed: bool = False


def pods_of(workload: Mapping[str, Any], requested: int = 0) -> int:
    """How many indices a workload needs: one above its highest ordinal, or ``requested`` if that is more."""
    spec = workload.get("spec") or {}
    start = (spec.get("ordinals") or {}).get("start", 0)
    replicas = spec.get("replicas")
    return max(start + (1 if replicas is None else replicas), requested, 1)


def allocate(
    gateways: Sequence[Gateway],
    demands: Sequence[Demand],
    previous: Mapping[str, Any] | None = None,
    cluster_networks: Mapping[str, Iterable[str]] | None = None,
    released: Iterable[str] = (),
    pool: str = POOL,
) -> tuple[Allocation, list[Problem]]:
    """Addresses for all; those of ``previous`` are kept wherever they still fit.

    ``cluster_networks`` are CIDRs by what they are for, for example ``{"pods": [...], "services": [...], "nodes":
    [...]}``. ``released`` are client ids and gateway names whose addresses are free again.
    The allocation is to be used only if there are no problems.
    """
    gone = set(released)
    before = previous or {}
    links = {name: dict(link) for name, link in (before.get("gateways") or {}).items() if name not in gone}
    rooms = {name: dict(room) for name, room in (before.get("clients") or {}).items() if name not in gone}
    taken = _networks(cluster_networks or {})
    problems: list[Problem] = []
    present = [gateway for gateway in gateways if gateway.state == "present"]
    for gateway in present:  # what is asked for by name comes before what is free to choose
        asked = {"vni": gateway.vni, "network": gateway.network, "port": gateway.port}
        links.setdefault(gateway.name, {}).update({key: value for key, value in asked.items() if value is not None})
    for gateway in present:
        problems += _complete(gateway, links, taken, pool)
    problems += _collisions(present, links, taken)
    if not problems:
        problems += _rooms(demands, links, rooms)
    return {"gateways": links, "clients": rooms}, problems


def _networks(named: Mapping[str, Iterable[str]]) -> list[tuple[str, ipaddress.IPv4Network]]:
    parsed = [(name, ipaddress.ip_network(cidr, strict=False)) for name, cidrs in named.items() for cidr in cidrs]
    # The overlay is IPv4; other families cannot collide with it.
    return [(name, network) for name, network in parsed if isinstance(network, ipaddress.IPv4Network)]


def _complete(
    gateway: Gateway,
    links: dict[str, dict[str, Any]],
    taken: Sequence[tuple[str, ipaddress.IPv4Network]],
    pool: str,
) -> list[Problem]:
    link = links[gateway.name]
    if "vni" not in link:
        used = {other.get("vni") for other in links.values()}
        link["vni"] = next(vni for vni in range(FIRST_VNI, FIRST_VNI + len(used) + 1) if vni not in used)
    if "network" not in link:
        others = [ipaddress.IPv4Network(other["network"]) for other in links.values() if "network" in other]
        blocked = others + [network for _owner, network in taken]
        free = (
            network
            for network in list(ipaddress.IPv4Network(pool).subnets(new_prefix=24))[1:]
            if not any(network.overlaps(other) for other in blocked)
        )
        found = next(free, None)
        if found is None:
            remedy = "give the gateway a network that nothing in the cluster uses"
            return [Problem(gateway.object, "network", pool, "no /24 of the pool is free", remedy)]
        link["network"] = str(found)
    return []


def _collisions(
    gateways: Sequence[Gateway],
    links: Mapping[str, Mapping[str, Any]],
    taken: Sequence[tuple[str, ipaddress.IPv4Network]],
) -> list[Problem]:
    problems = []
    for gateway in gateways:
        link = links[gateway.name]
        if "network" not in link:
            continue
        network = ipaddress.IPv4Network(link["network"])
        for name, other in taken:
            if network.overlaps(other):
                problems.append(
                    Problem(
                        gateway.object,
                        "network",
                        str(network),
                        f"it overlaps {other}, the cluster's network of {name}",
                        "choose one that nothing in the cluster uses",
                    )
                )
        for name, rival in sorted(links.items()):
            # Of two gateways that are both in the inventory the second one is told.
            if name == gateway.name or _before(gateways, gateway.name, name):
                continue
            if (link["vni"], link["port"]) == (rival.get("vni"), rival.get("port")):
                reason = f"gateway {name} has this VNI on the same port {link['port']}"
                problems.append(Problem(gateway.object, "vni", link["vni"], reason, "choose another vni or port"))
            if "network" in rival and network.overlaps(ipaddress.IPv4Network(rival["network"])):
                reason = f"it overlaps {rival['network']} of gateway {name}"
                problems.append(Problem(gateway.object, "network", str(network), reason, "choose another network"))
    return problems


def _before(gateways: Sequence[Gateway], first: str, second: str) -> bool:
    names = [gateway.name for gateway in gateways]
    return second in names and names.index(first) < names.index(second)


def _rooms(
    demands: Sequence[Demand], links: Mapping[str, Mapping[str, Any]], rooms: dict[str, dict[str, Any]]
) -> list[Problem]:
    problems = []
    # Those that have room first, so that a new client never takes what an old one grows into.
    for demand in sorted(demands, key=lambda one: (one.client not in rooms, one.client)):
        if demand.gateway not in links:
            remedy = "add it or correct the name"
            problems.append(Problem(demand.object, "gateway", demand.gateway, "no such gateway is known", remedy))
            continue
        room = rooms.get(demand.client)
        last = ipaddress.IPv4Network(links[demand.gateway]["network"]).num_addresses - 2
        same = room is not None and room["gateway"] == demand.gateway and room["first_index"] + room["size"] - 1 <= last
        if same and room is not None and room["size"] >= demand.pods:
            continue
        others = [
            (other["first_index"], other["size"])
            for name, other in rooms.items()
            if name != demand.client and other["gateway"] == demand.gateway
        ]
        sizes = (demand.pods,) if demand.fixed else (demand.pods + max(1, demand.pods // 2), demand.pods)
        preferred = room["first_index"] if same and room is not None else None
        found = _find(sizes, preferred, last, others)
        if found is None:
            network = links[demand.gateway]["network"]
            reason = f"{demand.pods} consecutive addresses are not free in {network} of gateway {demand.gateway}"
            remedy = "give that gateway a larger network, or the client another gateway"
            problems.append(Problem(demand.object, "replicas", demand.pods, reason, remedy))
            continue
        rooms[demand.client] = {"gateway": demand.gateway, "first_index": found[0], "size": found[1]}
    return problems


def _find(
    sizes: Sequence[int], preferred: int | None, last: int, others: Sequence[tuple[int, int]]
) -> tuple[int, int] | None:
    """First index and size of a free range: where the client is if it can grow there, else the lowest."""
    for fixed in ([preferred] if preferred is not None else [], range(FIRST_CLIENT_INDEX, last + 1)):
        for size in sizes:
            for first in fixed:
                clear = all(first + size <= begin or begin + length <= first for begin, length in others)
                if first + size - 1 <= last and clear:
                    return first, size
    return None


def gateway_address(network: str) -> str:
    """The gateway's inner address, index 1; clients use it as router and resolver."""
    return str(ipaddress.IPv4Network(network)[1])


def inner_address(network: str, first_index: int, ordinal: int = 0) -> str:
    """The inner address of one pod; IndexError if the network does not have it.

    >>> inner_address("10.222.1.0/24", 2, 3)
    '10.222.1.5'
    """
    net = ipaddress.IPv4Network(network)
    index = first_index + ordinal
    if ordinal < 0 or not FIRST_CLIENT_INDEX <= index <= net.num_addresses - 2:
        raise IndexError(f"{network} has no client address number {index}")
    return str(net[index])


def mac(inner: str) -> str:
    """The MAC that belongs to an inner address.

    >>> mac("10.222.1.5")
    '02:42:0a:de:01:05'
    """
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *ipaddress.IPv4Address(inner).packed))
