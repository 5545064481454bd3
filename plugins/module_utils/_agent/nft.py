# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Loading nft tables and reading them back."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from typing import Any

from . import tables
from .command import AgentError, CommandError, run
from .tables import Table

_VOLATILE = ("handle", "packets", "bytes", "elem")


class MismatchError(AgentError):
    """What nft shows is not what was loaded."""


def load(text: str) -> None:
    """Apply a script in one transaction: all of it or nothing."""
    run(["nft", "-f", "-"], stdin=text)


def listing(family: str, name: str) -> list[dict[str, Any]]:
    """Objects of one table as nft lists them; CommandError when the table is missing."""
    out = run(["nft", "-j", "list", "table", family, name])
    return [item for item in json.loads(out)["nftables"] if "metainfo" not in item]


def exists(family: str, name: str) -> bool:
    """Whether the table is there."""
    try:
        return bool(listing(family, name))
    except CommandError:
        return False


def delete(family: str, name: str) -> None:
    """Remove a table that may be missing."""
    load(f"add table {family} {name}\ndelete table {family} {name}\n")


def normalise(items: Any) -> Any:
    """The listing without what changes while rules stay the same: handles, counts, set elements. Pure."""
    if isinstance(items, dict):
        return {key: normalise(value) for key, value in items.items() if key not in _VOLATILE}
    if isinstance(items, list):
        return [normalise(item) for item in items]
    return items


def digest(items: list[dict[str, Any]]) -> str:
    """Hash of a listing: equal as long as nobody changed the rules. Pure."""
    return hashlib.sha256(json.dumps(normalise(items), sort_keys=True).encode()).hexdigest()


def outline(items: list[dict[str, Any]]) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """Per chain: hook, policy, labels of the rules in order. Pure."""
    found: dict[str, tuple[str, str, tuple[str, ...]]] = {}
    for item in items:
        if "chain" in item:
            chain = item["chain"]
            found[chain["name"]] = (chain.get("hook", ""), chain.get("policy", ""), ())
    for item in items:
        if "rule" in item:
            hook, policy, labels = found[item["rule"]["chain"]]
            found[item["rule"]["chain"]] = (hook, policy, (*labels, item["rule"].get("comment", "")))
    return found


def _element(value: Any) -> str:
    """One element of a listed set, written the way ``tables`` writes it."""
    if isinstance(value, dict):
        if "elem" in value:
            return _element(value["elem"]["val"])
        if "concat" in value:
            return " . ".join(_element(part) for part in value["concat"])
        if "prefix" in value:
            return f"{value['prefix']['addr']}/{value['prefix']['len']}"
        if "range" in value:
            low, high = value["range"]
            return f"{low}-{high}"
    return str(value)


def elements(items: list[dict[str, Any]], name: str) -> set[str]:
    """Elements of one set of a listing. Pure."""
    for item in items:
        if item.get("set", {}).get("name") == name:
            return {_element(value) for value in item["set"].get("elem", ())}
    return set()


def counters(items: list[dict[str, Any]]) -> dict[str, int]:
    """Packets of each named counter of a listing. Pure."""
    return {item["counter"]["name"]: item["counter"]["packets"] for item in items if "counter" in item}


def covered(elements_: set[str] | tuple[str, ...]) -> set[tuple[Any, ...]]:
    """Elements in a form that does not depend on whether a host is written with /32 or neighbours are merged."""
    plain: list[ipaddress.IPv4Network] = []
    found: set[tuple[Any, ...]] = set()
    for element in elements_:
        parts = [part[:-3] if part.endswith("/32") else part for part in element.split(" . ")]
        if len(parts) > 1:
            found.add(tuple(parts))
        elif "-" in element:
            low, high = (ipaddress.IPv4Address(part) for part in element.split("-"))
            plain += ipaddress.summarize_address_range(low, high)
        else:
            plain.append(ipaddress.IPv4Network(element))
    return found | {(str(network),) for network in ipaddress.collapse_addresses(plain)}


def verify(table: Table, items: list[dict[str, Any]]) -> None:
    """Compare a listing with the table it should show: chains, hooks, policies, rules in order, sets. Pure."""
    wanted, seen = tables.outline(table), outline(items)
    for chain in sorted(set(wanted) | set(seen)):
        if wanted.get(chain) != seen.get(chain):
            raise MismatchError(f"Chain {chain} of table {table.family} {table.name} is not as loaded.")
    for named in table.sets:
        if covered(named.elements) != covered(elements(items, named.name)):
            raise MismatchError(f"Set {named.name} of table {table.family} {table.name} is not as loaded.")


def load_table(table: Table) -> str:
    """Replace one table, read it back, compare, and return its hash."""
    load(tables.render(table))
    items = listing(table.family, table.name)
    verify(table, items)
    return digest(items)


def set_elements(table: Table | tuple[str, str], sets: dict[str, tuple[str, ...]]) -> None:
    """Give the sets exactly these elements in one transaction."""
    family, name = (table.family, table.name) if isinstance(table, Table) else table
    load(tables.render_elements(family, name, sets))
