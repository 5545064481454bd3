# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""One request for a page, and what the answer can be recognised by. The page itself stays where it was fetched."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import json
import re
import socket
import ssl
import time
from typing import Any

READ = 512 * 1024  # bytes of a page
TITLE = 100  # characters
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.I | re.S)


def page(probe: Any, attempt: Any, entry: Any) -> Any:
    """GET without following redirects. Certificates are not verified: the content says whose page it is."""
    deadline = time.monotonic() + attempt.timeout
    host, text = entry.get("host") or attempt.target, entry.get("content") or ""
    try:
        attempt = dataclasses.replace(attempt, target=literal(attempt.target, attempt.port))
    except socket.gaierror:
        return {"outcome": "no_name"}
    with probe._open(attempt, socket.SOCK_STREAM) as plain:
        plain.connect((attempt.target, attempt.port))
        plain.settimeout(max(0.05, deadline - time.monotonic()))
        connection = http.client.HTTPConnection(host.strip("[]"))
        try:
            opened = secured(plain, host) if entry.get("tls") else plain
        except ssl.SSLEOFError:
            return {"outcome": "closed", "sent": 1}
        except ssl.SSLError as exc:  # its errno is none of the kernel's
            return {"outcome": "wrong_answer", "sent": 1, "detail": exc.reason or "TLS"}
        connection.sock = opened
        connection.putrequest("GET", entry.get("path") or "/", skip_host=True, skip_accept_encoding=True)
        for name, value in (
            ("Host", host),
            ("Accept", "*/*"),
            ("User-Agent", "bulkhead.mesh"),
            ("Connection", "close"),
        ):
            connection.putheader(name, value)
        connection.endheaders()
        try:
            answer = connection.getresponse()
            body = content(answer, opened, deadline)
        except http.client.RemoteDisconnected:
            return {"outcome": "closed", "sent": 1}
        except http.client.BadStatusLine as exc:  # another protocol: its first words stand for the page
            return told(0, exc.line.encode(), "", text)
        except http.client.HTTPException as exc:
            return {"outcome": "wrong_answer", "sent": 1, "detail": type(exc).__name__}
        return told(answer.status, body, answer.getheader("Location") or "", text)


def literal(name: Any, port: Any) -> Any:
    """An address for a name, IPv4 first; addresses stay as they are."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return sorted(found, key=lambda one: one[0] != socket.AF_INET)[0][4][0]


def secured(plain: Any, host: Any) -> Any:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=host.rpartition(":")[0] or host)


def content(answer: Any, opened: Any, deadline: Any) -> Any:
    """The body, or as much of it as comes in time: some servers never end an answer."""
    data = b""
    try:
        while len(data) < READ:
            opened.settimeout(max(0.05, deadline - time.monotonic()))
            more = answer.read1(65536)
            if not more:
                break
            data += more
    except (socket.timeout, http.client.IncompleteRead, ValueError):
        pass
    return data


def told(status: Any, body: Any, location: Any, text: Any) -> Any:
    """What of the answer is reported: hashes and the title, never the body."""
    found = _TITLE.search(body)
    title = " ".join(found.group(1).decode("utf-8", "replace").split())[:TITLE] if found else ""
    seen = {
        "status": status,
        "digest": hashlib.sha256(body).hexdigest()[:32] if body else "",
        "title": title,
        "location": re.sub(r"^https?://[^/]+", "", location),
        "content": bool(text) and text.encode() in body,
    }
    return {"outcome": "answered", "sent": 1, "detail": json.dumps(seen)}
