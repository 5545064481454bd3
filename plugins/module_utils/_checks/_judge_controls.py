# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Judges of the controls: whether the tools, targets, addresses and counters can be relied on. Pure."""

from __future__ import annotations

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _controls
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import PodEvidence, Probe, Step
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import (
    PASS,
    Finding,
    Missing,
    failed,
    passed,
    unknown,
)

TOOLS = ("nft", "ip", "bridge")
COUNTED = 3  # packets sent to a sealed port by ctl-counter
LEAK_STEPS = ("pod-direct", "pod-dev-bind")
SIX = "pod-v6"


def step_of(probe: Probe | Missing, name: str) -> Step | Missing:
    """One step of a probe that may be missing."""
    return probe if isinstance(probe, Missing) else probe.step(name)


def tools(evidence: PodEvidence) -> Finding:
    """ctl-tools: the probe ran with all tools, in the network namespace of the user's containers."""
    if isinstance(evidence.probe, Missing):
        return unknown(str(evidence.probe))
    held, netns = evidence.probe.fact("tools"), evidence.probe.fact("netns")
    for value in (held, netns):
        if isinstance(value, Missing):
            return unknown(str(value))
    lacking = [tool for tool in TOOLS if not held.get(tool)]
    if lacking:
        return unknown(f"the agent's image has no {', '.join(lacking)}")
    read = {name: one for name, one in evidence.inside.items() if not isinstance(one, Missing) and one.netns}
    for name, one in sorted(read.items()):
        if one.netns != netns:
            return unknown(f"container {name} is in {one.netns}, the probe in {netns}")
    if len(read) == len(evidence.inside) and read:
        return passed(f"same {netns.split(':')[0]} namespace as {', '.join(sorted(read))}")
    others = ", ".join(sorted(set(evidence.inside) - set(read))) or "the user's containers"
    return passed(f"namespace of {others} from the spec: containers of one pod share it")


def target(evidence: PodEvidence) -> Finding:
    """ctl-target: each target gave our nonce back to somebody in this run."""
    steps = [step_of(evidence.probe, "ctl-tunnel")]
    if not isinstance(evidence.twins, Missing):
        steps.append(step_of(evidence.twins.control, "plain"))
    known = [step for step in steps if not isinstance(step, Missing)]
    if not known:
        return unknown(str(steps[0]))
    tried = {one.target for step in known for one in step.attempts}
    alive = {one.target for step in known for one in _controls.answered(step.attempts)}
    dead = sorted(tried - alive)
    if dead or not tried:
        return unknown(f"no answer with our nonce from {', '.join(dead) or 'any target'}")
    return passed(f"answered: {', '.join(sorted(alive))}")


def real(evidence: PodEvidence) -> Finding:
    """ctl-real: addresses outside the VPN are known, declared or seen by an unprotected twin, of every node concerned."""
    if not evidence.site.learnt:
        return unknown("no real_addresses are declared and no unprotected twin saw one")
    if evidence.site.gaps:
        return unknown("; ".join(evidence.site.gaps))
    return passed(" and ".join(evidence.site.learnt))


def tunnel(evidence: PodEvidence) -> Finding:
    """ctl-tunnel: the targets of the leak attempts answer through the VPN."""
    step = step_of(evidence.probe, "ctl-tunnel")
    return _controls.exits(evidence.site, step, 2)


def counter(evidence: PodEvidence) -> Finding:
    """ctl-counter: exactly what is refused is counted."""
    step = step_of(evidence.probe, "ctl-counter")
    if isinstance(step, Missing):
        return unknown(str(step))
    if isinstance(step.delta, Missing):
        return unknown(str(step.delta))
    refused = [one for one in step.attempts if one.outcome in _controls.FIREWALL]
    more = {"counter_delta": step.delta, "duration_s": step.seconds}
    if len(refused) < COUNTED:
        return unknown(
            f"{len(refused)} of {COUNTED} packets were refused here", _controls.summary(step.attempts), **more
        )
    if step.delta < len(refused):
        return failed(f"+{step.delta}", f"{len(refused)} packets were refused and not all were counted", **more)
    return passed(f"+{step.delta} for {len(refused)} packets", **more)


def detect(evidence: PodEvidence) -> Finding:
    """ctl-detect: the leak attempts of this run, made in an unguarded twin, are judged as leaks."""
    if isinstance(evidence.twins, Missing):
        return unknown(str(evidence.twins))
    seen = []
    for name in LEAK_STEPS:
        step = step_of(evidence.twins.control, name)
        if isinstance(step, Missing):
            return unknown(str(step))
        if _controls.leaks(evidence.site, step) is None:
            return unknown(f"{name} saw no leak where nothing prevents one", _controls.summary(step.attempts))
        seen.append(name)
    plain, six = (step_of(evidence.twins.control, name) for name in ("plain", SIX))
    if not isinstance(plain, Missing) and any(_controls.is_six(one) for one in _controls.answered(plain.attempts)):
        if isinstance(six, Missing) or _controls.leaks(evidence.site, six) is None:
            return unknown(f"{SIX} saw no leak where nothing prevents one")
        seen.append(SIX)
    return passed(f"{', '.join(seen)} fail in an unguarded twin", address_class="real")


def counts(result: str) -> bool:
    """Whether attribution by counters can be relied on."""
    return result == PASS
