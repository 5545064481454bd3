# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""First program of a twin: sends from its first instant on, counts answers, and tells whoever asks.

It is given as text in the pod's command, with the agent's file ``wire`` and its orders as arguments: an exec would come
after the moment that this is about. It ends sending after some seconds without an answer, and never later than ordered.
"""

from __future__ import annotations

import json
import secrets
import select
import socket
import sys
import time
import types
from typing import Any

SOCKET = "\0bulkhead-early"  # abstract: in the pod's network namespace, no file


def opened(targets: Any) -> Any:
    """One socket for each family that is needed and that the kernel has."""
    found = {}
    for six in {":" in one["target"] for one in targets}:
        try:
            found[six] = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
            found[six].setblocking(False)
        except OSError:
            continue
    return found


def send(wire: Any, sockets: Any, one: Any, asked: Any, told: Any) -> None:
    """One request with a nonce of its own; one that the kernel did not take counts as not sent."""
    nonce = secrets.token_bytes(12)
    try:
        sockets[":" in one["target"]].sendto(wire.stun_request(nonce), (one["target"], one["port"]))
    except (OSError, KeyError):
        told["unsent"] += 1
        return
    asked[nonce] = one["id"]
    told["sent"] += 1


def receive(wire: Any, sockets: Any, seconds: Any, asked: Any) -> Any:
    """Targets whose answers came; waits at most ``seconds`` for the first."""
    found = []
    for ready in select.select(list(sockets.values()), [], [], seconds)[0]:
        try:
            data = ready.recv(2048)
        except OSError:
            continue  # a refusal is no answer
        nonce = data[8:20]
        if nonce in asked and wire.stun_address(data, nonce) is not None:
            found.append(asked.pop(nonce))
    return found


def watch(wire: Any, orders: Any) -> Any:
    """Send to each target ``every`` so many seconds; see ``_twins.orders`` for the rest."""
    begun, last, due = time.monotonic(), 0.0, 0.0
    told: Any = {}
    asked: Any = {}
    targets, enough = orders["targets"], orders["enough"]
    for one in targets:
        told[one["id"]] = {"sent": 0, "unsent": 0, "answered": 0, "first": None, "last": None}
    sockets = opened(targets)
    while True:
        now = time.monotonic() - begun
        wanted = [one for one in targets if not enough or told[one["id"]]["answered"] < enough]
        if not wanted or now - last >= orders["quiet"] or now >= orders["longest"]:
            return {"watched": round(now, 2), "targets": told}
        if now >= due:
            due = now + orders["every"]
            for one in wanted:
                send(wire, sockets, one, asked, told[one["id"]])
        for id_ in receive(wire, sockets, max(0.0, due - (time.monotonic() - begun)), asked):
            last = time.monotonic() - begun
            seen = told[id_]
            seen["answered"] += 1
            seen["first"] = round(last, 2) if seen["first"] is None else seen["first"]
            seen["last"] = round(last, 2)


def serve(text: Any, listener: Any) -> None:
    """Tell everybody who connects, for as long as the pod lives."""
    while True:
        with listener.accept()[0] as asking:
            try:
                asking.sendall(text)
            except OSError:
                continue


def main(wire_source: Any, orders: Any) -> None:
    wire = types.ModuleType("wire")
    exec(compile(wire_source, "wire", "exec"), wire.__dict__)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(SOCKET)
    listener.listen(8)
    serve(json.dumps(watch(wire, json.loads(orders))).encode(), listener)


if __name__ == "__main__":
    main(*sys.argv[1:])
