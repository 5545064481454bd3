"""The capture counts what leaves the node, all of it and nothing else; the enforcer's modes decide what does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running_lab import apply, kubectl, lab, netpol, packets, pod

from bulkhead_lab import plan

NAMESPACE = "capture-test"
COUNT = 200
SENDER = """
import socket, time
for family, address in {targets!r}:
    s = socket.socket(family, socket.SOCK_DGRAM)
    for n in range({count}):
        s.sendto(b'capture-%d' % n, (address, {port}))
        time.sleep({pause})
print('sent')
"""
# Sends until the pod dies, 50 datagrams a second from its first instruction on.
STREAM = SENDER.format(targets=[(2, plan.TARGET4)], count=100_000, port=plan.ECHO_PORT, pause=0.02)
DENY_ALL = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny", "namespace": NAMESPACE},
    "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
}


@pytest.fixture(scope="module", autouse=True)
def namespace() -> Iterator[None]:
    netpol("mode", "on")
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    yield
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    netpol("mode", "on")


@pytest.fixture
def clean() -> Iterator[None]:
    """No policy and no pod before and after a test."""
    yield
    kubectl("-n", NAMESPACE, "delete", "networkpolicy,pod", "--all", "--grace-period=0", "--force", check=False)
    netpol("mode", "on")


def snapshot(folder: Path) -> str:
    path = folder / f"before-{time.monotonic_ns()}.json"
    path.write_text(lab("capture"))
    return str(path)


def since(path: str) -> dict[str, Any]:
    return dict(json.loads(lab("capture", "--since", path)))


def run_to_end(name: str, script: str) -> None:
    apply(pod(NAMESPACE, name, script))
    kubectl("-n", NAMESPACE, "wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=60s")


@pytest.mark.parametrize(
    ("family", "target", "source"),
    [(2, plan.TARGET4, plan.NODE4), (10, plan.TARGET6, plan.NODE6)],
    ids=["ipv4", "ipv6"],
)
@pytest.mark.usefixtures("clean")
def test_as_many_datagrams_are_counted_as_were_sent(tmp_path: Path, family: int, target: str, source: str) -> None:
    before = snapshot(tmp_path)
    run_to_end("sender", SENDER.format(targets=[(family, target)], count=COUNT, port=plan.ECHO_PORT, pause=0))
    window = since(before)
    assert packets(window, "udp", target) == COUNT
    assert {f["source"] for f in window["flows"] if f["destination"] == target} == {source}


def test_nothing_is_counted_when_nothing_is_sent() -> None:
    window = json.loads(lab("capture", "--window", "3"))
    assert packets(window, "udp", plan.TARGET4) == 0
    assert packets(window, "udp", plan.TARGET6) == 0


@pytest.mark.usefixtures("clean")
def test_a_policy_stops_every_datagram_from_the_first_on(tmp_path: Path) -> None:
    apply(DENY_ALL)
    netpol("wait", "--policy", f"{NAMESPACE}/deny")
    before = snapshot(tmp_path)
    run_to_end("sender", SENDER.format(targets=[(2, plan.TARGET4)], count=COUNT, port=plan.ECHO_PORT, pause=0.005))
    assert packets(since(before), "udp", plan.TARGET4) == 0


@pytest.mark.usefixtures("clean")
def test_the_same_policy_stops_nothing_while_the_enforcer_is_off(tmp_path: Path) -> None:
    apply(DENY_ALL)
    netpol("wait", "--policy", f"{NAMESPACE}/deny")
    netpol("mode", "off")
    before = snapshot(tmp_path)
    run_to_end("sender", SENDER.format(targets=[(2, plan.TARGET4)], count=COUNT, port=plan.ECHO_PORT, pause=0))
    assert packets(since(before), "udp", plan.TARGET4) == COUNT


@pytest.mark.usefixtures("clean")
def test_a_late_enforcer_lets_exactly_its_window_out(tmp_path: Path) -> None:
    window_seconds = 4
    apply(DENY_ALL)
    netpol("wait", "--policy", f"{NAMESPACE}/deny")
    netpol("mode", f"late={window_seconds}s")
    before = snapshot(tmp_path)
    apply(pod(NAMESPACE, "sender", STREAM))
    kubectl("-n", NAMESPACE, "wait", "--for=condition=Ready", "pod/sender", "--timeout=60s")
    time.sleep(window_seconds + 1)
    leaked = packets(since(before), "udp", plan.TARGET4)
    assert 0 < leaked <= window_seconds * 50, (
        "the window opens with the pod's network, some time before its first process"
    )
    after = snapshot(tmp_path)
    time.sleep(2)
    assert packets(since(after), "udp", plan.TARGET4) == 0, "the window never closed"
