# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What the cluster side has to know of a WireGuard configuration: endpoint, DNS and MTU, never its keys. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import wireguard
from ansible_collections.bulkhead.mesh.plugins.module_utils._agent.config import ConfigError, Endpoint

SECRET_KEY = "wg0.conf"  # the key that is used when a Secret has several
MARK = 0xCA6C  # of the tunnel's own packets; only its being one number matters


@dataclass(frozen=True)
class Facts:
    """``host`` is an address or a name; ``dns`` are the IPv4 servers; ``mtu`` is None when it is not given."""

    host: str
    port: int
    dns: tuple[str, ...]
    mtu: int | None


def secret_key(secret: Mapping[str, Any]) -> str | None:
    """Which key of a Secret is the configuration: ``wg0.conf``, else the only one that ends in .conf."""
    keys = [key for key in secret.get("data") or {} if key.endswith(".conf")]
    if SECRET_KEY in keys:
        return SECRET_KEY
    return keys[0] if len(keys) == 1 else None


def facts(text: str) -> Facts:
    """Endpoint, DNS and MTU; ConfigError, in words without secrets, for what the engine would refuse as well."""
    values: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        bare = line.split("#", 1)[0].strip()
        if bare.startswith("["):
            section = bare.strip("[] ").lower()
        key, equals, value = bare.partition("=")
        if equals and (section, key.strip().lower()) in (("interface", "dns"), ("peer", "endpoint")):
            found = key.strip().lower()
            values[found] = ",".join(filter(None, [values.get(found, ""), value.strip()]))
    host, dummy, port = values.get("endpoint", "").rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        shown = values.get("endpoint", "missing")
        raise ConfigError(f"Endpoint of the WireGuard configuration is {shown}; it must be host:port.")
    if ":" in host:
        raise ConfigError(f"Endpoint of the WireGuard configuration is {host}; the gateway needs an IPv4 address.")
    # The engine's own judgement; the address stands in for a name that nobody has looked up yet.
    known = Endpoint(_ipv4(host) or ipaddress.IPv4Address("192.0.2.1"), int(port))
    tunnel = wireguard.parse(text, known, MARK)
    dns = [item.strip() for item in values.get("dns", "").split(",")]
    return Facts(host, int(port), tuple(item for item in dns if _ipv4(item)), tunnel.mtu)


def _ipv4(text: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        return None


def is_address(host: str) -> bool:
    """Whether a host is an IPv4 address rather than a name."""
    return _ipv4(host) is not None


def choose(addresses: list[str], before: str | None) -> str:
    """One of the addresses a name has: the one in use as long as the name still has it, else the lowest."""
    return before if before in addresses else min(addresses, key=ipaddress.IPv4Address)
