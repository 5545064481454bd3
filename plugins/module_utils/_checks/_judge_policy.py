# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Judges of NetworkPolicies, of clients and of gateways alike. Pure."""

from __future__ import annotations

from typing import Any, Union

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _controls
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import (
    GatewayEvidence,
    PodEvidence,
    PolicyView,
    Site,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._judge_controls import step_of
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import (
    Finding,
    Missing,
    failed,
    passed,
    unknown,
)

STILL = 1.0  # seconds without an answer at the end of watching that are no end of answers
MOMENT = 10.0  # seconds between the attempts of two twins that still count as made together
Evidence = Union[PodEvidence, GatewayEvidence]


def _live(evidence: Evidence) -> PolicyView | Finding:
    if isinstance(evidence.policy, Missing):
        return unknown(str(evidence.policy))
    if evidence.policy.live is None:
        return failed("no policy", "; ".join(evidence.policy.problems) or "it does not exist")
    return evidence.policy


def exists(evidence: Evidence) -> Finding:
    """np-exists: the policy is there and was there before the pod."""
    view = _live(evidence)
    if isinstance(view, Finding):
        return view
    pod = evidence.pod
    if isinstance(pod, Missing):
        return unknown(str(pod))
    made = ((view.live or {}).get("metadata") or {}).get("creationTimestamp")
    born = (pod.get("metadata") or {}).get("creationTimestamp")
    if not made or not born:
        return unknown("the API server does not say when policy or pod were created")
    if made > born:  # both RFC 3339 in UTC: text order is time order
        return failed("younger than the pod", "the pod ran without it; delete the pod")
    return passed("older than the pod")


def shape(evidence: Evidence) -> Finding:
    """np-shape: exactly the peers and ports that were asked for."""
    view = _live(evidence)
    if isinstance(view, Finding):
        return view
    if view.problems:
        return failed(f"{len(view.problems)} differences", "; ".join(view.problems))
    return passed("exactly as rendered")


def selects(evidence: Evidence) -> Finding:
    """np-selects: it applies to these pods now, and to no other."""
    view = _live(evidence)
    if isinstance(view, Finding):
        return view
    if not view.meant:
        return unknown("no pod runs that it is for")
    missed, others = sorted(view.meant - view.selected), sorted(view.selected - view.meant)
    if missed:
        return failed(f"not {', '.join(missed)}", "the policy does not select these pods")
    if others:
        return failed(f"also {', '.join(others)}", "the policy selects pods that are not meant")
    return passed(f"{len(view.meant)} pods and no other")


def union(evidence: Evidence) -> Finding:
    """np-union: no policy of others lets these pods reach more."""
    view = _live(evidence)
    if isinstance(view, Finding):
        return view
    if view.opened:
        return failed(f"{len(view.opened)} rules of others open more", "; ".join(view.opened))
    if not view.meant:
        return unknown("no pod runs that it is for")
    if isinstance(view.unjudged, Missing):
        return unknown(str(view.unjudged))
    if view.unjudged:
        return unknown("; ".join(view.unjudged))
    return passed("no policy of others opens more")


def enforced(evidence: Evidence) -> Finding:
    """np-enforced: of two unguarded twins the one under a copy of the policy reaches nothing, the other does."""
    twins = evidence.twins
    if isinstance(twins, Missing):
        return unknown(str(twins))
    covered, control = step_of(twins.covered, "plain"), step_of(twins.control, "plain")
    if not isinstance(covered, Missing):
        out = _controls.spoke(covered.attempts)
        if out:
            return failed(
                _controls.summary(out),
                "a pod under a copy of the policy reached the target: the policy is not enforced",
                control="covered twin",
                address_class=_controls.seen_class(_site(evidence), out),
                duration_s=covered.seconds,
            )
    for name, step in (("covered", covered), ("control", control)):
        if isinstance(step, Missing):
            return unknown(f"{name} twin: {step}")
    more = {"control": "control twin", "duration_s": covered.seconds}
    six = twins.covered.fact("six")  # type: ignore[union-attr]  # its step was there
    if six is not False and not any(_controls.is_six(one) for one in covered.attempts):
        why = six if isinstance(six, Missing) else "pods here have IPv6 addresses: name an IPv6 target (targets.stun)"
        return unknown(str(why), **more)
    alive = {(one.target, one.kind) for one in _controls.answered(control.attempts)}
    # By IPv6 nothing may leave at all here, whatever the policy says.
    nowhere = {
        (one.target, one.kind) for one in control.attempts if _controls.is_six(one) and one.outcome in _controls.NO_SIX
    }
    made = [one for one in covered.attempts if (one.target, one.kind) not in nowhere]
    tried = {(one.target, one.kind) for one in made}
    if not tried:
        return unknown("the covered twin tried nothing", **more)
    if not tried <= alive:
        dead = ", ".join(sorted({target for target, kind in tried - alive}))
        return unknown(f"the twin without a policy got no answer from {dead}", **more)
    if any(_controls.error_class(one.outcome) == _controls.NOT_MADE for one in made):
        return unknown("an attempt could not be made", _controls.summary(covered.attempts), **more)
    if not twins.same_node:
        return unknown("the twins ran on different nodes", **more)
    if max(covered.started - control.ended, control.started - covered.ended) > MOMENT:
        return unknown("the twins did not try at the same moment", **more)
    way = "" if any(_controls.is_six(one) for one in made) else "; no way out by IPv6"
    late = f", after {twins.open_seconds:.1f} s in which it still got through" if twins.open_seconds else ""
    return passed(f"covered: {_controls.summary(covered.attempts)}{late}; control: answered{way}", **more)


def early(evidence: Evidence) -> Finding:
    """np-early: nothing got out under a copy of the policy from the first instant of a pod on."""
    twins = evidence.twins
    if isinstance(twins, Missing):
        return unknown(str(twins))
    covered, control = twins.covered_early, twins.control_early
    if isinstance(covered, Missing):
        return unknown(f"covered twin: {covered}")
    out = [one for one in covered.targets.values() if one.answered]
    sent = sum(one.sent for one in covered.targets.values())
    more: dict[str, Any] = {"control": "control twin", "duration_s": covered.watched}
    if out:
        last = max(one.last or 0.0 for one in out)
        count = sum(one.answered for one in out)
        still = covered.watched - last < STILL
        how = f"for all of the {last:.1f} s it was watched" if still else f"for {last:.1f} s"
        return failed(
            f"{count} of {sent} packets answered, the last after {last:.1f} s",
            f"packets got out under a copy of the policy {how} after a pod's start: it is no layer that holds from the start",
            **more,
        )
    if isinstance(control, Missing):
        return unknown(f"control twin: {control}", **more)
    tried = {id_ for id_, one in covered.targets.items() if one.sent}
    if not tried:
        return unknown("the covered twin could not send anything: name a STUN target (targets.stun)", **more)
    for id_ in sorted(tried):
        one = control.targets.get(id_)
        if one is None or one.first is None:
            return unknown(f"the twin that may send got no answer from {id_} in its first seconds", **more)
        if one.first >= covered.watched:
            return unknown(f"the network took {one.first:.1f} s to carry anything for a new pod", **more)
    return passed(f"none of {sent} packets answered in the first {covered.watched:.1f} s; control: answered", **more)


def _site(evidence: Evidence) -> Site:
    return evidence.site
