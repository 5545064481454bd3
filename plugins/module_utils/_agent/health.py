# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The answer to the kubelet's probes: healthy or not, and nothing else.

A thread of the program that runs anyway answers, so a probe starts no program. It listens on the pod's own address,
the one that the kubelet calls, and neither on the overlay's nor on the tunnel's nor on loopback. Whatever is asked, the
answer is one status line without a body. Callers are few and have little time.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Callable

from .command import log
from .config import HEALTH_PORT

CALLERS = 8  # at once; further ones wait in the kernel's queue
CALL_SECONDS = 2.0  # in which a caller has to have asked
LARGEST_REQUEST = 8192  # bytes
LOOK_SECONDS = 0.05  # while somebody waits for a better answer
IDLE_SECONDS = 5.0
AGAIN_SECONDS = 1.0  # until the port is tried again
_END = b"\r\n\r\n"


def answer(healthy: bool) -> bytes:
    """The whole answer. Pure."""
    status = b"200 OK" if healthy else b"503 Service Unavailable"
    return b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Caller:
    """One connection. ``since`` is when it was accepted, by a monotonic clock; ``asked`` once the request is complete."""

    since: float
    request: bytes = b""
    asked: bool = False

    def take(self, data: bytes) -> bool:
        """Add what arrived; False if this is no request that will ever be answered. Pure."""
        self.request += data
        self.asked = self.asked or _END in self.request
        return bool(data) and (self.asked or len(self.request) <= LARGEST_REQUEST)

    def due(self, healthy: bool, hold: float, now: float) -> bool:
        """Whether it is time to answer. Pure."""
        return self.asked and (healthy or now - self.since >= hold)

    def late(self, now: float) -> bool:
        """Whether it took too long to ask. Pure."""
        return not self.asked and now - self.since >= CALL_SECONDS


class Health(threading.Thread):
    """Answers for as long as the process lives; a port that somebody else has is tried again and again.

    ``hold`` is how many seconds an answer may wait for something better to say: who becomes healthy meanwhile need not
    be asked again.
    """

    def __init__(
        self,
        address: IPv4Address | IPv6Address,
        healthy: Callable[[], bool],
        hold: float = 0.0,
        port: int = HEALTH_PORT,
    ) -> None:
        super().__init__(name="health", daemon=True)
        self.address, self.port = address, port
        self._healthy, self._hold = healthy, hold

    def run(self) -> None:
        """Listen and answer."""
        complaint = ""
        while True:
            try:
                with self._listen() as server:
                    if complaint:
                        log("health_works", port=self.port)
                    complaint = ""
                    self.serve(server)
            except OSError as exc:
                if complaint != str(exc):
                    log("health_failed", port=self.port, detail=str(exc))
                complaint = str(exc)
            time.sleep(AGAIN_SECONDS)

    def _listen(self) -> socket.socket:
        family = socket.AF_INET if self.address.version == 4 else socket.AF_INET6
        server = socket.socket(family, socket.SOCK_STREAM)
        try:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((str(self.address), self.port))
            server.listen(CALLERS)
            server.setblocking(False)
        except OSError:
            server.close()
            raise
        return server

    def serve(self, server: socket.socket) -> None:
        """Answer whoever calls, until the listening socket fails."""
        callers: dict[socket.socket, Caller] = {}
        try:
            while True:
                self._turn(server, callers)
        finally:
            for one in callers:
                one.close()

    def _turn(self, server: socket.socket, callers: dict[socket.socket, Caller]) -> None:
        waiting = [one for one, caller in callers.items() if not caller.asked]
        listening = [server] if len(callers) < CALLERS else []
        readable = select.select([*listening, *waiting], [], [], LOOK_SECONDS if callers else IDLE_SECONDS)[0]
        now = time.monotonic()
        for one in readable:
            if one is server:
                accepted = _accept(server)
                if accepted is not None:
                    callers[accepted] = Caller(now)
            elif not callers[one].take(_receive(one)):
                del callers[one]
                one.close()
        for one, caller in list(callers.items()):
            healthy = caller.asked and self._healthy()
            due = caller.due(healthy, self._hold, now)
            if due:
                _send(one, answer(healthy))
            if due or caller.late(now):
                del callers[one]
                one.close()


def _accept(server: socket.socket) -> socket.socket | None:
    try:
        accepted = server.accept()[0]
    except (BlockingIOError, ConnectionError):
        return None  # gone before it was accepted
    accepted.setblocking(False)
    return accepted


def _receive(one: socket.socket) -> bytes:
    try:
        return one.recv(LARGEST_REQUEST)
    except OSError:
        return b""


def _send(one: socket.socket, data: bytes) -> None:
    try:
        one.sendall(data)
    except OSError:
        pass  # the caller is gone
