"""A policy engine that answers what it denies, as kube-router does, protects as well as one that drops in silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attached
import pytest
from running_lab import netpol

from bulkhead_lab.paths import Paths

KUBE_ROUTER = "on+reject=port-unreachable"  # what k3s ships
OTHERS = ("on+reject=admin-prohibited", "on+reject=tcp-reset")


@pytest.fixture(params=[KUBE_ROUTER, *(pytest.param(mode, marks=pytest.mark.slow) for mode in OTHERS)])
def rejecting(paths: Paths, request: pytest.FixtureRequest) -> Iterator[str]:
    netpol("mode", request.param)
    yield request.param
    netpol("mode", "on")


def test_two_layers_hold(rejecting: str, tmp_path: Path) -> None:
    proof = attached.verify(tmp_path)
    assert (proof.code, proof.verdict) == (0, "protected"), proof
    assert "np-enforced" in proof.checks["pass"]


@pytest.mark.slow
@pytest.mark.usefixtures("rejecting")
def test_a_denial_elsewhere_is_no_work_of_the_guard(tmp_path: Path) -> None:
    attached.flush_guard()
    try:
        proof = attached.verify(tmp_path)
    finally:
        attached.replace_pod()
        attached.comes_back()
    assert proof.code != 0
    assert proof.verdict == "protected_single_layer", proof
    assert proof.layers["policy"] == "holds"
    assert {"pod-guard-hash", "pod-direct", "pod-dev-bind"} <= proof.checks["fail"]
