# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import config

CLIENT = {
    "role": "client",
    "gateway": "vpnarr",
    "vni": 7,
    "port": 14789,
    "network": "10.222.1.0/24",
    "first_index": 10,
    "mtu": None,
    "cluster_networks": ["10.244.0.0/16", "10.96.0.0/16"],
    "resolver": "10.222.1.1",
}
GATEWAY = {
    "role": "gateway",
    "vni": 7,
    "port": 14789,
    "network": "10.222.1.0/24",
    "tunnel_device": "tun0",
    "endpoint": {"address": "198.51.100.2", "port": 51820},
    "mtu": None,
    "mark": 0xCA6C,
}
NOT_NETWORK = " in the agent's configuration; it must be an IPv4 network."
NOT_ADDRESS = " in the agent's configuration; it must be an IPv4 address."
NETWORK = ipaddress.IPv4Network("10.222.1.0/24")
PEER = {"inner": "10.222.1.10", "mac": "02:42:0a:de:01:0a", "outer": "10.244.0.9"}


def read(data: Any) -> config.Client | config.Gateway:
    return config.from_environment({"BULKHEAD_CONFIG": data if isinstance(data, str) else json.dumps(data)})


def test_client() -> None:
    found = read(CLIENT)
    assert isinstance(found, config.Client)
    assert config.client_address(found, "qbittorrent-3") == ipaddress.IPv4Address("10.222.1.13")


def test_gateway() -> None:
    found = read(GATEWAY)
    assert isinstance(found, config.Gateway)
    assert found.endpoint == config.Endpoint(ipaddress.IPv4Address("198.51.100.2"), 51820)


@pytest.mark.parametrize(
    ("base", "change", "sentence"),
    [
        (CLIENT, {"role": "router"}, "role is 'router' in the agent's configuration; it must be client or gateway."),
        (CLIENT, {"vni": 0}, "vni is 0 in the agent's configuration; it must be a number from 1 to 16777215."),
        (CLIENT, {"port": True}, "port is True in the agent's configuration; it must be a number from 1 to 65535."),
        (CLIENT, {"network": "10.222.1.5/24"}, "network has '10.222.1.5/24'" + NOT_NETWORK),
        (CLIENT, {"network": "10.244.9.0/24"}, "network 10.244.9.0/24 overlaps the cluster network 10.244.0.0/16; give the gateway another one."),
        (CLIENT, {"first_index": 1}, "first_index is 1 in the agent's configuration; it must be a number from 2 to 254."),
        (GATEWAY, {"endpoint": {"address": "vpn.example", "port": 1}}, "endpoint.address is 'vpn.example'" + NOT_ADDRESS),
        (GATEWAY, {"endpoint": None}, "endpoint is missing in the agent's configuration; it must have address and port."),
        (GATEWAY, {"tunnel_device": "eth0"}, "tunnel_device is 'eth0' in the agent's configuration; that device has another use."),
        (GATEWAY, {"tunnel_device": 'x" accept'}, "tunnel_device is 'x\" accept' in the agent's configuration; it must be a device name."),
        (GATEWAY, {"mark": 0x2CA6C}, "mark is 0x2ca6c in the agent's configuration; bits 0x10000 and 0x20000 are taken."),
    ],
)  # fmt: skip
def test_bad_value(base: dict[str, Any], change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        read({**base, **change})
    assert str(caught.value) == sentence


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_no_configuration(text: str) -> None:
    with pytest.raises(config.ConfigError):
        read(text)


@pytest.mark.parametrize(
    ("name", "number"),
    [("web-0", 0), ("web-12", 12), ("a-b-3", 3), ("web-7d9f8b6c5-x2k4j", 0), ("web-7d9f8b6c5-24785", 0), ("web", 0)],
)
def test_ordinal(name: str, number: int) -> None:
    assert config.ordinal(name) == number


def test_too_many_pods_for_the_network() -> None:
    found = config.client({**CLIENT, "first_index": 254})
    assert str(config.client_address(found, "web-0")) == "10.222.1.254"
    with pytest.raises(config.ConfigError, match="address number 255"):
        config.client_address(found, "web-1")


@pytest.mark.parametrize(
    ("pod", "limits", "tunnel", "overlay"),
    [
        (1450, (), 1376, 1376),  # 1390 would be a black hole: WireGuard pads to 16
        (1500, (), 1420, 1420),
        (1492, (), 1420, 1420),
        (9001, (), 1420, 1420),
        (9001, (8800,), 8800, 8800),  # who says so knows the way
        (1436, (), 1376, 1376),
        (1450, (1280,), 1280, 1280),
        (1450, (None,), 1376, 1376),
        (9001, (1420,), 1420, 1420),
    ],
)
def test_mtu(pod: int, limits: tuple[int | None, ...], tunnel: int, overlay: int) -> None:
    assert config.tunnel_mtu(pod, *limits) == tunnel
    assert config.overlay_mtu(pod, *limits) == overlay
    assert overlay + 50 <= pod


DIRECT = {"protocol": "tcp", "address": "10.96.3.4", "port": 7878}


def test_direct_destinations() -> None:
    net = {"protocol": "udp", "address": "10.244.0.0/16", "port": 53}
    assert config.parse_direct(json.dumps([net, DIRECT, DIRECT]) + "\n") == (
        config.Direct("tcp", ipaddress.IPv4Network("10.96.3.4/32"), 7878),
        config.Direct("udp", ipaddress.IPv4Network("10.244.0.0/16"), 53),
    )
    assert config.parse_direct("[]\n") == ()


@pytest.mark.parametrize("text", ["", "\n"])
def test_nothing_said_is_not_no_destination(text: str) -> None:
    assert config.parse_direct(text) is None


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ("{", "The list of direct destinations is not JSON."),
        ({}, "The list of direct destinations is not a list."),
        (["tcp"], "direct has 'tcp' in its list; protocol must be tcp or udp."),
        ({"protocol": "sctp"}, "protocol must be tcp or udp."),
        ({"address": "0.0.0.0/0"}, "direct has 0.0.0.0/0 in its list; name the service, not the whole net."),
        ({"address": "fd00::1"}, "direct has 'fd00::1' in its list; it must be an IPv4 network."),
        ({"port": 0}, "direct has port 0 in its list; it must be a number from 1 to 65535."),
        ({"port": True}, "direct has port True in its list; it must be a number from 1 to 65535."),
        ({"address": "9.9.9.9"}, "direct has 9.9.9.9/32 in its list; it is in no network of the cluster."),
    ],
)
def test_one_bad_destination_makes_the_list_bad(told: Any, sentence: str) -> None:
    told = [DIRECT, {**DIRECT, **told}] if isinstance(told, dict) and told else told
    with pytest.raises(config.ConfigError) as caught:
        config.parse_direct(told if isinstance(told, str) else json.dumps(told), (ipaddress.IPv4Network("9.9.8.0/24"),))
    assert str(caught.value).endswith(sentence)


def test_a_cluster_may_have_public_addresses() -> None:
    text = json.dumps([{**DIRECT, "address": "9.9.9.9"}])
    assert config.parse_direct(text, (ipaddress.IPv4Network("9.9.9.0/24"),))


@pytest.mark.parametrize(("text", "address"), [("", None), ("\n", None), ("10.244.0.7\n", "10.244.0.7")])
def test_gateway_address(text: str, address: str | None) -> None:
    found = config.parse_gateway_address(text)
    assert (found and str(found)) == address


@pytest.mark.parametrize("text", ["fd00::1", "10.244.0", "10.244.0.7/32", "10.244.0.7 10.244.0.8", "none"])
def test_gateway_address_nonsense(text: str) -> None:
    with pytest.raises(config.ConfigError):
        config.parse_gateway_address(text)


def test_peers_are_sorted() -> None:
    other = {"inner": "10.222.1.9", "mac": "02:42:0a:de:01:09", "outer": "10.244.0.8"}
    assert [str(peer.inner) for peer in config.parse_peers(json.dumps([PEER, other]), NETWORK)] == [
        "10.222.1.9",
        "10.222.1.10",
    ]
    assert config.parse_peers("", NETWORK) == config.parse_peers("[]", NETWORK) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"inner": "10.222.1.1", "mac": "02:42:0a:de:01:01"},  # the gateway's own
        {"inner": "10.223.1.10", "mac": "02:42:0a:df:01:0a"},
        {"mac": "02:42:0a:de:01:0b"},
        {"outer": "x"},
        {"outer": None},
        {"inner": "10.222.1.11", "mac": "02:42:0a:de:01:0b"},  # the same outer address twice
        {"outer": "10.244.0.10"},  # the same inner address twice
    ],
)
def test_one_bad_peer_makes_the_list_bad(change: dict[str, Any]) -> None:
    with pytest.raises(config.ConfigError):
        config.parse_peers(json.dumps([PEER, {**PEER, **change}]), NETWORK)
