# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What may be said of a VPN client: its last proof, and whether that is still about what runs now. Pure.

A verdict is only as good as what it was about. Pods that are newer than the proof make it unknown, whatever it said;
bad news do not grow old.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

PROTECTED, SINGLE, UNPROTECTED, UNKNOWN = "protected", "protected_single_layer", "unprotected", "unknown"
NEVER, STOPPED, MISSING = "never_verified", "stopped", "missing"
VERDICTS = (PROTECTED, SINGLE, UNKNOWN, UNPROTECTED)
SKEW = timedelta(minutes=5)  # a report from further in the future is not believed
Key = tuple[str, str, str]  # kind, namespace, name


@dataclass(frozen=True)
class Proof:
    """A report of ``killswitch_check``. ``state`` is ``read``, ``none`` or ``unreadable``, with the reason."""

    state: str
    reason: str = ""
    time: datetime | None = None
    clients: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)
    checks: Sequence[Mapping[str, Any]] = ()

    def age(self, now: datetime) -> float | None:
        """Seconds since it was made; None where that cannot be said."""
        if self.time is None or self.time > now + SKEW:
            return None
        return max((now - self.time).total_seconds(), 0.0)


@dataclass(frozen=True)
class Live:
    """What the cluster says of a client now.

    ``unread`` is why it could not be looked at. ``attached``: its template starts with the guard. ``pods`` are those that
    have not ended, ``unguarded`` those of them without the guard; ``newest`` is the newest of its pods and its gateway's.
    Sentences about pods beside its own: ``open`` use what is the client's and have no guard, ``left`` its workload does not
    own; ``unseen`` is why that is not known.
    """

    unread: str = ""
    exists: bool = True
    attached: bool = False
    gateway: str = ""
    pods: Sequence[str] = ()
    unguarded: Sequence[str] = ()
    open: Sequence[str] = ()
    left: Sequence[str] = ()
    unseen: str = ""
    newest: datetime | None = None


@dataclass(frozen=True)
class Standing:
    """``state`` is a verdict, ``never_verified``, ``stopped`` or ``missing``; ``layers`` only where the proof holds.

    ``as_required`` is false where the report found something wrong beside the layers, whatever its verdict.
    """

    state: str
    reason: str
    layers: Mapping[str, str] = field(default_factory=dict)
    stale: bool = False
    as_required: bool = True


def moment(text: Any) -> datetime | None:
    """A time as the API server and reports write it, such as 2026-11-21T17:30:00Z; None if it is none."""
    try:
        found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return found.astimezone(timezone.utc) if found.tzinfo else found.replace(tzinfo=timezone.utc)


def proof(text: str | None, reason: str = "") -> Proof:
    """A report's text as a proof; None where there is no file, with a reason where it could not be read."""
    if text is None:
        return Proof("unreadable" if reason else "none", reason or "no report was given")
    try:
        report = json.loads(text)
        clients = {(one["kind"], one["namespace"], one["name"]): one for one in report["clients"]}
        checks = [one for one in report["checks"] if {"id", "target", "result"} <= set(one)]
    except (ValueError, KeyError, TypeError):
        return Proof("unreadable", "it is not a report of killswitch_check")
    return Proof("read", "", moment(report.get("time")), clients, checks)


def judge(key: Key, live: Live, report: Proof, now: datetime, stale_after: float) -> Standing:
    """What may be said of one client; ``stale_after`` in seconds."""
    if live.unread:
        return Standing(UNKNOWN, live.unread)
    if not live.exists:
        return Standing(MISSING, "there is no such workload")
    if live.unguarded:
        return Standing(UNPROTECTED, f"pod {live.unguarded[0]} runs without the guard and leaves by the node")
    if live.open:
        return Standing(UNPROTECTED, live.open[0])
    if live.left or live.unseen:
        # No proof is about how such a pod is now: it may have lost its policy since.
        return Standing(UNKNOWN, live.left[0] if live.left else live.unseen)
    if not live.pods:
        return Standing(STOPPED, "no pod runs" if live.attached else "no pod runs, and it is not attached")
    if not live.attached:
        return Standing(UNKNOWN, "its pod template has no guard, although its pods have one")
    entry = report.clients.get(key)
    if report.state == "none" or (report.state == "read" and entry is None):
        return Standing(NEVER, report.reason or "the report does not name it")
    if entry is None:
        return Standing(UNKNOWN, f"the report cannot be used: {report.reason}")
    return _reported(entry, live, report, now, stale_after)


def _reported(entry: Mapping[str, Any], live: Live, report: Proof, now: datetime, stale_after: float) -> Standing:
    verdict, reason = entry.get("verdict"), str(entry.get("reason") or "")
    if verdict not in VERDICTS:
        return Standing(UNKNOWN, f"the report has a verdict that does not exist: {verdict}")
    layers = {str(name): str(state) for name, state in (entry.get("layers") or {}).items()}
    if entry.get("gateway") != live.gateway:
        return Standing(UNKNOWN, f"the report is about gateway {entry.get('gateway')}, it is behind {live.gateway}")
    age = report.age(now)
    if verdict == UNPROTECTED:
        return Standing(verdict, reason, layers, age is None or age > stale_after)
    if age is None or report.time is None:
        words = "is from the future" if report.time else "does not say when it was made"
        return Standing(UNKNOWN, f"the report {words}")
    if live.newest is None or live.newest > report.time:
        return Standing(UNKNOWN, "its pods or its gateway's are newer than the last proof")
    fine = entry.get("acceptable") is True
    if not fine:
        reason = next((str(one) for one in entry.get("reasons") or []), reason)
    return Standing(str(verdict), reason, layers, age > stale_after, fine)
