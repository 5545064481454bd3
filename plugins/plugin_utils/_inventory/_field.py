# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What a variable of the inventory may be: types of the table of variables. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SITE, VERIFY, STATUS, TEARDOWN = PLAYBOOKS = ("site", "verify", "status", "teardown")
EVERYWHERE = PLAYBOOKS


@dataclass(frozen=True)
class Field:
    """A value of the inventory.

    ``kind`` is str, bool, int, list, dict, or any. A list has ``each``; a dict has ``keys``, or ``each`` where people
    choose the keys themselves, or neither, and then nothing below it is looked at. ``absent`` says what holds without
    the value, ``sample`` is a value that works.
    """

    kind: str
    what: str
    sample: Any = None
    absent: str = ""
    needed: bool = False
    choices: tuple[str, ...] = ()
    keys: Mapping[str, Field] = field(default_factory=dict)
    each: Field | None = None

    def example(self) -> Any:
        """A value with every key that may be given."""
        if self.keys:
            made = {key: one.example() for key, one in self.keys.items()}
            return made if self.sample is None else {**made, **self.sample}
        if self.kind == "list" and self.each is not None and self.sample is None:
            return [self.each.example()]
        return self.sample


@dataclass(frozen=True)
class Variable:
    """A variable of the site: its value, the playbooks that use it, and whether a parser of its own reads it.

    ``parsed`` leaves everything but unknown keys and the outer type to that parser.
    """

    value: Field
    used: tuple[str, ...]
    parsed: bool = False


def text(what: str, sample: str = "x", **more: Any) -> Field:
    """A string."""
    return Field("str", what, sample, **more)


def flag(what: str, sample: bool = True, **more: Any) -> Field:
    """True or false."""
    return Field("bool", what, sample, **more)


def number(what: str, sample: int, **more: Any) -> Field:
    """A whole number."""
    return Field("int", what, sample, **more)


def choice(what: str, choices: tuple[str, ...], **more: Any) -> Field:
    """One of some strings."""
    return Field("str", what, more.pop("sample", choices[0]), choices=choices, **more)


def listed(what: str, each: Field, **more: Any) -> Field:
    """A list of values of one kind."""
    return Field("list", what, each=each, **more)


def texts(what: str, *samples: str, **more: Any) -> Field:
    """A list of strings."""
    return Field("list", what, list(samples), each=Field("str", what), **more)


def keyed(what: str, keys: Mapping[str, Field], **more: Any) -> Field:
    """A mapping with known keys."""
    return Field("dict", what, keys=keys, **more)


def named(what: str, each: Field, sample: Any, **more: Any) -> Field:
    """A mapping whose keys people choose."""
    return Field("dict", what, sample, each=each, **more)


def tree(what: str, sample: Any, **more: Any) -> Field:
    """A mapping of somebody else, such as values of a chart: nothing in it is judged here."""
    return Field("dict", what, sample, **more)
