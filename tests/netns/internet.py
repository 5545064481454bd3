# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The internet target: answers with the address it saw. Echo 7777, bulk 7778, STUN 3478, DNS 53; both IP versions.

With ports as arguments only the echo, on those ports.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import socketserver
import struct
import sys
import threading


def plain(address: str) -> str:
    return address.removeprefix("::ffff:")


def text(data: bytes, address: str) -> bytes:
    return data.split()[0][:64] + b" " + plain(address).encode() + b"\n" if data.split() else b""


def stun(data: bytes, address: str, port: int) -> bytes:
    seen = ipaddress.ip_address(plain(address))
    mask = (data[4:20])[: len(seen.packed)]
    packed = bytes(left ^ right for left, right in zip(seen.packed, mask, strict=True))
    value = struct.pack("!BBH", 0, 1 if seen.version == 4 else 2, port ^ 0x2112) + packed
    return struct.pack("!HH", 0x0101, 4 + len(value)) + data[4:20] + struct.pack("!HH", 0x0020, len(value)) + value


def dns(data: bytes, address: str) -> bytes:
    seen = ipaddress.IPv4Address(plain(address)).packed
    return data[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + data[12:] + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + seen


class Udp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, opened = self.request
        address, port = self.client_address[:2]
        local = self.server.server_address[1]
        if local == 53:
            answer = dns(data, address)
        else:
            answer = stun(data, address, port) if local == 3478 else text(data, address)
        opened.sendto(answer, self.client_address)


class Tcp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        address, local = self.client_address[0], self.server.server_address[1]
        if local not in (7778, 53):
            self.wfile.write(text(self.rfile.readline(1 << 20), address))
        elif local == 53:
            query = self.rfile.read(struct.unpack("!H", self.rfile.read(2))[0])
            answer = dns(query, address)
            self.wfile.write(struct.pack("!H", len(answer)) + answer)
        else:  # bulk: length, data; back come the hash and the same data
            data = self.rfile.read(struct.unpack("!Q", self.rfile.read(8))[0])
            self.wfile.write(hashlib.sha256(data).digest() + data)


class ThreadingTcp(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = daemon_threads = True


class ThreadingUdp(socketserver.ThreadingUDPServer):
    address_family = socket.AF_INET6
    daemon_threads = True


def main() -> None:
    echo = [int(port) for port in sys.argv[1:]]
    servers: list[socketserver.BaseServer] = [ThreadingUdp(("::", port), Udp) for port in echo or (7777, 3478, 53)]
    servers += [ThreadingTcp(("::", port), Tcp) for port in echo or (7777, 7778, 53)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()  # until the test closes it


main()
