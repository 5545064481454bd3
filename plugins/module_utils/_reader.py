# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Reads lists of the inventory, and remembers everything that is wrong with them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import NOT_GIVEN, UNTOLD, Problem

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
Parse = Callable[["Reader", Any, str], Any]


def nearest(given: Any, known: Iterable[str]) -> str | None:
    """The known name that was most likely meant, None where nothing is like it.

    >>> nearest("statefulset", ("StatefulSet", "Deployment"))
    'StatefulSet'
    """
    names = {name.lower(): name for name in known}
    found = difflib.get_close_matches(str(given).lower(), names, n=1, cutoff=0.7)
    return names[found[0]] if found else None


class Reader:
    """Reads one entry and remembers what is wrong with it; ``object`` names the entry."""

    def __init__(self, object_: str) -> None:
        self.object = object_
        self.problems: list[Problem] = []

    def wrong(self, path: str, value: Any, reason: str, remedy: str) -> None:
        """Remember that ``value`` at ``path`` is wrong, why, and what to do."""
        self.problems.append(Problem(self.object, path, value, reason, remedy))

    def keys(self, value: Any, path: str, known: Sequence[str]) -> bool:
        """Whether value is a mapping; keys nobody knows are told, without their values: they may be secrets."""
        if not isinstance(value, Mapping):
            self.wrong(path, value, "a mapping is needed", f"give it the keys {', '.join(known)}")
            return False
        for key in value:
            if key not in known:
                meant = nearest(key, known)
                others = ", ".join(one for one in known if one != meant)
                remedy = f"write {meant}, or one of {others}" if meant else f"use one of {others}"
                self.wrong(f"{path}.{key}", UNTOLD, "no such key exists", remedy)
        return True

    def list(self, value: Any, path: str, parse: Parse) -> tuple[Any, ...]:
        """Every entry of a list as ``parse`` reads it, without those it cannot read; nothing for None."""
        if value is None:
            return ()
        if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
            self.wrong(path, value, "a list is needed", "write each entry behind a dash")
            return ()
        parsed = [parse(self, entry, f"{path}[{index}]") for index, entry in enumerate(value)]
        return tuple(entry for entry in parsed if entry is not None)

    def name(self, value: Any, path: str, length: int = 63, dots: bool = False) -> str:
        """A name of an object in the cluster; empty if it is none."""
        if value is None:
            self.wrong(path, NOT_GIVEN, "it is needed", "give the name of the object in the cluster")
            return ""
        pattern = SUBDOMAIN if dots else LABEL
        if not isinstance(value, str) or len(value) > length or not pattern.match(value):
            self.wrong(
                path,
                value,
                f"a Kubernetes name of at most {length} lower-case letters, digits and dashes is needed",
                "name the object as the cluster does",
            )
            return ""
        return value

    def choice(self, value: Any, path: str, choices: Sequence[str]) -> str:
        """One of ``choices``; the first one in place of a wrong one."""
        if value not in choices:
            self.wrong(path, value, "this choice does not exist", f"use {' or '.join(choices)}")
            return choices[0]
        return str(value)

    def number(self, value: Any, path: str, lowest: int, highest: int, what: str) -> int | None:
        """A whole number between two others, both included."""
        # A bool is an int in Python, and `yes` a bool in YAML.
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            self.wrong(path, value, f"{what} is a number from {lowest} to {highest}", "give such a number")
            return None
        return value


def entries(raw: Any, path: str, parse: Parse) -> tuple[list[Any], list[Problem]]:
    """A list of the inventory, each entry by ``parse`` with a reader of its own, and all problems."""
    reader = Reader(path)
    problems: list[Problem] = []

    def one(_outer: Reader, entry: Any, where: str) -> Any:
        name = entry.get("name") if isinstance(entry, Mapping) else None
        inner = Reader(f"{path} entry {name}" if isinstance(name, str) else f"{path} entry without a name")
        parsed = parse(inner, entry, where)
        problems.extend(inner.problems)
        return parsed

    parsed = reader.list(raw, path, one)
    return list(parsed), reader.problems + problems


def twice(listed: Sequence[Any], path: str, key: Callable[[Any], Any], rule: str) -> list[Problem]:
    """Problems of entries with the same ``key`` as an earlier one; ``rule`` says why that cannot be."""
    seen: dict[Any, int] = {}
    problems = []
    for index, entry in enumerate(listed):
        first = seen.setdefault(key(entry), index)
        if first != index and entry.name:
            remedy = f"rename or remove it or {path}[{first}]"
            problems.append(Problem(entry.object, f"{path}[{index}].name", entry.name, rule, remedy))
    return problems
