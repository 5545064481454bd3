"""The verdict follows what is broken: each layer alone, both, and a tool that cannot tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attached
import pytest
from running_lab import apply, kubectl, netpol

from bulkhead_lab import plan
from bulkhead_lab.client import lab_call
from bulkhead_lab.paths import Paths


@pytest.fixture
def guard_gone(paths: Paths) -> Iterator[None]:
    attached.flush_guard()
    yield
    attached.replace_pod()
    attached.comes_back()


@pytest.fixture
def enforcer_off(paths: Paths) -> Iterator[None]:
    netpol("mode", "off")
    yield
    netpol("mode", "on")


@pytest.fixture
def nothing_out() -> Iterator[None]:
    """The user's own default for the clients' namespace; twins have to work there too."""
    metadata = {"name": "nothing-out", "namespace": attached.CLIENTS}
    spec = {"podSelector": {}, "policyTypes": ["Egress"]}
    apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec})
    yield
    kubectl("-n", attached.CLIENTS, "delete", "networkpolicy", "nothing-out")


@pytest.mark.usefixtures("nothing_out")
def test_all_in_place(paths: Paths, tmp_path: Path) -> None:
    proof = attached.verify(tmp_path)
    assert (proof.code, proof.verdict) == (0, "protected"), proof
    # There is no mesh, so what asks for one does not apply.
    assert set(proof.checks) == {"pass", "skipped"}
    assert proof.checks["skipped"] == {"mesh-rules", "mesh-probe", "mesh-se-audit", "mesh-out", "mesh-in"}


@pytest.mark.usefixtures("guard_gone")
def test_the_policy_alone(tmp_path: Path) -> None:
    proof = attached.verify(tmp_path)
    assert proof.code != 0
    assert proof.verdict == "protected_single_layer", proof
    assert "pod-guard-hash" in proof.checks["fail"]
    assert proof.layers["policy"] == "holds"
    assert proof.layers["guard"] != "holds"


@pytest.mark.usefixtures("enforcer_off")
def test_the_guard_alone(tmp_path: Path) -> None:
    proof = attached.verify(tmp_path)
    assert proof.code != 0
    assert proof.verdict == "protected_single_layer", proof
    assert "np-enforced" in proof.checks["fail"]
    assert proof.layers["guard"] == "holds"
    assert proof.layers["policy"] != "holds"


@pytest.fixture
def enforcer_late(paths: Paths) -> Iterator[None]:
    # Longer than a pod takes from its address to its first program, also on a busy machine.
    netpol("mode", "late=8s")
    yield
    netpol("mode", "on")


# In "make test" the mutations of the same names stand for these three.
@pytest.mark.slow
@pytest.mark.usefixtures("enforcer_late")
def test_a_policy_that_lets_the_first_packets_out(tmp_path: Path) -> None:
    """It is enforced on every pod that has run for a while, which is not enough."""
    proof = attached.verify(tmp_path)
    assert proof.code != 0
    assert proof.verdict == "protected_single_layer", proof
    assert "np-early" in proof.checks["fail"] and "np-enforced" in proof.checks["pass"]
    assert proof.layers == {"guard": "holds", "policy": "late", "gateway_firewall": "holds", "gateway_policy": "late"}
    assert any("packets got out at a pod's start" in reason for reason in proof.reasons), proof


@pytest.fixture
def again(paths: Paths) -> Iterator[str]:
    """The application once more, under another name and without a guard; it leaves by the node."""
    name = "again"
    container = {"name": "app", "image": attached.TOOLBOX, "command": ["sleep", "infinity"]}
    spec = {"serviceAccountName": attached.NAME, "terminationGracePeriodSeconds": 0, "containers": [container]}
    metadata = {"name": name, "namespace": attached.CLIENTS, "labels": {"app": name}}
    apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    kubectl("-n", attached.CLIENTS, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    yield name
    kubectl("-n", attached.CLIENTS, "delete", "pod", name, "--now")


@pytest.mark.slow
def test_the_application_runs_once_more_without_a_guard(again: str, tmp_path: Path) -> None:
    command = f"curl --silent --max-time 5 http://{plan.TARGET4}/ip"
    seen = kubectl("-n", attached.CLIENTS, "exec", again, "--", *command.split()).strip()
    assert seen == plan.NODE4, "without a leak this test shows nothing"
    proof = attached.verify(tmp_path)
    assert proof.code != 0
    assert proof.verdict == "unprotected", proof
    assert proof.checks["fail"] == {"pod-stray"}
    assert any(f"{attached.CLIENTS}/{again}" in reason for reason in proof.reasons), proof
    known = attached.verify(tmp_path, {"bulkhead_verify_accept_open_pods": [f"{attached.CLIENTS}/{again}"]})
    assert (known.code, known.verdict) == (0, "protected"), known


@pytest.mark.slow
def test_an_inventory_without_the_client_is_no_success(paths: Paths, tmp_path: Path) -> None:
    code, told = attached.play("verify", {"bulkhead_vpn_clients": []})
    assert code != 0
    assert f"StatefulSet {attached.CLIENTS}/{attached.NAME} is attached" in told


@pytest.mark.usefixtures("guard_gone", "enforcer_off")
def test_neither(tmp_path: Path) -> None:
    proof = attached.verify(tmp_path)
    assert proof.code != 0
    assert proof.verdict == "unprotected", proof
    assert {"pod-guard-hash", "pod-dev-bind", "pod-direct", "np-enforced"} <= proof.checks["fail"]


def test_a_dead_target_is_unknown(paths: Paths, tmp_path: Path) -> None:
    lab_call(paths, "stop", name="target")
    try:
        proof = attached.verify(tmp_path)
    finally:
        lab_call(paths, "start", name="target")
    assert proof.code != 0
    assert proof.verdict == "unknown", proof
    assert {"ctl-target", "ctl-tunnel", "pod-dev-bind", "pod-direct", "np-enforced"} <= proof.checks["unknown"]
