# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""How wide text gets at most, without a browser. Pure.

Widths are those of a wide sans-serif (DejaVu, Verdana); with most other fonts text is narrower and leaves a little room.
"""

from __future__ import annotations

_NARROW = {**dict.fromkeys("ijl.,:;'|!", 0.33), **dict.fromkeys("frt()[]/\\-I ", 0.43)}
_WIDE = {**dict.fromkeys("mw", 0.95), **dict.fromkeys("MWQO@%&→", 1.0)}
_SMALL, _CAPITAL, _OTHER = 0.64, 0.78, 1.05  # em
_BOLD = 1.1
_GAP = "…"


def width(text: str, size: float, bold: bool = False) -> float:
    """An upper bound for the width of ``text`` in a font of ``size``, in the same unit."""
    return sum(_em(one) for one in text) * size * (_BOLD if bold else 1.0)


def _em(one: str) -> float:
    if one in _NARROW:
        return _NARROW[one]
    if one in _WIDE:
        return _WIDE[one]
    if one.isascii():
        return _CAPITAL if one.isupper() else _SMALL
    return _OTHER


def fit(text: str, room: float, size: float, bold: bool = False) -> str:
    """``text``, or as much of its beginning and its end as there is room for: names often differ at their end."""
    if width(text, size, bold) <= room:
        return text
    for kept in range(len(text) - 1, 0, -1):
        head, tail = text[: (kept + 1) // 2], text[len(text) - kept // 2 :] if kept > 1 else ""
        if width(head + _GAP + tail, size, bold) <= room:
            return head + _GAP + tail
    return _GAP
