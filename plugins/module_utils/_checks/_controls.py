# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The rules that every check with attempts follows. Pure.

"Blocked" is said only when the same target and protocol answered through the VPN from the same pod in the same run
(positive control), and the guard counted at least the packets that were refused (attribution). Otherwise: unknown.
Error classes stay apart, because they say who refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import Attempt, Site, Step
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import (
    NONE,
    REAL,
    Finding,
    Missing,
    failed,
    passed,
    unknown,
)

ANSWERED = "answered"
# Data came back, so the far end was reached, whoever it was.
SPOKE = (ANSWERED, "wrong_answer")
# A reset or an ICMP error: policy engines answer so as well (kube-router, which k3s ships), so it shows no way out. But the
# packet has left the pod, so it was not the guard that stopped it.
REFUSED = ("refused",)
FIREWALL = ("EPERM",)
ROUTING = ("ENETUNREACH", "EHOSTUNREACH", "EADDRNOTAVAIL", "ENETDOWN")
SILENCE = ("timeout", "closed", "ENOBUFS")
ERROR_CLASSES = {
    **dict.fromkeys(SPOKE, "answered"),
    **dict.fromkeys(REFUSED, "denied outside the pod"),
    **dict.fromkeys(FIREWALL, "local firewall"),
    **dict.fromkeys(ROUTING, "routing or neighbour"),
    **dict.fromkeys(SILENCE, "no answer"),
}
NOT_MADE = "not made"
SIX = "-v6"  # end of the id of a target with an IPv6 address
NO_SIX = (*ROUTING, "EAFNOSUPPORT")  # how an attempt ends where there is no way out by IPv6 at all
# A dropped SYN shows as a timeout; the sender of a datagram is told at once when the pod's own rules refuse it.
STREAMS = ("http", "https", "tcp", "dns_tcp")


def is_six(attempt: Attempt) -> bool:
    """Whether an attempt went to an IPv6 address, which its target's id tells."""
    return attempt.target.endswith(SIX)


def error_class(outcome: str) -> str:
    """Who refused; anything unheard of counts as an attempt that was not made."""
    return ERROR_CLASSES.get(outcome, NOT_MADE)


def spoke(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Attempts to which something answered with data; a refusal is none."""
    return [one for one in attempts if one.outcome in SPOKE]


def answered(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Attempts that brought our nonce, or a verified identity, back."""
    return [one for one in attempts if one.outcome == ANSWERED]


def summary(attempts: Sequence[Attempt]) -> str:
    """Outcomes in words, without addresses: ``stun1 by bindtodevice as nobody: EPERM (local firewall)``."""
    seen = Counter(
        (one.target, one.method, _user(one), one.outcome, error_class(one.outcome), one.detail) for one in attempts
    )
    parts = []
    for (target, method, user, outcome, kind, detail), count in seen.items():
        how = f" by {method}" if method != "route" else ""
        words = f" ({kind})" if kind not in (outcome, "answered") else ""
        times = f" x{count}" if count > 1 else ""
        parts.append(f"{target}{how} as {user}: {outcome}{words}{times}{': ' + detail if detail else ''}")
    return "; ".join(parts) or "no attempts"


def _user(attempt: Attempt) -> str:
    return "root" if attempt.privileged else "nobody" if attempt.uid else "root without capabilities"


def seen_class(site: Site, attempts: Iterable[Attempt]) -> str:
    """The worst class of address that was seen: one real address is enough."""
    classes = {site.address_class(one.seen) for one in attempts if one.seen}
    for kind in (REAL, "other", "vpn"):
        if kind in classes:
            return kind
    return NONE


def leaks(site: Site, step: Step) -> Finding | None:
    """The finding "it got out" when anything answered an attempt that had to be blocked; None if nothing did."""
    out = spoke(step.attempts)
    if not out:
        return None
    return failed(
        summary(out),
        "a packet left by the pod's own network and something answered it",
        address_class=seen_class(site, out),
        counter_delta=_number(step.delta),
        duration_s=step.seconds,
        leak=True,
    )


def _number(delta: int | Missing) -> int | None:
    return None if isinstance(delta, Missing) else delta


def blocked(
    site: Site,
    step: Step | Missing,
    control: Step | Missing | None,
    control_id: str,
    counts: bool,
) -> Finding:
    """Judge attempts that must not get out.

    ``control`` holds the attempts on the same targets through the VPN; None where none can exist (IPv6, and ICMP behind
    a provider that drops it) and attribution alone has to do. ``counts``: whether ctl-counter passed.
    """
    if isinstance(step, Missing):
        return unknown(str(step), control=control_id)
    out = leaks(site, step)
    if out:
        return out
    more = {"control": control_id, "counter_delta": _number(step.delta), "duration_s": step.seconds}
    text = summary(step.attempts)
    denied = [one for one in step.attempts if one.outcome in REFUSED]
    if denied:
        return failed(summary(denied), "a packet left the pod, and something outside it denied it", **more)
    made = [one for one in step.attempts if error_class(one.outcome) != NOT_MADE]
    if len(made) < len(step.attempts) or not made:
        return unknown("an attempt could not be made", text, **more)
    if isinstance(control, Missing):
        return unknown(f"no positive control: {control}", text, **more)
    if control is not None:
        alive = {(one.target, one.kind) for one in answered(control.attempts)}
        lacking = sorted({one.target for one in made if (one.target, one.kind) not in alive})
        if lacking:
            return unknown(f"no answer through the VPN from {', '.join(lacking)}: the target may be dead", text, **more)
    refused = [one for one in made if error_class(one.outcome) != "routing or neighbour"]
    if not refused:
        return unknown("routing refused, so the guard was not asked", text, **more)
    if any(one.kind not in STREAMS and one.outcome == "timeout" for one in refused):
        return unknown("the pod let a datagram go, and somebody later dropped it", text, **more)
    if not counts:
        return unknown("the guard's counters cannot be relied on (ctl-counter)", text, **more)
    if isinstance(step.delta, Missing):
        return unknown(f"no attribution: {step.delta}", text, **more)
    if step.delta < len(refused):
        reason = f"the guard counted {step.delta} of {len(refused)} packets: something else may have stopped them"
        return unknown(reason, text, **more)
    return passed(text, **more)


def exits(site: Site, step: Step | Missing, targets: int, control_id: str = "ctl-real") -> Finding:
    """Judge attempts that have to come back by the VPN, from at least ``targets`` different targets."""
    if isinstance(step, Missing):
        return unknown(str(step))
    good = answered(step.attempts)
    found = seen_class(site, step.attempts)
    more = {"address_class": found, "duration_s": step.seconds, "control": control_id}
    text = summary(step.attempts)
    if found == REAL:
        return failed(text, "the far end saw a real address", leak=True, **more)
    if found == "other" and site.exits:
        return failed(text, "the far end saw an address that is not among exit_addresses", **more)
    if len({one.target for one in good}) < targets:
        return unknown(f"fewer than {targets} targets answered with our nonce", text, **more)
    if not site.learnt:
        return unknown("no real address is known, so nothing can be told apart (ctl-real)", text, **more)
    if site.gaps:
        return unknown(f"not every real address is known (ctl-real): {'; '.join(site.gaps)}", text, **more)
    if any(not one.seen for one in good):
        return unknown("an answer does not say which address it saw", text, **more)
    return passed(text, **more)
