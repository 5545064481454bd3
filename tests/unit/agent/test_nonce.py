# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nonces over loopback to somebody who answers late, wrongly or not at all."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import config, nonce

CLIENT = config.client({"vni": 7, "port": 14789, "network": "10.222.1.0/24", "first_index": 10})
LOOK = 0.02


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.setblocking(False)
        monkeypatch.setattr(nonce, "NONCE_PORT", made.getsockname()[1])
        monkeypatch.setattr(nonce.conf, "gateway_address", lambda _network: "127.0.0.1")
        yield made


def test_one_nonce_a_second_and_a_late_answer_counts(gateway: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    nonces = nonce.Nonces(CLIENT, "lo")
    assert not nonces.answered(LOOK)
    first, sender = gateway.recvfrom(100)
    assert not nonces.answered(LOOK)
    with pytest.raises(BlockingIOError):
        gateway.recvfrom(100)  # not yet again
    monkeypatch.setattr(nonce, "ASK_SECONDS", 0.0)
    assert not nonces.answered(LOOK)
    second = gateway.recvfrom(100)[0]
    assert second != first
    gateway.sendto(first, sender)
    assert nonces.answered(1)


def test_what_is_no_nonce_of_ours_is_no_answer(gateway: socket.socket) -> None:
    nonces = nonce.Nonces(CLIENT, "lo")
    assert not nonces.answered(LOOK)
    _data, sender = gateway.recvfrom(100)
    gateway.sendto(b"0" * 16, sender)
    assert not nonces.answered(LOOK)


def test_another_sender_is_not_heard(gateway: socket.socket) -> None:
    nonces = nonce.Nonces(CLIENT, "lo")
    assert not nonces.answered(LOOK)
    data, sender = gateway.recvfrom(100)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(data, sender)
    assert not nonces.answered(LOOK)


def test_no_device_is_silence_and_not_an_error(gateway: socket.socket) -> None:
    nonces = nonce.Nonces(CLIENT, "nosuchdevice0")
    assert not nonces.answered(LOOK)


def test_refused_is_silence_and_the_next_one_is_asked_anew(
    gateway: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonce, "ASK_SECONDS", 0.0)
    port = gateway.getsockname()[1]
    gateway.close()
    nonces = nonce.Nonces(CLIENT, "lo")
    for _turn in range(3):
        assert not nonces.answered(LOOK)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", port))
        assert not nonces.answered(LOOK)
        data, sender = again.recvfrom(100)
        again.sendto(data, sender)
        assert nonces.answered(1)
