# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stand-in for a mesh proxy in the pod's namespace: outbound 15001, inbound 15006, own sockets marked 0x539.

Outbound takes the redirected connection's destination and lets the kernel choose route and source. Inbound connects to
the application with the peer's own address, which needs a transparent socket.
"""

from __future__ import annotations

import socket
import struct
import threading

SO_MARK, IP_TRANSPARENT, SO_ORIGINAL_DST = 36, 19, 80
MARK = 0x539


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def original(accepted: socket.socket) -> tuple[str, int]:
    port, address = struct.unpack("!2xH4s8x", accepted.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16))
    return socket.inet_ntoa(address), port


def handle(accepted: socket.socket, peer: tuple[str, int], inbound: bool) -> None:
    onward = socket.socket()
    onward.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)
    if inbound:
        onward.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        onward.bind((peer[0], 0))
    try:
        onward.settimeout(3)
        onward.connect(original(accepted))
        onward.settimeout(None)
    except OSError:
        accepted.close()
        return
    threading.Thread(target=pump, args=(onward, accepted), daemon=True).start()
    pump(accepted, onward)


def serve(port: int, inbound: bool) -> None:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)
    server.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
    server.bind(("0.0.0.0", port))
    server.listen(64)
    if not inbound:
        print("ready", flush=True)
    while True:
        accepted, peer = server.accept()
        threading.Thread(target=handle, args=(accepted, peer, inbound), daemon=True).start()


threading.Thread(target=serve, args=(15006, True), daemon=True).start()
serve(15001, False)
