# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The option ``targets`` -> targets of attempts; names are looked up once, on the control host. Pure but the look-up."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._controls import SIX
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._plan import Target

# Services that tell a caller its address. Google and Cloudflare document none of them as an interface for this, so a
# site that checks often should run its own.
DEFAULTS: Mapping[str, list[dict[str, Any]]] = {
    "stun": [{"address": "stun.cloudflare.com", "port": 3478}, {"address": "stun.l.google.com", "port": 19302}],
    "http": [{"address": "1.1.1.1", "port": 443, "path": "/cdn-cgi/trace", "tls": True}],
    "dns": [{"address": "ns1.google.com", "port": 53, "name": "o-o.myaddr.l.google.com"}],
    "bulk": [],
}
PORTS = {"stun": 3478, "http": 80, "dns": 53, "bulk": 80}


def parse(given: Mapping[str, Any] | None, lookup: Callable[[str], list[str]]) -> tuple[list[Target], list[str]]:
    """Targets with literal addresses, and one sentence for each that cannot be used.

    A kind that is not given has its default. ``lookup`` gives a name's addresses, none if it has none.
    """
    targets, problems = [], []
    for kind, default in DEFAULTS.items():
        entries = (given or {}).get(kind)
        for number, one in enumerate(default if entries is None else entries, 1):
            name = f"targets.{kind}[{number - 1}]"
            found, problem = _addresses(one.get("address"), lookup)
            if problem:
                problems.append(f"{name}.address is {one.get('address')!r}: {problem}.")
                continue
            if kind == "dns" and bool(one.get("zone")) == bool(one.get("name")):
                problems.append(f"{name} names {one.get('zone') or 'nothing'}: give it either a zone or a name.")
                continue
            targets += [
                Target(
                    id=f"{kind}{number}" + (SIX if ":" in address else ""),
                    kind=kind,
                    address=address,
                    port=int(one.get("port") or PORTS[kind]),
                    host=str(one.get("host") or one["address"]),
                    path=str(one.get("path") or "/"),
                    tls=bool(one.get("tls")),
                    zone=str(one.get("zone") or ""),
                    name=str(one.get("name") or ""),
                    echo=str(one.get("echo") or "path"),
                )
                for address in found
            ]
    return targets, problems


def _addresses(value: Any, lookup: Callable[[str], list[str]]) -> tuple[list[str], str]:
    """One IPv4 and one IPv6 address at most."""
    if not value:
        return [], "name a server by address or name"
    try:
        return [str(ipaddress.ip_address(value))], ""
    except ValueError:
        pass
    found = sorted(lookup(str(value)), key=lambda one: (":" in one, one))
    if not found:
        return [], "this host cannot look the name up; give an address"
    first = {":" in one: one for one in reversed(found)}
    return [first[six] for six in (False, True) if six in first], ""
