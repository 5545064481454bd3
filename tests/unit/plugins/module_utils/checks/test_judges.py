# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each judge by a table: one thing is broken, and one check says so. What is not there is unknown, never better."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _registry
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import (
    Early,
    FirstSeconds,
    Inside,
    Probe,
    Site,
    Step,
    Twins,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.checks import evidence as e

STRANGER = Site(e.SITE.real, e.SITE.learnt, frozenset())
GONE = {
    "error": "CommandError: nft -j list table inet bulkhead_guard failed with code 1: Error: No such file or directory"
}


def pod(change: Any) -> Any:
    return lambda: e.with_pod(e.GOOD, change)


def step(name: str, value: Any) -> Any:
    return lambda: e.with_step(e.GOOD, name, value)


def fact(name: str, value: Any) -> Any:
    return lambda: e.with_fact(e.GOOD, name, value)


def gateway(**changes: Any) -> Any:
    return lambda: replace(e.GATEWAY, **changes)


def set_in(path: str, value: Any) -> Any:
    def change(one: Any) -> None:
        *parents, last = path.split(".")
        for key in parents:
            one = one[int(key)] if key.isdigit() else one[key]
        one[last] = value

    return change


def proof(**changes: Any) -> Any:
    text = json.dumps({**e.PROOF, **changes})
    return pod(set_in("status.initContainerStatuses.0.state.terminated.message", text))


def policy(on: Any = e.GOOD, **changes: Any) -> Any:
    return lambda: replace(on, policy=replace(on.policy, **changes))


def covered(six: Any = False, **changes: Any) -> Any:
    probe = Probe({"six": six}, {"plain": replace(e.TWINS.covered.steps["plain"], **changes)})
    return lambda: replace(e.GOOD, twins=replace(e.TWINS, covered=probe))


def by_six(under: str, free: str, six: Any = True) -> Any:
    """How attempts by IPv6 ended under the policy and without it."""
    more = [
        Step((*step.attempts, e.attempt("stun2-v6", outcome, seen=e.REAL)), 0, 2.0, 1.5, 3.5)
        for step, outcome in ((e.TWINS.covered.steps["plain"], under), (e.CONTROL.steps["plain"], free))
    ]
    leak = Step((e.attempt("stun2-v6", free, method="bindtodevice"),), 0)
    held = Probe({}, {**e.CONTROL.steps, "plain": more[1], "pod-v6": leak})
    return lambda: replace(
        e.GOOD, twins=replace(e.TWINS, covered=Probe({"six": six}, {"plain": more[0]}), control=held)
    )


def first(under: Any = None, free: Any = None) -> Any:
    """The first seconds of the twins."""
    given = {"covered_early": under, "control_early": free}
    return lambda: replace(
        e.GOOD, twins=replace(e.TWINS, **{key: one for key, one in given.items() if one is not None})
    )


SILENT_STUN = {"stun1": Early(30)}


def control(**steps: Any) -> Any:
    named = {key.replace("_", "-"): value for key, value in steps.items()}
    return lambda: replace(e.GOOD, twins=replace(e.TWINS, control=Probe({}, {**e.CONTROL.steps, **named})))


SILENT = Step((e.attempt(outcome="timeout"), e.attempt("http1", "timeout", "http")), 0, 0.1, 1.0, 2.0)


def routed(*attempts: Any) -> Step:
    tried = e.both(*attempts)
    return Step(tried, 0)


NO_SOCKET = step("pod-icmp", e.refused(e.attempt(outcome="EACCES", kind="icmp")))

TABLE = [
    # -- controls
    ("ctl-tools", "unknown", fact("tools", {"nft": False, "ip": True, "bridge": True})),
    ("ctl-tools", "unknown", fact("netns", None)),
    ("ctl-tools", "unknown", lambda: replace(e.GOOD, inside={"app": Inside("net:[1]", e.RESOLV)})),
    ("ctl-tools", "pass", lambda: replace(e.GOOD, inside={"app": Missing("no shell")})),
    ("ctl-real", "unknown", lambda: replace(e.GOOD, site=Site(e.SITE.real))),
    ("ctl-target", "unknown", lambda: replace(step("ctl-tunnel", SILENT)(), twins=Missing("none"))),
    ("ctl-target", "unknown", lambda: replace(step("ctl-tunnel", Step((), 0))(), twins=Missing("none"))),
    ("ctl-tunnel", "fail", step("ctl-tunnel", Step((e.out(), e.out("http1", e.EXIT, "http")), 0))),
    ("ctl-tunnel", "fail", step("ctl-tunnel", Step((e.out(seen="203.0.113.99"), e.out("http1", e.EXIT)), 0))),
    ("ctl-tunnel", "unknown", step("ctl-tunnel", Step((e.out(seen=e.EXIT), e.out(seen=e.EXIT)), 0))),
    ("ctl-tunnel", "unknown", step("ctl-tunnel", Step((e.out(seen=""), e.out("http1", e.EXIT)), 0))),
    ("ctl-tunnel", "unknown", lambda: replace(e.GOOD, site=Site(exits=frozenset({e.EXIT})))),
    ("ctl-tunnel", "pass", lambda: replace(e.GOOD, site=STRANGER)),
    ("ctl-counter", "fail", step("ctl-counter", Step((e.attempt(),) * 3, 2))),
    ("ctl-counter", "unknown", step("ctl-counter", Step((e.attempt(),) * 3, Missing("no table")))),
    ("ctl-counter", "unknown", step("ctl-counter", Step((e.attempt(outcome="timeout"),) * 3, 3))),
    ("ctl-detect", "unknown", control(pod_dev_bind=SILENT)),
    ("ctl-detect", "unknown", control(pod_direct=Step((), 0))),
    ("ctl-detect", "unknown", lambda: replace(e.GOOD, twins=Missing("no pod could be made"))),
    # -- what stands in the pod
    ("pod-hostnet", "fail", pod(set_in("spec.hostNetwork", True))),
    ("pod-guard-first", "fail", pod(lambda one: one["spec"]["initContainers"].reverse())),
    ("pod-guard-first", "fail", pod(lambda one: one["spec"].pop("initContainers"))),
    ("pod-guard-first", "fail", pod(set_in("spec.initContainers.0.restartPolicy", "Always"))),
    (
        "pod-guard-first",
        "fail",
        pod(set_in("status.containerStatuses.0.state.running.startedAt", "2026-01-01T00:00:03Z")),
    ),
    ("pod-guard-first", "fail", pod(set_in("status.initContainerStatuses.0.state.terminated.exitCode", 1))),
    ("pod-guard-first", "unknown", pod(lambda one: one.pop("status"))),
    ("pod-guard-hash", "fail", pod(lambda one: one["status"].pop("initContainerStatuses"))),
    ("pod-guard-hash", "fail", proof(table="x" * 64)),
    ("pod-guard-hash", "fail", proof(frames={"mode": "absent", "table": ""})),
    ("pod-guard-hash", "fail", proof(agent="b" * 16)),
    ("pod-guard-hash", "fail", fact("guard", GONE)),
    ("pod-guard-hash", "fail", fact("egress", {**e.EGRESS, "policy": "accept"})),
    ("pod-guard-hash", "fail", fact("egress", {**e.EGRESS, "prio": 0})),
    ("pod-guard-hash", "fail", fact("rendered", "chain egress differs")),
    ("pod-guard-hash", "pass", fact("rendered", "older agent")),
    ("pod-guard-hash", "fail", fact("direct", [{"port": 53}])),
    ("pod-guard-hash", "fail", lambda: replace(e.GOOD, direct=[{"port": 53}])),
    ("pod-guard-hash", "unknown", fact("direct", {"error": "CommandError: nft failed"})),
    ("pod-guard-hash", "unknown", fact("direct", None)),
    ("pod-guard-hash", "unknown", lambda: replace(e.GOOD, direct=Missing("no registry"))),
    ("pod-guard-hash", "unknown", fact("guard", {"error": "CommandError: The image has no nft"})),
    ("pod-guard-hash", "unknown", fact("agent", {"error": "FileNotFoundError"})),
    ("pod-caps", "fail", pod(set_in("spec.containers.0.securityContext", {}))),
    ("pod-caps", "fail", pod(set_in("spec.containers.0.securityContext.privileged", True))),
    ("pod-caps", "fail", pod(set_in("spec.containers.0.securityContext.capabilities.add", ["CAP_NET_ADMIN"]))),
    ("pod-caps", "fail", pod(set_in("spec.containers.0.securityContext.capabilities.add", ["sys_admin"]))),
    ("pod-caps", "fail", pod(set_in("spec.containers.0.securityContext.capabilities.add", ["ALL"]))),
    ("pod-caps", "fail", pod(set_in("spec.shareProcessNamespace", True))),
    ("pod-caps", "fail", pod(set_in("spec.ephemeralContainers", [{"name": "debugger"}]))),
    ("pod-caps", "fail", lambda: replace(e.GOOD, inside={"app": Inside("", "", {"CapBnd": 1 << 13})})),
    ("pod-caps", "pass", lambda: replace(e.GOOD, inside={"app": Missing("no shell")})),
    ("pod-route", "fail", fact("routes", {"public": {"dev": "eth0", "type": "unicast", "direct": False}})),
    ("pod-route", "pass", fact("routes", {"service": {"dev": "eth0", "type": "unicast", "direct": True}})),
    ("pod-route", "unknown", fact("routes", {})),
    ("pod-route", "unknown", fact("routes", {"error": "OSError: ip failed"})),
    # -- attempts
    ("pod-src-bind", "pass", step("pod-src-bind", Step((e.attempt(outcome="timeout"),), 0))),
    ("pod-src-bind", "fail", step("pod-src-bind", Step((e.out(),), 0))),
    ("pod-src-bind", "unknown", step("pod-src-bind", Step((e.out(seen="203.0.113.99"),), 0))),
    ("pod-src-bind", "unknown", step("pod-src-bind", Step((), 0))),
    ("pod-dev-bind", "unknown", step("pod-dev-bind", Step((e.attempt(method="bindtodevice"),), 1))),
    ("pod-v6", "unknown", step("pod-v6", routed(e.attempt("stun1-v6", "ENETUNREACH")))),
    (
        "pod-v6",
        "pass",
        lambda: e.with_fact(step("pod-v6", routed(e.attempt("six", "EADDRNOTAVAIL")))(), "addresses", []),
    ),
    ("pod-v6", "unknown", fact("addresses", {"error": "OSError"})),
    ("pod-icmp", "pass", step("icmp-tunnel", SILENT)),
    ("pod-icmp", "pass", step("icmp-tunnel", None)),
    ("pod-icmp", "unknown", step("pod-icmp", e.refused(e.attempt(outcome="EACCES", kind="icmp")))),
    ("pod-icmp", "pass", lambda: e.with_fact(NO_SOCKET(), "ping_groups", [1, 0])),
    ("pod-icmp", "unknown", lambda: e.with_fact(NO_SOCKET(), "ping_groups", [0, 9])),
    ("pod-icmp", "unknown", lambda: e.with_fact(NO_SOCKET(), "ping_groups", {"error": "OSError"})),
    (
        "pod-icmp",
        "unknown",
        lambda: e.with_pod(
            e.with_fact(NO_SOCKET(), "ping_groups", [1, 0]), set_in("spec.containers.0.securityContext", {})
        ),
    ),
    ("dns-exit", "fail", step("dns-exit", Step((e.out("dns1", kind="dns"),), 0))),
    ("dns-exit", "unknown", step("dns-exit", Step((e.attempt("dns1", "timeout", "dns"),), 0))),
    ("dns-exit", "unknown", step("dns-exit", Step((), 0))),
    # -- names
    ("dns-conf", "fail", pod(set_in("spec.dnsPolicy", "ClusterFirst"))),
    ("dns-conf", "fail", pod(set_in("spec.dnsConfig.nameservers", ["10.222.1.1", "10.96.0.10"]))),
    ("dns-conf", "fail", pod(set_in("spec.dnsConfig.searches", ["home.example"]))),
    ("dns-conf", "fail", pod(set_in("spec.dnsConfig.options", [{"name": "ndots", "value": "5"}]))),
    ("dns-conf", "fail", lambda: replace(e.GOOD, inside={"app": Inside("", "nameserver 10.96.0.10\n")})),
    (
        "dns-conf",
        "fail",
        lambda: replace(fact("resolv", "nameserver 10.96.0.10\n")(), inside={"app": Missing("no shell")}),
    ),
    ("dns-conf", "unknown", lambda: replace(fact("resolv", None)(), inside={})),
    ("dns-conf", "unknown", lambda: replace(e.GOOD, dns={})),
    # -- policy
    ("np-exists", "fail", policy(live=None)),
    ("np-exists", "fail", policy(live={"metadata": {"creationTimestamp": "2026-01-01T00:00:04Z"}})),
    ("np-exists", "unknown", policy(live={"metadata": {}})),
    ("np-shape", "fail", policy(live=None, problems=("it does not exist",))),
    ("np-shape", "fail", policy(problems=("no peers are named, which means all of them",))),
    ("np-selects", "fail", policy(selected=frozenset())),
    ("np-selects", "fail", policy(selected=frozenset({"app-0", "other-0"}))),
    ("np-selects", "unknown", policy(meant=frozenset(), selected=frozenset())),
    ("np-shape", "unknown", lambda: replace(e.GOOD, policy=Missing("API error 500"))),
    ("np-union", "fail", policy(opened=("NetworkPolicy downloads/all opens every port",))),
    ("np-union", "fail", policy(opened=("x",), unjudged=Missing("API error"))),
    ("np-union", "fail", policy(live=None)),
    ("np-union", "unknown", policy(unjudged=("CiliumNetworkPolicy x may select these pods",))),
    ("np-union", "unknown", policy(unjudged=Missing("not able to list API groups"))),
    ("np-union", "unknown", policy(meant=frozenset())),
    ("np-union", "unknown", lambda: replace(e.GOOD, policy=Missing("API error 500"))),
    ("np-enforced", "fail", covered(attempts=(e.out(), e.attempt("http1", "timeout", "http")))),
    # Engines deny in several ways, and none of them is an answer (kube-router: port unreachable).
    ("np-enforced", "pass", covered(attempts=(e.attempt(outcome="refused"),))),
    ("np-enforced", "pass", covered(attempts=(e.attempt(outcome="EHOSTUNREACH"),))),
    ("np-enforced", "fail", covered(attempts=(e.attempt(outcome="refused"), e.attempt(outcome="wrong_answer")))),
    ("np-enforced", "unknown", covered(attempts=())),
    ("np-enforced", "unknown", covered(attempts=(e.attempt(outcome="tool"),))),
    ("np-enforced", "unknown", covered(attempts=(e.attempt("stun9", "timeout"),))),
    ("np-enforced", "unknown", covered(started=12.5, ended=13.0)),
    ("np-enforced", "unknown", control(plain=SILENT)),
    ("np-enforced", "unknown", lambda: replace(e.GOOD, twins=replace(e.TWINS, same_node=False))),
    ("np-enforced", "unknown", lambda: replace(e.GOOD, twins=replace(e.TWINS, control=Missing("exec refused")))),
    ("np-enforced", "unknown", lambda: replace(e.GOOD, twins=Missing("quota"))),
    (
        "np-enforced",
        "fail",
        lambda: replace(e.GOOD, twins=Twins(Probe({}, {"plain": Step((e.out(),), 0)}), Missing("exec refused"))),
    ),
    # IPv6: a policy that closes IPv4 only is not enforced.
    ("np-enforced", "fail", by_six("answered", "answered")),
    ("np-enforced", "fail", by_six("answered", "timeout")),
    ("np-enforced", "pass", by_six("timeout", "answered")),
    ("np-enforced", "pass", by_six("ENETUNREACH", "ENETUNREACH")),
    ("np-enforced", "pass", by_six("EAFNOSUPPORT", "EAFNOSUPPORT", False)),
    ("np-enforced", "unknown", by_six("timeout", "timeout")),
    ("np-enforced", "unknown", covered(six=True)),
    ("np-enforced", "unknown", covered(six={"error": "OSError"})),
    ("np-enforced", "unknown", covered(six=None)),
    ("ctl-detect", "pass", by_six("timeout", "answered")),
    (
        "ctl-detect",
        "unknown",
        lambda: replace(
            by_six("timeout", "answered")(),
            twins=replace(
                by_six("timeout", "answered")().twins,
                control=Probe({}, {**by_six("timeout", "answered")().twins.control.steps, "pod-v6": SILENT}),
            ),
        ),
    ),
    # The first seconds.
    ("np-early", "fail", first(FirstSeconds(4.0, {"stun1": Early(40, 0, 9, 0.0, 0.9)}))),
    ("np-early", "fail", first(FirstSeconds(15.0, {"stun1": Early(150, 0, 150, 0.0, 15.0)}))),
    ("np-early", "fail", first(FirstSeconds(4.0, {**SILENT_STUN, "stun2-v6": Early(40, 0, 1, 0.5, 0.5)}))),
    ("np-early", "unknown", first(Missing("exec refused"))),
    ("np-early", "unknown", first(None, Missing("exec refused"))),
    ("np-early", "unknown", first(FirstSeconds(3.0, {}))),
    ("np-early", "unknown", first(FirstSeconds(3.0, {"stun1": Early(0, 30)}))),
    ("np-early", "unknown", first(None, FirstSeconds(3.0, {"stun1": Early(30)}))),
    ("np-early", "unknown", first(None, FirstSeconds(3.0, {}))),
    # Nothing was carried for a new pod while it was watched: its silence is no policy's.
    ("np-early", "unknown", first(None, FirstSeconds(3.6, {"stun1": Early(33, 0, 3, 3.2, 3.5)}))),
    ("np-early", "pass", first(FirstSeconds(3.0, {**SILENT_STUN, "stun2-v6": Early(0, 30)}))),
    ("np-early", "unknown", lambda: replace(e.GOOD, twins=Missing("quota"))),
    # Real addresses.
    ("ctl-real", "unknown", lambda: replace(e.GOOD, site=replace(e.SITE, gaps=("node n2 cannot be read",)))),
    ("ctl-tunnel", "unknown", lambda: replace(e.GOOD, site=replace(e.SITE, gaps=("node n2 cannot be read",)))),
    ("dns-exit", "unknown", lambda: replace(e.GOOD, site=replace(e.SITE, gaps=("node n2 cannot be read",)))),
    ("gw-exit", "unknown", gateway(site=replace(e.SITE, gaps=("node n2 cannot be read",)))),
    # -- what the inventory does not show
    ("pod-stray", "fail", lambda: replace(e.WORKLOAD, open=("pod ns/again uses its image",))),
    ("pod-stray", "unknown", lambda: replace(e.WORKLOAD, open=Missing("not able to list pods"))),
    ("pod-left-behind", "fail", lambda: replace(e.WORKLOAD, left=("Pod ns/app-0 is left behind.",))),
    ("pod-left-behind", "unknown", lambda: replace(e.WORKLOAD, left=Missing("not able to list replicasets"))),
    ("inv-named", "fail", lambda: replace(e.INVENTORY, unnamed=("StatefulSet ns/app is attached.",))),
    ("inv-named", "unknown", lambda: replace(e.INVENTORY, unnamed=Missing("not able to list deployments"))),
    # -- overlay
    ("ovl-fdb", "fail", fact("link", {**e.LINK, "learning": True})),
    ("ovl-fdb", "fail", fact("link", {"mtu": 1376})),
    ("ovl-fdb", "fail", fact("fdb", [{"dst": "10.244.0.20", "state": ""}])),
    ("ovl-fdb", "fail", fact("fdb", [{"dst": "10.244.0.66", "state": "permanent"}])),
    ("ovl-fdb", "fail", fact("fdb", [])),
    ("ovl-fdb", "fail", fact("neighbours", [{"dst": "10.222.1.9", "lladdr": "02:00:00:00:00:01", "state": ["STALE"]}])),
    ("ovl-fdb", "unknown", fact("fdb", {"error": "OSError: bridge"})),
    ("ovl-fdb", "fail", lambda: replace(e.GOOD, gateway=replace(e.GATEWAY, clients={}))),
    ("ovl-fdb", "unknown", lambda: replace(e.GOOD, gateway=replace(e.GATEWAY, clients={}, all_clients=False))),
    ("ovl-fdb", "unknown", lambda: replace(e.GOOD, gateway=replace(e.GATEWAY, probe=Missing("exec refused")))),
    (
        "ovl-mtu",
        "fail",
        step("ovl-mtu", Step((e.attempt("bulk1", "timeout", "bulk"), e.attempt(outcome="answered", kind="icmp")), 0)),
    ),
    ("ovl-mtu", "unknown", step("ovl-mtu", Step((e.attempt(outcome="timeout", kind="icmp"),), 0))),
    ("ovl-mtu", "pass", step("ovl-mtu", Step((e.attempt(outcome="answered", kind="icmp"),), 0))),
    (
        "ovl-mtu",
        "unknown",
        lambda: e.with_step(
            step("ovl-mtu", Step((e.attempt("bulk1", "timeout", "bulk"),), 0))(),
            "bulk-small",
            Step((e.attempt("bulk1", "timeout", "bulk"),), 0),
        ),
    ),
    # -- gateway
    ("gw-single", "fail", gateway(workload={"spec": {"replicas": 2}})),
    ("gw-single", "fail", gateway(workload=None)),
    ("gw-single", "fail", gateway(pods=())),
    ("gw-single", "fail", gateway(pods=(e.GATEWAY_POD, e.GATEWAY_POD))),
    ("gw-single", "fail", lambda: e.with_pod(e.GATEWAY, set_in("status.conditions.0.status", "False"))),
    ("gw-single", "unknown", gateway(workload=Missing("API error"))),
    ("gw-rules", "fail", lambda: e.with_pod(e.GATEWAY, lambda one: one["status"].pop("initContainerStatuses"))),
    ("gw-rules", "fail", lambda: e.with_fact(e.GATEWAY, "guard", {**e.LIVE, "table": "x"})),
    ("gw-rules", "fail", lambda: e.with_fact(e.GATEWAY, "forward", {"hook": "forward", "policy": "accept"})),
    ("gw-rules", "fail", lambda: e.with_fact(e.GATEWAY, "forwards", {"eth0": True})),
    ("gw-rules", "unknown", lambda: e.with_fact(e.GATEWAY, "forwards", None)),
    ("gw-rules", "unknown", gateway(probe=Missing("no python"))),
    ("gw-exit", "fail", lambda: e.with_step(e.GATEWAY, "gw-exit", Step((e.out(),), 0))),
    ("gw-exit", "unknown", lambda: e.with_step(e.GATEWAY, "gw-exit", SILENT)),
    ("gw-clear", "fail", lambda: e.with_step(e.GATEWAY, "gw-clear", Step((e.out(),), 0))),
    ("gw-clear", "unknown", lambda: e.with_step(e.GATEWAY, "gw-clear", Step((e.attempt(outcome="timeout"),), 0))),
    ("gw-clear", "unknown", lambda: e.with_step(e.GATEWAY, "gw-exit", SILENT)),
    ("np-exists", "fail", policy(e.GATEWAY, live=None)),
    ("np-shape", "fail", policy(e.GATEWAY, problems=("a range of ports is open",))),
    ("np-selects", "fail", policy(e.GATEWAY, selected=frozenset())),
    ("np-union", "fail", policy(e.GATEWAY, opened=("x",))),
    ("np-exists", "unknown", gateway(pods=Missing("API error"))),
    ("np-enforced", "unknown", gateway(twins=Missing("none"))),
]


@pytest.mark.parametrize(("check", "expected", "broken"), TABLE)
def test_one_thing_broken(check: str, expected: str, broken: Any) -> None:
    found = e.results(broken())[check]
    assert found.result == expected, found
    assert found.reason or expected == "pass"


BLOCKED = ["pod-direct", "pod-dev-bind", "pod-v6", "pod-icmp"]


@pytest.mark.parametrize("check", BLOCKED)
@pytest.mark.parametrize(
    ("change", "expected", "leak"),
    [
        (lambda step: replace(step, attempts=(*step.attempts, e.out())), "fail", True),
        # A policy engine that rejects: the guard let it go, but nothing shows that it left the node.
        (lambda step: replace(step, attempts=(*step.attempts, e.attempt(outcome="refused"))), "fail", False),
        (lambda step: replace(step, attempts=(*step.attempts, e.attempt(outcome="wrong_answer"))), "fail", True),
        (lambda step: replace(step, delta=0), "unknown", False),
        (lambda step: replace(step, delta=1), "unknown", False),
        (lambda step: replace(step, delta=Missing("no table")), "unknown", False),
        (lambda step: replace(step, attempts=(*step.attempts, e.attempt(outcome="tool"))), "unknown", False),
        (lambda step: replace(step, attempts=(*step.attempts, e.attempt(outcome="E2BIG"))), "unknown", False),
        (lambda step: replace(step, attempts=()), "unknown", False),
        # A datagram that was let go and dropped later: another layer holds, this one does not.
        (
            lambda step: replace(step, delta=9, attempts=(*step.attempts, e.attempt(outcome="timeout"))),
            "unknown",
            False,
        ),
        (lambda step: None, "unknown", False),
    ],
)
def test_blocked_needs_proof(check: str, change: Any, expected: str, leak: bool) -> None:
    found = e.results(e.with_step(e.GOOD, check, change(e.STEPS[check])))[check]
    assert (found.result, found.leak) == (expected, leak), found
    assert check not in ("pod-direct", "pod-dev-bind") or found.control == "ctl-tunnel" or not found.observed or leak


@pytest.mark.parametrize("check", ["pod-direct", "pod-dev-bind"])
def test_blocked_needs_an_answer_through_the_vpn(check: str) -> None:
    dead = Step((e.attempt(outcome="timeout"), e.out("http1", e.EXIT, "http"), e.out("dns1", e.EXIT, "dns")), 0)
    assert e.results(e.with_step(e.GOOD, "ctl-tunnel", dead))[check].result == "unknown"
    assert e.results(e.with_step(e.GOOD, "ctl-tunnel", None))[check].result == "unknown"


@pytest.mark.parametrize("check", BLOCKED)
def test_blocked_needs_counters(check: str) -> None:
    for broken in (Step((e.attempt(),) * 3, 0), None):
        assert e.results(e.with_step(e.GOOD, "ctl-counter", broken))[check].result == "unknown"


def test_everything_holds() -> None:
    for evidence, on in (
        (e.GOOD, "client"),
        (e.GATEWAY, "gateway"),
        (e.WORKLOAD, "workload"),
        (e.INVENTORY, "inventory"),
    ):
        found = e.results(evidence)
        assert {one.id: (one.result, one.reason) for one in found.values() if one.result != "pass"} == {}
        assert list(found) == [one.id for one in _registry.CHECKS if one.on == on]


@pytest.mark.parametrize(
    "reason", ["no python3", "exec refused", "API error", "the command did not end within 30 s", "target down"]
)
def test_no_probe_proves_nothing(reason: str) -> None:
    """Whatever breaks the tool: what needs it is unknown, and nothing is better than before."""
    broken = Missing(reason)
    client = e.results(replace(e.GOOD, probe=broken, inside={"app": broken}, twins=broken, policy=broken, mesh=broken))
    read = {"ctl-real", "pod-hostnet", "pod-guard-first", "pod-caps", "svc-audit"}
    for name, one in client.items():
        assert one.result == ("pass" if name in read else "unknown"), one
    assert {
        one.result
        for one in e.results(
            replace(e.GATEWAY, probe=broken, twins=broken, policy=broken, pods=broken, workload=broken)
        ).values()
    } == {"unknown"}


def frames(mode: str | None, edit: Any = None) -> Any:
    """The guard as it was loaded on a kernel that can do this much."""
    held = {"mode": mode, "table": "" if mode == "absent" else "f" * 64}
    evidence = e.with_fact(proof(frames=held)(), "guard", {**e.LIVE, "frames": held})
    return e.results(e.with_pod(evidence, edit) if edit else evidence)["pod-guard-hash"]


@pytest.mark.parametrize("mode", ["marked", "absent", "nonsense", None])
def test_without_the_hook_for_frames_the_guard_counts_only_where_nobody_may_send_them(mode: str | None) -> None:
    found = frames(mode)
    assert found.result == "pass" and "no" in found.observed and "NET_RAW" in found.observed, found
    open_ = frames(mode, set_in("spec.containers.0.securityContext", {}))
    assert open_.result == "fail" and "pod-caps did not pass" in open_.reason, open_


def test_with_the_hook_it_holds_alone_and_says_so() -> None:
    found = frames("routed", set_in("spec.containers.0.securityContext", {}))
    assert found.result == "pass" and "netdev egress hook" in found.observed and "NET_RAW" not in found.observed, found


def test_classes_not_asked_for_are_skipped() -> None:
    found = e.results(e.GOOD, "P")
    for one in found.values():
        assert (one.result == "skipped") == (one.check_class != "P"), one


USES = {
    **dict.fromkeys(("agent", "guard", "egress", "rendered"), "pod-guard-hash"),
    **dict.fromkeys(("tools", "netns"), "ctl-tools"),
    **dict.fromkeys(("link", "fdb", "neighbours"), "ovl-fdb"),
    "routes": "pod-route",
}


@pytest.mark.parametrize("name", sorted(USES))
@pytest.mark.parametrize("value", [None, "nonsense", 7, [1], {"x": 1}])
def test_facts_of_another_form_do_not_pass(name: str, value: Any) -> None:
    found = e.results(e.with_fact(e.GOOD, name, value))
    assert found[USES[name]].result in ("fail", "unknown"), found[USES[name]]


def test_results_hold_no_addresses() -> None:
    text = json.dumps([one.to_dict() for evidence in (e.GOOD, e.GATEWAY) for one in e.results(evidence).values()])
    leaking = e.results(e.with_step(e.GOOD, "pod-direct", Step((e.out(),), 0)))
    text += json.dumps([one.to_dict() for one in leaking.values()])
    for address in (e.REAL, e.EXIT, "10.222.1.1", "10.244.0.20"):
        assert address not in text
