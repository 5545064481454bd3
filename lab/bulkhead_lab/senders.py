"""Senders that try to reach the internet target, in the attached pod and in an unattached twin, while the capture counts."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import capture, lifecycle, plan
from .client import lab_call
from .errors import LabError
from .paths import Paths

TWIN = "unattached-twin"
TWIN_IMAGE = "lab.local/toolbox:1"
RATE = 20  # datagrams a second of each sender
# Ordinary sockets, and sockets that name the pod's interface: what routes and firewalls say differs for the two.
SCRIPT = """
import json, socket, sys, time
target, port, seconds, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
counts = {name: {"tried": 0, "sent": 0} for name in ("ordinary", "bound to eth0")}
end = time.monotonic() + seconds
while time.monotonic() < end:
    for name, count in counts.items():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            count["tried"] += 1
            try:
                if name != "ordinary":
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
                s.sendto(b"leak-test", (target, port))
                count["sent"] += 1
            except OSError as exc:
                count[type(exc).__name__] = count.get(type(exc).__name__, 0) + 1
    time.sleep(1 / rate)
print(json.dumps(counts))
"""


@dataclass(frozen=True)
class LeakTest:
    """What was tried in both pods, and the packets from the node that the capture counted to each one's target."""

    attached: dict[str, dict[str, int]]
    twin: dict[str, dict[str, int]]
    attached_packets: int
    twin_packets: int

    def judge(self) -> None:
        """LabError unless nothing leaked although every sender sent and the capture saw what nothing protects."""
        idle = [name for counts in (self.attached, self.twin) for name, count in counts.items() if not count["tried"]]
        if idle or not self.twin_packets:
            raise LabError("A sender did not send or the twin's packets were not seen, so the zero proves nothing.")
        if self.attached_packets:
            raise LabError(f"{self.attached_packets} packets left the node from the attached pod, past the VPN.")


def run(
    paths: Paths, namespace: str, pod: str, container: str, seconds: float, event: Callable[[], object] | None = None
) -> LeakTest:
    """The same as ``during`` with a twin of its own and proxy-ARP on."""
    make_twin(paths, namespace)
    lab_call(paths, "proxy-arp", value="on")
    try:
        return during(paths, namespace, pod, container, seconds, event)
    finally:
        lab_call(paths, "proxy-arp", value="off")
        lifecycle.kubectl(paths, "-n", namespace, "delete", "pod", TWIN, "--grace-period=0", "--force", "--wait=false")


def during(
    paths: Paths, namespace: str, pod: str, container: str, seconds: float, event: Callable[[], object] | None = None
) -> LeakTest:
    """Send from a pod and from the twin beside it for ``seconds``, and have ``event`` happen a second after the start.

    The two use different targets, which tells them apart.
    """
    before = lab_call(paths, "capture")
    attached = start(paths, namespace, pod, container, plan.TARGET4, seconds)
    twin = start(paths, namespace, TWIN, "app", plan.PEER4, seconds)
    if event:
        time.sleep(1)
        event()
    told = [finish(process, seconds) for process in (attached, twin)]
    window = capture.difference(before, lab_call(paths, "capture"))
    if not window["complete"]:
        raise LabError(f"The capture's window is not complete ({window['reason']}), so it proves nothing.")
    return LeakTest(told[0], told[1], packets(window, plan.TARGET4), packets(window, plan.PEER4))


def packets(window: dict[str, Any], destination: str) -> int:
    """Packets from the node's own addresses to ``destination``: what left past the VPN."""
    return sum(
        flow["packets"]
        for flow in window["flows"]
        if flow["destination"] == destination and flow["source"] in (plan.NODE4, plan.NODE6)
    )


def make_twin(paths: Paths, namespace: str) -> None:
    """A pod beside the attached one that nothing protects: what it sends has to be seen."""
    container = {"name": "app", "image": TWIN_IMAGE, "command": ["sleep", "infinity"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    twin = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": TWIN, "namespace": namespace}, "spec": spec}
    lifecycle.kubectl(paths, "apply", "-f", "-", stdin=json.dumps(twin))
    lifecycle.kubectl(paths, "-n", namespace, "wait", "--for=condition=Ready", f"pod/{TWIN}", "--timeout=60s")


def start(paths: Paths, namespace: str, pod: str, container: str, target: str, seconds: float) -> subprocess.Popen[str]:
    """Start both kinds of sender in a container."""
    words = ["python3", "-c", SCRIPT, target, str(plan.ECHO_PORT), str(seconds), str(RATE)]
    command = [*lifecycle.kubectl_command(paths), "-n", namespace, "exec", pod, "-c", container, "--", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], seconds: float) -> dict[str, dict[str, int]]:
    """Wait for a sender that was started with ``seconds``; what it tried and what the kernel accepted."""
    try:
        out, err = process.communicate(timeout=seconds + 30)
    except subprocess.TimeoutExpired as exc:
        process.kill()
        raise LabError(f"A sender did not end within {seconds + 30:.0f} s.") from exc
    if process.returncode != 0:
        raise LabError(f"A sender failed: {err.strip()}")
    return dict(json.loads(out))
