# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kubelet hears, also when others call at the same time. Loopback only."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import health

LOOPBACK = IPv4Address("127.0.0.1")
PATIENCE = 10.0  # seconds; the timeout of what has to happen


class Asked:
    """A health port on loopback, and whether its owner is well."""

    def __init__(self, hold: float = 0.0, address: str = "127.0.0.1") -> None:
        self.well, self.address = threading.Event(), address
        with socket.create_server((address, 0), family=self.family) as free:
            self.port = int(free.getsockname()[1])
        self.server = health.Health(ipaddress.ip_address(address), self.well.is_set, hold, self.port)
        self.server.start()

    @property
    def family(self) -> int:
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET

    def connect(self) -> socket.socket:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return socket.create_connection((self.address, self.port), PATIENCE)
            except ConnectionRefusedError:
                assert time.monotonic() < end
                time.sleep(0.01)

    def status(self) -> int:
        """As the kubelet asks."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=PATIENCE)
        connection.sock = self.connect()
        connection.request("GET", "/healthy", headers={"User-Agent": "kube-probe/1.36", "Connection": "close"})
        response = connection.getresponse()
        assert response.read() == b""
        assert {name.lower() for name, _value in response.getheaders()} <= {"content-length", "connection"}
        return response.status


@pytest.fixture
def asked() -> Iterator[Asked]:
    yield Asked()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_well_or_not_is_all_that_is_told(address: str) -> None:
    asked = Asked(address=address)
    assert asked.status() == 503
    asked.well.set()
    assert asked.status() == 200
    asked.well.clear()
    assert asked.status() == 503


def test_a_request_may_come_in_pieces(asked: Asked) -> None:
    asked.well.set()
    with asked.connect() as caller:
        for piece in (b"GET /heal", b"thy HTTP/1.1\r\nHost: x\r\n", b"\r\n"):
            caller.sendall(piece)
            time.sleep(0.02)
        assert caller.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert caller.recv(4096) == b""


def test_who_asks_nothing_or_too_much_gets_nothing(asked: Asked) -> None:
    asked.well.set()
    with asked.connect() as silent, asked.connect() as loud:
        try:
            loud.sendall(b"x" * (2 * health.LARGEST_REQUEST))
            assert loud.recv(4096) == b""
        except ConnectionError:
            pass
        assert silent.recv(4096) == b""  # after its time is over


def test_callers_who_say_nothing_do_not_keep_the_kubelet_out(asked: Asked) -> None:
    asked.well.set()
    silent = [asked.connect() for _number in range(health.CALLERS)]
    assert asked.status() == 200
    for one in silent:
        one.close()


def test_the_answer_waits_for_something_better_to_say() -> None:
    asked = Asked(hold=PATIENCE)
    threading.Timer(0.2, asked.well.set).start()
    assert asked.status() == 200
    asked = Asked(hold=0.1)
    assert asked.status() == 503


def test_a_port_that_somebody_has_is_taken_as_soon_as_it_is_free(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]
        server = health.Health(LOOPBACK, lambda: True, port=port)
        server.start()
        time.sleep(0.1)
        assert server.is_alive()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            connection.request("GET", "/healthy")
            break
        except ConnectionError:
            connection.close()
            assert time.monotonic() < end
            time.sleep(0.05)
    assert connection.getresponse().status == 200
    assert "health_failed" in capsys.readouterr().err


def test_only_the_given_address_is_listened_on(asked: Asked) -> None:
    asked.connect().close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", asked.port), PATIENCE)


def test_caller_by_itself() -> None:
    caller = health.Caller(since=100.0)
    assert not caller.due(True, 0.0, 200.0)  # it has not asked yet
    assert caller.late(100.0 + health.CALL_SECONDS) and not caller.late(100.0)
    assert caller.take(b"GET / HTTP/1.1\r\n\r\n") and caller.asked
    assert caller.due(False, 3.0, 103.0) and not caller.due(False, 3.0, 102.9)
    assert caller.due(True, 3.0, 100.0)
    assert not caller.late(200.0)
    assert not health.Caller(0.0).take(b"")
