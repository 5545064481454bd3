# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Address ranges as people write them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import Address, Range


def parse_range(text: str) -> Range:
    """A CIDR, or two addresses with a dash; ValueError says what is wrong with it, without the text itself.

    >>> parse_range("192.0.2.7-192.0.2.9").last
    IPv4Address('192.0.2.9')
    """
    first, dash, last = (part.strip() for part in text.partition("-"))
    if not dash:
        return _network(text)
    try:
        low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
    except ValueError as exc:
        raise ValueError("a range is two addresses with a dash between them") from exc
    if low.version != high.version:
        raise ValueError("one end is IPv4 and the other IPv6")
    if int(low) > int(high):
        raise ValueError("it ends before it begins")
    return Range(text, low, high)


def _network(text: str) -> Range:
    if "/" not in text:
        raise ValueError("it is neither a network in CIDR form nor a range")
    try:
        network = ipaddress.ip_network(text.strip())
    except ValueError as exc:
        if "has host bits set" in str(exc):
            raise ValueError("the address has bits behind the prefix") from exc
        raise ValueError("it is neither a network in CIDR form nor a range") from exc
    return Range(text, network.network_address, network.broadcast_address)


def readable(texts: Iterable[str]) -> tuple[Range, ...]:
    """Ranges of an object of somebody else; what cannot be read was not accepted by MetalLB either."""
    found = []
    for text in texts:
        try:
            found.append(parse_range(text))
        except ValueError:
            continue
    return tuple(found)


def parse_address(value: Any) -> Address | None:
    """One address, or None for what is none."""
    try:
        return ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        return None


def addresses_of(nodes: Iterable[Mapping[str, Any]]) -> list[tuple[str, Address]]:
    """(node, address) of every address that the nodes report."""
    found = []
    for node in nodes:
        for text in node["addresses"]:
            address = parse_address(text)
            if address is not None:
                found.append((str(node["name"]), address))
    return found
