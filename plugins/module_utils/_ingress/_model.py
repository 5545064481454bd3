# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Value types of ingress: address pools, their announcement, gateways and routes."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Union

POOLS = "bulkhead_address_pools"
PEERS = "bulkhead_bgp_peers"
GATEWAYS = "bulkhead_ingress_gateways"
NAMESPACES = "bulkhead_namespaces"

# Sets of M(object_set): what carries the label of one of them is ours.
HOME = "kube-system"
GATEWAY_API_SET = "bulkhead-gateway-api"
METALLB_SET = "bulkhead-metallb"
POOLS_SET = "bulkhead-address-pools"
NAMESPACES_SET = "bulkhead-ingress-namespaces"
INGRESS_SET = "bulkhead-ingress"
TAILSCALE_SET = "bulkhead-tailscale"
PROXY_CLASS_SET = "bulkhead-proxy-class"
SETS = (GATEWAY_API_SET, METALLB_SET, POOLS_SET, NAMESPACES_SET, INGRESS_SET, TAILSCALE_SET, PROXY_CLASS_SET)

SEGMENT_LABEL = "bulkhead.mesh/segment-"  # of namespaces whose routes may attach, followed by the segment's name
ATTACHES = "true"
SEGMENT_LENGTH = 63 - len("segment-")  # the part of a label behind its slash has at most 63 characters

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


@dataclass(frozen=True)
class Range:
    """Addresses from ``first`` to ``last``, both included; ``text`` is what the user wrote."""

    text: str
    first: Address
    last: Address

    def holds(self, address: Address) -> bool:
        """Whether the address is one of them."""
        return address.version == self.first.version and int(self.first) <= int(address) <= int(self.last)

    def overlaps(self, other: Range) -> bool:
        """Whether an address is in both."""
        same = self.first.version == other.first.version
        return same and int(self.first) <= int(other.last) and int(other.first) <= int(self.last)


@dataclass(frozen=True)
class Layer2:
    """Announcement by ARP and NDP; empty lists mean all interfaces and all nodes."""

    interfaces: tuple[str, ...] = ()
    node_selectors: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Bgp:
    """Announcement to routers; no ``peers`` are all of them."""

    peers: tuple[str, ...] = ()
    communities: tuple[str, ...] = ()
    aggregation_length: int | None = None
    aggregation_length_v6: int | None = None
    local_pref: int | None = None
    node_selectors: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Pool:
    """Addresses for Services. A pool of a ``segment`` gives them to the gateways of that segment only."""

    name: str
    ranges: tuple[Range, ...]
    auto_assign: bool = False
    segment: str = ""
    layer2: Layer2 | None = None
    bgp: Bgp | None = None
    state: str = "present"

    def holds(self, address: Address) -> bool:
        """Whether the address is one of the pool."""
        return any(one.holds(address) for one in self.ranges)


@dataclass(frozen=True)
class Peer:
    """A router to speak BGP with. The password is in a Secret, never in the inventory."""

    name: str
    my_asn: int
    peer_asn: int
    peer_address: str
    peer_port: int | None = None
    source_address: str = ""
    hold_time: str = ""
    ebgp_multi_hop: bool = False
    password_secret: str = ""
    bfd_profile: str = ""
    node_selectors: tuple[Mapping[str, Any], ...] = ()
    state: str = "present"


@dataclass(frozen=True)
class Listener:
    """A port on which a gateway answers."""

    name: str
    port: int
    protocol: str = "HTTP"
    hostname: str = ""
    tls_secret: str = ""


@dataclass(frozen=True)
class Route:
    """Requests for ``path`` go to a Service of the route's own namespace.

    ``rewrite`` takes the place of ``path`` on the way. Without ``hostnames`` every host, without ``listeners`` every
    listener of the gateway.
    """

    name: str
    namespace: str
    service: str
    port: int
    hostnames: tuple[str, ...] = ()
    path: str = "/"
    rewrite: str = ""
    listeners: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Device:
    """What a gateway is in the tailnet. No ``tags`` are those that the operator gives to every proxy."""

    hostname: str
    tags: tuple[str, ...] = ()
    proxy_class: str = ""


@dataclass(frozen=True)
class Gateway:
    """An ingress gateway with its routes.

    ``exposure`` is ``lan`` (addresses of a pool), ``tailnet`` (a device of its own there), ``both``, or ``cluster``.
    ``addresses`` are none, one, or one of each family; ``device`` is None outside the tailnet.
    """

    name: str
    namespace: str
    segment: str
    exposure: str = "lan"
    addresses: tuple[Address, ...] = ()
    pool: str = ""
    class_name: str = "istio"
    listeners: tuple[Listener, ...] = field(default=(Listener("http", 80),))
    routes: tuple[Route, ...] = ()
    state: str = "present"
    device: Device | None = None

    @property
    def present(self) -> bool:
        """Whether the gateway is to exist."""
        return self.state == "present"

    @property
    def on_lan(self) -> bool:
        """Whether it has an address of a pool; its Service is of type ClusterIP otherwise."""
        return self.exposure in ("lan", "both")

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def segment_label(segment: str) -> str:
    """The label that lets the routes of a namespace attach to the gateways of a segment."""
    return SEGMENT_LABEL + segment
