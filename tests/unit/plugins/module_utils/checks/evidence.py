# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evidence of a pod and a gateway on which everything holds; tests break one thing at a time."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _registry
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import (
    Attempt,
    Early,
    FirstSeconds,
    GatewayEvidence,
    Inside,
    InventoryEvidence,
    MeshView,
    PodEvidence,
    PolicyView,
    Probe,
    Record,
    ServicesView,
    Site,
    Step,
    Twins,
    WorkloadEvidence,
)

REAL, EXIT = "192.0.2.10", "198.51.100.5"
SITE = Site(frozenset({REAL, "2001:db8::10"}), ("declared",), frozenset({EXIT}))
PROOF = {"agent": "a" * 16, "table": "t" * 64, "frames": {"mode": "routed", "table": "f" * 64}}
LIVE = {"table": "t" * 64, "frames": {"mode": "routed", "table": "f" * 64}}
EGRESS = {"hook": "postrouting", "prio": 200, "policy": "drop"}
DNS = {"nameservers": ["10.222.1.1"], "searches": ["downloads.svc.cluster.local", "svc.cluster.local", "cluster.local"]}
RESOLV = "search downloads.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.222.1.1\noptions ndots:2\n"


def attempt(target: str = "stun1", outcome: str = "EPERM", kind: str = "stun", **more: Any) -> Attempt:
    return Attempt(target, kind, outcome, **more)


def out(target: str = "stun1", seen: str = REAL, kind: str = "stun", **more: Any) -> Attempt:
    return Attempt(target, kind, "answered", sent=1, seen=seen, **more)


def both(*attempts: Attempt) -> tuple[Attempt, ...]:
    """As nobody and as root."""
    return tuple(replace(one, uid=0 if root else 65534, privileged=root) for root in (False, True) for one in attempts)


def refused(*attempts: Attempt) -> Step:
    tried = both(*(attempts or (attempt(),)))
    return Step(tried, len(tried), 0.1, 1.0, 2.0)


TUNNEL = Step((out(seen=EXIT), out("http1", EXIT, "http"), out("dns1", EXIT, "dns")), 0, 0.2, 1.0, 2.0)
STEPS = {
    "ctl-tunnel": TUNNEL,
    "ctl-counter": Step((attempt("nowhere", kind="udp"),) * 3, 3),
    "pod-direct": refused(attempt(method="pktinfo"), attempt(method="unicast_if")),
    "pod-dev-bind": refused(attempt(method="bindtodevice"), attempt("http1", "timeout", "http", method="bindtodevice")),
    "pod-src-bind": Step((out(seen=EXIT),), 0),
    "pod-v6": refused(attempt("stun1-v6", "ENETUNREACH"), attempt("neighbour6", kind="udp")),
    "pod-icmp": refused(attempt(kind="icmp")),
    "icmp-tunnel": Step((attempt(outcome="answered", kind="icmp"),), 0),
    "dns-exit": Step((out("dns1", EXIT, "dns"),), 0),
    "bulk-small": Step((attempt("bulk1", "answered", "bulk"),), 0),
    "ovl-mtu": Step((attempt(outcome="answered", kind="icmp"), attempt("bulk1", "answered", "bulk")), 0),
}
LINK = {"learning": False, "id": 7001, "mtu": 1376}
NEIGHBOURS = [{"dst": "10.222.1.1", "lladdr": "02:42:0a:de:01:01", "state": ["PERMANENT"]}]
FACTS = {
    "agent": PROOF["agent"],
    "netns": "net:[4026531840]",
    "tools": {"nft": True, "ip": True, "bridge": True},
    "guard": LIVE,
    "egress": EGRESS,
    "rendered": "equal",
    "direct": [],
    "routes": {"public": {"dev": "bulkhead0", "type": "unicast", "direct": False}, "lan": {"error": "unreachable"}},
    "addresses": [{"dev": "eth0", "local": "2001:db8:1::5", "scope": "global"}],
    "resolv": RESOLV,
    "link": LINK,
    "mtu": 1376,
    "fdb": [{"mac": "02:42:0a:de:01:01", "dst": "10.244.0.20", "state": "permanent"}],
    "neighbours": NEIGHBOURS,
    "mesh": {"redirects": [15001, 15006], "backend": "iptables"},
}
STARTED = "2026-01-01T00:00:05Z"
POD = {
    "metadata": {
        "namespace": "downloads",
        "name": "app-0",
        "creationTimestamp": "2026-01-01T00:00:03Z",
        "annotations": {"ambient.istio.io/redirection": "enabled", "ambient.istio.io/dns-capture": "false"},
    },
    "spec": {
        "initContainers": [{"name": "bulkhead-guard"}, {"name": "bulkhead-overlay", "restartPolicy": "Always"}],
        "containers": [{"name": "app", "securityContext": {"capabilities": {"drop": ["NET_RAW"]}}}],
        "dnsPolicy": "None",
        "nodeName": "n1",
        "dnsConfig": {**DNS, "options": [{"name": "ndots", "value": "2"}]},
    },
    "status": {
        "podIP": "10.244.0.10",
        "conditions": [{"type": "Ready", "status": "True"}],
        "initContainerStatuses": [
            {
                "name": "bulkhead-guard",
                "state": {
                    "terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:00:04Z", "message": json.dumps(PROOF)}
                },
            },
            {"name": "bulkhead-overlay", "state": {"running": {"startedAt": STARTED}}},
        ],
        "containerStatuses": [{"name": "app", "state": {"running": {"startedAt": "2026-01-01T00:00:06Z"}}}],
    },
}
POLICY = {"metadata": {"creationTimestamp": "2026-01-01T00:00:01Z"}, "spec": {"podSelector": {}}}
PLAIN = (attempt(outcome="timeout"), attempt("http1", "timeout", "http"))
CONTROL = Probe(
    {},
    {
        "plain": Step((out(), out("http1", kind="http")), 0, 0.1, 1.0, 2.0),
        "pod-direct": Step((out(method="pktinfo"),), 0),
        "pod-dev-bind": Step((out(method="bindtodevice"),), 0),
    },
)
TWINS = Twins(
    Probe({"six": False}, {"plain": Step(PLAIN, 0, 2.0, 1.5, 3.5)}),
    CONTROL,
    covered_early=FirstSeconds(3.0, {"stun1": Early(30)}),
    control_early=FirstSeconds(0.3, {"stun1": Early(3, 0, 3, 0.02, 0.2)}),
)
GATEWAY_POD = {
    "metadata": {
        "namespace": "vpn",
        "name": "north-0",
        "creationTimestamp": "2026-01-01T00:00:03Z",
        "labels": {"istio.io/dataplane-mode": "none"},
    },
    "spec": {},
    "status": {
        "podIP": "10.244.0.20",
        "conditions": [{"type": "Ready", "status": "True"}],
        "initContainerStatuses": [
            {"name": "bulkhead-firewall", "state": {"terminated": {"exitCode": 0, "message": json.dumps(PROOF)}}}
        ],
    },
}
GATEWAY_FACTS = {
    **FACTS,
    "mesh": {"redirects": [], "backend": ""},
    "forward": {"hook": "forward", "prio": -10, "policy": "drop"},
    "forwards": {"eth0": False, "bulkhead0": True},
    "fdb": [{"mac": "02:42:0a:de:01:0a", "dst": "10.244.0.10", "state": "permanent"}],
}
GATEWAY = GatewayEvidence(
    target="vpn/north",
    site=SITE,
    pods=(GATEWAY_POD,),
    workload={"spec": {"replicas": 1}},
    config={},
    probe=Probe(
        GATEWAY_FACTS,
        {
            "gw-exit": Step((out(seen=EXIT), out("http1", EXIT, "http")), 0),
            "gw-clear": Step((attempt(method="bindtodevice"),), 1),
        },
    ),
    policy=PolicyView(POLICY, (), frozenset({"north-0"}), frozenset({"north-0"})),
    twins=TWINS,
    namespace_mode="none",
    dataplane="ztunnel",
    clients={"downloads/app-0": "10.244.0.10"},
)
OUT, IN = ("downloads/default", "core/radarr"), ("core/default", "downloads/default")
MESH = MeshView(
    declared=True,
    dataplane="ztunnel",
    audit=(),
    probe_addresses=("169.254.7.127",),
    records=(Record(40001, *OUT, "outbound"), Record(40002, *IN, "inbound"), Record(9, "", "", "outbound")),
    ports={"mesh-out": (40001,), "mesh-in": (40002,)},
    peers={"mesh-out": frozenset({OUT}), "mesh-in": frozenset({IN})},
)
GOOD = PodEvidence(
    target="downloads/app-0",
    site=SITE,
    pod=POD,
    config={},
    direct=[],
    services=ServicesView(("core/radarr",)),
    dns=DNS,
    probe=Probe(FACTS, STEPS),
    inside={"app": Inside("net:[4026531840]", RESOLV, {"CapEff": 0, "CapBnd": 0})},
    policy=PolicyView(POLICY, (), frozenset({"app-0"}), frozenset({"app-0"})),
    twins=TWINS,
    gateway=GATEWAY,
    mesh=MESH,
)


WORKLOAD = WorkloadEvidence("downloads/app", (), ())
INVENTORY = InventoryEvidence(unnamed=())


def with_step(evidence: Any, name: str, step: Any) -> Any:
    """The evidence with one step of its probe replaced; None takes it away."""
    steps = {key: one for key, one in evidence.probe.steps.items() if key != name}
    return replace(evidence, probe=replace(evidence.probe, steps=steps if step is None else {**steps, name: step}))


def with_fact(evidence: Any, name: str, value: Any) -> Any:
    facts = {key: one for key, one in evidence.probe.facts.items() if key != name}
    return replace(evidence, probe=replace(evidence.probe, facts=facts if value is None else {**facts, name: value}))


def with_pod(evidence: Any, change: Callable[[Any], None]) -> Any:
    """The evidence with an edited copy of its pod."""
    pod = copy.deepcopy(evidence.pod)
    change(pod)
    return replace(evidence, **({"pod": pod} if isinstance(evidence, PodEvidence) else {"pods": (pod,)}))


def results(evidence: Any, classes: str = "PAC") -> dict[str, Any]:
    sorts = {
        PodEvidence: "client",
        GatewayEvidence: "gateway",
        WorkloadEvidence: "workload",
        InventoryEvidence: "inventory",
    }
    on = sorts[type(evidence)]
    return {one.id: one for one in _registry.run(evidence, on, classes)}
