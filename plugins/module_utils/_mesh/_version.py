# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Versions of Istio and which steps between them are safe: never down, never more than one minor version at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

OLDEST = (1, 30)  # whose charts have the values that are set here
_FULL = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:[-+.].*)?")
Version = tuple[int, int, int]


def parse(text: str) -> Version | None:
    """``major.minor.patch`` at the start of a version or image tag; None where there is none.

    >>> parse("1.31.1-distroless")
    (1, 31, 1)
    """
    match = _FULL.fullmatch(text)
    return (int(match.group(1)), int(match.group(2)), int(match.group(3))) if match else None


def problems(wanted: str, parts: Iterable[Mapping[str, Any]]) -> list[str]:
    """What speaks against bringing ``parts`` (``kind``, ``namespace``, ``name``, ``version``) to ``wanted``."""
    target = parse(wanted)
    if target is None:
        return [f"bulkhead_istio.version is {wanted!r}, which is no version: write it in full, such as 1.31.1."]
    if target[:2] < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return [
            f"bulkhead_istio.version is {wanted}, but this role knows the charts from {oldest} on: name a newer one."
        ]
    found = []
    for part in parts:
        what = f"{part['kind']} {part['namespace']}/{part['name']}"
        seen = parse(part["version"])
        if seen is None:
            found.append(
                f"The version of {what} cannot be told from {part['version']!r}, so whether {wanted} may follow it is "
                "unknown: let bulkhead_istio.tag begin with the version, such as 1.31.1-custom."
            )
        elif target < seen:
            found.append(
                f"{what} has version {part['version']}, which is newer than bulkhead_istio.version {wanted}, and Istio "
                f"does not go back: set bulkhead_istio.version to {_text(seen)} or newer."
            )
        elif target[0] != seen[0] or target[1] - seen[1] > 1:
            found.append(
                f"{what} has version {part['version']}, and Istio {wanted} may follow only {target[0]}.{target[1] - 1}: "
                f"go to {seen[0]}.{seen[1] + 1} first, one minor version at a time."
            )
    return found


def _text(version: Version) -> str:
    return ".".join(map(str, version))
