# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""States as people read them: a sign, words and a tone; the tone alone never carries the meaning. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GOOD, PLAIN, UNSURE, WARN, BAD = "good", "plain", "unsure", "warn", "bad"
TONES = (PLAIN, GOOD, UNSURE, WARN, BAD)  # the later, the more it needs attention


@dataclass(frozen=True)
class Badge:
    """A sign, a few words, a tone."""

    sign: str
    words: str
    tone: str

    def __str__(self) -> str:
        return f"{self.sign} {self.words}"


_UNKNOWN = Badge("?", "unknown", UNSURE)
_MISSING = Badge("✗", "does not exist", WARN)
CLIENT = {
    "protected": Badge("✓", "protected", GOOD),
    "protected_single_layer": Badge("!", "one layer only", WARN),
    "unprotected": Badge("✗", "unprotected", BAD),
    "never_verified": Badge("?", "never verified", UNSURE),
    "stopped": Badge("–", "no pod runs", PLAIN),
    "missing": _MISSING,
}
GATEWAY = {
    "ready": Badge("✓", "ready", GOOD),
    "not_ready": Badge("✗", "not ready", BAD),
    "missing": _MISSING,
}
EXIT = {
    "confirmed": Badge("✓", "seen by the last proof", GOOD),
    "wrong": Badge("✗", "leaves elsewhere", BAD),
    "unknown": Badge("?", "exit not confirmed", UNSURE),
}
NAMESPACE = {
    "as_labelled": Badge("✓", "as labelled", GOOD),
    "differs": Badge("!", "differs", WARN),
    "missing": _MISSING,
}
ROUTE = {"attached": Badge("✓", "attached", GOOD), "not_attached": Badge("✗", "not attached", BAD)}
CAPTURES = {"ambient": "ambient mesh", "sidecar": "sidecar mesh", "none": "not in the mesh"}


def badge(table: Mapping[str, Badge], state: str) -> Badge:
    """The badge of a state; one that is not in the table is unknown."""
    return table.get(state, _UNKNOWN)


def client_badge(client: Mapping[str, Any]) -> Badge:
    """The badge of a client; what was proven too long ago, or not as the inventory asks, is never good."""
    found = badge(CLIENT, client["state"])
    more = "stale" if client["stale"] else "not as required" if found.tone == GOOD and not client["as_required"] else ""
    if not more:
        return found
    tone = WARN if found.tone == GOOD else found.tone
    return Badge("!" if tone == WARN else found.sign, f"{found.words}, {more}", tone)


def capture(name: str) -> str:
    """How a namespace is in the mesh, in words."""
    return CAPTURES.get(name, "mesh unknown")


def age(seconds: float | None) -> str:
    """How long ago, in words.

    >>> age(7300)
    '2 h ago'
    """
    if seconds is None:
        return "at an unknown time"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"


def proof(topology: Mapping[str, Any]) -> str:
    """When the last proof was made, in words."""
    found = topology["proof"]
    if found["state"] == "none":
        return f"never verified ({found['reason']})"
    if found["state"] != "read":
        return f"last proof unknown ({found['reason']})"
    return f"last proof {age(found['age_s'])}" + (", which is too long ago" if found["stale"] else "")


def headline(topology: Mapping[str, Any]) -> Badge:
    """The picture in one line; anything that is not known keeps it from being good."""
    clients = topology["vpn_clients"]
    parts = [*clients, *topology["vpn_gateways"], *topology["ingress_gateways"], *topology["namespaces"]]
    badges = [client_badge(one) for one in clients]
    if topology["unreadable"]:
        badges.append(_UNKNOWN)
    badges += [Badge("!", "", WARN if one["guarded"] else BAD) for one in topology["left_behind"]]
    worst = max((one.tone for one in badges), key=TONES.index, default=PLAIN)
    if not parts:
        return Badge("–", "nothing of this collection is on the cluster", worst)
    if not clients:
        return Badge("–", "no workload is behind a VPN gateway", worst)
    shown = [client_badge(one) for one in clients]
    good = sum(1 for one in shown if one.tone == GOOD)
    words = f"{good} of {len(clients)} VPN clients protected"
    bad = sum(1 for one in shown if one.tone == BAD)
    words += f", {bad} unprotected" if bad else ""
    alone = len(topology["left_behind"])
    words += f", {alone} pod{'' if alone == 1 else 's'} that no workload owns" if alone else ""
    unread = len(topology["unreadable"])
    words += f", {unread} kind{'' if unread == 1 else 's'} of objects not readable" if unread else ""
    return Badge({GOOD: "✓", BAD: "✗", WARN: "!", UNSURE: "?"}.get(worst, "–"), words, worst)
