# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import ipaddress

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import config, wireguard

PRIVATE, PUBLIC, SHARED = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
ENDPOINT = config.Endpoint(ipaddress.IPv4Address("198.51.100.2"), 51820)
GOOD = f"""
# a provider's file
[Interface]
PrivateKey = {PRIVATE}
Address = 10.66.0.2/32,fd00::2/128
DNS = 10.64.0.1
MTU = 1380

[Peer]
PublicKey={PUBLIC}
PresharedKey = {SHARED}
AllowedIPs = 0.0.0.0/0, ::0/0
Endpoint = 198.51.100.2:51820
"""


def test_good_file() -> None:
    found = wireguard.parse(GOOD, ENDPOINT, 0xCA6C)
    assert found.addresses == (ipaddress.IPv4Interface("10.66.0.2/32"),)
    assert found.mtu == 1380
    assert found.settings.splitlines() == [
        "[Interface]",
        f"PrivateKey = {PRIVATE}",
        "FwMark = 0xca6c",
        "[Peer]",
        f"PublicKey = {PUBLIC}",
        "Endpoint = 198.51.100.2:51820",
        "AllowedIPs = 0.0.0.0/0",
        "PersistentKeepalive = 25",
        f"PresharedKey = {SHARED}",
    ]
    assert PRIVATE not in repr(found) and SHARED not in repr(found)


def test_halves_are_everything_and_a_name_is_resolved_elsewhere() -> None:
    text = GOOD.replace("0.0.0.0/0", "0.0.0.0/1, 128.0.0.0/1").replace("198.51.100.2:", "de1.vpn.example:")
    assert "Endpoint = 198.51.100.2:51820" in wireguard.parse(text, ENDPOINT, 1).settings


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("DNS = 10.64.0.1", "PostUp = iptables -F", "The WireGuard configuration sets postup; remove it, the gateway makes its own routes."),
        ("DNS = 10.64.0.1", "Table = off", "The WireGuard configuration sets table; remove it, the gateway makes its own routes."),
        (PRIVATE, "short", "PrivateKey of the WireGuard configuration is not a key of 32 bytes in base64."),
        (f"PrivateKey = {PRIVATE}", "", "The WireGuard configuration must have exactly one PrivateKey."),
        ("10.66.0.2/32,", "", "The WireGuard configuration has no IPv4 Address."),
        ("0.0.0.0/0", "10.0.0.0/8", "AllowedIPs of the WireGuard configuration must cover 0.0.0.0/0."),
        ("198.51.100.2:51820", "198.51.100.3:51820", "Endpoint of the WireGuard configuration is 198.51.100.3, the gateway's is 198.51.100.2."),
        ("198.51.100.2:51820", "198.51.100.2:1", "Endpoint of the WireGuard configuration has port '1', the gateway 51820."),
        ("MTU = 1380", "MTU = big", "MTU of the WireGuard configuration is 'big'; it must be a number up to 65535."),
        ("[Peer]", "[Peer]\n[Peer]", "The WireGuard configuration must have one [Interface] and one [Peer]."),
        ("MTU = 1380", PRIVATE[:-1], "Line 7 of the WireGuard configuration is neither a section nor a setting."),
        ("MTU = 1380", PRIVATE, "Line 7 of the WireGuard configuration has a setting that [interface] has not."),
    ],
)  # fmt: skip
def test_bad_file(old: str, new: str, sentence: str) -> None:
    assert old in GOOD
    with pytest.raises(config.ConfigError) as caught:
        wireguard.parse(GOOD.replace(old, new), ENDPOINT, 1)
    assert str(caught.value) == sentence
