# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Nonces to the gateway over the overlay, sent by the program that runs anyway.

One socket for all of them, so that an answer counts however late it comes: a busy gateway is no dead one.
"""

from __future__ import annotations

import secrets
import select
import socket
import time
from collections import deque

from . import config as conf
from .config import NONCE_PORT, OVERLAY_DEVICE, Client

ASK_SECONDS = 1.0  # between two nonces
REMEMBERED = 32  # nonces whose answer still counts
_SO_BINDTODEVICE = 25


class Nonces:
    """Asks about once a second for as long as somebody waits for the answer."""

    def __init__(self, config: Client, device: str = OVERLAY_DEVICE) -> None:
        self._target = (str(conf.gateway_address(config.network)), NONCE_PORT)
        self._device = device
        self._socket: socket.socket | None = None
        self._sent: deque[bytes] = deque(maxlen=REMEMBERED)
        self._asked: float | None = None

    def answered(self, seconds: float) -> bool:
        """Ask if it is time to, and wait that long; whether the gateway sent one of the nonces back."""
        end = time.monotonic() + seconds
        try:
            self._ask()
            while (left := end - time.monotonic()) > 0:
                if select.select([self._open()], [], [], left)[0] and self._open().recv(4096) in self._sent:
                    return True
        except OSError:  # no device, no route, refused: as good as silence
            self.close()
            time.sleep(max(0.0, end - time.monotonic()))
        return False

    def close(self) -> None:
        """Ask no more."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _ask(self) -> None:
        now = time.monotonic()
        if self._asked is not None and now - self._asked < ASK_SECONDS:
            return
        self._asked = now
        nonce = secrets.token_hex(8).encode()
        self._open().send(nonce)
        self._sent.append(nonce)

    def _open(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, self._device.encode() + b"\0")
            self._socket.setblocking(False)
            self._socket.connect(self._target)
        return self._socket
