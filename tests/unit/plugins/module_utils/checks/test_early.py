# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first program of a twin, against a small server on loopback that goes silent."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import wire
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._remote import early

ORDERS = {"every": 0.02, "quiet": 0.4, "longest": 5.0, "enough": 0}
COOKIE = 0x2112A442


def success(request: bytes) -> bytes:
    """A STUN answer: one address, not exclusive-ored."""
    address = struct.pack("!HHBBH4B", 1, 8, 0, 1, 4711, 192, 0, 2, 10)
    return struct.pack("!HHI", 0x0101, len(address), COOKIE) + request[8:20] + address


@contextmanager
def server(answers: int, reply: Any = success) -> Iterator[int]:
    """The port of a server that answers the first requests only."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))

        def serve() -> None:
            left = answers
            while True:
                try:
                    data, peer = opened.recvfrom(2048)
                except OSError:
                    return
                if not data:
                    return
                if left > 0:
                    opened.sendto(reply(data), peer)
                left -= 1

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield opened.getsockname()[1]
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", opened.getsockname())
            thread.join()


def watch(port: int, more: Any = (), **orders: Any) -> dict[str, Any]:
    targets = [{"id": "stun1", "target": "127.0.0.1", "port": port}, *more]
    return early.watch(wire, {**ORDERS, **orders, "targets": targets})


@pytest.mark.parametrize("answers", [0, 1, 5])
def test_answers_are_counted_until_they_end(answers: int) -> None:
    with server(answers) as port:
        told = watch(port)
    seen = told["targets"]["stun1"]
    assert seen["answered"] == answers and seen["sent"] > answers and seen["unsent"] == 0
    assert (seen["first"] is None) == (seen["last"] is None) == (answers == 0)
    assert told["watched"] >= (seen["last"] or 0.0) + ORDERS["quiet"] - 0.02


def test_it_ends_although_answers_never_do() -> None:
    with server(10**6) as port:
        told = watch(port, longest=0.6)
    seen = told["targets"]["stun1"]
    assert told["watched"] >= 0.6 and told["watched"] - seen["last"] < 0.3


def test_the_control_ends_as_soon_as_it_was_answered_often_enough() -> None:
    with server(10**6) as port:
        told = watch(port, enough=3)
    assert told["targets"]["stun1"]["answered"] >= 3


@pytest.mark.parametrize("reply", [lambda data: data, lambda data: success(bytes(20)), lambda data: b"x"])
def test_what_is_not_our_answer_does_not_count(reply: Any) -> None:
    with server(10**6, reply) as port:
        assert watch(port)["targets"]["stun1"]["answered"] == 0


def test_what_cannot_be_sent_is_told_apart() -> None:
    """A closed port refuses, which is no answer; an address of no route is not sent at all."""
    with server(0) as port:
        pass
    seen = watch(port, [{"id": "none", "target": "255.255.255.255", "port": 9}])["targets"]
    assert seen["stun1"]["answered"] == 0
    assert (seen["none"]["sent"], seen["none"]["answered"]) == (0, 0) and seen["none"]["unsent"] > 0
