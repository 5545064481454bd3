# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import random
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._topology import _graph, _layout, _measure
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.topology import sites

Rectangle = tuple[float, float, float, float]


def edges(topology: Any) -> dict[tuple[str, str], _graph.Edge]:
    return {(one.source, one.target): one for one in _graph.build(topology).edges}


def rectangle(one: Any) -> Rectangle:
    return (one.x, one.y, one.x + one.width, one.y + one.height)


def overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def inside(one: Rectangle, other: Rectangle) -> bool:
    return other[0] <= one[0] and other[1] <= one[1] and one[2] <= other[2] and one[3] <= other[3]


def together(found: Iterable[Any]) -> list[tuple[Any, Any]]:
    return [(a, b) for a, b in combinations(found, 2) if overlap(rectangle(a), rectangle(b))]


@pytest.mark.parametrize("name", sorted(sites.SITES))
def test_every_edge_leads_from_box_to_box_to_the_right(name: str) -> None:
    graph = _graph.build(sites.SITES[name]())
    layers = {one.id: one.layer for one in graph.nodes}
    assert len(layers) == len(graph.nodes)
    assert all(layers[one.source] < layers[one.target] for one in graph.edges)


def test_the_way_of_a_client() -> None:
    found = edges(sites.whole())
    arr, client = "ingress:gateway-arr/arr", "client:StatefulSet/downloads/qbittorrent"
    assert {("caller:lan", arr), ("caller:tailnet", arr), (arr, client), (arr, "service:core/radarr")} <= set(found)
    assert found[client, "vpn:vpn/north"] == _graph.Edge(client, "vpn:vpn/north", "good", False)
    assert not found["vpn:vpn/north", "exit:vpn/north"].broken
    assert _graph.NODE_EXIT not in {target for dummy, target in found}


@pytest.mark.parametrize("state", ["unknown", "never_verified", "stopped", "missing", "protected_single_layer"])
def test_only_what_is_proven_is_drawn_as_proven(state: str) -> None:
    topology = sites.whole()
    topology["vpn_clients"][0]["state"] = state
    edge = edges(topology)["client:StatefulSet/downloads/qbittorrent", "vpn:vpn/north"]
    assert edge.broken and edge.tone != "good"


def test_who_is_not_held_back_leaves_by_the_node() -> None:
    topology = sites.whole()
    topology["vpn_clients"][0]["state"] = "unprotected"
    found = edges(topology)
    client = "client:StatefulSet/downloads/qbittorrent"
    assert found[client, _graph.NODE_EXIT].tone == "bad"
    assert (client, "vpn:vpn/north") not in found


def test_an_exit_that_is_not_confirmed_is_not_drawn_as_proven() -> None:
    for state in ("unknown", "wrong"):
        topology = sites.whole()
        topology["vpn_gateways"][0]["exit"]["state"] = state
        edge = edges(topology)["vpn:vpn/north", "exit:vpn/north"]
        assert edge.broken and edge.tone != "good"


def test_a_route_that_is_refused_shows_beside_one_that_is_not() -> None:
    topology = sites.whole()
    routes = topology["ingress_gateways"][0]["routes"]
    lost = {**copy.deepcopy(routes[0]), "state": "not_attached"}
    for order in ([routes[0], lost], [lost, routes[0]]):
        topology["ingress_gateways"][0]["routes"] = order
        edge = edges(topology)["ingress:gateway-arr/arr", "service:core/radarr"]
        assert edge.broken and edge.tone == "bad"


def test_callers() -> None:
    found = {one.id for one in _graph.build(sites.troubled()).nodes if one.layer == _graph.CALLERS}
    assert found == {"caller:lan", "caller:tailnet", "caller:cluster", "caller:unknown"}
    missing = "ingress:gateway-gone/gone"
    assert missing not in {target for dummy, target in edges(sites.troubled())}


def check(drawing: _layout.Drawing) -> None:
    """What no drawing may do."""
    assert together(drawing.boxes) == [] and together(drawing.frames) == []
    for frame in drawing.frames:
        members = [one for one in drawing.boxes if one.node.group == frame.name]
        assert members and all(inside(rectangle(one), rectangle(frame)) for one in members)
        others = [one for one in drawing.boxes if one.node.group != frame.name]
        assert not any(overlap(rectangle(one), rectangle(frame)) for one in others)
    whole = (0.0, 0.0, drawing.width + 0.01, drawing.height + 0.01)
    assert all(inside(rectangle(one), whole) for one in (*drawing.boxes, *drawing.frames))
    assert all(one.y >= _layout.HEAD for one in (*drawing.boxes, *drawing.frames))
    at = {one.node.id: rectangle(one) for one in drawing.boxes}
    for road in drawing.roads:
        start, end = at[road.edge.source], at[road.edge.target]
        assert road.points[0] == pytest.approx((start[2], (start[1] + start[3]) / 2))
        assert road.points[-1] == pytest.approx((end[0], (end[1] + end[3]) / 2))
        # Between two columns there are no boxes; across one it runs level, in a lane of its own.
        for (x, y), (to_x, to_y) in zip(road.points[1:-1:2], road.points[2:-1:2], strict=True):
            assert y == to_y
            assert not any(overlap((x, y - 1, to_x, y + 1), box) for box in at.values())


@pytest.mark.parametrize("name", ["whole", "troubled"])
def test_nothing_lies_on_anything_else(name: str) -> None:
    graph = _graph.build(sites.SITES[name]())
    drawing = _layout.draw(graph)
    check(drawing)
    assert drawing == _layout.draw(graph)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_lies_on_anything_else_in_any_graph(seed: int) -> None:
    pick = random.Random(seed)
    nodes = []
    for number in range(pick.randint(1, 30)):
        layer = pick.randrange(5)
        lines = tuple("x" * pick.randrange(40) for dummy in range(pick.randrange(5)))
        group = f"ns-{pick.randrange(4)}" if layer == _graph.WORKLOADS else ""
        nodes.append(_graph.Node(f"n{number}", layer, "t" * pick.randint(1, 70), lines, None, group))
    pairs = [(a, b) for a in nodes for b in nodes if a.layer < b.layer]
    chosen = pick.sample(pairs, min(len(pairs), pick.randrange(25)))
    groups = {one.group: "ambient mesh" for one in nodes if one.group}
    check(_layout.draw(_graph.Graph(tuple(nodes), tuple(_graph.Edge(a.id, b.id) for a, b in chosen), groups)))


def test_fit_keeps_both_ends() -> None:
    assert _measure.fit("short", 200, 12) == "short"
    cut = _measure.fit(sites.LONG, 150, 12)
    assert cut.startswith("a-name") and cut.endswith("end") and "…" in cut
    assert _measure.width(cut, 12) <= 150
    assert _measure.fit(sites.LONG, 1, 12) == "…"
    assert _measure.width("W" * 10, 12) > _measure.width("i" * 10, 12)
    assert _measure.width("name", 12, True) > _measure.width("name", 12)
