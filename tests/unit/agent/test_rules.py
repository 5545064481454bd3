# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import config, rules, tables

CLIENT = config.client(
    {
        "vni": 7,
        "port": 14789,
        "network": "10.222.1.0/24",
        "first_index": 10,
        "cluster_networks": ["10.244.0.0/16"],
    }
)
GATEWAY = config.gateway(
    {
        "vni": 7,
        "port": 14789,
        "network": "10.222.1.0/24",
        "endpoint": {"address": "198.51.100.2", "port": 51820},
        "mark": 0xCA6C,
    }
)
BOTH = [rules.guard_table(CLIENT), rules.gateway_table(GATEWAY)]
ALL = [*BOTH, rules.closed_table(), rules.closed_table(rules.GATEWAY)]


def chain(table: tables.Table, name: str) -> tables.Chain:
    return next(item for item in table.chains if item.name == name)


@pytest.mark.parametrize("table", ALL, ids=lambda table: f"{table.name}-{len(table.chains)}")
def test_ways_out_are_closed_by_policy(table: tables.Table) -> None:
    egress, forward = chain(table, "egress"), chain(table, "forward")
    assert (egress.hook, egress.policy) == ("filter hook postrouting priority 200", "drop")
    assert forward.policy == "drop" and forward.hook.startswith("filter hook forward")
    # No chain looks at output: a redirected packet shows the wrong interface there.
    assert not [item for item in table.chains if "hook output" in item.hook and item.policy == "drop"]


@pytest.mark.parametrize("table", BOTH, ids=lambda table: table.name)
def test_eth0_is_left_only_by_name(table: tables.Table) -> None:
    """Every rule that lets a packet out says by which device; on eth0 it says to where, and passes by the mark."""
    for rule in chain(table, "egress").rules:
        assert "established" not in rule.text
        if rule.text.startswith("counter"):
            continue
        device = re.match(r'oifname "([a-z0-9]+)"', rule.text)
        assert device, rule
        if device.group(1) == "eth0":
            assert rule.text.endswith("jump pass"), rule
            assert re.search(
                r"@gateway|@peers|@direct|ct direction reply|fe80::/10|198\.51\.100\.2 udp dport 51820", rule.text
            )
    assert [rule.text for rule in chain(table, "pass").rules] == ["meta mark set meta mark or 0x20000 accept"]


def test_guard_starts_sealed() -> None:
    sets = {named.name: named.elements for named in BOTH[0].sets}
    assert sets["gateway"] == ()
    assert sets["direct"] == ()
    assert set(sets["inside"]) == {"10.244.0.0/16", "127.0.0.0/8", "169.254.0.0/16"}


def test_gateway_forwards_one_way_only() -> None:
    accepted = [rule.text for rule in chain(BOTH[1], "forward").rules if rule.text.endswith("accept")]
    assert accepted == [
        'iifname "bulkhead0" oifname "tun0" ip saddr 10.222.1.0/24 accept',
        'iifname "tun0" oifname "bulkhead0" ct state established,related accept',
    ]
    sets = {named.name: named.elements for named in BOTH[1].sets}
    assert sets == {"peers": (), "inner": ()}


def test_closed_table_has_nothing_to_fail_on() -> None:
    table = rules.closed_table()
    assert not table.sets and not table.counters
    assert [rule.label for item in table.chains for rule in item.rules] == ["loopback"]


@pytest.mark.parametrize("table", ALL, ids=lambda table: f"{table.name}-{len(table.chains)}")
def test_text_replaces_the_table_in_one_transaction(table: tables.Table) -> None:
    lines = tables.render(table).splitlines()
    assert lines[:3] == [
        f"add table inet {table.name}",
        f"delete table inet {table.name}",
        f"table inet {table.name} {{",
    ]
    assert sum(line.startswith(("add table", "delete table", "table")) for line in lines) == 3


@pytest.mark.parametrize("table", ALL, ids=lambda table: f"{table.name}-{len(table.chains)}")
def test_labels_are_unique_and_safe(table: tables.Table) -> None:
    for item in table.chains:
        labels = [rule.label for rule in item.rules]
        assert len(set(labels)) == len(labels)
        assert all(re.fullmatch(r"[A-Za-z0-9 ]{1,64}", label) for label in labels)


def test_jumped_chains_stand_before_their_users() -> None:
    text = tables.render(BOTH[0])
    assert text.index("chain pass {") < text.index("chain egress {")
    assert text.index("chain carrier {") < text.index("chain ingress {")


@pytest.mark.parametrize(
    ("mode", "condition"),
    [
        (rules.FRAMES_ROUTED, "meta mark and 0x20000 == 0x20000 meta rtclassid != 0xffffffff accept"),
        (rules.FRAMES_MARKED, "meta mark and 0x20000 == 0x20000 accept"),
    ],
)
def test_frames(mode: str, condition: str) -> None:
    frames = chain(rules.frames_table(rules.GUARD, mode), "frames")
    assert frames.policy == "drop"
    # ARP by the frame's own bytes: "meta protocol" is what the sender claims.
    assert [rule.text for rule in frames.rules[:2]] == ["@ll,96,16 0x0806 accept", condition]


def test_elements() -> None:
    sets: dict[str, Any] = {"gateway": ("10.244.0.7",), "other": ()}
    assert tables.render_elements("inet", "t", sets) == (
        "flush set inet t gateway\nadd element inet t gateway { 10.244.0.7 }\nflush set inet t other\n"
    )
