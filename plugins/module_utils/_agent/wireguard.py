# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""A wg-quick style configuration: what it says, and what ``wg setconf`` gets. Pure."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from dataclasses import dataclass
from ipaddress import IPv4Interface

from .config import ConfigError, Endpoint

# Keys that have a meaning for wg-quick only, and none here; the reason is part of no message.
_IGNORED = {"dns", "listenport", "saveconfig", "fwmark"}
_REFUSED = {"preup", "postup", "predown", "postdown", "table"}
_INTERFACE = {"privatekey", "address", "mtu"}
_PEER = {"publickey", "presharedkey", "endpoint", "allowedips", "persistentkeepalive"}
_EVERYTHING = ipaddress.IPv4Network("0.0.0.0/0")


@dataclass(frozen=True)
class Tunnel:
    """Settings of the tunnel. ``repr`` leaves the keys out."""

    addresses: tuple[IPv4Interface, ...]
    mtu: int | None
    settings: str  # for wg setconf, with secrets: goes through standard input only

    def __repr__(self) -> str:
        return f"Tunnel(addresses={self.addresses}, mtu={self.mtu})"


def _sections(text: str) -> list[tuple[str, dict[str, list[str]]]]:
    found: list[tuple[str, dict[str, list[str]]]] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        if line.startswith("[") and line.endswith("]"):
            found.append((line[1:-1].strip().lower(), {}))
            continue
        key, equals, value = line.partition("=")
        key = key.strip().lower()
        # Never quote the line: it may be a key with a typing error in front of it.
        if not equals or not found:
            raise ConfigError(f"Line {number} of the WireGuard configuration is neither a section nor a setting.")
        known = {"interface": _INTERFACE | _IGNORED | _REFUSED, "peer": _PEER}.get(found[-1][0], set())
        if key not in known:
            raise ConfigError(
                f"Line {number} of the WireGuard configuration has a setting that [{found[-1][0]}] has not."
            )
        if key in _REFUSED:
            raise ConfigError(f"The WireGuard configuration sets {key}; remove it, the gateway makes its own routes.")
        found[-1][1].setdefault(key, []).append(value.strip())
    return found


def _one(section: dict[str, list[str]], key: str, name: str) -> str:
    values = section.get(key, [])
    if len(values) != 1 or not values[0]:
        raise ConfigError(f"The WireGuard configuration must have exactly one {name}.")
    return values[0]


def _key(value: str, name: str) -> str:
    try:
        if len(base64.b64decode(value, validate=True)) == 32:
            return value
    except (binascii.Error, ValueError):
        pass
    raise ConfigError(f"{name} of the WireGuard configuration is not a key of 32 bytes in base64.")


def _split(section: dict[str, list[str]], key: str) -> list[str]:
    return [item.strip() for value in section.get(key, []) for item in value.split(",") if item.strip()]


def _endpoint(value: str, endpoint: Endpoint) -> None:
    host, dummy, port = value.rpartition(":")
    if port != str(endpoint.port):
        raise ConfigError(f"Endpoint of the WireGuard configuration has port {port!r}, the gateway {endpoint.port}.")
    try:
        literal = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return  # a name: it was resolved when the collection was applied, and the literal address counts
    if literal != endpoint.address:
        raise ConfigError(f"Endpoint of the WireGuard configuration is {literal}, the gateway's is {endpoint.address}.")


def _number(section: dict[str, list[str]], key: str, name: str, high: int) -> int | None:
    if key not in section:
        return None
    value = _one(section, key, name)
    if not value.isdigit() or int(value) > high:
        raise ConfigError(f"{name} of the WireGuard configuration is {value!r}; it must be a number up to {high}.")
    return int(value)


def parse(text: str, endpoint: Endpoint, mark: int) -> Tunnel:
    """Read a provider's file. One peer, IPv4, everything through it; the endpoint is the one the firewall lets pass."""
    sections = _sections(text)
    interfaces = [section for name, section in sections if name == "interface"]
    peers = [section for name, section in sections if name == "peer"]
    if len(interfaces) != 1 or len(peers) != 1 or len(sections) != 2:
        raise ConfigError("The WireGuard configuration must have one [Interface] and one [Peer].")
    interface, peer = interfaces[0], peers[0]
    try:
        addresses = [ipaddress.ip_interface(item) for item in _split(interface, "address")]
        allowed = [ipaddress.ip_network(item, strict=False) for item in _split(peer, "allowedips")]
    except ValueError as exc:
        raise ConfigError(
            "Address or AllowedIPs of the WireGuard configuration has something else than networks."
        ) from exc
    inner = tuple(item for item in addresses if isinstance(item, IPv4Interface))
    if not inner:
        raise ConfigError("The WireGuard configuration has no IPv4 Address.")
    four = [item for item in allowed if isinstance(item, ipaddress.IPv4Network)]
    if _EVERYTHING not in ipaddress.collapse_addresses(four):
        raise ConfigError("AllowedIPs of the WireGuard configuration must cover 0.0.0.0/0.")
    _endpoint(_one(peer, "endpoint", "Endpoint"), endpoint)
    keepalive = _number(peer, "persistentkeepalive", "PersistentKeepalive", 65535)
    lines = [
        "[Interface]",
        f"PrivateKey = {_key(_one(interface, 'privatekey', 'PrivateKey'), 'PrivateKey')}",
        f"FwMark = {mark:#x}",
        "[Peer]",
        f"PublicKey = {_key(_one(peer, 'publickey', 'PublicKey'), 'PublicKey')}",
        f"Endpoint = {endpoint.address}:{endpoint.port}",
        "AllowedIPs = 0.0.0.0/0",
        f"PersistentKeepalive = {25 if keepalive is None else keepalive}",
    ]
    if "presharedkey" in peer:
        lines.append(f"PresharedKey = {_key(_one(peer, 'presharedkey', 'PresharedKey'), 'PresharedKey')}")
    mtu = _number(interface, "mtu", "MTU", 65535)
    return Tunnel(inner, mtu, "\n".join([*lines, ""]))
