# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Allocation of addresses and identifiers: stable, without collisions, and within what the network has."""

from __future__ import annotations

import ipaddress
import json
import random
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _address
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._address import Demand, allocate
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Gateway

NORTH, SOUTH = Gateway("north", "vpn", "wg0"), Gateway("south", "vpn", "wg1")


def demand(client: str, pods: int = 1, gateway: str = "north", fixed: bool = False) -> Demand:
    return Demand(client, gateway, f"StatefulSet downloads/{client}", pods, fixed)


def good(*arguments: Any, **options: Any) -> Any:
    allocation, problems = allocate(*arguments, **options)
    assert [str(problem) for problem in problems] == []
    return allocation


def test_first_allocation() -> None:
    assert good([NORTH, SOUTH], [demand("b", 3), demand("a"), demand("c", fixed=True)]) == {
        "gateways": {
            "north": {"vni": 7001, "port": 14789, "network": "10.222.1.0/24"},
            "south": {"vni": 7002, "port": 14789, "network": "10.222.2.0/24"},
        },
        "clients": {
            "a": {"gateway": "north", "first_index": 2, "size": 2},
            "b": {"gateway": "north", "first_index": 4, "size": 4},
            "c": {"gateway": "north", "first_index": 8, "size": 1},
        },
    }


def test_nothing_moves_when_others_come_and_go() -> None:
    first = good([NORTH], [demand("m", 2)])
    again = good([SOUTH, NORTH], [demand("a"), demand("m", 3), demand("z")], json.loads(json.dumps(first)))
    assert again["gateways"]["north"] == first["gateways"]["north"]
    assert again["clients"]["m"] == first["clients"]["m"]  # it has room for three
    without = good([SOUTH], [demand("z", gateway="north")], again)
    assert without == again  # what is no longer named keeps its addresses
    freed = good([NORTH], [demand("z")], again, released=["south", "a"])
    assert "south" not in freed["gateways"] and "a" not in freed["clients"]
    assert freed["clients"]["m"] == first["clients"]["m"]


def test_growing_in_place_or_moving() -> None:
    first = good([NORTH], [demand("a"), demand("b")])
    assert first["clients"]["b"]["first_index"] == 4
    grown = good([NORTH], [demand("a"), demand("b", 5)], first)
    assert grown["clients"]["b"] == {"gateway": "north", "first_index": 4, "size": 7}
    moved = good([NORTH], [demand("a", 3), demand("b", 5)], grown)
    assert moved["clients"]["a"] == {"gateway": "north", "first_index": 11, "size": 4}
    # The one that has addresses grows before a new one takes the place beside it.
    alone = {"clients": {"b": {"gateway": "north", "first_index": 2, "size": 2}}}
    assert good([NORTH], [demand("a"), demand("b", 9)], alone)["clients"]["b"]["first_index"] == 2
    other = good([NORTH, SOUTH], [demand("a", 3, gateway="south")], moved)
    assert other["clients"]["a"] == {"gateway": "south", "first_index": 2, "size": 4}


def test_random_histories_never_overlap() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        allocation: Any = {}
        for _run in range(4):
            names = rng.sample("abcdefgh", rng.randint(1, 6))
            demands = [demand(name, rng.randint(1, 12), rng.choice(["north", "south"])) for name in names]
            before = json.loads(json.dumps(allocation))
            allocation = good([NORTH, SOUTH], demands, allocation)
            assert good([NORTH, SOUTH], demands, allocation) == allocation
            assert before.get("gateways", allocation["gateways"]) == allocation["gateways"]
            used = set()
            for room in allocation["clients"].values():
                for index in range(room["first_index"], room["first_index"] + room["size"]):
                    assert (room["gateway"], index) not in used and 2 <= index <= 254
                    used.add((room["gateway"], index))
            assert all(allocation["clients"][one.client]["size"] >= one.pods for one in demands)


def test_hundred_clients_of_one_pod_fit() -> None:
    rooms = good([NORTH], [demand(f"c{number:03}") for number in range(126)])["clients"]
    assert {room["size"] for room in rooms.values()} == {2}
    # Room to grow is given up before anybody is refused.
    assert len(good([NORTH], [demand(f"c{number:03}") for number in range(127)])["clients"]) == 127
    assert allocate([NORTH], [demand(f"c{number:03}") for number in range(254)])[1]


def test_cluster_networks_are_left_out() -> None:
    clusters = {"pods": ["10.222.0.0/22", "fd00::/48"], "nodes": ["10.222.4.7/24"]}
    assert good([NORTH], [], cluster_networks=clusters)["gateways"]["north"]["network"] == "10.222.5.0/24"
    full = allocate([NORTH], [], cluster_networks={"pods": ["10.0.0.0/8"]})[1]
    assert [problem.path for problem in full] == ["network"]


def test_a_kept_network_that_the_cluster_took_is_told() -> None:
    first = good([NORTH], [])
    problems = allocate([NORTH], [], first, {"services": ["10.222.0.0/16"]})[1]
    assert "the cluster's network of services" in str(problems[0])


def test_wishes_of_the_inventory_win_and_others_make_way() -> None:
    wish = Gateway("south", "vpn", "wg1", vni=7001, network="10.222.1.0/24")
    links = good([NORTH, wish], [])["gateways"]
    assert links["south"] == {"vni": 7001, "port": 14789, "network": "10.222.1.0/24"}
    assert links["north"] == {"vni": 7002, "port": 14789, "network": "10.222.2.0/24"}
    apart = [Gateway("a", "vpn", "w", vni=5), Gateway("b", "vpn", "w", vni=5, port=14790)]
    assert good(apart, [])["gateways"]["b"]["vni"] == 5  # another port is another link


def test_a_gateway_no_longer_named_still_blocks_its_network() -> None:
    first = good([NORTH], [])
    wish = Gateway("south", "vpn", "wg1", network="10.222.1.0/25")
    assert [problem.path for problem in allocate([wish], [], first)[1]] == ["network"]


def test_unknown_gateway_of_a_client() -> None:
    assert str(allocate([NORTH], [demand("a", gateway="west")])[1][0]).startswith("StatefulSet downloads/a: gateway is")


@pytest.mark.parametrize(
    ("spec", "requested", "pods"),
    [
        ({}, 0, 1),
        ({"replicas": 0}, 0, 1),
        ({"replicas": 3}, 0, 3),
        ({"replicas": 3}, 5, 5),
        ({"replicas": 3, "ordinals": {"start": 2}}, 0, 5),
    ],
)
def test_pods_of(spec: Any, requested: int, pods: int) -> None:
    assert _address.pods_of({"spec": spec}, requested) == pods


def test_inner_addresses_and_macs() -> None:
    assert _address.gateway_address("10.222.1.0/24") == "10.222.1.1"
    assert [_address.inner_address("10.222.1.0/24", 250, ordinal) for ordinal in (0, 4)] == [
        "10.222.1.250",
        "10.222.1.254",
    ]
    for first, ordinal in ((250, 5), (1, 0), (3, -1)):  # broadcast, the gateway, below
        with pytest.raises(IndexError):
            _address.inner_address("10.222.1.0/24", first, ordinal)
    macs = {_address.mac(str(address)) for address in ipaddress.IPv4Network("10.222.0.0/22")}
    assert len(macs) == 1024
    assert _address.mac("10.222.1.255") == "02:42:0a:de:01:ff"
