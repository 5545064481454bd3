# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status page in a real browser: on a phone and on a desk, light and dark; pictures go to build/browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._topology import _html
from ansible_collections.bulkhead.mesh.tests.browser.chromium import Chromium
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.topology import sites

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parents[1] / "build" / "browser"
MEASURE = (HERE / "measure.js").read_text(encoding="utf-8")
SIZES = {"phone": (390, 844), "desk": (1280, 900)}
SCHEMES = ("light", "dark")
READABLE = 4.5  # contrast that WCAG 2 asks for
ROOM = 0.5  # pixels
Show = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One browser for all tests of the file."""
    started = Chromium(tmp_path_factory.mktemp("chromium") / "profile")
    yield started
    started.close()


@pytest.fixture
def show(browser: Chromium, tmp_path: Path) -> Show:
    """Show a page, and measure it."""

    def go(page: str, size: str = "desk", scheme: str = "light", picture: str = "") -> dict[str, Any]:
        file = tmp_path / "status.html"
        file.write_text(page, encoding="utf-8")
        browser.open(file, *SIZES[size], scheme, size == "phone")
        measured: dict[str, Any] = browser.evaluate(MEASURE)
        measured["screen"] = SIZES[size][0]
        asked = [
            one["params"]["request"]["url"] for one in browser.events if one["method"] == "Network.requestWillBeSent"
        ]
        measured["asked"] = [one for one in asked if one != file.as_uri()]
        if picture:
            PICTURES.mkdir(parents=True, exist_ok=True)
            measured["png"] = browser.picture(PICTURES / f"{picture}-{size}-{scheme}.png")
        return measured

    return go


def overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether two rectangles share more than an edge."""
    return (
        one["left"] < other["right"] - ROOM
        and other["left"] < one["right"] - ROOM
        and one["top"] < other["bottom"] - ROOM
        and other["top"] < one["bottom"] - ROOM
    )


def inside(one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether a rectangle lies in another."""
    return (
        one["left"] >= other["left"] - ROOM
        and one["right"] <= other["right"] + ROOM
        and one["top"] >= other["top"] - ROOM
        and one["bottom"] <= other["bottom"] + ROOM
    )


def problems(measured: dict[str, Any]) -> set[str]:
    """Kinds of what is wrong with a page; empty if nothing is."""
    found = set()
    # A phone widens its view to what does not fit, hence the screen and not the view.
    if max(measured["scroll"], measured["width"]) > measured["screen"] or measured["wide"]:
        found.add("wider than the screen")
    texts = measured["picture"]
    if any(one["holder"] and not inside(one["box"], one["holder"]) for one in texts):
        found.add("text outside its box")
    if any(overlap(one["box"], other["box"]) for one, other in combinations(texts, 2)):
        found.add("text over text")
    if any(overlap(one, other) for one, other in combinations(measured["boxes"], 2)):
        found.add("box over box")
    if any(one["contrast"] < READABLE for one in (*texts, *measured["faint"])):
        found.add("too faint")
    if measured["asked"]:
        found.add("asks for something else")
    return found


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", sorted(SIZES))
@pytest.mark.parametrize("name", sorted(sites.SITES))
def test_page(show: Show, name: str, size: str, scheme: str) -> None:
    topology = sites.SITES[name]()
    measured = show(_html.page(topology), size, scheme, name)
    assert problems(measured) == set(), json.dumps(measured, indent=1)
    assert measured["png"].startswith(b"\x89PNG") and len(measured["png"]) > 8_000
    if name != "nothing":
        assert measured["nodes"] == len(measured["boxes"]) >= 10
        assert measured["title"] == "picture-title picture-text"


def test_light_and_dark_differ(show: Show) -> None:
    page = _html.page(sites.whole())
    light, dark = (show(page, scheme=scheme, picture="schemes") for scheme in SCHEMES)
    assert light["background"] != dark["background"] and light["png"] != dark["png"]


@pytest.mark.parametrize("font", ["Verdana, DejaVu Sans", "serif"])
def test_other_fonts_fit_as_well(show: Show, font: str) -> None:
    page = _html.page(sites.troubled()).replace("system-ui, sans-serif", font)
    assert problems(show(page)) == set()


BROKEN = {
    "wider than the screen": [("</main>", '<p style="width: 3000px">wide</p></main>'), ("overflow-x: auto; ", "")],
    "text outside its box": [
        ("svg text { font-family: system-ui, sans-serif; font-size: 12px;", "svg text { font-size: 17px;")
    ],
    "text over text": [(".title { font-size: 14px;", ".title { font-size: 40px;")],
    "too faint": [("--soft: #566173", "--soft: #b0b8c2"), ("fill: var(--tone)", "fill: #cfe8d6")],
    "asks for something else": [
        ("default-src 'none'", "default-src *"),
        ("</main>", '<img src="http://127.0.0.1:9/x.png" alt="x"></main>'),
    ],
}


@pytest.mark.parametrize("wrong", sorted(BROKEN))
def test_the_measurement_sees_a_broken_page(show: Show, wrong: str) -> None:
    page = _html.page(sites.whole())
    if wrong == "wider than the screen":
        for change in BROKEN[wrong]:
            assert wrong in problems(show(page.replace(*change), "phone")), change
        return
    for old, new in BROKEN[wrong]:
        assert old in page
        page = page.replace(old, new)
    assert wrong in problems(show(page))


def test_the_measurement_sees_boxes_over_boxes(show: Show) -> None:
    page = _html.page(sites.whole())
    first = page.index('<g class="node')
    assert "box over box" in problems(
        show(page[:first] + '<g class="node"><rect x="0" y="0" width="900" height="900"/></g>' + page[first:])
    )
