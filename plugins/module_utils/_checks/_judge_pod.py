# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Judges of one client pod: the guard, what could get around it, and attempts to get past it. Pure."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _controls
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import PodEvidence, Step
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._judge_controls import step_of
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import (
    Finding,
    Missing,
    failed,
    passed,
    unknown,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _dangerous
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import shown

GUARD, OVERLAY = "bulkhead-guard", "bulkhead-overlay"
OVERLAY_DEVICE, POD_DEVICE = "bulkhead0", "eth0"
EGRESS = {"hook": "postrouting", "prio": 200, "policy": "drop"}
# What holds raw frames, which no rule for packets sees; by what the agent found the kernel able to do.
ROUTED = "routed"
FRAMES = {
    ROUTED: "raw frames held by the netdev egress hook",
    "marked": "raw frames held by a mark that a container with NET_RAW could set: they are held because none has it",
    "absent": "raw frames not held by any rule, as this kernel has no netdev egress hook: they are held because no "
    "container has NET_RAW",
}
Container = Mapping[str, Any]


def proof_of(pod: Mapping[str, Any], container: str) -> dict[str, Any] | Missing:
    """What a container of ours wrote into its status when its rules were in force."""
    for status in (pod.get("status") or {}).get("initContainerStatuses") or []:
        if status["name"] == container:
            ended = (status.get("state") or {}).get("terminated") or {}
            try:
                proof = json.loads(ended.get("message") or "")
            except ValueError:
                proof = None
            if ended.get("exitCode") != 0 or not isinstance(proof, dict):
                return Missing(f"{container} left no proof in the pod's status")
            return proof
    return Missing(f"the pod has no {container}")


def same_rules(
    proof: Mapping[str, Any] | Missing, live: Any, chain: Any, rendered: Any, what: str, agent: Any
) -> Finding:
    """Compare the tables as they are with the proof written when they were loaded."""
    if isinstance(proof, Missing):
        return failed("no proof", str(proof))
    if isinstance(live, Missing):
        if "No such file" in live or "does not exist" in live:
            return failed("no table", f"the table of the {what} is gone")
        return unknown(str(live))
    if live.get("table") != proof.get("table"):
        return failed("another hash", f"the rules of the {what} are not those that were loaded")
    if live.get("frames") != proof.get("frames"):
        return failed("another hash of the netdev table", f"the companion of the {what} is not the one that was loaded")
    if isinstance(chain, Missing):
        return unknown(str(chain))
    if {key: chain.get(key) for key in EGRESS} != EGRESS:
        return failed(f"egress chain {dict(chain)}", "it does not drop at the end of postrouting")
    if isinstance(agent, Missing):
        return unknown(str(agent))
    if agent != proof.get("agent"):
        return failed("another agent", "the agent's files in the pod are not those that loaded the rules")
    if isinstance(rendered, Missing):
        return unknown(str(rendered))
    if rendered not in ("equal", "older agent"):
        return failed("other rules", f"the rules of the {what} are not those of its configuration: {rendered}")
    frames = FRAMES[frames_mode(live)]
    note = ", loaded by an older agent" if rendered == "older agent" else ""
    return passed(f"hash as loaded, egress policy drop, {frames}{note}")


def frames_mode(live: Mapping[str, Any]) -> str:
    """What holds raw frames; a word that nobody knows is taken for nothing."""
    mode = (live.get("frames") or {}).get("mode")
    return mode if mode in FRAMES else "absent"


def guard_hash(evidence: PodEvidence) -> Finding:
    """pod-guard-hash: the rules in force are the ones the guard loaded and nobody changed them since."""
    proof = proof_of(evidence.pod, GUARD)
    if isinstance(proof, Missing):
        return failed("no proof", str(proof))
    if isinstance(evidence.probe, Missing):
        return unknown(str(evidence.probe))
    fact = evidence.probe.fact
    finding = same_rules(proof, fact("guard"), fact("egress"), fact("rendered"), "guard", fact("agent"))
    if finding.result != "pass":
        return finding
    mode = frames_mode(fact("guard"))
    if mode != ROUTED:
        # Without that hook the rules alone do not hold a sender of raw frames.
        powers = caps(evidence)
        if powers.result != "pass":
            made = failed if powers.result == "fail" else unknown
            return made(powers.reason or powers.observed, f"{FRAMES[mode]}, and pod-caps did not pass")
    # The pod is told its destinations while it runs: those it admits now have to be the inventory's.
    listed = fact("direct")
    for one in (listed, evidence.direct):
        if isinstance(one, Missing):
            return unknown(str(one))
    listed, meant = _canonical(listed), _canonical(evidence.direct)
    if listed != meant:
        extra = len([one for one in listed if one not in meant])
        return failed(
            f"{extra} foreign destinations", "the guard lets other destinations pass than the inventory lists"
        )
    return finding


def _canonical(direct: Any) -> list[str]:
    return sorted(json.dumps(one, sort_keys=True) for one in direct or [])


def guard_first(evidence: PodEvidence) -> Finding:
    """pod-guard-first: the guard is init container 0 and ended well before anything else started."""
    spec, status = evidence.pod["spec"], evidence.pod.get("status") or {}
    first = (spec.get("initContainers") or [{}])[0]
    if first.get("name") != GUARD or first.get("restartPolicy"):
        return failed(first.get("name") or "no init container", f"{GUARD} is not the first thing that runs in the pod")
    held = {one["name"]: one for one in status.get("initContainerStatuses") or []}
    ended = ((held.get(GUARD) or {}).get("state") or {}).get("terminated") or {}
    if not ended.get("finishedAt"):
        return unknown("the pod's status does not say when the guard ended")
    if ended.get("exitCode") != 0:
        return failed(f"exit code {ended.get('exitCode')}", "the guard did not end well")
    late = _time(ended["finishedAt"])
    named = [*(spec.get("initContainers") or [])[1:], *(spec.get("containers") or [])]
    named += spec.get("ephemeralContainers") or []
    states = {**held}
    for key in ("containerStatuses", "ephemeralContainerStatuses"):
        states.update({one["name"]: one for one in status.get(key) or []})
    for container in named:
        started = _starts((states.get(container["name"]) or {}).get("state") or {})
        last = _starts((states.get(container["name"]) or {}).get("lastState") or {})
        for moment in (started, last):
            # The API has whole seconds; the kubelet starts nothing beside an ordinary init container that runs.
            if moment is not None and moment < late:
                return failed(container["name"], f"it started before {GUARD} had ended")
    return passed(f"{GUARD} ended before {len(named)} containers started")


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")


def _starts(state: Mapping[str, Any]) -> datetime | None:
    for one in state.values():
        if one and one.get("startedAt"):
            return _time(one["startedAt"])
    return None


def own_containers(pod: Mapping[str, Any]) -> list[Container]:
    """The user's containers of every sort."""
    spec = pod["spec"]
    named = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    named += spec.get("ephemeralContainers") or []
    return [one for one in named if one["name"] not in (GUARD, OVERLAY)]


def caps(evidence: PodEvidence) -> Finding:
    """pod-caps: no container of the user's can change or get around the guard."""
    # hostNetwork is on the list too; pod-hostnet tells it.
    for one in _dangerous.find(evidence.pod):
        if one.setting is not _dangerous.HOST_NETWORK:
            return failed(f"{one.path} is {shown(one.value)}", one.setting.reason)
    listed = [container["name"] for container in own_containers(evidence.pod)]
    read = []
    for name, inside in sorted(evidence.inside.items()):
        if isinstance(inside, Missing) or not inside.capabilities:
            continue
        read.append(name)
        bits = 0
        for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
            bits |= inside.capabilities.get(kind, 0)
        bad = _dangerous.bits(bits)
        if bad:
            return failed(f"{name} has {', '.join(bad)}", "the kernel gives it what the spec does not show")
    spec_only = sorted(set(listed) - set(read))
    parts = [f"read alive: {', '.join(read)}"] if read else []
    parts += [f"from the spec: {', '.join(spec_only)}"] if spec_only else []
    return passed("; ".join(parts) or "no containers")


def hostnet(evidence: PodEvidence) -> Finding:
    """pod-hostnet: the pod has a network of its own."""
    if evidence.pod["spec"].get("hostNetwork"):
        return failed("hostNetwork: true", "the pod uses the node's network: no guard, and policies do not apply")
    return passed("own network namespace")


def route(evidence: PodEvidence) -> Finding:
    """pod-route: the kernel would send public and local destinations into the overlay or nowhere."""
    if isinstance(evidence.probe, Missing):
        return unknown(str(evidence.probe))
    routes = evidence.probe.fact("routes")
    if isinstance(routes, Missing):
        return unknown(str(routes))
    if not routes:
        return unknown("no route was looked up")
    ways = []
    for name, found in sorted(routes.items()):
        device = found.get("dev", "")
        if found.get("error") or found.get("type") in ("unreachable", "blackhole", "prohibit"):
            ways.append(f"{name}: unreachable")
        elif device in (OVERLAY_DEVICE, "lo"):
            ways.append(f"{name}: {device}")
        elif found.get("direct"):
            ways.append(f"{name}: {device}, as listed")
        else:
            return failed(f"{name}: {device}", "the kernel would send this past the overlay")
    return passed("; ".join(ways))


def _blocked(evidence: PodEvidence, name: str, counts: bool, control: bool = True) -> Finding:
    positive = step_of(evidence.probe, "ctl-tunnel") if control else None
    return _controls.blocked(
        evidence.site, step_of(evidence.probe, name), positive, "ctl-tunnel" if control else "ctl-counter", counts
    )


def direct(evidence: PodEvidence, counts: bool) -> Finding:
    """pod-direct: naming eth0 per packet does not get past the guard."""
    return _blocked(evidence, "pod-direct", counts)


def dev_bind(evidence: PodEvidence, counts: bool) -> Finding:
    """pod-dev-bind: binding to eth0 does not get past the guard, UDP and TCP, unprivileged and as root."""
    finding = _blocked(evidence, "pod-dev-bind", counts)
    step = step_of(evidence.probe, "pod-dev-bind")
    if finding.result == "pass" and not isinstance(step, Missing):
        if {one.privileged for one in step.attempts} != {True, False}:
            return unknown("not tried both with and without capabilities", finding.observed)
    return finding


def src_bind(evidence: PodEvidence) -> Finding:
    """pod-src-bind: a socket bound to the pod's address goes through the VPN or nowhere."""
    step = step_of(evidence.probe, "pod-src-bind")
    if isinstance(step, Missing):
        return unknown(str(step))
    found = _controls.seen_class(evidence.site, step.attempts)
    text = _controls.summary(step.attempts)
    more = {"address_class": found, "duration_s": step.seconds, "control": "ctl-tunnel"}
    if found == "real":
        return failed(text, "the far end saw a real address", leak=True, **more)
    odd = [one for one in _controls.spoke(step.attempts) if evidence.site.address_class(one.seen) != "vpn"]
    if odd:
        return unknown("something answered, and whether by the VPN is not known", text, **more)
    if any(_controls.error_class(one.outcome) == _controls.NOT_MADE for one in step.attempts) or not step.attempts:
        return unknown("an attempt could not be made", text, **more)
    control = step_of(evidence.probe, "ctl-tunnel")
    alive = [] if isinstance(control, Missing) else _controls.answered(control.attempts)
    if not {one.target for one in step.attempts} <= {one.target for one in alive}:
        return unknown("no answer through the VPN from the same target: it may be dead", text, **more)
    return passed(text, **more)


def v6(evidence: PodEvidence, counts: bool) -> Finding:
    """pod-v6: nothing leaves by IPv6. Nothing can answer through the VPN either, so counters alone attribute."""
    step = step_of(evidence.probe, "pod-v6")
    if isinstance(step, Missing):
        return unknown(str(step))
    if isinstance(evidence.probe, Missing):
        return unknown(str(evidence.probe))
    addresses = evidence.probe.fact("addresses")
    if isinstance(addresses, Missing):
        return unknown(str(addresses))
    if _controls.leaks(evidence.site, step) is None and not any(_global6(one) for one in addresses):
        routing = [one for one in step.attempts if _controls.error_class(one.outcome) in ("routing or neighbour",)]
        if step.attempts and len(routing) == len(step.attempts):
            return passed("no IPv6 address, " + _controls.summary(step.attempts), duration_s=step.seconds)
    return _blocked(evidence, "pod-v6", counts, control=False)


def _global6(one: Mapping[str, Any]) -> bool:
    try:
        address = ipaddress.IPv6Address(one.get("local", ""))
    except ValueError:
        return False
    return not address.is_link_local and not address.is_loopback


def icmp(evidence: PodEvidence, counts: bool) -> Finding:
    """pod-icmp: echo by eth0 is refused; through the VPN it may be answered or not, providers differ."""
    nobody = _no_icmp_sockets(evidence)
    if nobody:
        return nobody
    control = step_of(evidence.probe, "icmp-tunnel")
    drops = isinstance(control, Missing) or not _controls.answered(control.attempts)
    finding = _blocked_icmp(evidence, None if drops else control, counts)
    if finding.result == "pass" and drops:
        return passed(f"{finding.observed}; through the VPN nobody answers echo", **_rest(finding))
    return finding


def _no_icmp_sockets(evidence: PodEvidence) -> Finding | None:
    """Where the kernel lets no group open such a socket, and no container has NET_RAW for the other kind."""
    step = step_of(evidence.probe, "pod-icmp")
    if isinstance(step, Missing) or not step.attempts or {one.outcome for one in step.attempts} != {"EACCES"}:
        return None
    groups = Missing("") if isinstance(evidence.probe, Missing) else evidence.probe.fact("ping_groups")
    if isinstance(groups, Missing) or len(groups) != 2 or groups[0] <= groups[1] or caps(evidence).result != "pass":
        return None
    return passed("no group may open ICMP sockets, and nobody has NET_RAW", duration_s=step.seconds)


def _blocked_icmp(evidence: PodEvidence, control: Step | Missing | None, counts: bool) -> Finding:
    step = step_of(evidence.probe, "pod-icmp")
    return _controls.blocked(evidence.site, step, control, "ctl-counter" if control is None else "icmp-tunnel", counts)


def _rest(finding: Finding) -> dict[str, Any]:
    return {
        "control": finding.control,
        "counter_delta": finding.counter_delta,
        "duration_s": finding.duration_s,
    }
