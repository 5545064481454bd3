"""The verdict follows what is broken: each layer alone, both, and a tool that cannot tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attached
import pytest
from running_lab import netpol

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
