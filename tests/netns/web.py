# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP on port 80 that answers any request with the caller's address, its path and its nonce."""

from __future__ import annotations

import json
import socket
import socketserver
from urllib.parse import parse_qs, urlsplit


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        path = self.rfile.readline(1 << 20).split()[1].decode()
        while self.rfile.readline(1 << 20).strip():
            pass
        parts = urlsplit(path)
        address = self.client_address[0].removeprefix("::ffff:")
        nonce = parse_qs(parts.query).get("nonce", [None])[0]
        body = json.dumps({"address": address, "path": parts.path, "nonce": nonce}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.wfile.write(head.encode() + body)


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = daemon_threads = True


with Server(("::", 80), Handler) as server:
    print("ready", flush=True)
    server.serve_forever()
