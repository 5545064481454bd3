# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import nft, tables

TABLE = tables.Table(
    "inet",
    "t",
    (
        tables.Chain("pass", (tables.Rule("accept", "pass"),)),
        tables.Chain(
            "egress",
            (tables.Rule("oifname lo accept", "loopback"), tables.Rule("counter", "rest")),
            "filter hook postrouting priority 200",
            "drop",
        ),
    ),
    (tables.NamedSet("inside", "ipv4_addr", ("10.0.0.0/8", "192.0.2.1/32"), interval=True),),
    ("dropped",),
)
# Shaped as nft 1.0.6 prints it.
LISTING: list[dict[str, Any]] = [
    {"table": {"family": "inet", "name": "t", "handle": 3}},
    {"set": {"name": "inside", "type": "ipv4_addr", "handle": 5, "elem": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, "192.0.2.1"]}},
    {"counter": {"name": "dropped", "handle": 6, "packets": 4, "bytes": 99}},
    {"chain": {"name": "pass", "handle": 1}},
    {"chain": {"name": "egress", "handle": 2, "hook": "postrouting", "prio": 200, "policy": "drop"}},
    {"rule": {"chain": "pass", "handle": 7, "comment": "pass", "expr": [{"accept": None}]}},
    {"rule": {"chain": "egress", "handle": 8, "comment": "loopback", "expr": [{"accept": None}]}},
    {"rule": {"chain": "egress", "handle": 9, "comment": "rest", "expr": [{"counter": {"packets": 1, "bytes": 2}}]}},
]  # fmt: skip


def changed(change: Callable[[list[dict[str, Any]]], Any]) -> list[dict[str, Any]]:
    items = copy.deepcopy(LISTING)
    change(items)
    return items


VOLATILE: list[Callable[[list[dict[str, Any]]], Any]] = [
    lambda items: items[0]["table"].update(handle=99),
    lambda items: items[2]["counter"].update(packets=5, bytes=6),
    lambda items: items[7]["rule"]["expr"][0]["counter"].update(packets=8),
    lambda items: items[1]["set"].update(elem=[]),
]
CHANGES: list[Callable[[list[dict[str, Any]]], Any]] = [
    lambda items: items[4]["chain"].update(policy="accept"),
    lambda items: items[4]["chain"].update(hook="output"),
    lambda items: items.pop(7),
    lambda items: items.insert(6, {"rule": {"chain": "egress", "comment": "", "expr": [{"accept": None}]}}),
    lambda items: items.append({"chain": {"name": "more"}}),
    lambda items: items.insert(6, items.pop(7)),
    lambda items: items[6]["rule"].update(comment="other"),
]


def test_listing_is_accepted() -> None:
    nft.verify(TABLE, LISTING)


@pytest.mark.parametrize("number", range(len(VOLATILE)))
def test_hash_ignores_what_moves(number: int) -> None:
    assert nft.digest(changed(VOLATILE[number])) == nft.digest(LISTING)


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_changes_are_seen(number: int) -> None:
    items = changed(CHANGES[number])
    assert nft.digest(items) != nft.digest(LISTING)
    with pytest.raises(nft.MismatchError):
        nft.verify(TABLE, items)


def test_hash_sees_what_labels_cannot() -> None:
    items = changed(lambda items: items[6]["rule"].update(expr=[{"drop": None}]))
    assert nft.digest(items) != nft.digest(LISTING)


@pytest.mark.parametrize("elements", [[], ["192.0.2.1"], [{"prefix": {"addr": "10.0.0.0", "len": 7}}, "192.0.2.1"]])
def test_elements_are_compared(elements: list[Any]) -> None:
    with pytest.raises(nft.MismatchError, match="Set inside"):
        nft.verify(TABLE, changed(lambda items: items[1]["set"].update(elem=elements)))


def test_concatenated_elements() -> None:
    listed = [
        {"set": {"name": "direct", "elem": [{"concat": ["tcp", {"prefix": {"addr": "10.0.0.0", "len": 8}}, 80]}]}}
    ]
    assert nft.elements(listed, "direct") == {"tcp . 10.0.0.0/8 . 80"}
    assert nft.elements([{"set": {"name": "s", "elem": [{"elem": {"val": "192.0.2.1", "counter": {}}}]}}], "s") == {
        "192.0.2.1"
    }


def test_counters() -> None:
    assert nft.counters(LISTING) == {"dropped": 4}
