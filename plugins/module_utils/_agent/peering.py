# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What the endpoint controller writes on which pod, and which pod it replaces. Pure.

The registry says who may be behind which gateway and with which inner addresses::

    {"gateways": {"vpnarr": {"network": "10.222.1.0/24", "vni": 7001, "port": 14789, "clients":
        {"downloads.qbittorrent": {"namespace": "downloads", "first_index": 10, "size": 4,
            "direct": [{"protocol": "tcp", "address": "10.96.3.4", "port": 7878}]}}}}}

``direct`` is what its pods may reach without the VPN. A client without that key was registered by an older collection,
and nobody tells its pods. The pods say where they are. Keys that are not listed here belong to others and are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from . import config as conf
from .config import ConfigError

PREFIX = "bulkhead.mesh/"
CLIENT_LABEL = PREFIX + "vpn-client"
GATEWAY_LABEL = PREFIX + "vpn-gateway"
ROLE_LABEL = PREFIX + "role"
GATEWAY_ROLE = "gateway"
_LAST_FAILURE = 128  # exit codes above it are signals
ADDRESS = PREFIX + "gateway-address"
PEERS = PREFIX + "peers"
DIRECT = PREFIX + "direct"
NOTHING = "[]"
AGAIN = "\n"  # what a value ends with that was written twice; readers of the files ignore it


@dataclass(frozen=True)
class Room:
    """Inner addresses of one client: ``size`` of them from ``first_index`` on, for pods of one namespace.

    ``direct`` is the text that tells them their direct destinations.
    """

    namespace: str
    first_index: int
    size: int
    direct: str | None = None


@dataclass(frozen=True)
class Link:
    """One gateway as the registry has it."""

    network: IPv4Network
    clients: Mapping[str, Room]

    def namespaces(self) -> set[str]:
        return {room.namespace for room in self.clients.values()}


@dataclass(frozen=True)
class Pod:
    """What matters of a pod. ``created`` is RFC 3339 in UTC, so text order is time order."""

    namespace: str
    name: str
    uid: str
    created: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    address: IPv4Address | None
    alive: bool  # neither ended nor being deleted
    held_back: bool = False  # a container was ended again and again, and the kubelet lets it wait for that

    @property
    def age_key(self) -> tuple[str, str]:
        """Greater is newer; the uid only makes the order total."""
        return self.created, self.uid


@dataclass(frozen=True)
class Patch:
    """Annotations to set on one pod, and on no pod that has the same name later."""

    namespace: str
    name: str
    uid: str
    annotations: Mapping[str, str]


def parse_registry(text: Any) -> dict[str, Link]:
    """Gateways by name; anything wrong makes all of it wrong (ConfigError), so that the last good one stays."""
    try:
        data = json.loads(text)
        gateways = data["gateways"]
        return {str(name): _link(name, link) for name, link in gateways.items()}
    except (TypeError, ValueError, KeyError, AttributeError) as exc:
        raise ConfigError("The registry has not the form this agent knows; apply the collection again.") from exc


def _link(name: str, link: Mapping[str, Any]) -> Link:
    network = IPv4Network(link["network"])
    clients = {}
    for client, room in link["clients"].items():
        first, size = room["first_index"], room["size"]
        if (
            not all(isinstance(one, int) and not isinstance(one, bool) for one in (first, size))
            or first < 2
            or size < 1
        ):
            raise ConfigError(f"Client {client} of gateway {name} has no usable addresses in the registry.")
        clients[str(client)] = Room(str(room["namespace"]), first, size, _direct(room))
    return Link(network, clients)


def _direct(room: Mapping[str, Any]) -> str | None:
    """The list of a client as its pods get it; one that they would not take is none for anybody (ConfigError)."""
    if "direct" not in room:
        return None
    text = json.dumps(room["direct"], sort_keys=True, separators=(",", ":"))
    conf.parse_direct(text, (IPv4Network("0.0.0.0/0"),))  # which networks are the cluster's the pods themselves know
    return text


def parse_pod(item: Mapping[str, Any]) -> Pod:
    """One item of a PodList."""
    metadata, status = item["metadata"], item.get("status") or {}
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        created=metadata.get("creationTimestamp") or "",
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        address=_ipv4(status),
        alive=not metadata.get("deletionTimestamp") and status.get("phase", "Pending") in ("Pending", "Running"),
        held_back=any(_held_back(one) for one in status.get("containerStatuses") or ()),
    )


def _held_back(container: Mapping[str, Any]) -> bool:
    """Whether a container waits, or is about to, although nothing is wrong with it: somebody ended it.

    A container that fails by itself (exit codes 1 to 128) would fail in a new pod as well, and its log is the evidence.
    The first restart is at once; one that ended after it will have to wait.
    """
    state, last = container.get("state") or {}, container.get("lastState") or {}
    if (state.get("waiting") or {}).get("reason") == "CrashLoopBackOff":
        ended = last.get("terminated") or {}
    else:
        ended = (state.get("terminated") or {}) if container.get("restartCount") else {}
    code = ended.get("exitCode")
    return code is not None and (code == 0 or code > _LAST_FAILURE)


def _ipv4(status: Mapping[str, Any]) -> IPv4Address | None:
    """The pod's IPv4 address; an IPv6 one is no use to the carrier."""
    for text in [*(one.get("ip") for one in status.get("podIPs") or []), status.get("podIP")]:
        try:
            return IPv4Address(text or "")
        except ValueError:
            continue
    return None


def decide(
    registry: Mapping[str, Link], gateways: Sequence[Pod] | None, clients: Mapping[str, Sequence[Pod] | None]
) -> list[Patch]:
    """The patches that make annotations say what registry and pods say; none where they already do.

    ``gateways`` are the gateway pods, ``clients`` the client pods by namespace. None is a read that failed: nothing is
    decided about those pods, and what is known of them already stays.
    """
    if gateways is None:
        return []
    patches = []
    for namespace in sorted(clients):
        for pod in clients[namespace] or ():
            told = {ADDRESS: _address_for(pod, registry, gateways), DIRECT: _direct_for(pod, registry)}
            patches += _difference(pod, told)
    for pod in gateways:
        name = pod.labels.get(GATEWAY_LABEL, "")
        if pod.alive and name in registry:
            held = pod.annotations.get(PEERS, "").strip()
            patches += _difference(pod, {PEERS: _peers(name, registry[name], clients, held)})
    return patches


def to_replace(registry: Mapping[str, Link], gateways: Iterable[Pod] | None) -> list[Pod]:
    """Gateway pods that are back sooner as new pods: the kubelet's waiting time, up to minutes, is counted per pod."""
    return [
        pod for pod in gateways or () if pod.alive and pod.held_back and pod.labels.get(GATEWAY_LABEL, "") in registry
    ]


def _difference(pod: Pod, wanted: Mapping[str, str]) -> list[Patch]:
    """The values in one patch, and at the next tick the same once more.

    A kubelet that is at the pod's volumes just when an update arrives may write the old text and leave it until its next
    periodic sync, 60 to 90 s later (of the kind of kubernetes/kubernetes#59813; seen in 1 of 381 updates on a busy node).
    Another change of the annotation makes it look again; missing both is as rare as the square of that.
    """
    if not pod.alive:
        return []
    changes = {}
    for key, value in wanted.items():
        held = pod.annotations.get(key)
        if held == value + AGAIN or (held is None and not value):  # absent and empty are the same file
            continue
        changes[key] = value + AGAIN if held == value else value
    return [Patch(pod.namespace, pod.name, pod.uid, changes)] if changes else []


def _address_for(pod: Pod, registry: Mapping[str, Link], gateways: Iterable[Pod]) -> str:
    """Pod address of the one live gateway of a registered client; empty seals the client."""
    name = pod.labels.get(GATEWAY_LABEL, "")
    if name not in registry or inner_address(registry[name], pod) is None:
        return ""
    found = [one for one in gateways if one.labels.get(GATEWAY_LABEL) == name and one.alive and one.address]
    return str(found[0].address) if len(found) == 1 else ""


def _direct_for(pod: Pod, registry: Mapping[str, Link]) -> str:
    """What a pod may reach without the VPN; nothing once it is not registered any more."""
    name, held = pod.labels.get(GATEWAY_LABEL, ""), pod.annotations.get(DIRECT, "").strip()
    if name not in registry or inner_address(registry[name], pod) is None:
        return NOTHING if held else ""
    told = registry[name].clients[pod.labels[CLIENT_LABEL]].direct
    return held if told is None else told


def inner_address(link: Link, pod: Pod) -> IPv4Address | None:
    """Inner address of a client pod, None if the registry has none for it."""
    room = link.clients.get(pod.labels.get(CLIENT_LABEL, ""))
    number = conf.ordinal(pod.name)
    if room is None or room.namespace != pod.namespace or number >= room.size:
        return None
    index = room.first_index + number
    return link.network.network_address + index if index <= link.network.num_addresses - 2 else None


def _peers(name: str, link: Link, clients: Mapping[str, Sequence[Pod] | None], held: str) -> str:
    by_inner: dict[IPv4Address, Pod] = {}
    for namespace in link.namespaces():
        for pod in clients.get(namespace) or ():
            if not pod.alive or pod.address is None or pod.labels.get(GATEWAY_LABEL) != name:
                continue
            inner = inner_address(link, pod)
            if inner is not None and (inner not in by_inner or pod.age_key > by_inner[inner].age_key):
                by_inner[inner] = pod
    # The gateway refuses a list with one outer address twice; the address is the newest pod's.
    by_outer: dict[str, tuple[IPv4Address, Pod]] = {}
    for inner, pod in by_inner.items():
        outer = str(pod.address)
        if outer not in by_outer or pod.age_key > by_outer[outer][1].age_key:
            by_outer[outer] = (inner, pod)
    entries = {inner: outer for outer, (inner, _pod) in by_outer.items()}
    for inner, outer in _held_of(link, clients, held).items():
        if inner not in entries and outer not in by_outer:
            entries[inner] = outer
    listed = [
        {"inner": str(inner), "mac": conf.mac_address(inner), "outer": entries[inner]} for inner in sorted(entries)
    ]
    return json.dumps(listed, sort_keys=True, separators=(",", ":")) if listed or held else ""


def _held_of(link: Link, clients: Mapping[str, Sequence[Pod] | None], held: str) -> dict[IPv4Address, str]:
    """Entries of the present list whose clients live in namespaces that could not be read just now."""
    blind = [room for room in link.clients.values() if clients.get(room.namespace) is None]
    if not blind:
        return {}
    try:
        peers = conf.parse_peers(held, link.network)
    except ConfigError:
        return {}
    base = int(link.network.network_address)
    return {
        peer.inner: str(peer.outer)
        for peer in peers
        if any(room.first_index <= int(peer.inner) - base < room.first_index + room.size for room in blind)
    }
