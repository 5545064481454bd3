# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The attempts of one check: all at the same time, by each user, with what the drop counters rose by meanwhile."""

from __future__ import annotations

import ctypes
import json
import os
import select
import struct
import threading
import time
from typing import Any

from .attempts import one
from .place import agent


def dropped(table: Any) -> Any:
    """Packets that the tables of this name refused on their way out so far."""
    nft, rules = agent("nft"), agent("rules")
    total = nft.counters(nft.listing("inet", table))[rules.DROPPED]
    try:
        total += nft.counters(nft.listing("netdev", table)).get(rules.DROPPED, 0)
    except agent("command").CommandError:
        pass  # no companion on this kernel
    return total


def become(uid: Any) -> None:
    """Become this user without capabilities; where the container may not change users, drop all capabilities only."""
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except PermissionError:
        header = struct.pack("=Ii", 0x20080522, 0)  # version 3, this process
        if ctypes.CDLL(None, use_errno=True).capset(header, struct.pack("=6I", *[0] * 6)):
            raise OSError(ctypes.get_errno(), "capset") from None


def in_child(entries: Any, uid: Any) -> Any:
    """All entries at the same time in one child process, as that user; its id and the pipe it answers on."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            if uid:
                become(uid)
            found = [{"outcome": "tool", "detail": "it did not end"} for _entry in entries]

            def keep(index: Any, entry: Any) -> None:
                found[index] = one(entry)

            threads = [
                threading.Thread(target=keep, args=(index, entry), daemon=True) for index, entry in enumerate(entries)
            ]
            for thread in threads:
                thread.start()
            end = time.monotonic() + max(entry.get("timeout", 2.0) for entry in entries) + 2
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
            with os.fdopen(writer, "w") as out:
                json.dump(
                    [{**result, "uid": os.getuid(), "privileged": not uid and os.getuid() == 0} for result in found],
                    out,
                )
            code = 0
        except BaseException as exc:
            try:
                os.write(writer, json.dumps({"error": f"{type(exc).__name__}: {exc}"}).encode())
            except OSError:
                pass
        finally:
            os._exit(code)
    os.close(writer)
    return child, reader


def collect(child: Any, reader: Any, count: Any, seconds: Any) -> Any:
    data, end = b"", time.monotonic() + seconds
    try:
        while True:
            left = end - time.monotonic()
            if left <= 0 or not select.select([reader], [], [], left)[0]:
                os.kill(child, 9)
                break
            more = os.read(reader, 65536)
            if not more:
                break
            data += more
    finally:
        os.close(reader)
        os.waitpid(child, 0)
    try:
        found = json.loads(data or b"null")
    except ValueError:
        found = None
    if isinstance(found, list) and len(found) == count:
        return found
    detail = found.get("error", "") if isinstance(found, dict) else "the probe's process ended early"
    return [{"outcome": "tool", "detail": detail}] * count


def step(entry: Any, table: Any) -> Any:
    """All attempts of one check, by each user, with what the counters rose by."""

    def count() -> Any:
        try:
            return dropped(table), ""
        except Exception as exc:
            return None, f"{type(exc).__name__}: {exc}"

    attempts, users = entry["attempts"], entry.get("uids") or [None]
    before, why = count() if table else (None, "there is no table here")
    started, clock = time.time(), time.monotonic()
    longest = max((one_.get("timeout", 2.0) for one_ in attempts), default=0.0)
    children = [(uid, *in_child(attempts, uid)) for uid in users] if attempts else []
    found = []
    for uid, child, reader in children:
        for tried, result in zip(attempts, collect(child, reader, len(attempts), longest + 4)):
            named = {"target": tried["id"], "kind": tried["kind"], "method": tried.get("method", "route")}
            found.append({**named, "uid": os.getuid() if uid is None else uid, "privileged": False, **result})
    after, why_after = count() if table else (None, why)
    made = {"attempts": found, "started": started, "ended": time.time(), "seconds": round(time.monotonic() - clock, 3)}
    if before is None or after is None:
        return {**made, "delta": None, "why": why or why_after}
    return {**made, "delta": after - before}
