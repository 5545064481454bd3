# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Results -> verdict of one client. Pure.

A packet of a client can get to the node's own exit in two ways, and on each of them stand two layers that do not depend
on each other. A layer holds when every check that proves it passed; one fail breaks it; anything else is unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import (
    FAIL,
    PASS,
    SKIPPED,
    UNKNOWN,
    Result,
    worst,
)

HOLDS, BROKEN, LATE = "holds", "broken", "late"
# A layer that holds only some time after a pod's start does not count: what a client sends first is what names it.
WORDS = {LATE: "late: packets got out at a pod's start"}
PROTECTED, SINGLE, UNPROTECTED = "protected", "protected_single_layer", "unprotected"
VERDICTS = (PROTECTED, SINGLE, UNKNOWN, UNPROTECTED)  # best first; unknown is never as good as what was asked for
REQUIREMENTS = (PROTECTED, SINGLE)


@dataclass(frozen=True)
class Layer:
    """``proofs`` have to pass, all of them, on every pod of the client or on its gateway.

    ``void`` are checks without which the proofs prove nothing; those that were skipped do not count. ``start`` are proofs that it
    holds from a pod's first instant on: where only those failed, it is late and not broken.
    """

    name: str
    on: str
    proofs: tuple[str, ...]
    void: tuple[str, ...] = ()
    start: tuple[str, ...] = ()


_START = ("np-early",)
_POLICY = ("np-exists", "np-shape", "np-selects", "np-union", "np-enforced")
GUARD = Layer(
    "guard",
    "client",
    (
        "pod-hostnet",
        "pod-guard-first",
        "pod-guard-hash",
        "svc-audit",  # it admits a Service by its address alone
        "pod-caps",
        "pod-direct",
        "pod-dev-bind",
        "pod-src-bind",
        "pod-v6",
        "pod-icmp",
    ),
    void=("ctl-detect",),  # a probe that sees no leak where there is one says nothing where it sees none
)
# hostNetwork: what a policy means for such a pod is undefined.
POLICY = Layer("policy", "client", ("pod-hostnet", *_POLICY), start=_START)
FIREWALL = Layer("gateway_firewall", "gateway", ("gw-rules", "gw-clear"))
GATEWAY_POLICY = Layer("gateway_policy", "gateway", _POLICY, start=_START)
# Ways out, each with the layers that stand on it.
WAYS = {"by the pod's own network": (GUARD, POLICY), "by the gateway's own network": (FIREWALL, GATEWAY_POLICY)}
LAYERS = tuple(layer for layers in WAYS.values() for layer in layers)
# Without these nobody can say from which address traffic leaves.
EXITS = {"client": ("ctl-real", "ctl-tunnel", "dns-exit"), "gateway": ("gw-exit",)}
# Where one of these failed, the client's own traffic has a way that none of the layers stands on.
BESIDE = ("pod-stray",)


@dataclass(frozen=True)
class Verdict:
    """``layers``: name -> holds, late, broken or unknown. ``holding`` are the layers of the weakest way that hold."""

    verdict: str
    layers: Mapping[str, str]
    holding: tuple[str, ...]
    reason: str
    failed: tuple[str, ...]
    unproven: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For a module's result."""
        return {
            "verdict": self.verdict,
            "layers": dict(self.layers),
            "holding": list(self.holding),
            "reason": self.reason,
            "failed": list(self.failed),
            "unproven": list(self.unproven),
        }


def layer_state(layer: Layer, targets: Mapping[str, Sequence[Result]]) -> str:
    """State of one layer over all targets (pod or gateway -> results); without any target: unknown."""
    found, late = [], False
    for results in targets.values():
        by_id = {one.id: one.result for one in results}
        found += [by_id.get(proof, UNKNOWN) for proof in layer.proofs]
        found += [UNKNOWN for control in layer.void if by_id.get(control, PASS) not in (PASS, SKIPPED)]
        from_start = [by_id.get(proof, UNKNOWN) for proof in layer.start]
        late = late or FAIL in from_start
        found += [one for one in from_start if one != FAIL]
    state = worst(found)
    return {PASS: LATE if late else HOLDS, FAIL: BROKEN}.get(state, UNKNOWN)


def _nodes(layer: Layer, targets: Mapping[str, Sequence[Result]]) -> str:
    """On which nodes a layer does not hold, where there are several and it does on others; in words."""
    nodes = {target: next((one.node for one in results if one.node), "") for target, results in targets.items()}
    bad = {nodes[target] for target, results in targets.items() if layer_state(layer, {target: results}) != HOLDS}
    if len(set(nodes.values())) < 2 or not bad:
        return ""
    return f" on node {', '.join(sorted(bad))}"


def judge(
    pods: Mapping[str, Sequence[Result]], gateway: Mapping[str, Sequence[Result]], workload: Sequence[Result] = ()
) -> Verdict:
    """The verdict of one client from the results of its pods, of its gateway, and of the client as a whole."""
    targets = {"client": pods, "gateway": gateway}
    states = {layer.name: layer_state(layer, targets[layer.on]) for layer in LAYERS}
    every = [one for results in (*pods.values(), *gateway.values(), workload) for one in results]
    failing = tuple(_named(every, FAIL))
    unproven = tuple(_named(every, UNKNOWN))
    way, holding, verdict = _weakest(states)
    places = {layer.name: _nodes(layer, targets[layer.on]) for layer in LAYERS}
    reason = _reason(verdict, way, holding, states, places)
    leaking = [one for one in every if one.leak]
    wrong_exit = _of(EXITS, pods, gateway, FAIL)
    beside = [one for one in workload if one.id in BESIDE and one.result == FAIL]
    if leaking:
        verdict, holding = UNPROTECTED, ()
        reason = f"a packet got past the VPN in {', '.join(sorted({f'{one.id} ({one.target})' for one in leaking}))}"
    elif wrong_exit:
        verdict, holding = UNPROTECTED, ()
        reason = f"traffic leaves where it must not: {', '.join(wrong_exit)}"
    elif beside:
        verdict, holding, reason = UNPROTECTED, (), beside[0].reason
    elif verdict in REQUIREMENTS:
        unseen = _of(EXITS, pods, gateway, None)
        if unseen:
            verdict, reason = UNKNOWN, f"it is not known where traffic leaves: {', '.join(unseen)}"
    return Verdict(verdict, states, holding, reason, failing, unproven)


def _weakest(states: Mapping[str, str]) -> tuple[str, tuple[str, ...], str]:
    """The way with the worst verdict: its name, the layers on it that hold, the verdict."""
    found = []
    for way, layers in WAYS.items():
        holding = tuple(layer.name for layer in layers if states[layer.name] == HOLDS)
        open_ = any(states[layer.name] == UNKNOWN for layer in layers)
        if len(holding) >= 2:
            verdict = PROTECTED
        elif holding:
            verdict = SINGLE
        else:
            verdict = UNKNOWN if open_ else UNPROTECTED
        found.append((way, holding, verdict))
    return max(found, key=lambda one: VERDICTS.index(one[2]))


def _reason(
    verdict: str, way: str, holding: Sequence[str], states: Mapping[str, str], places: Mapping[str, str]
) -> str:
    if verdict == PROTECTED:
        return "two layers hold on every way out"
    rest = [
        f"{layer.name} {WORDS.get(states[layer.name], states[layer.name])}{places[layer.name]}"
        for layer in WAYS[way]
        if layer.name not in holding
    ]
    held = f"only {holding[0]} holds" if holding else "no layer is shown to hold"
    return f"{held} {way} ({', '.join(rest)})"


def _named(results: Iterable[Result], wanted: str) -> list[str]:
    return list(dict.fromkeys(f"{one.id} ({one.target})" for one in results if one.result == wanted))


def _of(
    table: Mapping[str, Sequence[str]],
    pods: Mapping[str, Sequence[Result]],
    gateway: Mapping[str, Sequence[Result]],
    wanted: str | None,
) -> list[str]:
    """Checks of the table with this result; None means: anything but pass, also one that was not made."""
    found = []
    for on, targets in (("client", pods), ("gateway", gateway)):
        if not targets and wanted is None:
            found.append(f"no {on} was looked at")
        for target, results in targets.items():
            by_id = {one.id: one.result for one in results}
            for id_ in table[on]:
                result = by_id.get(id_, UNKNOWN)
                if result == wanted or (wanted is None and result != PASS):
                    found.append(f"{id_} ({target})")
    return found


def acceptable(
    verdict: Verdict, require: str, results: Iterable[Result], accept_unknown: Collection[str] = ()
) -> list[str]:
    """Why a client is not as required, as sentences; none if it is.

    A verdict below ``require`` is never accepted. Nor is any check that failed or stayed unknown, but for a failed one
    whose protection the inventory says it can do without (``require`` is ``protected_single_layer`` and the check
    proves a layer), and for unknown ones named in ``accept_unknown``.
    """
    reasons = []
    if VERDICTS.index(verdict.verdict) > VERDICTS.index(require):
        reasons.append(f"the verdict is {verdict.verdict}, required is {require}: {verdict.reason}")
    proofs = {proof for layer in LAYERS for proof in (*layer.proofs, *layer.start)} if require == SINGLE else set()
    reasons += unlike_pass((one for one in results if one.id not in proofs), accept_unknown)
    return list(dict.fromkeys(reasons))


def unlike_pass(results: Iterable[Result], accept_unknown: Collection[str] = ()) -> list[str]:
    """A sentence for each check that failed, or stayed unknown without being named in ``accept_unknown``."""
    reasons = []
    for one in results:
        if one.result == FAIL:
            reasons.append(f"{one.id} ({one.target}) failed: {one.reason}")
        if one.result == UNKNOWN and one.id not in accept_unknown:
            reasons.append(f"{one.id} ({one.target}) is unknown: {one.reason}")
    return list(dict.fromkeys(reasons))
