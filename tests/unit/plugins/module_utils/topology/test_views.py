# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._topology import _text, _words
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.topology import sites


class Tags(HTMLParser):
    """All tags with their attributes, and whether each that was opened was closed."""

    void = ("meta", "rect", "path")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", sorted(sites.SITES))
def test_the_page_stands_alone(name: str) -> None:
    page = _text.VIEWS["html"](sites.SITES[name]())
    found = Tags(page)
    assert found.open == []
    names = {tag for tag, dummy in found.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "use", "image", "a", "base"}
    attributes = {key for dummy, held in found.tags for key in held}
    assert not attributes & {"src", "href", "xlink:href", "srcset", "onload", "onclick"}
    assert "http:" not in page and "https:" not in page and "url(" not in page and "@import" not in page
    policy = next(held for tag, held in found.tags if held.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")


def test_hostile_names_stay_text() -> None:
    page = _text.VIEWS["html"](sites.troubled())
    assert "<script" not in page and "&lt;script&gt;" in page


def test_the_picture_is_told_to_who_does_not_see_it() -> None:
    page = _text.VIEWS["html"](sites.whole())
    assert 'role="img" aria-labelledby="picture-title picture-text"' in page
    assert "qbittorrent leads to north" in page and "arr leads to radarr" in page
    assert 'name="viewport"' in page and "prefers-color-scheme: dark" in page


def banner(topology: Any) -> str:
    found = re.search(r'<p class="banner (\w+)">', _text.VIEWS["html"](topology))
    assert found
    return found.group(1)


def test_the_headline_is_good_only_when_all_is_known_and_good() -> None:
    assert banner(sites.whole()) == "good"
    for change in (
        "unknown",
        "never_verified",
        "stopped",
        "missing",
        "unprotected",
        "protected_single_layer",
        "new-word",
    ):
        topology = sites.whole()
        topology["vpn_clients"][0]["state"] = change
        assert banner(topology) != "good", change
        assert "0 of 1 VPN clients protected" in _text.text(topology)
    stale = sites.whole()
    stale["vpn_clients"][0]["stale"] = True
    assert banner(stale) == "warn"
    unread = sites.whole()
    unread["unreadable"] = [{"kind": "Pod", "reason": "not able to list pods"}]
    assert banner(unread) == "unsure" and "Not readable: Pod: not able" in _text.text(unread)
    assert banner(sites.nothing()) == "plain" and banner(sites.troubled()) == "bad"


def test_no_report_is_never_shown_as_good() -> None:
    topology = sites.whole()
    topology["proof"] = sites.nothing()["proof"]
    topology["vpn_clients"][0] |= {"state": "never_verified", "layers": {}}
    topology["vpn_gateways"][0]["exit"] |= {"state": "unknown", "reason": "no report was given"}
    text, page = _text.text(topology), _text.VIEWS["html"](topology)
    assert "? never verified" in text and "never verified (no report was given)" in text
    assert "✓ protected" not in page and "✓ seen by" not in page


def test_text() -> None:
    lines = _text.text(sites.whole()).splitlines()
    assert [line for line in lines if line.startswith("StatefulSet")][0].split("  ")[0] == (
        "StatefulSet downloads/qbittorrent"
    )
    assert lines[-1] == "✓ 1 of 1 VPN clients protected; last proof 12 min ago."
    # A terminal callback prints such text as it is only if no line ends in a space.
    assert all(line == line.rstrip() for line in _text.text(sites.troubled()).splitlines())


def test_every_kind_of_trouble_is_told() -> None:
    text = _text.text(sites.troubled())
    for words in ("NotAllowedByListeners", "has not joined the tailnet", "leaves elsewhere", "policy broken", "stale"):
        assert words in text
    assert "which is too long ago" in text and "not in the inventory" in text


def test_json_is_what_the_module_returns() -> None:
    assert json.loads(_text.VIEWS["json"](sites.troubled())) == sites.troubled()


@pytest.mark.parametrize(
    "seconds, words",
    [(0, "0 s ago"), (119, "1 min ago"), (7200, "2 h ago"), (172800, "2 d ago"), (None, "at an unknown time")],
)
def test_age(seconds: float | None, words: str) -> None:
    assert _words.age(seconds) == words


@pytest.mark.parametrize(("guarded", "tone"), [(True, _words.WARN), (False, _words.BAD)])
def test_a_pod_that_no_workload_owns_is_never_good(guarded: bool, tone: str) -> None:
    made = sites.whole()
    made["left_behind"] = [sites.left_behind(guarded=guarded)]
    head = _words.headline(made)
    assert head.tone == tone and "1 of 1 VPN clients protected, 1 pod that no workload owns" in head.words
    assert "is left behind" in _text.text(made) and "is left behind" in _text.VIEWS["html"](made)
