# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verdicts over every combination of layers, and what overrides them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _registry, _verdict
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import RESULTS, Result, worst
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.checks import evidence as e

CLIENT = {one.id: Result(one.id, "ns/app-0", "pass") for one in _registry.CHECKS if one.on == "client"}
GATEWAY = {one.id: Result(one.id, "vpn/north", "pass") for one in _registry.CHECKS if one.on == "gateway"}
OWN = {
    "guard": "pod-guard-hash",
    "policy": "np-enforced",
    "gateway_firewall": "gw-rules",
    "gateway_policy": "np-enforced",
}


def judge(client: dict[str, Any], gateway: dict[str, Any], **pods: Any) -> _verdict.Verdict:
    every = {"ns/app-0": list(client.values()), **{name: list(one.values()) for name, one in pods.items()}}
    return _verdict.judge(every, {"north": list(gateway.values())})


def changed(results: dict[str, Any], **by_id: str) -> dict[str, Any]:
    named = {key.replace("_", "-"): value for key, value in by_id.items()}
    return {key: replace(one, result=named.get(key, one.result)) for key, one in results.items()}


def with_layers(states: dict[str, str]) -> _verdict.Verdict:
    """One proof of each layer has this result, all others pass."""
    client = changed(CLIENT, **{OWN[name].replace("-", "_"): states[name] for name in ("guard", "policy")})
    firewall, policy = states["gateway_firewall"], states["gateway_policy"]
    return judge(client, changed(GATEWAY, gw_rules=firewall, np_enforced=policy))


@pytest.mark.parametrize("states", list(itertools.product(RESULTS, repeat=4)))
def test_every_combination(states: tuple[str, ...]) -> None:
    verdict = with_layers(dict(zip(OWN, states, strict=True)))
    ways = [states[:2], states[2:]]
    counts = [way.count("pass") for way in ways]
    # None on a way is unprotected only if both are shown to be broken.
    if any(way == ("fail", "fail") for way in ways):
        expected = "unprotected"
    elif 0 in counts:
        expected = "unknown"
    else:
        expected = "protected" if counts == [2, 2] else "protected_single_layer"
    assert verdict.verdict == expected, verdict
    if expected == "protected_single_layer":
        assert len(verdict.holding) == 1 and verdict.holding[0] in verdict.reason
    for name, state in zip(OWN, states, strict=True):
        assert verdict.layers[name] == {"pass": "holds", "fail": "broken"}.get(state, "unknown")


@pytest.mark.parametrize(
    ("layer", "proof"), [(layer, proof) for layer in _verdict.LAYERS for proof in layer.proofs], ids=str
)
@pytest.mark.parametrize("result", ["fail", "unknown", "skipped", None])
def test_every_proof_counts(layer: Any, proof: str, result: str | None) -> None:
    results = CLIENT if layer.on == "client" else GATEWAY
    assert proof in results
    broken = {key: one for key, one in results.items() if key != proof}
    if result:
        broken[proof] = replace(results[proof], result=result)
    assert _verdict.layer_state(layer, {"x": list(results.values())}) == "holds"
    assert _verdict.layer_state(layer, {"x": list(broken.values())}) == ("broken" if result == "fail" else "unknown")


def test_nothing_proves_nothing() -> None:
    for layer in _verdict.LAYERS:
        assert _verdict.layer_state(layer, {}) == "unknown"
    assert _verdict.judge({}, {}).verdict == "unknown"
    assert _verdict.judge({"ns/app-0": list(CLIENT.values())}, {}).verdict == "unknown"
    assert worst([]) == "unknown"


def test_one_bad_pod_of_many() -> None:
    bad = changed(CLIENT, pod_caps="fail")
    verdict = judge(CLIENT, GATEWAY, **{"ns/app-1": bad})
    assert (verdict.verdict, verdict.layers["guard"]) == ("protected_single_layer", "broken")


@pytest.mark.parametrize("check", sorted({*CLIENT, *GATEWAY}))
def test_a_leak_overrides_everything(check: str) -> None:
    """Whoever sees a packet outside says so, whatever the layers look like."""
    for source, other in ((CLIENT, GATEWAY), (GATEWAY, CLIENT)):
        if check in source:
            leaking = {**source, check: replace(source[check], result="fail", leak=True)}
            verdict = judge(leaking, other) if source is CLIENT else judge(other, leaking)
            assert verdict.verdict == "unprotected"
            assert check in verdict.reason


@pytest.mark.parametrize(
    ("early", "enforced", "state", "expected"),
    [
        ("pass", "pass", "holds", "protected"),
        ("fail", "pass", "late", "protected_single_layer"),
        ("unknown", "pass", "unknown", "protected_single_layer"),
        ("skipped", "pass", "unknown", "protected_single_layer"),
        ("fail", "fail", "broken", "protected_single_layer"),
        ("fail", "unknown", "unknown", "protected_single_layer"),
    ],
)
def test_a_policy_that_is_late_is_no_layer_that_holds(early: str, enforced: str, state: str, expected: str) -> None:
    late = {"np_early": early, "np_enforced": enforced}
    for verdict, name in (
        (judge(changed(CLIENT, **late), GATEWAY), "policy"),
        (judge(CLIENT, changed(GATEWAY, **late)), "gateway_policy"),
    ):
        assert (verdict.verdict, verdict.layers[name]) == (expected, state)
        assert ("late: packets got out at a pod's start" in verdict.reason) == (state == "late")
    gone = {key: one for key, one in CLIENT.items() if key != "np-early"}
    assert judge(gone, GATEWAY).layers["policy"] == "unknown"


def test_a_late_policy_alone_is_no_protection_and_can_be_done_without() -> None:
    late = changed(CLIENT, np_early="fail")
    assert judge(changed(late, pod_guard_hash="fail"), GATEWAY).verdict == "unprotected"
    assert judge(changed(late, pod_guard_hash="unknown"), GATEWAY).verdict == "unknown"
    verdict = judge(late, GATEWAY)
    assert _verdict.acceptable(verdict, "protected_single_layer", late.values()) == []
    assert any("np-early" in one for one in _verdict.acceptable(verdict, "protected", late.values()))


BESIDE = {one.id: Result(one.id, "ns/app", "pass") for one in _registry.CHECKS if one.on == _registry.WORKLOAD}


@pytest.mark.parametrize(
    ("check", "result", "expected"),
    [
        ("pod-stray", "fail", "unprotected"),
        ("pod-stray", "unknown", "protected"),
        # It is checked like any other pod of the client; what its layers are says the rest.
        ("pod-left-behind", "fail", "protected"),
    ],
)
def test_what_is_beside_the_clients_own_pods(check: str, result: str, expected: str) -> None:
    beside = {**BESIDE, check: replace(BESIDE[check], result=result, reason="pod ns/again uses its image")}
    every = {"ns/app-0": list(CLIENT.values())}, {"north": list(GATEWAY.values())}
    verdict = _verdict.judge(*every, list(beside.values()))
    assert verdict.verdict == expected
    assert verdict.reason.startswith("pod ns/again") == (expected == "unprotected")
    # Whatever the verdict is: it is not as required.
    assert _verdict.acceptable(verdict, "protected", beside.values()) != []
    assert _verdict.judge(*every, list(BESIDE.values())).verdict == "protected"


@pytest.mark.parametrize("check", ["ctl-real", "ctl-tunnel", "dns-exit", "gw-exit"])
@pytest.mark.parametrize(
    ("result", "expected"), [("unknown", "unknown"), ("skipped", "unknown"), ("fail", "unprotected")]
)
def test_where_traffic_leaves_has_to_be_seen(check: str, result: str, expected: str) -> None:
    name = check.replace("-", "_")
    client = changed(CLIENT, **{name: result}) if check in CLIENT else CLIENT
    gateway = changed(GATEWAY, **{name: result}) if check in GATEWAY else GATEWAY
    assert judge(client, gateway).verdict == expected


def test_a_blind_probe_voids_the_guard() -> None:
    verdict = judge(changed(CLIENT, ctl_detect="unknown"), GATEWAY)
    assert (verdict.verdict, verdict.layers["guard"]) == ("protected_single_layer", "unknown")
    assert judge(changed(CLIENT, ctl_detect="skipped"), GATEWAY).layers["guard"] == "holds"


@pytest.mark.parametrize(
    ("broken", "require", "accepted"),
    [
        ({}, "protected", True),
        ({"pod_guard_hash": "fail"}, "protected", False),
        ({"pod_guard_hash": "fail"}, "protected_single_layer", True),
        ({"np_enforced": "unknown"}, "protected_single_layer", True),
        ({"dns_conf": "fail"}, "protected_single_layer", False),
        ({"ovl_mtu": "unknown"}, "protected", False),
        ({"np_enforced": "fail", "pod_guard_hash": "fail"}, "protected_single_layer", False),
        ({"ctl_tunnel": "unknown"}, "protected_single_layer", False),
    ],
)
def test_what_is_accepted(broken: dict[str, str], require: str, accepted: bool) -> None:
    client = changed(CLIENT, **broken)
    verdict = judge(client, GATEWAY)
    reasons = _verdict.acceptable(verdict, require, [*client.values(), *GATEWAY.values()])
    assert (reasons == []) is accepted, reasons


def test_accepted_unknown() -> None:
    client = changed(CLIENT, ovl_mtu="unknown")
    arguments = (judge(client, GATEWAY), "protected", client.values())
    assert _verdict.acceptable(*arguments, ["ovl-mtu"]) == []
    assert _verdict.acceptable(*arguments, ["dns-conf"])
    failing = changed(CLIENT, ovl_mtu="fail").values()
    assert _verdict.acceptable(judge(CLIENT, GATEWAY), "protected", failing, ["ovl-mtu"])


def test_good_evidence_is_protected() -> None:
    verdict = judge(e.results(e.GOOD), e.results(e.GATEWAY))
    assert (verdict.verdict, verdict.failed, verdict.unproven) == ("protected", (), ())


def test_passive_and_active_alone_prove_one_layer() -> None:
    verdict = judge(e.results(e.GOOD, "PA"), e.results(e.GATEWAY, "PA"))
    assert (verdict.verdict, verdict.layers["policy"]) == ("protected_single_layer", "unknown")
    assert judge(e.results(e.GOOD, "P"), e.results(e.GATEWAY, "P")).verdict == "unknown"
