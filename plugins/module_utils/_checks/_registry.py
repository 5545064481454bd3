# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""All checks: what each proves, at which layer, and who judges it. Pure.

Classes: P reads objects, counters and tables; A makes a few harmless attempts; C creates disposable pods.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import (
    _judge_controls,
    _judge_dns,
    _judge_gateway,
    _judge_inventory,
    _judge_mesh,
    _judge_pod,
    _judge_policy,
    _judge_services,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import (
    PASS,
    SKIPPED,
    Finding,
    Result,
    skipped,
    unknown,
)

PASSIVE, ACTIVE, DISPOSABLE = "P", "A", "C"
CLASSES = (PASSIVE, ACTIVE, DISPOSABLE)
# What a check is about: a pod of a client, a client, a gateway, the inventory as a whole.
CLIENT, WORKLOAD, GATEWAY, INVENTORY = "client", "workload", "gateway", "inventory"
CONTROL, GUARD, POLICY, FIREWALL, GATEWAY_POLICY, OVERLAY, NAMES, MESH, LISTED = (
    "control",
    "guard",
    "policy",
    "gateway_firewall",
    "gateway_policy",
    "overlay",
    "dns",
    "mesh",
    "inventory",
)
_COUNTER = "ctl-counter"


@dataclass(frozen=True)
class Check:
    """``needs`` are checks that have to pass first, or this one is unknown; ``counts``: the judge takes whether the
    guard's counters can be relied on."""

    id: str
    on: str
    layer: str
    check_class: str
    proves: str
    expected: str
    judge: Callable[..., Finding]
    needs: tuple[str, ...] = ()
    counts: bool = False


def _client(*entry: Any, **more: Any) -> Check:
    return Check(entry[0], CLIENT, *entry[1:], **more)


def _gateway(*entry: Any, **more: Any) -> Check:
    return Check(entry[0], GATEWAY, *entry[1:], **more)


_T = ("ctl-tools",)
_C, _D, _G, _M, _P, _W = _judge_controls, _judge_dns, _judge_pod, _judge_mesh, _judge_policy, _judge_gateway
_I = _judge_inventory
_NP = (
    ("np-exists", "P", "the policy is older than the pod", "older than the pod", _P.exists),
    ("np-shape", "P", "the policy is no wider than asked for", "exactly as rendered", _P.shape),
    ("np-selects", "P", "the policy applies to these pods and no other", "exactly the live pods", _P.selects),
    ("np-union", "P", "no other policy opens more", "no rule of others that is wider", _P.union),
    ("np-enforced", "C", "the network enforces the policy", "covered twin: nothing, control: nonce", _P.enforced),
    ("np-early", "C", "it does so from a pod's first instant on", "covered twin: nothing, control: nonce", _P.early),
)

# In this order: what others need comes first.
CHECKS: tuple[Check, ...] = (
    _client("ctl-tools", CONTROL, "A", "the probe runs where the app runs", "all tools, same namespace", _C.tools),
    _client("ctl-real", CONTROL, "A", "real addresses are known", "at least one source", _C.real),
    _client("ctl-target", CONTROL, "A", "targets are alive and echo", "nonce from each", _C.target),
    _client(
        "ctl-tunnel", CONTROL, "A", "the targets answer through the VPN", "nonce, no real address", _C.tunnel, needs=_T
    ),
    _client("ctl-counter", CONTROL, "A", "refused packets are counted", "+1 per packet", _C.counter, needs=_T),
    _client("ctl-detect", CONTROL, "C", "the probe sees a leak where there is one", "fail in a twin", _C.detect),
    _client("pod-hostnet", GUARD, "P", "the pod has its own network", "hostNetwork false", _G.hostnet),
    _client("pod-guard-first", GUARD, "P", "nothing ran before the guard", "init container 0", _G.guard_first),
    _client("pod-guard-hash", GUARD, "P", "the rules are those that were loaded", "equal hashes", _G.guard_hash),
    _client("pod-caps", GUARD, "P", "the app cannot alter the guard", "no setting of the list in vpn.md", _G.caps),
    _client("svc-audit", GUARD, "P", "Services lead to their own pods", "pods of the selector", _judge_services.audit),
    _client("pod-route", OVERLAY, "P", "the kernel routes into the overlay", "overlay or unreachable", _G.route),
    _client(
        "pod-direct",
        GUARD,
        "A",
        "naming eth0 per packet is refused",
        "refused and counted",
        _G.direct,
        needs=_T,
        counts=True,
    ),
    _client(
        "pod-dev-bind",
        GUARD,
        "A",
        "binding to eth0 is refused",
        "refused and counted",
        _G.dev_bind,
        needs=_T,
        counts=True,
    ),
    _client("pod-src-bind", GUARD, "A", "binding to the pod's address is safe", "VPN or none", _G.src_bind, needs=_T),
    _client("pod-v6", GUARD, "A", "nothing leaves by IPv6", "refused and counted", _G.v6, needs=_T, counts=True),
    _client("pod-icmp", GUARD, "A", "echo by eth0 is refused", "refused and counted", _G.icmp, needs=_T, counts=True),
    _client("dns-conf", NAMES, "P", "only the gateway's resolver is asked", "as set", _D.conf),
    _client("dns-exit", NAMES, "A", "names are asked from the VPN", "no real address", _D.exit_, needs=_T),
    _client(
        "dns-capture-off", NAMES, "P", "the mesh does not take the pod's names", "no rule to 15053", _M.capture_off
    ),
    *(_client(one[0], POLICY, *one[1:]) for one in _NP),
    _client("ovl-fdb", OVERLAY, "P", "overlay peers are static", "permanent entries only", _W.fdb),
    _client("ovl-mtu", OVERLAY, "A", "full-size packets pass both ways", "all back", _W.mtu, needs=_T),
    _client("mesh-enrolled", MESH, "P", "the pod is in the mesh or not, as declared", "as declared", _M.enrolled),
    _client("mesh-rules", MESH, "P", "the mesh works in a known way", "known ports only", _M.rules),
    _client("mesh-probe", MESH, "P", "the kubelet's probes pass", "Ready", _M.probes),
    _client(
        "mesh-se-audit", MESH, "P", "nothing of the mesh leads traffic elsewhere", "no such ServiceEntry", _M.audit
    ),
    _client("mesh-out", MESH, "A", "calls to Services go through the mesh", "both identities", _M.talks_out, needs=_T),
    _client("mesh-in", MESH, "C", "calls from the mesh come in through it", "both identities", _M.talks_in),
    _gateway("gw-single", FIREWALL, "P", "one gateway", "one pod, Ready", _W.single),
    _gateway("gw-rules", FIREWALL, "P", "the gateway forwards into the tunnel only", "equal hashes", _W.rules),
    _gateway("gw-exit", FIREWALL, "A", "the tunnel leaves elsewhere", "two targets, no real address", _W.exit_),
    _gateway("gw-clear", FIREWALL, "A", "the gateway cannot leave in clear", "refused and counted", _W.clear),
    _gateway("mesh-gw-none", MESH, "P", "the gateway is in no mesh", "no annotation, no rule", _M.gateway_out),
    *(_gateway(one[0], GATEWAY_POLICY, *one[1:]) for one in _NP),
    Check("pod-stray", WORKLOAD, LISTED, "P", "no pod uses what is the client's without a guard", "none", _I.strays),
    Check("pod-left-behind", WORKLOAD, LISTED, "P", "the client's pods are its workload's", "none", _I.left_behind),
    Check("inv-named", INVENTORY, LISTED, "P", "the inventory names every attached workload", "all named", _I.named),
)


def check(id_: str, on: str = CLIENT) -> Check:
    """One check of the table; KeyError if there is none."""
    for one in CHECKS:
        if (one.id, one.on) == (id_, on):
            return one
    raise KeyError(id_)


def ids(classes: Collection[str] = CLASSES) -> list[str]:
    """Ids of all checks of these classes, each once."""
    return list(dict.fromkeys(one.id for one in CHECKS if one.check_class in classes))


def run(evidence: Any, on: str, classes: Collection[str]) -> list[Result]:
    """Judge all checks on something of this sort; those of other classes are skipped.

    A judge that stumbles over evidence of an unexpected form has proven nothing: unknown.
    """
    done: dict[str, Result] = {}
    for one in CHECKS:
        if one.on == on:
            done[one.id] = _result(one, evidence, _judge(one, evidence, classes, done))
    return list(done.values())


def _judge(one: Check, evidence: Any, classes: Collection[str], done: Mapping[str, Result]) -> Finding:
    if one.check_class not in classes:
        return skipped(f"class {one.check_class} was not asked for")
    for need in one.needs:
        if need in done and done[need].result != PASS:
            return unknown(f"{need} is {done[need].result}: {done[need].reason}")
    try:
        if one.counts:
            return one.judge(evidence, _COUNTER in done and done[_COUNTER].result == PASS)
        return one.judge(evidence)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, AssertionError) as exc:
        return unknown(f"the evidence has an unexpected form ({type(exc).__name__}: {exc})")


def _result(one: Check, evidence: Any, finding: Finding) -> Result:
    about_mesh = one.layer == MESH and finding.result != SKIPPED
    return Result(
        id=one.id,
        target=evidence.target,
        result=finding.result,
        layer=one.layer,
        check_class=one.check_class,
        control=finding.control,
        expected=one.expected,
        observed=finding.observed,
        reason=finding.reason,
        address_class=finding.address_class,
        counter_delta=finding.counter_delta,
        duration_s=round(finding.duration_s, 3),
        leak=finding.leak,
        dataplane=_judge_mesh.dataplane(evidence) if about_mesh else "",
        node=getattr(evidence, "node", ""),
    )
