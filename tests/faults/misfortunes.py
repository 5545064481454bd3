"""What happens to a gateway: its pod is deleted, a program or container of it killed, the endpoint controller away."""

from __future__ import annotations

import json
import time

import attached
from running_lab import kubectl, lab, until

CONTROLLER = "deployment/bulkhead-endpoints"
_IN = ("-n", attached.VPN)


def delete_gateway_pod() -> None:
    """Without waiting for its end."""
    kubectl(*_IN, "delete", "pod", attached.GATEWAY_POD, "--wait=false")


def gateway_uid() -> str:
    """Which pod the gateway's is now; empty if there is none."""
    words = ("get", "pod", attached.GATEWAY_POD, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")
    return kubectl(*_IN, *words)


def stop_controller() -> None:
    """Until its pod is gone."""
    kubectl(*_IN, "scale", CONTROLLER, "--replicas=0")
    kubectl(*_IN, "wait", "--for=delete", "pod", "-l", "bulkhead.mesh/role=vpn-endpoints", check=False)


def start_controller() -> None:
    """Without waiting for its pod."""
    kubectl(*_IN, "scale", CONTROLLER, "--replicas=1")


def kill_program(times: int) -> None:
    """End wireguard-go in its container, every half second."""
    words = ("exec", attached.GATEWAY_POD, "-c", "engine", "--", "pkill", "-KILL", "-x", "wireguard-go")
    for _time in range(times):
        kubectl(*_IN, *words, check=False)  # there may be none just now
        time.sleep(0.5)


def kill_container(container: str, times: int) -> None:
    """End it from the node as often as asked, each time as soon as it runs again."""
    last = ""
    for _time in range(times):
        until(lambda last=last: _running(container) not in ("", last), f"{container} runs again")
        last = _running(container)
        lab("node-exec", "--", "ctr", "-n", "k8s.io", "task", "kill", "-s", "SIGKILL", last)


def _running(container: str) -> str:
    """The id of a container of the gateway's pod that runs now; empty if it does not."""
    path = f"jsonpath={{.status.containerStatuses[?(@.name=='{container}')]}}"
    text = kubectl(*_IN, "get", "pod", attached.GATEWAY_POD, "-o", path, check=False)
    one = json.loads(text) if text.startswith("{") else {}
    return str(one.get("containerID", "")).partition("//")[2] if "running" in one.get("state", {}) else ""
