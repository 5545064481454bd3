# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Messages the probes send and read: STUN, DNS, ICMP, raw frames. Pure."""

from __future__ import annotations

import ipaddress
import struct

_STUN_COOKIE = 0x2112A442
_XOR_MAPPED, _MAPPED = 0x0020, 0x0001
STUN_NONCE = 12  # bytes of a transaction id
ICMP_HEADER = 8


def checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def stun_request(transaction: bytes) -> bytes:
    """Binding request; the transaction id of 12 bytes is the nonce."""
    return struct.pack("!HHI", 1, 0, _STUN_COOKIE) + transaction


def stun_address(answer: bytes, transaction: bytes) -> str | None:
    """Address the server saw, or None when this is not the answer to that request."""
    if len(answer) < 20 or answer[:2] != b"\x01\x01" or answer[4:20] != struct.pack("!I", _STUN_COOKIE) + transaction:
        return None
    offset, plain = 20, None
    while offset + 4 <= len(answer):
        kind, length = struct.unpack_from("!HH", answer, offset)
        value = answer[offset + 4 : offset + 4 + length]
        offset += 4 + length + -length % 4
        size = {1: 4, 2: 16}.get(value[1] if len(value) > 1 else 0, 0)
        if not size or len(value) != 4 + size:
            continue
        packed = value[4:]
        if kind == _XOR_MAPPED:
            key = answer[4:20][:size]
            return str(ipaddress.ip_address(bytes(left ^ right for left, right in zip(packed, key))))
        if kind == _MAPPED:
            plain = str(ipaddress.ip_address(packed))
    return plain


def dns_query(number: int, name: str, kind: int) -> bytes:
    """Recursive query for one name; kind is the number of the record type (A = 1, TXT = 16)."""
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.rstrip(".").split("."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def _skip_name(data: bytes, offset: int) -> int:
    while data[offset]:
        if data[offset] & 0xC0:
            return offset + 2
        offset += 1 + data[offset]
    return offset + 1


def dns_answer(query: bytes, answer: bytes) -> tuple[int, list[str]] | None:
    """Response code and the A, AAAA and TXT data, or None when this does not answer the query."""
    if len(answer) < 12 or answer[:2] != query[:2] or not answer[2] & 0x80:
        return None
    records: list[str] = []
    try:
        if answer[12 : len(query)].lower() != query[12:].lower():
            return None
        offset = len(query)
        for _record in range(struct.unpack_from("!H", answer, 6)[0]):
            offset = _skip_name(answer, offset)
            kind, _class, _life, length = struct.unpack_from("!HHIH", answer, offset)
            data = answer[offset + 10 : offset + 10 + length]
            offset += 10 + length
            if kind in (1, 28):
                records.append(str(ipaddress.ip_address(data)))
            elif kind == 16:
                records.append(data[1 : 1 + data[0]].decode("ascii", "replace"))
    except (IndexError, struct.error, ValueError):
        return None
    return answer[3] & 0x0F, records


def echo_request(nonce: bytes, version: int) -> bytes:
    """ICMP echo for a ping socket; the kernel fills in identifier, and for IPv6 the checksum."""
    kind = 8 if version == 4 else 128
    plain = struct.pack("!BBHHH", kind, 0, 0, 0, 1) + nonce
    return struct.pack("!BBHHH", kind, 0, checksum(plain) if version == 4 else 0, 0, 1) + nonce


def udp_frame(macs: bytes, source: str, target: str, port: int, payload: bytes) -> bytes:
    """Ethernet frame with an IPv4 UDP packet in it; ``macs`` are the 12 bytes of destination and source."""
    udp = struct.pack("!HHHH", 40000, port, 8 + len(payload), 0) + payload
    addresses = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(target).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return macs + b"\x08\x00" + head + udp
