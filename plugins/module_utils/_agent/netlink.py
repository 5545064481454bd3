# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Two things iproute2 cannot do in a pod, where /proc/sys is read-only: per-device IPv4 settings by rtnetlink."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping

from .command import AgentError

# Numbers of linux/ip.h, IPV4_DEVCONF_*.
FORWARDING = 1
RP_FILTER = 8

_RTM_SETLINK = 19
_NLM_F_REQUEST_ACK = 0x5
_IFLA_AF_SPEC = 26
_IFLA_INET_CONF = 1
_NESTED = 0x8000


def _attribute(kind: int, payload: bytes) -> bytes:
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + b"\0" * (-length % 4)


def set_inet_message(index: int, settings: Mapping[int, int]) -> bytes:
    """RTM_SETLINK request that changes IPv4 settings of one device. Pure."""
    values = b"".join(_attribute(number, struct.pack("=I", value)) for number, value in settings.items())
    family = _attribute(socket.AF_INET | _NESTED, _attribute(_IFLA_INET_CONF | _NESTED, values))
    body = struct.pack("=BBHiII", 0, 0, 0, index, 0, 0) + _attribute(_IFLA_AF_SPEC | _NESTED, family)
    return struct.pack("=IHHII", 16 + len(body), _RTM_SETLINK, _NLM_F_REQUEST_ACK, 1, 0) + body


def set_inet(device: str, settings: Mapping[int, int]) -> None:
    """Change IPv4 settings of one device; needs NET_ADMIN in the pod's network namespace, nothing else."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.settimeout(5)
        netlink.send(set_inet_message(socket.if_nametoindex(device), settings))
        error = struct.unpack("=i", netlink.recv(4096)[16:20])[0]
    if error:
        raise AgentError(f"The IPv4 settings of {device} cannot be changed: {os.strerror(-error)}.")
