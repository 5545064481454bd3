"""Faults on the lab, with senders running and the capture counting."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "faults"), str(ROOT / "tests" / "lab"), str(ROOT / "lab")]

# After the path is set.
import attached  # noqa: E402
import stage  # noqa: E402
from running_lab import apply, kubectl, netpol  # noqa: E402

from bulkhead_lab import senders  # noqa: E402
from bulkhead_lab.client import lab_call  # noqa: E402
from bulkhead_lab.paths import Paths  # noqa: E402


@pytest.fixture(scope="session")
def paths() -> Iterator[Paths]:
    """An attached workload and its unattached twin, with proxy-ARP on: where an open door leaks."""
    found = Paths.from_environment()
    netpol("mode", "on")
    if kubectl("get", "namespace", attached.VPN, "--ignore-not-found"):
        attached.clean_up()  # what a killed run of these tests left: its admission would refuse the plain pods
    apply(*attached.user_objects(found))
    kubectl("-n", attached.CLIENTS, "rollout", "status", f"statefulset/{attached.NAME}", "--timeout=60s")
    attached.playbook("site")
    senders.make_twin(found, attached.CLIENTS)
    lab_call(found, "proxy-arp", value="on")
    yield found
    lab_call(found, "proxy-arp", value="off")
    netpol("mode", "on")
    attached.clean_up()


@pytest.fixture(scope="session")
def shapes(paths: Paths) -> Iterator[Paths]:
    """A namespace for workloads of any shape, beside the one that is always there."""
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stage.NAMESPACE}})
    yield paths
    stage.clear()
    kubectl("delete", "namespace", stage.NAMESPACE)
