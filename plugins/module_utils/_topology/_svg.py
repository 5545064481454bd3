# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""A drawing as SVG; its colours are the page's variables. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence

from ansible_collections.bulkhead.mesh.plugins.module_utils._topology import _layout, _measure
from ansible_collections.bulkhead.mesh.plugins.module_utils._topology._layout import PAD, Box, Drawing, Frame, Road

_MARGIN = 6.0
_ARROW = 7.0
_SMALLEST = 0.86  # of its size; what is smaller than that scrolls


def svg(drawing: Drawing, title: str, description: str) -> str:
    """One ``svg`` element. ``description`` is what somebody who does not see it is told."""
    width, height = drawing.width + 2 * _MARGIN, drawing.height + 2 * _MARGIN
    parts = [
        f'<svg role="img" aria-labelledby="picture-title picture-text" '
        f'viewBox="{_n(-_MARGIN)} {_n(-_MARGIN)} {_n(width)} {_n(height)}" '
        f'style="min-width: {_n(width * _SMALLEST)}px; max-width: {_n(width)}px">',
        f'<title id="picture-title">{_e(title)}</title>',
        f'<desc id="picture-text">{_e(description)}</desc>',
        *(_heading(one.text, one.x, one.width) for one in drawing.headings),
        *(_frame(one) for one in drawing.frames),
        *(_road(one) for one in drawing.roads),
        *(_box(one) for one in drawing.boxes),
        "</svg>",
    ]
    return "\n".join(parts)


def _e(text: str) -> str:
    return html.escape(text)


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _text(words: str, x: float, y: float, kind: str) -> str:
    return f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}">{_e(words)}</text>'


def _heading(words: str, x: float, width: float) -> str:
    return _text(_measure.fit(words, width, _layout.TEXT, True), x, 14, "heading")


def _frame(one: Frame) -> str:
    room = one.width - 2 * _layout.FRAME
    name = _measure.fit(one.name, room * 0.6, _layout.TEXT, True)
    used = _measure.width(f"{name}  ", _layout.TEXT, True)
    note = _measure.fit(one.note, room - used, _layout.TEXT)
    y = one.y + 18
    return (
        f'<g class="frame"><title>{_e(f"Namespace {one.name}, {one.note}")}</title>'
        f'<rect x="{_n(one.x)}" y="{_n(one.y)}" width="{_n(one.width)}" height="{_n(one.height)}" rx="10"/>'
        f"{_text(name, one.x + _layout.FRAME, y, 'name')}"
        f"{_end(note, one.x + one.width - _layout.FRAME, y)}</g>"
    )


def _end(words: str, x: float, y: float) -> str:
    return f'<text class="note" text-anchor="end" x="{_n(x)}" y="{_n(y)}">{_e(words)}</text>' if words else ""


def _box(one: Box) -> str:
    node = one.node
    tone = node.badge.tone if node.badge else "plain"
    whole = ", ".join([node.title, *node.lines, *([node.badge.words] if node.badge else [])])
    x, y = one.x + PAD, one.y + PAD + _layout.TITLE_LINE - 6
    texts = [_text(one.title, x, y, "title")]
    for line in one.lines:
        y += _layout.LINE
        texts.append(_text(line, x, y, "line"))
    if node.badge:
        texts.append(_text(str(node.badge), x, y + _layout.LINE, "badge"))
    return (
        f'<g class="node {tone}"><title>{_e(whole)}</title>'
        f'<rect x="{_n(one.x)}" y="{_n(one.y)}" width="{_n(one.width)}" height="{_n(one.height)}" rx="8"/>'
        f"{''.join(texts)}</g>"
    )


def _road(one: Road) -> str:
    kind = f"road {one.edge.tone}{' broken' if one.edge.broken else ''}"
    (x, y), tip = one.points[0], one.points[-1]
    head = (
        f"M{_n(tip[0] - _ARROW)} {_n(tip[1] - 4)}L{_n(tip[0] - 1)} {_n(tip[1])}L{_n(tip[0] - _ARROW)} {_n(tip[1] + 4)}z"
    )
    return f'<g class="{kind}"><path class="way" d="M{_n(x)} {_n(y)}{_curves(one.points)}"/><path class="tip" d="{head}"/></g>'


def _curves(points: Sequence[tuple[float, float]]) -> str:
    """Curves that leave and arrive level; along a lane they are straight."""
    made = []
    for (x, y), (to_x, to_y) in zip(points, points[1:]):
        if (to_x, to_y) == points[-1]:
            to_x -= _ARROW - 1
        middle = (x + to_x) / 2
        made.append(f"C{_n(middle)} {_n(y)} {_n(middle)} {_n(to_y)} {_n(to_x)} {_n(to_y)}")
    return "".join(made)
