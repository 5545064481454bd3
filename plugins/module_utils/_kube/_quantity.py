# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Kubernetes quantities: the server stores ``1000m`` as ``1``."""

from __future__ import annotations

import re
from decimal import Decimal

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
}
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i)?)")
# Fields whose values are quantities, in all built-in kinds.
MAPS = frozenset({"limits", "requests", "hard", "capacity", "overhead"})
NAMES = MAPS | {"sizeLimit"}


def parse(value: object) -> Decimal | None:
    """The number a quantity stands for, or None where it is none.

    >>> parse("0.5") == parse("500m")
    True
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    match = _QUANTITY.fullmatch(str(value))
    if not match:
        return None
    number = Decimal(match.group(1))
    if match.group(2):
        return number * Decimal(10) ** int(match.group(2))
    return number * _SUFFIXES[match.group(3) or ""]


def equal(one: object, other: object) -> bool:
    """Whether two quantities are the same number."""
    parsed = parse(one)
    return parsed is not None and parsed == parse(other)
