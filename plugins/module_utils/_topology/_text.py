# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The same as tables for terminals, and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._topology import _html, _words

Topology = Mapping[str, Any]
Row = Sequence[str]


def text(topology: Topology) -> str:
    """Plain text: a table for each kind of thing, what could not be read, and the picture in one line."""
    parts = [
        _table(("NAMESPACE", "MESH", "PODS", "SEGMENTS", "STATE"), map(_namespace, topology["namespaces"])),
        _table(
            ("INGRESS GATEWAY", "STATE", "EXPOSURE", "ADDRESS", "TAILNET"), map(_ingress, topology["ingress_gateways"])
        ),
        _table(("ROUTE", "GATEWAY", "LEADS"), _routes(topology)),
        _table(("VPN GATEWAY", "STATE", "LEAVES BY"), map(_gateway, topology["vpn_gateways"])),
        _table(("VPN CLIENT", "GATEWAY", "VERDICT", "LAYERS", "WHY"), map(_client, topology["vpn_clients"])),
        "\n".join(one["msg"] for one in (*topology["orphans"], *topology["left_behind"])),
        "\n".join(f"Not readable: {one['kind']}: {one['reason']}" for one in topology["unreadable"]),
        f"{_words.headline(topology)}; {_words.proof(topology)}.",
    ]
    return "\n\n".join(part for part in parts if part)


def _table(head: Row, rows: Any) -> str:
    every = [head, *rows]
    if len(every) == 1:
        return ""
    widths = [max(len(row[index]) for row in every) for index in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in every)


def _state(badge: _words.Badge, reason: str) -> str:
    return f"{badge}{f': {reason}' if reason else ''}"


def _namespace(one: Mapping[str, Any]) -> Row:
    state = _state(_words.badge(_words.NAMESPACE, one["state"]), one["reason"])
    return (one["name"], one["capture"], _html.pods_line(one["pods"]), ", ".join(one["segments"]) or "-", state)


def _name(one: Mapping[str, Any]) -> str:
    return f"{one['namespace']}/{one['name']}" + ("" if one["declared"] else " (not in the inventory)")


def _ingress(one: Mapping[str, Any]) -> Row:
    found = one["tailnet"]
    tailnet = "-" if found is None else found["name"] or f"unknown: {found['reason']}"
    state = _state(_words.badge(_words.GATEWAY, one["state"]), one["reason"])
    return (_name(one), state, one["exposure"], ", ".join(one["addresses"]) or "none", tailnet)


def _routes(topology: Topology) -> list[Row]:
    rows: list[Row] = []
    for gateway in topology["ingress_gateways"]:
        for route in gateway["routes"]:
            rows.append((f"{route['namespace']}/{route['name']}", gateway["name"], _html.route_line(route)))
        if gateway["routes_reason"]:
            rows.append(("unknown", gateway["name"], gateway["routes_reason"]))
    return rows


def _gateway(one: Mapping[str, Any]) -> Row:
    leaves = one["exit"]
    addresses = ", ".join(leaves["addresses"]) or "address not named"
    seen = _state(_words.badge(_words.EXIT, leaves["state"]), leaves["reason"])
    return (_name(one), _state(_words.badge(_words.GATEWAY, one["state"]), one["reason"]), f"{addresses} ({seen})")


def _client(one: Mapping[str, Any]) -> Row:
    layers = ", ".join(f"{name} {state}" for name, state in one["layers"].items()) or "unknown"
    if set(one["layers"].values()) == {"holds"}:
        layers = f"all {len(one['layers'])} hold"
    return (f"{one['kind']} {_name(one)}", one["gateway"] or "-", str(_words.client_badge(one)), layers, one["reason"])


def as_json(topology: Topology) -> str:
    """For programs: as the module returns it, sorted keys."""
    return json.dumps(topology, indent=2, sort_keys=True) + "\n"


VIEWS: Mapping[str, Callable[[Topology], str]] = {"text": text, "json": as_json, "html": _html.page}
