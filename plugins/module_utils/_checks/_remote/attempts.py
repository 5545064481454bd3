# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""One attempt to get somewhere, and how it ended."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
import ssl
import struct
import time
from typing import Any

from .pages import page
from .place import agent

READ = 512 * 1024  # bytes of an answer


def stated_address(text: Any, target: Any) -> Any:
    """The first address in an answer that is not the target's own."""
    for word in re.findall(r"[0-9A-Fa-f:.]{3,45}", text):
        try:
            found = str(ipaddress.ip_address(word.strip(".:") if word.count(":") < 2 else word))
        except ValueError:
            continue
        if found != target:
            return found
    return ""


def receive_all(opened: Any, deadline: Any) -> Any:
    data = b""
    while len(data) < READ:
        left = deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout
        opened.settimeout(left)
        more = opened.recv(65536)
        if not more:
            break
        data += more
    return data


def http(probe: Any, attempt: Any, entry: Any) -> Any:
    """GET with a nonce. Plain: the answer has to contain it. TLS: the certificate stands for the nonce."""
    deadline = time.monotonic() + attempt.timeout
    nonce = secrets.token_hex(entry.get("bulk", 16) // 2)
    secure = entry["kind"] == "https"
    host = entry.get("host") or attempt.target
    path, body = entry.get("path") or "/", ""
    if entry.get("bulk"):
        path, body = (f"/{nonce}", "") if entry.get("echo", "path") == "path" else (path, nonce)
    else:
        path += ("&" if "?" in path else "?") + "nonce=" + nonce
    with probe._open(attempt, socket.SOCK_STREAM) as plain:
        plain.connect((attempt.target, attempt.port))
        opened = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain
        head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: */*\r\n"
        opened.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = receive_all(opened, deadline).decode("utf-8", "replace")
        if secure:
            opened.close()
    if not answer:
        return {"outcome": "closed", "sent": 1}
    if not secure and nonce not in answer:
        return {"outcome": "wrong_answer", "sent": 1}
    body = answer.partition("\r\n\r\n")[2].replace(nonce, "")
    return {"outcome": "answered", "sent": 1, "seen": "" if entry.get("bulk") else stated_address(body, attempt.target)}


def whoami(probe: Any, attempt: Any, entry: Any) -> Any:
    """TXT query; below a zone of our own the label is a nonce, else it is a name that states who asked."""
    wire = agent("wire")
    deadline = time.monotonic() + attempt.timeout
    label = f"n{secrets.token_hex(8)}." if entry.get("zone") else ""
    query = wire.dns_query(secrets.randbelow(65536), label + (entry.get("zone") or entry["name"]), 16)
    stream = entry["kind"] == "dns_tcp"
    with probe._open(attempt, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as opened:
        if stream:
            opened.connect((attempt.target, attempt.port))
            opened.sendall(struct.pack("!H", len(query)) + query)
        else:
            probe._send(opened, attempt, query)
        data = b""
        while True:
            more = probe._receive(opened, deadline)
            data = data + more if stream else more
            whole = data[2:] if stream else data
            if stream and more and (len(data) < 2 or len(whole) < struct.unpack("!H", data[:2])[0]):
                continue
            reply = wire.dns_answer(query, whole)
            if reply is not None:
                stated = stated_address(" ".join(reply[1]), "")
                good = reply[0] == 0 and bool(stated)
                return {"outcome": "answered" if good else "wrong_answer", "sent": 1, "seen": stated}
            if stream:
                return {"outcome": "wrong_answer" if data else "closed", "sent": 1}


def call(probe: Any, attempt: Any) -> Any:
    """Connect, say something, and tell the own port: the mesh's log knows the call by it. An answer proves nothing."""
    with probe._open(attempt, socket.SOCK_STREAM) as opened:
        opened.connect((attempt.target, attempt.port))
        port = opened.getsockname()[1]
        opened.sendall(b"GET / HTTP/1.0\r\n\r\n")
        try:
            opened.recv(1)
        except OSError:
            pass
    return {"outcome": "closed", "sent": 1, "detail": str(port)}


def one(entry: Any) -> Any:
    """Make one attempt; never raises for what the network or the kernel does."""
    probe = agent("probe")
    fields = ("target", "port", "method", "device", "source", "timeout", "size")
    kind = entry["kind"]
    made = {key: entry[key] for key in fields if key in entry}
    attempt = probe.Attempt(kind if kind in ("stun", "icmp", "udp") else "tcp", **made)
    started = time.monotonic()
    try:
        if kind in ("http", "https", "bulk"):
            result = http(probe, attempt, {**entry, "kind": "https" if entry.get("tls") else kind})
        elif kind in ("dns", "dns_tcp"):
            result = whoami(probe, attempt, entry)
        elif kind == "call":
            result = call(probe, attempt)
        elif kind == "page":
            result = page(probe, attempt, entry)
        else:
            ended = probe.attempt_once(attempt)
            result = {"outcome": ended.outcome, "sent": ended.sent, "seen": ended.seen}
    except ssl.SSLCertVerificationError:
        result = {"outcome": "wrong_answer", "sent": 1, "detail": "certificate of somebody else"}
    except OSError as exc:
        result = {"outcome": probe.outcome_of(exc)}
    except Exception as exc:
        result = {"outcome": "tool", "detail": f"{type(exc).__name__}: {exc}"}
    return {**result, "seconds": round(time.monotonic() - started, 4)}
