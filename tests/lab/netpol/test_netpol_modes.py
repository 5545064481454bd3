"""The enforcer's modes, seen by the first packets of a new pod's life."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from netpol_cluster import IMAGE, Lab, retry

NAMESPACE, SINK = "np-red", "red-web"
RATE = 50  # datagrams per second
WINDOW = 2.0  # seconds of mode late
# The pod's first process: one numbered datagram every 20 ms, then how many it sent.
SENDER = """
import socket, sys, time
mark, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
out, start, sent = socket.socket(family, socket.SOCK_DGRAM), time.monotonic(), 0
for number in range(count):
    time.sleep(max(0, start + number / %d - time.monotonic()))
    try:
        sent += out.sendto(b"%%s %%d\\n" %% (mark.encode(), number), (address, 8080)) > 0
    except OSError:
        pass
print(sent)
"""


@pytest.fixture(scope="module")
def sealed(netpol_lab: Lab) -> Iterator[Lab]:
    """The lab with a policy that denies everything to the senders before they exist."""
    netpol_lab.apply(
        [
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"namespace": NAMESPACE, "name": "first-packet"},
                "spec": {"podSelector": {"matchLabels": {"app": "first"}}, "policyTypes": ["Egress"]},
            }
        ]
    )
    yield netpol_lab
    netpol_lab.netpol("mode", "on")
    netpol_lab.apply([])


def send(lab: Lab, mark: str, seconds: float, family: int = 4) -> tuple[int, list[int]]:
    """Run one sender to its end: how many datagrams it sent, and the numbers that arrived, sorted."""
    code = SENDER % RATE
    command = ["python3", "-S", "-c", code, mark, lab.addresses[SINK][family], str(int(seconds * RATE))]
    container = {"name": "sender", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": command}
    lab.core.create_namespaced_pod(
        NAMESPACE,
        {
            "metadata": {"name": mark, "labels": {"app": "first"}},
            "spec": {"containers": [container], "restartPolicy": "Never", "automountServiceAccountToken": False},
        },
    )

    def ended() -> None:
        phase = lab.core.read_namespaced_pod(mark, NAMESPACE).status.phase
        if phase != "Succeeded":
            raise LookupError(f"sender {mark} is {phase}, it should have ended")

    retry(seconds + 60, ended)
    sent = int(lab.core.read_namespaced_pod_log(mark, NAMESPACE))
    lab.core.delete_namespaced_pod(mark, NAMESPACE, grace_period_seconds=0)
    words = [line.split() for line in lab.order(SINK, "seen")]
    return sent, sorted(int(word[1]) for word in words if len(word) == 2 and word[0] == mark)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("attempt", range(3))
def test_on_lets_no_first_packet_out(sealed: Lab, attempt: int, family: int) -> None:
    sealed.netpol("mode", "on")
    sent, arrived = send(sealed, f"on-{family}-{attempt}", 2, family)
    assert sent == 2 * RATE
    assert arrived == []


def test_off_lets_everything_out(sealed: Lab) -> None:
    sealed.netpol("mode", "off")
    sent, arrived = send(sealed, "off", 2)
    assert arrived == list(range(sent))
    assert sent == 2 * RATE


def test_late_lets_exactly_the_window_out(sealed: Lab) -> None:
    sealed.netpol("mode", f"late={WINDOW:g}s")
    sent, arrived = send(sealed, "late", WINDOW + 3)
    assert sent == int((WINDOW + 3) * RATE)
    # The window begins with the pod's network, a little before its first process.
    assert 0 < len(arrived) <= (WINDOW + 0.2) * RATE
    assert arrived == list(range(len(arrived))), "a gap, or packets after the window"


def test_late_leaves_existing_pods_enforced(sealed: Lab) -> None:
    sealed.netpol("mode", "on")
    name, address = "steady", sealed.addresses[SINK][4]
    command = ["python3", "-S", "-c", SENDER % RATE, name, address, str(20 * RATE)]
    container = {"name": "sender", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": command}
    sealed.core.create_namespaced_pod(
        NAMESPACE,
        {
            "metadata": {"name": name, "labels": {"app": "first"}},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
        },
    )

    def running() -> None:
        if sealed.core.read_namespaced_pod(name, NAMESPACE).status.phase != "Running":
            raise LookupError(f"sender {name} does not run")

    try:
        retry(60, running)
        sealed.netpol("mode", "late=30s")
        time.sleep(1)
        assert not [line for line in sealed.order(SINK, "seen") if line.startswith(name)]
        sealed.netpol("mode", "off")
        time.sleep(1)
        assert [line for line in sealed.order(SINK, "seen") if line.startswith(name)], "the sender is dead"
    finally:
        sealed.core.delete_namespaced_pod(name, NAMESPACE, grace_period_seconds=0)
