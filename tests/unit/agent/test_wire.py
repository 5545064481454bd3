# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import struct

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import wire

# RFC 5769, 2.2 and 2.3: sample answers with the transaction id of the request.
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
HEAD = bytes.fromhex("2112a442") + TRANSACTION
XOR4 = bytes.fromhex("002000080001a147e112a643")
XOR6 = bytes.fromhex("002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9")


def answer(attributes: bytes) -> bytes:
    return struct.pack("!HH", 0x0101, len(attributes)) + HEAD + attributes


@pytest.mark.parametrize(
    ("attributes", "address"),
    [
        (XOR4, "192.0.2.1"),
        (XOR6, "2001:db8:1234:5678:11:2233:4455:6677"),
        (bytes.fromhex("8022000b7465737420766563746f7220") + XOR4, "192.0.2.1"),
        (bytes.fromhex("000100080001a147c6336405"), "198.51.100.5"),
        (b"", None),
        (bytes.fromhex("00200008"), None),
    ],
)
def test_stun(attributes: bytes, address: str | None) -> None:
    assert wire.stun_address(answer(attributes), TRANSACTION) == address


def test_stun_answer_to_somebody_else() -> None:
    assert wire.stun_address(answer(XOR4), bytes(12)) is None
    assert wire.stun_address(wire.stun_request(TRANSACTION), TRANSACTION) is None


def test_dns() -> None:
    query = wire.dns_query(7, "n1.probe.example", 1)
    assert query[12:] == b"\x02n1\x05probe\x07example\0\0\x01\0\x01"
    record = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\xc6\x33\x64\x05"
    text = b"\xc0\x0c\0\x10\0\x01\0\0\0\0\0\x03\x02hi"
    reply = query[:2] + b"\x81\x80\0\x01\0\x02\0\0\0\0" + query[12:] + record + text
    assert wire.dns_answer(query, reply) == (0, ["198.51.100.5", "hi"])
    assert wire.dns_answer(query, query[:2] + b"\x81\x83\0\x01\0\0\0\0\0\0" + query[12:]) == (3, [])
    assert wire.dns_answer(query, b"\0\x08" + reply[2:]) is None
    assert wire.dns_answer(query, reply[:-1] + b"") in (None, (0, ["198.51.100.5", "h"]))
    assert wire.dns_answer(wire.dns_query(7, "n2.probe.example", 1), reply) is None
    assert wire.dns_answer(query, query) is None


def test_checksum() -> None:
    # RFC 1071, section 3.
    assert wire.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
    assert wire.checksum(wire.echo_request(b"odd", 4)) == 0


def test_frame() -> None:
    frame = wire.udp_frame(b"\xff" * 6 + b"\x02" * 6, "10.0.0.1", "203.0.113.10", 7777, b"abc")
    assert frame[12:14] == b"\x08\x00" and wire.checksum(frame[14:34]) == 0
    assert struct.unpack("!H", frame[16:18])[0] == len(frame) - 14
