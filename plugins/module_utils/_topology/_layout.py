# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Nodes in layers -> boxes with coordinates, and lines between them. Pure.

A small layered layout: a column for each layer, boxes stacked without overlap near what they are connected to, and a lane
of its own for every line that passes a column. Units are those of the picture's viewBox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.bulkhead.mesh.plugins.module_utils._topology import _graph, _measure
from ansible_collections.bulkhead.mesh.plugins.module_utils._topology._graph import Edge, Graph, Node

TITLE, TEXT = 14.0, 12.0  # font sizes
TITLE_LINE, LINE = 20.0, 17.0
PAD, GAP, COLUMN_GAP = 12.0, 16.0, 72.0
FRAME, FRAME_HEAD = 10.0, 26.0  # around the boxes of a namespace, and above them
HEAD = 40.0  # above all columns
NARROWEST, WIDEST = 128.0, 236.0
LANE = 12.0


@dataclass(frozen=True)
class Box:
    """A node with its place; ``texts`` are its title and lines as far as there is room."""

    node: Node
    x: float
    y: float
    width: float
    height: float
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """The frame of a namespace around its boxes."""

    name: str
    note: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Road:
    """A line from box to box by way of points, in order."""

    edge: Edge
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Heading:
    """What a column shows."""

    text: str
    x: float
    width: float


@dataclass(frozen=True)
class Drawing:
    """Everything with its place."""

    width: float
    height: float
    headings: tuple[Heading, ...]
    frames: tuple[Frame, ...]
    boxes: tuple[Box, ...]
    roads: tuple[Road, ...]


@dataclass
class _Block:
    """What is moved up and down as one: a box, the boxes of a namespace, or a lane."""

    ids: list[str]
    heights: list[float]
    group: str = ""
    y: float = 0.0
    tops: dict[str, float] = field(default_factory=dict)

    @property
    def height(self) -> float:
        inner = sum(self.heights) + GAP * (len(self.heights) - 1)
        return inner + FRAME_HEAD + FRAME if self.group else inner

    def settle(self, y: float) -> None:
        """Put the block, and what is in it, at ``y``."""
        self.y = y
        at = y + (FRAME_HEAD if self.group else 0.0)
        for id_, height in zip(self.ids, self.heights):
            self.tops[id_] = at
            at += height + GAP


def draw(graph: Graph) -> Drawing:
    """The whole picture; the same graph is always the same drawing."""
    layers = sorted({one.layer for one in graph.nodes})
    index = {one.id: one for one in graph.nodes}
    widths = {layer: _column_width([one for one in graph.nodes if one.layer == layer], graph) for layer in layers}
    left, columns = 0.0, {}
    for layer in layers:
        framed = FRAME if layer == _graph.WORKLOADS else 0.0
        columns[layer] = left + framed
        left += widths[layer] + 2 * framed + COLUMN_GAP
    chains = {edge: _chain(edge, index, layers) for edge in graph.edges}
    blocks = _stack(graph, layers, chains)
    heights = {id_: height for column in blocks.values() for one in column for id_, height in zip(one.ids, one.heights)}
    tops = {id_: top for column in blocks.values() for one in column for id_, top in one.tops.items()}
    boxes = tuple(
        _box(one, columns[one.layer], tops[one.id], widths[one.layer], heights[one.id]) for one in graph.nodes
    )
    frames = tuple(
        Frame(
            one.group,
            graph.groups.get(one.group, ""),
            columns[layer] - FRAME,
            one.y,
            widths[layer] + 2 * FRAME,
            one.height,
        )
        for layer, column in blocks.items()
        for one in column
        if one.group
    )
    bottom = max((one.y + one.height for column in blocks.values() for one in column), default=HEAD)
    middles = {id_: tops[id_] + heights[id_] / 2 for id_ in tops}
    roads = tuple(_road(edge, chain, columns, widths, middles, index) for edge, chain in chains.items())
    headings = tuple(Heading(_graph.LAYERS[layer], columns[layer], widths[layer]) for layer in layers)
    return Drawing(max(left - COLUMN_GAP, 0.0), bottom, headings, frames, boxes, roads)


def _column_width(nodes: Sequence[Node], graph: Graph) -> float:
    widest = max(_natural(one) for one in nodes)
    headings = _measure.width(_graph.LAYERS[nodes[0].layer], TEXT, True)
    groups = [
        _measure.width(f"{one.group}  {graph.groups.get(one.group, '')}", TEXT, True) for one in nodes if one.group
    ]
    return min(max(widest, headings, NARROWEST, *groups), WIDEST)


def _natural(node: Node) -> float:
    texts = [_measure.width(node.title, TITLE, True), *(_measure.width(line, TEXT) for line in node.lines)]
    if node.badge:
        texts.append(_measure.width(str(node.badge), TEXT, True))
    return max(texts) + 2 * PAD


def _height(node: Node) -> float:
    return 2 * PAD + TITLE_LINE + LINE * (len(node.lines) + (1 if node.badge else 0)) - 4


def _box(node: Node, x: float, y: float, width: float, height: float) -> Box:
    room = width - 2 * PAD
    lines = tuple(_measure.fit(line, room, TEXT) for line in node.lines)
    return Box(node, x, y, width, height, _measure.fit(node.title, room, TITLE, True), lines)


def _chain(edge: Edge, index: Mapping[str, Node], layers: Sequence[int]) -> tuple[str, ...]:
    """Ids of what the line visits: its ends, and a lane in each column between them."""
    first, last = index[edge.source].layer, index[edge.target].layer
    lanes = [f"lane:{layer}:{edge.target}" for layer in layers if first < layer < last]
    return (edge.source, *lanes, edge.target)


def _stack(graph: Graph, layers: Sequence[int], chains: Mapping[Edge, Sequence[str]]) -> dict[int, list[_Block]]:
    """Blocks of each column with their places: the workloads first, then outwards from them."""
    links: dict[str, list[str]] = {}
    for chain in chains.values():
        for one, other in zip(chain, chain[1:]):
            links.setdefault(one, []).append(other)
            links.setdefault(other, []).append(one)
    blocks = {layer: _blocks(graph, layer, chains, links) for layer in layers}
    start = _graph.WORKLOADS if _graph.WORKLOADS in blocks else max(layers, key=lambda one: len(blocks[one]), default=0)
    middles: dict[str, float] = {}
    for layer in sorted(layers, key=lambda one: (abs(one - start), one)):
        _place(blocks[layer], links, middles)
    top = min((one.y for column in blocks.values() for one in column), default=HEAD)
    for column in blocks.values():
        for one in column:
            one.settle(one.y - top + HEAD)
    return blocks


def _blocks(
    graph: Graph, layer: int, chains: Mapping[Edge, Sequence[str]], links: Mapping[str, Sequence[str]]
) -> list[_Block]:
    """Boxes of one column in order: by what leads to them, those of a namespace together."""
    order = {one.id: number for number, one in enumerate(graph.nodes)}
    nodes = [one for one in graph.nodes if one.layer == layer]

    def rank(id_: str) -> tuple[float, int]:
        known = [
            order[other] for other in links.get(id_, ()) if other in order and graph.nodes[order[other]].layer < layer
        ]
        return (sum(known) / len(known) if known else float("inf"), order[id_])

    if layer == _graph.WORKLOADS:
        groups: dict[str, list[Node]] = {}
        for one in sorted(nodes, key=lambda one: rank(one.id)):
            groups.setdefault(one.group, []).append(one)
        made = [_Block([one.id for one in held], [_height(one) for one in held], name) for name, held in groups.items()]
    else:
        made = [_Block([one.id], [_height(one)]) for one in nodes]
    lanes = dict.fromkeys(id_ for chain in chains.values() for id_ in chain if id_.startswith(f"lane:{layer}:"))
    return made + [_Block([id_], [LANE]) for id_ in lanes]


def _place(column: list[_Block], links: Mapping[str, Sequence[str]], middles: dict[str, float]) -> None:
    """Put each block near the middle of what it is connected to, then apart; ``middles`` learns where its boxes are."""

    def wish(block: _Block) -> float | None:
        known = [middles[other] for id_ in block.ids for other in links.get(id_, ()) if other in middles]
        return sum(known) / len(known) - block.height / 2 if known else None

    wishes = [wish(one) for one in column]
    if any(one is not None for one in wishes):
        # What is connected to nothing comes last.
        ranked = sorted(range(len(column)), key=lambda one: (wishes[one] is None, wishes[one] or 0.0, one))
        column[:] = [column[one] for one in ranked]
        wishes = [wishes[one] for one in ranked]
    at = float("-inf")
    for block, wanted in zip(column, wishes):
        start = at if wanted is None else max(at, wanted)
        block.settle(0.0 if start == float("-inf") else start)
        at = block.y + block.height + GAP
    _balance(column, wishes)
    for block in column:
        for id_, height in zip(block.ids, block.heights):
            middles[id_] = block.tops[id_] + height / 2


def _balance(column: Sequence[_Block], wishes: Sequence[float | None]) -> None:
    """Stacking only pushes down; move runs of touching blocks up again by what they were pushed on average."""
    runs: list[list[int]] = []
    for number, block in enumerate(column):
        before = column[number - 1] if number else None
        if before is not None and block.y - (before.y + before.height) <= GAP + 0.01:
            runs[-1].append(number)
        else:
            runs.append([number])
    ceiling = float("-inf")
    for run in runs:
        pushed = [column[one].y - wanted for one in run if (wanted := wishes[one]) is not None]
        shift = sum(pushed) / len(pushed) if pushed else 0.0
        shift = min(shift, column[run[0]].y - ceiling)
        for one in run:
            column[one].settle(column[one].y - shift)
        last = column[run[-1]]
        ceiling = last.y + last.height + GAP


def _road(
    edge: Edge,
    chain: Sequence[str],
    columns: Mapping[int, float],
    widths: Mapping[int, float],
    middles: Mapping[str, float],
    index: Mapping[str, Node],
) -> Road:
    points = []
    for number, id_ in enumerate(chain):
        layer = index[id_].layer if id_ in index else int(id_.split(":")[1])
        left, right = columns[layer], columns[layer] + widths[layer]
        if number > 0:
            points.append((left, middles[id_]))
        if number < len(chain) - 1:
            points.append((right, middles[id_]))
    return Road(edge, tuple(points))
