# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""nft tables as values and as text. Pure.

Every rule carries a label as nft comment. Reading a table back means comparing the labels of each chain in order,
which does not depend on how a version of nft prints a rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One rule: what nft reads, and the label it is found by."""

    text: str
    label: str


@dataclass(frozen=True)
class Chain:
    """``hook`` is empty for a chain that is only jumped to; ``policy`` is ``accept`` or ``drop``."""

    name: str
    rules: tuple[Rule, ...]
    hook: str = ""
    policy: str = ""


@dataclass(frozen=True)
class NamedSet:
    name: str
    kind: str  # nft type
    elements: tuple[str, ...] = ()
    interval: bool = False


@dataclass(frozen=True)
class Table:
    family: str
    name: str
    chains: tuple[Chain, ...]
    sets: tuple[NamedSet, ...] = ()
    counters: tuple[str, ...] = ()


def render(table: Table) -> str:
    """Text for ``nft -f``: replaces the whole table in one transaction, whether or not it exists."""
    head = f"{table.family} {table.name}"
    lines = [f"add table {head}", f"delete table {head}", f"table {head} {{"]
    for named in table.sets:
        flags = " flags interval; auto-merge;" if named.interval else ""
        lines.append(f"  set {named.name} {{ type {named.kind};{flags} {_elements(named.elements)}}}")
    lines += [f"  counter {name} {{ }}" for name in table.counters]
    # A chain that is jumped to has to stand before its users.
    for chain in sorted(table.chains, key=lambda chain: bool(chain.hook)):
        lines.append(f"  chain {chain.name} {{")
        if chain.hook:
            lines.append(f"    type {chain.hook}; policy {chain.policy};")
        lines += [f'    {rule.text} comment "{rule.label}"' for rule in chain.rules]
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


def _elements(elements: Iterable[str]) -> str:
    joined = ", ".join(elements)
    return f"elements = {{ {joined} }}; " if joined else ""


def render_elements(family: str, table: str, sets: dict[str, tuple[str, ...]]) -> str:
    """Text for ``nft -f``: the sets get exactly these elements, all in one transaction."""
    lines = []
    for name, elements in sets.items():
        lines.append(f"flush set {family} {table} {name}")
        if elements:
            lines.append(f"add element {family} {table} {name} {{ {', '.join(elements)} }}")
    return "\n".join([*lines, ""])


def outline(table: Table) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """Per chain: hook, policy, labels in order. ``nft.outline`` reads the same from nft."""
    return {
        chain.name: (
            chain.hook.split("hook ")[1].split()[0] if chain.hook else "",
            chain.policy,
            tuple(rule.label for rule in chain.rules),
        )
        for chain in table.chains
    }
