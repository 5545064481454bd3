# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Configuration of the agent: one JSON object in ``BULKHEAD_CONFIG``, identity from the downward API. Pure."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .command import AgentError

OVERLAY_DEVICE = "bulkhead0"
POD_DEVICE = "eth0"
NONCE_PORT = 14790  # UDP, on the gateway's inner address
HEALTH_PORT = 14791  # TCP, on the pod's own address: where the kubelet asks
HEALTH_PATH = "/healthy"
REPLY_BIT = 0x10000  # replies to flows that arrived on eth0; outside Istio's 0xfff
PASSED_BIT = 0x20000  # the inet table let this packet out of eth0; read by the netdev chain
VXLAN_OVERHEAD = 50
WIREGUARD_OVERHEAD = 60  # IPv4 endpoint
TUNNEL_MTU = 1420  # what wg-quick and most providers use; fits 1484 bytes and more of path, IPv6 included

IPv4 = ipaddress.IPv4Address
Network4 = ipaddress.IPv4Network


class ConfigError(AgentError):
    """Bad configuration: the sentence names the key and the value."""


@dataclass(frozen=True, order=True)
class Direct:
    """One destination reached without the VPN: protocol ``tcp`` or ``udp``, address or network, port."""

    protocol: str
    address: Network4
    port: int


@dataclass(frozen=True)
class Endpoint:
    """The VPN server: a literal IPv4 address and a UDP port."""

    address: IPv4
    port: int


@dataclass(frozen=True)
class Client:
    gateway: str
    vni: int
    port: int
    network: Network4
    first_index: int
    mtu: int | None
    cluster_networks: tuple[Network4, ...]


@dataclass(frozen=True)
class Gateway:
    vni: int
    port: int
    network: Network4
    tunnel_device: str
    endpoint: Endpoint
    mtu: int | None
    mark: int


@dataclass(frozen=True)
class Peer:
    """One client pod as the gateway sees it: inner address, inner MAC, pod address."""

    inner: IPv4
    mac: str
    outer: IPv4


def _integer(data: Mapping[str, Any], key: str, low: int, high: int) -> int:
    value = data.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{key} is {value!r} in the agent's configuration; it must be a number from {low} to {high}.")
    return value


def _mtu(data: Mapping[str, Any]) -> int | None:
    return None if data.get("mtu") is None else _integer(data, "mtu", 576, 65535)


def _network(value: Any, key: str, where: str = "the agent's configuration") -> Network4:
    try:
        return ipaddress.IPv4Network(value)
    except ValueError as exc:
        raise ConfigError(f"{key} has {value!r} in {where}; it must be an IPv4 network.") from exc


def _address(value: Any, key: str) -> IPv4:
    try:
        if not isinstance(value, str):
            raise ValueError
        return IPv4(value)
    except ValueError as exc:
        raise ConfigError(f"{key} is {value!r} in the agent's configuration; it must be an IPv4 address.") from exc


def _direct(entry: Any) -> Direct:
    if not isinstance(entry, Mapping) or entry.get("protocol") not in ("tcp", "udp"):
        raise ConfigError(f"direct has {entry!r} in its list; protocol must be tcp or udp.")
    address = _network(entry.get("address"), "direct", "its list")
    if address.prefixlen < 8:
        raise ConfigError(f"direct has {address} in its list; name the service, not the whole net.")
    port = entry.get("port")
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
        raise ConfigError(f"direct has port {port!r} in its list; it must be a number from 1 to 65535.")
    return Direct(entry["protocol"], address, port)


def client(data: Mapping[str, Any]) -> Client:
    """Configuration of a client pod; every value is checked here and trusted afterwards."""
    network = _network(data.get("network"), "network")
    cluster = tuple(_network(item, "cluster_networks") for item in data.get("cluster_networks") or ())
    for item in cluster:
        if item.overlaps(network):
            raise ConfigError(f"network {network} overlaps the cluster network {item}; give the gateway another one.")
    return Client(
        gateway=str(data.get("gateway", "")),
        vni=_integer(data, "vni", 1, 2**24 - 1),
        port=_integer(data, "port", 1, 65535),
        network=network,
        first_index=_integer(data, "first_index", 2, network.num_addresses - 2),
        mtu=_mtu(data),
        cluster_networks=cluster,
    )


def gateway(data: Mapping[str, Any]) -> Gateway:
    """Configuration of a gateway pod."""
    endpoint = data.get("endpoint")
    if not isinstance(endpoint, Mapping):
        raise ConfigError("endpoint is missing in the agent's configuration; it must have address and port.")
    device = data.get("tunnel_device", "tun0")
    if not isinstance(device, str) or not re.fullmatch(r"[a-z][a-z0-9_-]{0,14}", device):
        raise ConfigError(f"tunnel_device is {device!r} in the agent's configuration; it must be a device name.")
    if device in (POD_DEVICE, OVERLAY_DEVICE, "lo"):
        raise ConfigError(f"tunnel_device is {device!r} in the agent's configuration; that device has another use.")
    mark = _integer(data, "mark", 1, 2**31 - 1)
    if mark & (REPLY_BIT | PASSED_BIT):
        raise ConfigError(f"mark is {mark:#x} in the agent's configuration; bits 0x10000 and 0x20000 are taken.")
    return Gateway(
        vni=_integer(data, "vni", 1, 2**24 - 1),
        port=_integer(data, "port", 1, 65535),
        network=_network(data.get("network"), "network"),
        tunnel_device=device,
        endpoint=Endpoint(_address(endpoint.get("address"), "endpoint.address"), _integer(endpoint, "port", 1, 65535)),
        mtu=_mtu(data),
        mark=mark,
    )


def from_environment(environment: Mapping[str, str]) -> Client | Gateway:
    """The configuration for this pod's role."""
    try:
        data = json.loads(environment.get("BULKHEAD_CONFIG", ""))
    except ValueError as exc:
        raise ConfigError("BULKHEAD_CONFIG is not JSON; apply the collection again.") from exc
    role = data.get("role") if isinstance(data, Mapping) else None
    if role == "client":
        return client(data)
    if role == "gateway":
        return gateway(data)
    raise ConfigError(f"role is {role!r} in the agent's configuration; it must be client or gateway.")


def pod_address(environment: Mapping[str, str]) -> IPv4:
    """The pod's IPv4 address: local end of the carrier."""
    return _address(environment.get("POD_IP"), "POD_IP")


def gateway_address(network: Network4) -> IPv4:
    """Inner address of the gateway: the first of the network."""
    return network.network_address + 1


def ordinal(pod_name: str) -> int:
    """Number of a StatefulSet pod.

    A Deployment's pod ends in five random characters, which can happen to be digits: only numbers of up to four
    digits without a leading zero count. Everything else is 0.
    """
    match = re.fullmatch(r"(.*)-(0|[1-9][0-9]{0,3})", pod_name)
    return int(match.group(2)) if match else 0


def client_address(config: Client, pod_name: str) -> IPv4:
    """Inner address of a client pod: network + first_index + ordinal."""
    number = config.first_index + ordinal(pod_name)
    if number > config.network.num_addresses - 2:
        raise ConfigError(
            f"Pod {pod_name} would get address number {number} of {config.network}; the net is too small."
        )
    return config.network.network_address + number


def mac_address(inner: IPv4) -> str:
    """MAC of an inner address: locally administered, derived, so that nobody has to be told."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in inner.packed)


def tunnel_mtu(pod_mtu: int, *limits: int | None) -> int:
    """MTU of the tunnel device: WireGuard pads to 16 bytes, so anything not a multiple of 16 loses big packets.

    Without a limit that somebody gave it is at most TUNNEL_MTU: the way to the provider is rarely as wide as a jumbo
    uplink, and on PPPoE not even as wide as Ethernet.
    """
    given = [limit for limit in limits if limit] or [TUNNEL_MTU]
    return min((pod_mtu - WIREGUARD_OVERHEAD) // 16 * 16, *given)


def overlay_mtu(pod_mtu: int, *limits: int | None) -> int:
    """MTU of the overlay: fits the carrier, and never more than the tunnel behind it."""
    return min(pod_mtu - VXLAN_OVERHEAD, tunnel_mtu(pod_mtu, *limits))


def parse_gateway_address(text: str) -> IPv4 | None:
    """Content of the endpoint file: empty means sealed (None). Anything else must be an address, else ConfigError."""
    return _address(text.strip(), "gateway-address") if text.strip() else None


def parse_direct(text: str, cluster: tuple[Network4, ...] = ()) -> tuple[Direct, ...] | None:
    """Content of the file with the destinations reached without the VPN: a list, which may be empty.

    Blank is None: nobody has said anything yet. One bad entry makes all of it bad, so that the last good list stays.
    An address of the internet is one of the cluster's networks or bad: whoever wrote it, the guard does not let it pass.
    """
    if not text.strip():
        return None
    try:
        entries = json.loads(text)
    except ValueError as exc:
        raise ConfigError("The list of direct destinations is not JSON.") from exc
    if not isinstance(entries, list):
        raise ConfigError("The list of direct destinations is not a list.")
    found = {_direct(entry) for entry in entries}
    for one in sorted(found):
        if one.address.is_global and not any(one.address.subnet_of(network) for network in cluster):
            raise ConfigError(f"direct has {one.address} in its list; it is in no network of the cluster.")
    return tuple(sorted(found))


def parse_peers(text: str, network: Network4) -> tuple[Peer, ...]:
    """Content of the peers file; one bad entry makes all of it bad, so that the last good list stays in force."""
    if not text.strip():
        return ()
    try:
        entries = json.loads(text)
    except ValueError as exc:
        raise ConfigError("The peer list is not JSON.") from exc
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ConfigError("The peer list is not a list of objects.")
    peers = []
    for entry in entries:
        inner, outer = _address(entry.get("inner"), "inner"), _address(entry.get("outer"), "outer")
        if inner not in network or inner == gateway_address(network):
            raise ConfigError(f"Peer {inner} is not a client address of {network}.")
        if entry.get("mac") != mac_address(inner):
            raise ConfigError(f"Peer {inner} has MAC {entry.get('mac')!r}; it must be {mac_address(inner)}.")
        peers.append(Peer(inner, mac_address(inner), outer))
    for key in ("inner", "outer"):
        if len({getattr(peer, key) for peer in peers}) != len(peers):
            raise ConfigError(f"The peer list has the same {key} address twice.")
    return tuple(sorted(peers, key=lambda peer: peer.inner))
