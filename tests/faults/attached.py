"""A workload behind a gateway, made by the collection's own playbook, and what can be done to it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from running_lab import kubectl

from bulkhead_lab import capture, plan, senders, world
from bulkhead_lab.client import lab_call
from bulkhead_lab.paths import Paths

ROOT = Path(__file__).resolve().parents[2]
CLIENTS, VPN, NAME, GATEWAY = "fault-clients", "fault-vpn", "fetcher", "faulty"
POD, GATEWAY_POD = f"{NAME}-0", f"{GATEWAY}-0"
SERVER, CLIENT_NUMBER = plan.VPN_SERVERS[0], 4
TOOLBOX = "lab.local/toolbox:1"
VARIABLES = {
    "bulkhead_namespaces": [{"name": CLIENTS, "mesh": "unmanaged"}, {"name": VPN, "mesh": "none"}],
    "bulkhead_vpn_gateways": [
        {"name": GATEWAY, "namespace": VPN, "engine": "wireguard", "config_secret": "provider"},
    ],
    "bulkhead_vpn_clients": [{"kind": "StatefulSet", "namespace": CLIENTS, "name": NAME, "gateway": GATEWAY}],
    "bulkhead_vpn_images": {"agent": TOOLBOX, "engine": TOOLBOX, "resolver": "lab.local/coredns:1"},
}


def playbook(name: str) -> None:
    """Run one of the collection's playbooks with this suite's inventory."""
    words = ["ansible-playbook", "-i", str(ROOT / "molecule" / "inventory.yml"), f"playbooks/{name}.yml"]
    done = subprocess.run(
        [*words, "-e", json.dumps(VARIABLES)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def user_objects(paths: Paths) -> list[dict[str, Any]]:
    """What the user has before the collection comes."""
    config = world.client_config(paths.state, SERVER.name, CLIENT_NUMBER).read_text()
    container = {"name": "app", "image": TOOLBOX, "command": ["sleep", "infinity"]}
    template = {
        "metadata": {"labels": {"app": NAME}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    }
    spec = {"serviceName": NAME, "selector": {"matchLabels": {"app": NAME}}, "template": template}
    metadata = {"name": NAME, "namespace": CLIENTS}
    return [
        *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in (CLIENTS, VPN)),
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "provider", "namespace": VPN},
            "stringData": {"wg0.conf": config},
        },
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec},
    ]


@dataclass(frozen=True)
class Window:
    """What senders in the attached pod tried during a fault, and what got out."""

    tried: dict[str, int]
    leaked: int
    twin: int


def during(paths: Paths, seconds: float, fault: Callable[[], None]) -> Window:
    """Run ``fault`` while an attached pod and its unattached twin send; proxy-ARP is on."""
    before = lab_call(paths, "capture")
    attached = senders.start(paths, CLIENTS, POD, "app", plan.TARGET4, seconds)
    twin = senders.start(paths, CLIENTS, senders.TWIN, "app", plan.PEER4, seconds)
    time.sleep(1)
    fault()
    tried = {name: count["tried"] for name, count in senders.finish(attached, seconds).items()}
    senders.finish(twin, seconds)
    window = capture.difference(before, lab_call(paths, "capture"))
    assert window["complete"], window["reason"]
    return Window(tried, senders.packets(window, plan.TARGET4), senders.packets(window, plan.PEER4))


def seen_address(timeout: int = 1) -> str:
    """The address under which the internet target sees the attached pod; empty when it is not reached."""
    command = f"curl --silent --max-time {timeout} http://{plan.TARGET4}/ip"
    return kubectl("-n", CLIENTS, "exec", POD, "-c", "app", "--", *command.split(), check=False).strip()


def seconds_until_back(limit: float = 30.0) -> float:
    """How long it takes until the attached pod leaves by the VPN's exit again."""
    start = time.monotonic()
    while time.monotonic() - start < limit:
        seen = seen_address()
        assert seen in ("", SERVER.exit4), f"the target saw {seen}"
        if seen:
            return time.monotonic() - start
        time.sleep(0.2)
    raise AssertionError(f"no traffic within {limit:.0f} s")


def clean_up() -> None:
    """Remove what this suite made, the playbook's things first."""
    playbook("teardown")
    kubectl("delete", "namespace", CLIENTS, VPN, "--ignore-not-found")
