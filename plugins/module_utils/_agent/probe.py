# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Attempts with a nonce, each with its own timeout, each ending in one of a few named outcomes.

Only an answer that contains the nonce is an answer: a connection that opens proves nothing where a mesh accepts every
connection locally. Errors are kept apart because they say who refused: EPERM the local firewall, ENETUNREACH and
EHOSTUNREACH routing or the neighbour, a timeout somebody later or nobody at all, a refusal the far end.
"""

from __future__ import annotations

import argparse
import codecs
import errno
import json
import os
import secrets
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from . import wire
from .config import NONCE_PORT, OVERLAY_DEVICE, Client, Gateway, gateway_address

_SO_BINDTODEVICE = 25
_IP_UNICAST_IF = 50
_IPV6_UNICAST_IF = 76
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_IP_PKTINFO = 8
_IPV6_PKTINFO = 50
_SO_MARK = 36
_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20
_ETH_P_IP = 0x0800

ANSWERED = "answered"
METHODS = ("route", "bindtodevice", "unicast_if", "pktinfo")
_OUTCOMES = {
    errno.EPERM: "EPERM",
    errno.EACCES: "EACCES",
    errno.ENETUNREACH: "ENETUNREACH",
    errno.EHOSTUNREACH: "EHOSTUNREACH",
    errno.EADDRNOTAVAIL: "EADDRNOTAVAIL",
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "refused",
    errno.ETIMEDOUT: "timeout",
}


@dataclass(frozen=True)
class Attempt:
    """What to try. ``method`` says how ``device`` is named; ``source`` is an address to bind to."""

    kind: str  # udp, tcp, stun, dns, dns_tcp, icmp, raw
    target: str
    port: int = 0
    method: str = "route"
    device: str = ""
    source: str = ""
    timeout: float = 2.0
    name: str = ""  # dns: zone under which a nonce label is asked for
    size: int = 0  # tcp, udp, icmp: pad the message to this many bytes
    mark: int = 0  # raw: SO_MARK, to try whether the filter can be deceived
    ethertype: int = _ETH_P_IP  # raw: what the sender claims the frame is
    bypass: bool = False  # raw: PACKET_QDISC_BYPASS


@dataclass(frozen=True)
class Result:
    """How it ended. ``sent`` counts packets the kernel took; ``seen`` is the address the far end reported."""

    outcome: str  # answered, wrong_answer, closed, timeout, refused, EPERM, ENETUNREACH, EHOSTUNREACH, sent or an errno
    sent: int = 0
    seen: str = ""
    seconds: float = 0.0


def outcome_of(error: OSError) -> str:
    """Name of an error class. Pure."""
    if isinstance(error, socket.timeout):
        return "timeout"
    return _OUTCOMES.get(error.errno or 0, errno.errorcode.get(error.errno or 0, "error"))


def _open(attempt: Attempt, kind: int, protocol: int = 0) -> socket.socket:
    six = ":" in attempt.target
    opened = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind, protocol)
    try:
        opened.settimeout(attempt.timeout)
        if kind == socket.SOCK_DGRAM:  # else "refused" and "unreachable" would look like a timeout
            level, option = (socket.IPPROTO_IPV6, _IPV6_RECVERR) if six else (socket.IPPROTO_IP, _IP_RECVERR)
            opened.setsockopt(level, option, 1)
        if attempt.method == "bindtodevice":
            opened.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, attempt.device.encode() + b"\0")
        elif attempt.method == "unicast_if":
            index = struct.pack("!I", socket.if_nametoindex(attempt.device))
            level, option = (socket.IPPROTO_IPV6, _IPV6_UNICAST_IF) if six else (socket.IPPROTO_IP, _IP_UNICAST_IF)
            opened.setsockopt(level, option, index)
        if attempt.source:
            opened.bind((attempt.source, 0))
    except BaseException:
        opened.close()
        raise
    return opened


def _send(opened: socket.socket, attempt: Attempt, data: bytes) -> None:
    if attempt.method != "pktinfo":
        opened.sendto(data, (attempt.target, attempt.port))
        return
    index = socket.if_nametoindex(attempt.device)
    if ":" in attempt.target:
        ancillary = (socket.IPPROTO_IPV6, _IPV6_PKTINFO, struct.pack("=16si", b"\0" * 16, index))
    else:
        ancillary = (socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4s", index, b"\0" * 4, b"\0" * 4))
    opened.sendmsg([data], [ancillary], 0, (attempt.target, attempt.port))


def _receive(opened: socket.socket, deadline: float) -> bytes:
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout
    opened.settimeout(left)
    return opened.recv(65535)


def _text_answer(nonce: bytes, data: bytes) -> Result | None:
    """The echo answers ``NONCE ADDRESS``, or the nonce alone."""
    if not data.startswith(nonce):
        return None
    words = data.decode("ascii", "replace").split()
    return Result(ANSWERED, 1, words[-1] if len(words) > 1 else "")


def _datagram(attempt: Attempt, deadline: float) -> Result:
    nonce = secrets.token_hex(8).encode()
    transaction, number = secrets.token_bytes(wire.STUN_NONCE), secrets.randbelow(65536)
    query = wire.dns_query(number, f"n{nonce.decode()}.{attempt.name}", 1) if attempt.kind == "dns" else b""
    message = {"udp": nonce.ljust(attempt.size), "stun": wire.stun_request(transaction), "dns": query}[attempt.kind]
    with _open(attempt, socket.SOCK_DGRAM) as opened:
        _send(opened, attempt, message)
        try:
            while True:
                data = _receive(opened, deadline)
                if attempt.kind == "stun":
                    seen = wire.stun_address(data, transaction)
                    found = None if seen is None else Result(ANSWERED, 1, seen)
                elif attempt.kind == "dns":
                    reply = wire.dns_answer(query, data)
                    found = None if reply is None else Result(ANSWERED, 1, ",".join(reply[1]))
                else:
                    found = _text_answer(nonce, data)
                if found:
                    return found
        except OSError as exc:
            return Result(outcome_of(exc), 1)


def _stream(attempt: Attempt, deadline: float) -> Result:
    nonce = secrets.token_hex(8).encode()
    query = wire.dns_query(secrets.randbelow(65536), f"n{nonce.decode()}.{attempt.name or 'invalid'}", 1)
    dns = attempt.kind == "dns_tcp"
    message = struct.pack("!H", len(query)) + query if dns else nonce.ljust(attempt.size) + b"\n"
    with _open(attempt, socket.SOCK_STREAM) as opened:
        opened.connect((attempt.target, attempt.port))
        opened.sendall(message)
        data = b""
        while True:
            more = _receive(opened, deadline)
            data += more
            if dns and len(data) > 2 and len(data) >= 2 + struct.unpack("!H", data[:2])[0]:
                reply = wire.dns_answer(query, data[2:])
                return Result(ANSWERED, 1, ",".join(reply[1])) if reply else Result("wrong_answer", 1)
            if not dns and (data.endswith(b"\n") or not more):
                found = _text_answer(nonce, data)
                return found or Result("wrong_answer" if data else "closed", 1)
            if not more:
                return Result("closed", 1)


def _echo(attempt: Attempt, deadline: float) -> Result:
    nonce = secrets.token_hex(8).encode().ljust(attempt.size)
    six = ":" in attempt.target
    with _open(attempt, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP) as opened:
        _send(opened, attempt, wire.echo_request(nonce, 6 if six else 4))
        try:
            while True:
                if nonce in _receive(opened, deadline)[wire.ICMP_HEADER :]:
                    return Result(ANSWERED, 1)
        except OSError as exc:
            return Result(outcome_of(exc), 1)


def _raw(attempt: Attempt, _deadline: float) -> Result:
    """One frame past the whole IP stack. Nothing can come back; whoever captures counts. Broadcast is not routed,
    so the frame goes to the router's MAC, which the caller puts into ``name``."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as opened:
        opened.bind((attempt.device, 0))
        if attempt.mark:
            opened.setsockopt(socket.SOL_SOCKET, _SO_MARK, attempt.mark)
        if attempt.bypass:
            opened.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        macs = bytes.fromhex(attempt.name.replace(":", "")) + opened.getsockname()[4]
        frame = wire.udp_frame(macs, attempt.source, attempt.target, attempt.port, secrets.token_hex(8).encode())
        opened.sendto(frame, (attempt.device, attempt.ethertype))
        return Result("sent", 1)


_KINDS = {"udp": _datagram, "stun": _datagram, "dns": _datagram, "tcp": _stream, "dns_tcp": _stream, "icmp": _echo}


def attempt_once(attempt: Attempt) -> Result:
    """Try it and say how it ended; never raises for what the network or the kernel does."""
    started = time.monotonic()
    try:
        result = {**_KINDS, "raw": _raw}[attempt.kind](attempt, started + attempt.timeout)
    except OSError as exc:
        result = Result(outcome_of(exc))
    return Result(result.outcome, result.sent, result.seen, round(time.monotonic() - started, 4))


def overlay_attempt(config: Client | Gateway, timeout: float = 1.0) -> Attempt:
    """A nonce to the gateway over the overlay; from the gateway itself the same by loopback."""
    method = "bindtodevice" if isinstance(config, Client) else "route"
    target = str(gateway_address(config.network))
    return Attempt("udp", target, NONCE_PORT, method, OVERLAY_DEVICE, timeout=timeout)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="probe", description="Try to reach a target and print how it ended as JSON.")
    parser.add_argument("kind", choices=["overlay", "raw", *_KINDS])
    for name in ("target", "device", "source", "name"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--method", choices=METHODS, default="route")
    for name in ("port", "size"):
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--mark", type=lambda text: int(text, 0), default=0)
    parser.add_argument("--ethertype", type=lambda text: int(text, 0), default=_ETH_P_IP)
    parser.add_argument("--bypass", action="store_true")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds for one attempt")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--interval", type=float, default=0.0, help="seconds between attempts")
    parser.add_argument("--uid", type=int, help="become this user first, without any capability")
    return parser.parse_args(argv)


def main(config: Client | Gateway | None, argv: Sequence[str]) -> int:
    """Command ``probe``: exit code 0 when every attempt was answered, 1 otherwise."""
    options = vars(_arguments(argv))
    count, interval, uid = options.pop("count"), options.pop("interval"), options.pop("uid")
    if options["kind"] == "overlay":
        if config is None:
            raise ValueError("probe overlay needs the pod's configuration")
        attempt = overlay_attempt(config, options["timeout"])
    else:
        attempt = Attempt(**options)
    if uid is not None:
        codecs.lookup("idna")  # sockets load it at first use, when this user may not read the library any more
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    results: list[dict[str, Any]] = []
    for number in range(count):
        if number and interval:
            time.sleep(interval)
        results.append(asdict(attempt_once(attempt)))
    # pylint: disable-next=ansible-bad-function  # runs in a pod: there is no AnsibleModule
    print(json.dumps({"attempt": {key: value for key, value in asdict(attempt).items() if value}, "results": results}))
    return 0 if all(result["outcome"] == ANSWERED for result in results) else 1
