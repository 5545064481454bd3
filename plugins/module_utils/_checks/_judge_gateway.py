# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Judges of a gateway and of the overlay between it and a client. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _controls, _judge_pod
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import (
    GatewayEvidence,
    PodEvidence,
    Probe,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._judge_controls import step_of
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import (
    Finding,
    Missing,
    failed,
    passed,
    unknown,
)

FIREWALL = "bulkhead-firewall"
FORWARD = {"hook": "forward", "policy": "drop"}


def single(evidence: GatewayEvidence) -> Finding:
    """gw-single: one replica, one pod, Ready."""
    if isinstance(evidence.workload, Missing):
        return unknown(str(evidence.workload))
    if evidence.workload is None:
        return failed("no StatefulSet", "the gateway is not set up")
    replicas = evidence.workload["spec"].get("replicas", 1)
    if replicas > 1:
        return failed(f"replicas {replicas}", "two gateways would share their addresses")
    if isinstance(evidence.pods, Missing):
        return unknown(str(evidence.pods))
    if len(evidence.pods) > 1:
        return failed(f"{len(evidence.pods)} pods", "more than one pod answers as this gateway")
    if not evidence.pods:
        return failed("no pod", f"replicas is {replicas} and no pod runs: its clients are cut off")
    conditions = (evidence.pods[0].get("status") or {}).get("conditions") or []
    if not any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
        return failed("not ready", "the gateway's pod is not Ready: its clients are cut off")
    return passed("one pod, Ready")


def rules(evidence: GatewayEvidence) -> Finding:
    """gw-rules: the gateway's own table is as loaded, and forwards nothing but overlay to tunnel."""
    pod = evidence.pod
    if isinstance(pod, Missing):
        return unknown(str(pod))
    proof = _judge_pod.proof_of(pod, FIREWALL)
    if isinstance(proof, Missing):
        return failed("no proof", str(proof))
    if isinstance(evidence.probe, Missing):
        return unknown(str(evidence.probe))
    fact = evidence.probe.fact
    finding = _judge_pod.same_rules(
        proof, fact("guard"), fact("egress"), fact("rendered"), "gateway's firewall", fact("agent")
    )
    if finding.result != "pass":
        return finding
    chain, device = fact("forward"), fact("forwards")
    for value in (chain, device):
        if isinstance(value, Missing):
            return unknown(str(value))
    if {key: chain.get(key) for key in FORWARD} != FORWARD:
        return failed(f"forward chain {dict(chain)}", "it does not drop what it does not know")
    if device.get("eth0"):
        return failed("eth0 forwards", "packets from the pod network would be routed on")
    return passed(f"{finding.observed}, forward policy drop, eth0 does not forward")


def exit_(evidence: GatewayEvidence) -> Finding:
    """gw-exit: the tunnel answers from two targets, and not with a real address."""
    return _controls.exits(evidence.site, step_of(evidence.probe, "gw-exit"), 2)


def clear(evidence: GatewayEvidence) -> Finding:
    """gw-clear: the gateway itself cannot leave by eth0."""
    control = step_of(evidence.probe, "gw-exit")
    # The same rules count in the same table, so the attempt that is judged is its own counter control.
    return _controls.blocked(evidence.site, step_of(evidence.probe, "gw-clear"), control, "gw-exit", True)


def _entries(probe: Probe | Missing, who: str) -> tuple[Mapping[str, Any], list[Any], list[Any]] | Missing:
    if isinstance(probe, Missing):
        return Missing(f"{who}: {probe}")
    link, fdb, neighbours = probe.fact("link"), probe.fact("fdb"), probe.fact("neighbours")
    for value in (link, fdb, neighbours):
        if isinstance(value, Missing):
            return Missing(f"{who}: {value}")
    return link, fdb, neighbours


def _static(who: str, link: Mapping[str, Any], fdb: Iterable[Any], neighbours: Iterable[Any]) -> str:
    """What is not static; empty if everything is."""
    if link.get("learning") is not False:
        return f"{who}: the overlay learns addresses"
    for entry in fdb:
        if entry.get("dst") and entry.get("state") not in ("permanent", "static"):
            return f"{who}: a learnt forwarding entry"
    for entry in neighbours:
        if "PERMANENT" not in (entry.get("state") or []) and entry.get("lladdr"):
            return f"{who}: a learnt neighbour"
    return ""


def fdb(evidence: PodEvidence) -> Finding:
    """ovl-fdb: both ends of the overlay know their peers from static entries, and only those peers."""
    gateway = evidence.gateway
    if isinstance(gateway, Missing):
        return unknown(str(gateway))
    ends = {"client": _entries(evidence.probe, "client"), "gateway": _entries(gateway.probe, "gateway")}
    for value in ends.values():
        if isinstance(value, Missing):
            return unknown(str(value))
    for who, value in ends.items():
        wrong = _static(who, *value)
        if wrong:
            return failed(wrong, "a stranger could divert the overlay's traffic")
    pod = gateway.pod
    if isinstance(pod, Missing):
        return unknown(str(pod))
    client, far = ends["client"], ends["gateway"]
    address = (pod.get("status") or {}).get("podIP")
    outer = {entry["dst"] for entry in client[1] if entry.get("dst")}
    if outer != {address}:
        return failed(f"client: {len(outer)} peers", "its peers are not exactly the live gateway pod")
    known = {entry["dst"] for entry in far[1] if entry.get("dst")}
    strangers = known - set(gateway.clients.values())
    if strangers and not gateway.all_clients:
        return unknown("the gateway has peers in namespaces that could not be read")
    if strangers:
        return failed(f"gateway: {len(strangers)} foreign peers", "peers that are no live client pods")
    own = (evidence.pod.get("status") or {}).get("podIP")
    if own not in known:
        return failed("gateway: this pod is not among its peers", "the endpoint controller has not registered the pod")
    return passed(f"static entries only; client 1 peer, gateway {len(known)} peers")


def mtu(evidence: PodEvidence) -> Finding:
    """ovl-mtu: packets of full size pass both ways, and so does bulk data."""
    step = step_of(evidence.probe, "ovl-mtu")
    if isinstance(step, Missing):
        return unknown(str(step))
    size = evidence.probe.fact("mtu")
    if isinstance(size, Missing):
        return unknown(str(size))
    more = {"duration_s": step.seconds}
    bulk = [one for one in step.attempts if one.kind == "bulk"]
    full = [one for one in step.attempts if one.kind == "icmp"]
    text = f"MTU {size}; {_controls.summary(step.attempts)}"
    echoed = bool(full) and all(one.outcome == _controls.ANSWERED for one in full)
    if bulk:
        bad = [one for one in bulk if one.outcome != _controls.ANSWERED]
        if not bad:
            return passed(text, **more)
        alive = not isinstance(step_of(evidence.probe, "ctl-tunnel"), Missing) and _tcp_alive(evidence, bulk)
        if alive:
            return failed(text, "small messages pass and bulk does not: the MTU is a black hole", **more)
        return unknown("the target of the bulk transfer does not answer small messages either", text, **more)
    if echoed:
        return passed(f"{text}; no bulk target is named", **more)
    return unknown("nobody answers full-size echo and no bulk target is named", text, **more)


def _tcp_alive(evidence: PodEvidence, bulk: Iterable[Any]) -> bool:
    """Whether a small transfer to a bulk target worked."""
    small = step_of(evidence.probe, "bulk-small")
    if isinstance(small, Missing):
        return False
    alive = {one.target for one in _controls.answered(small.attempts)}
    return all(one.target in alive for one in bulk)
