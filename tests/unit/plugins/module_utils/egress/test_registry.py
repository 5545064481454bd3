# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import peering
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _registry
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._address import Demand
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Gateway

ARR = Gateway("vpnarr", "vpn", "mullvad")
SECOND = Gateway("second", "other", "mullvad")


def entry(name, gateway="vpnarr", pods=1, **more):
    object_ = f"StatefulSet downloads/{name}"
    demand = Demand(f"downloads.{name}", gateway, object_, pods, more.get("fixed", False))
    return _registry.Entry(
        demand, "downloads", {"matchLabels": {"app": name}}, more.get("services", {}), more.get("direct", ())
    )


def made(registries, *args, **kwargs):
    result, problems = _registry.update(registries, *args, **kwargs)
    assert problems == []
    return result


def test_first_gateway_and_client():
    direct = [{"protocol": "tcp", "address": "10.96.3.4", "port": 7878}]
    result = made({}, [ARR], [entry("qbit", pods=2, services={"radarr.core": "10.96.3.4"}, direct=direct)])
    assert result == {
        "vpn": {
            "gateways": {
                "vpnarr": {
                    "vni": 7001,
                    "port": 14789,
                    "network": "10.222.1.0/24",
                    "clients": {
                        "downloads.qbit": {
                            "namespace": "downloads",
                            "first_index": 2,
                            "size": 3,
                            "selector": {"matchLabels": {"app": "qbit"}},
                            "services": {"radarr.core": "10.96.3.4"},
                            "direct": direct,
                            "selectors": {},
                        }
                    },
                }
            }
        }
    }


def test_the_endpoint_controller_reads_what_is_written():
    direct = [{"protocol": "tcp", "address": "10.96.3.4", "port": 7878}]
    registry = made({}, [ARR], [entry("qbit", pods=2, direct=direct)])["vpn"]
    text = _registry.config_map("vpn", registry)["data"]["registry.json"]
    link = peering.parse_registry(text)["vpnarr"]
    assert str(link.network) == "10.222.1.0/24"
    told = '[{"address":"10.96.3.4","port":7878,"protocol":"tcp"}]'
    assert link.clients == {"downloads.qbit": peering.Room("downloads", 2, 3, told)}


def test_gateways_of_all_namespaces_keep_apart():
    result = made({}, [ARR, SECOND])
    links = [link for registry in result.values() for link in registry["gateways"].values()]
    assert {link["vni"] for link in links} == {7001, 7002}
    assert {link["network"] for link in links} == {"10.222.1.0/24", "10.222.2.0/24"}
    # Also when the other one is not in the list of this run.
    again = made({"other": result["other"]}, [ARR])
    assert again["vpn"]["gateways"]["vpnarr"]["vni"] not in {one["vni"] for one in again["other"]["gateways"].values()}


def test_nothing_changes_on_the_second_run_and_the_input_stays():
    first = made({}, [ARR, SECOND], [entry("qbit"), entry("sab")])
    before = copy.deepcopy(first)
    assert made(first, [ARR, SECOND], [entry("sab"), entry("qbit")]) == first
    assert made(first, [ARR]) == first
    assert made(first, []) == first
    assert first == before


def test_what_is_not_mentioned_keeps_its_numbers():
    first = made({}, [ARR], [entry("qbit", pods=2), entry("sab")])
    second = made(first, [ARR], [entry("new")])
    clients, old = _registry.clients_of(second["vpn"], "vpnarr"), _registry.clients_of(first["vpn"], "vpnarr")
    assert {name: clients[name] for name in old} == old
    taken = [
        number for room in clients.values() for number in range(room["first_index"], room["first_index"] + room["size"])
    ]
    assert len(set(taken)) == len(taken)


def test_released_clients_are_gone_and_their_numbers_free():
    first = made({}, [ARR], [entry("qbit", fixed=True), entry("sab", fixed=True)])
    second = made(first, [ARR], [], released=["downloads.qbit"])
    assert list(_registry.clients_of(second["vpn"], "vpnarr")) == ["downloads.sab"]
    third = made(second, [ARR], [entry("new", fixed=True)])
    assert _registry.clients_of(third["vpn"], "vpnarr")["downloads.new"]["first_index"] == 2


def test_a_client_moves_to_another_gateway():
    first = made({}, [ARR, SECOND], [entry("qbit")])
    second = made(first, [ARR, SECOND], [entry("qbit", gateway="second")])
    assert _registry.clients_of(second["vpn"], "vpnarr") == {}
    assert list(_registry.clients_of(second["other"], "second")) == ["downloads.qbit"]


def test_unknown_keys_are_kept():
    first = made({}, [ARR], [entry("qbit")])
    first["vpn"]["gateways"]["vpnarr"]["later"] = {"a": 1}
    _registry.clients_of(first["vpn"], "vpnarr")["downloads.qbit"]["later"] = [2]
    second = made(first, [ARR], [entry("qbit", services={"a.b": "10.96.0.1"})])
    link = second["vpn"]["gateways"]["vpnarr"]
    assert link["later"] == {"a": 1} and link["clients"]["downloads.qbit"]["later"] == [2]
    assert link["clients"]["downloads.qbit"]["services"] == {"a.b": "10.96.0.1"}


def test_removal_is_refused_while_clients_are_registered():
    first = made({}, [ARR], [entry("qbit"), entry("sab")])
    gone = Gateway("vpnarr", "vpn", "", state="absent")
    result, problems = _registry.update(first, [gone])
    assert result == {}
    assert [str(one) for one in problems] == [
        'VPN gateway vpn/vpnarr: state is "absent": clients are behind it: downloads.qbit, downloads.sab; '
        "detach them first (state: absent), or give them another gateway."
    ]
    emptied = made(first, [ARR], [], released=["downloads.qbit", "downloads.sab"])
    assert made(emptied, [gone]) == {"vpn": {"gateways": {}}}


def test_a_name_is_used_in_one_namespace_only():
    first = made({}, [ARR])
    problems = _registry.update(first, [Gateway("vpnarr", "elsewhere", "mullvad")])[1]
    assert [(one.path, one.value) for one in problems] == [("name", "vpnarr")]
    assert "already in namespace vpn" in str(problems[0])


@pytest.mark.parametrize(
    ("change", "path", "used"),
    [
        ({"vni": 9}, "vni", "7001"),
        ({"port": 14790}, "port", "14789"),
        ({"network": "10.9.0.0/24"}, "network", "10.222.1.0/24"),
    ],
)
def test_numbers_under_attached_clients_stay(change, path, used):
    first = made({}, [ARR], [entry("qbit")])
    asked = Gateway("vpnarr", "vpn", "mullvad", **change)
    problems = _registry.update(first, [asked])[1]
    assert [one.path for one in problems] == [path] and f"its clients use {used}" in str(problems[0])
    # Nobody is hurt while there are no clients.
    without = made(first, [ARR], [], released=["downloads.qbit"])
    assert made(without, [asked])["vpn"]["gateways"]["vpnarr"][path] == change[path]


def test_cluster_networks_are_avoided():
    result = made({}, [ARR], cluster_networks={"pods": ["10.222.0.0/22"]})
    assert result["vpn"]["gateways"]["vpnarr"]["network"] == "10.222.4.0/24"


def test_config_map_is_canonical_and_read_back():
    registry = made({}, [ARR, Gateway("a", "vpn", "x")], [entry("qbit")])["vpn"]
    shuffled = {"gateways": dict(reversed(list(registry["gateways"].items())))}
    held = _registry.config_map("vpn", registry)
    assert held == _registry.config_map("vpn", shuffled)
    assert held["metadata"] == {
        "name": "bulkhead-vpn-registry",
        "namespace": "vpn",
        "labels": {"bulkhead.mesh/role": "vpn-registry"},
    }
    assert _registry.parse(held, "vpn") == (registry, [])


def test_no_registry_is_an_empty_one():
    assert _registry.parse(None, "vpn") == ({"gateways": {}}, [])


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[]",
        "{}",
        '{"gateways": {"a": {"clients": {}}}}',
        '{"gateways": {"a": {"vni": 1, "port": 2, "network": "n"}}}',
        json.dumps({"gateways": {"a": {"vni": 1, "port": 2, "network": "n", "clients": {"c": {}}}}}),
    ],
)
def test_a_damaged_registry_is_never_taken_for_an_empty_one(text):
    held = {"data": {} if text is None else {"registry.json": text}}
    problems = _registry.parse(held, "vpn")[1]
    assert len(problems) == 1
    assert str(problems[0]).startswith("ConfigMap vpn/bulkhead-vpn-registry: data.registry.json is ")


def test_complete():
    registry = made({}, [ARR])["vpn"]
    assert _registry.complete(ARR, registry) == Gateway("vpnarr", "vpn", "mullvad", vni=7001, network="10.222.1.0/24")
