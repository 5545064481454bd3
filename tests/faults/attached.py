"""A workload behind a gateway, made by the collection's own playbook, and what can be done to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plays
import standing
from running_lab import kubectl, until

from bulkhead_lab import plan, senders, world
from bulkhead_lab.paths import Paths

ROOT = Path(__file__).resolve().parents[2]
CLIENTS, VPN, NAME, GATEWAY = "fault-clients", "fault-vpn", "fetcher", "faulty"
SERVICE, SERVICE_PORT = "library", 7000  # what the client reaches without the VPN
POD, GATEWAY_POD = f"{NAME}-0", f"{GATEWAY}-0"
SERVER, CLIENT_NUMBER = plan.VPN_SERVERS[0], 4
TOOLBOX = "lab.local/toolbox:1"
VARIABLES = {
    "bulkhead_namespaces": [{"name": CLIENTS, "mesh": "unmanaged"}, {"name": VPN, "mesh": "none"}],
    "bulkhead_vpn_gateways": [
        {"name": GATEWAY, "namespace": VPN, "engine": "wireguard", "config_secret": "provider"},
    ],
    "bulkhead_vpn_clients": [
        {
            "kind": "StatefulSet",
            "namespace": CLIENTS,
            "name": NAME,
            "gateway": GATEWAY,
            "egress": [{"service": f"{CLIENTS}/{SERVICE}", "ports": [SERVICE_PORT]}],
        },
    ],
    "bulkhead_verify_targets": {
        "stun": [{"address": plan.TARGET4}, {"address": plan.TARGET6}],
        "http": [{"address": plan.TARGET4}],
        "dns": [{"address": plan.TARGET4, "zone": plan.ZONE}],
        "bulk": [{"address": plan.TARGET4}],
    },
    "bulkhead_real_addresses": [plan.NODE4, plan.NODE6],
    "bulkhead_exit_addresses": [SERVER.exit4],
    "bulkhead_vpn_images": {"agent": TOOLBOX, "engine": TOOLBOX, "resolver": "lab.local/coredns:1"},
}


def play(name: str, more: dict[str, Any] | None = None, *words: str) -> tuple[int, str]:
    """Run one of the collection's playbooks with this suite's inventory; its exit code and what it printed."""
    given = {**VARIABLES, **(more or {})}
    paths = Paths.from_environment()
    done = plays.run(paths, name, *words, inventory="molecule/inventory.yml", variables=given, vpn_namespace=VPN)
    return done.code, done.output


def playbook(name: str, more: dict[str, Any] | None = None, check: bool = True) -> int:
    """The same; with ``check`` a failure is one of the test."""
    code, told = play(name, more)
    assert code == 0 or not check, told[-4000:]
    return code


@dataclass(frozen=True)
class Proof:
    """What verify said: exit code, verdict of the client, its holding layers, checks by result, and why not."""

    code: int
    verdict: str
    layers: dict[str, str]
    checks: dict[str, set[str]]
    reasons: list[str]


def verify(folder: Path, more: dict[str, Any] | None = None) -> Proof:
    """Run the playbook that users run, and read its JSON report; the verdict is the first client's."""
    report = folder / "report.json"
    code = playbook("verify", {"bulkhead_verify_reports": {"json": str(report)}, **(more or {})}, check=False)
    told = json.loads(report.read_text())
    client = told["clients"][0]
    checks: dict[str, set[str]] = {}
    for one in told["checks"]:
        checks.setdefault(one["result"], set()).add(one["id"])
    return Proof(code, client["verdict"], client["layers"], checks, client["reasons"])


def flush_guard() -> None:
    """Take the guard's tables away from the one container that may."""
    words = ("exec", POD, "-c", "bulkhead-overlay", "--", "nft", "flush", "ruleset")
    kubectl("-n", CLIENTS, *words)


def replace_pod() -> None:
    """A new pod, with a new guard."""
    kubectl("-n", CLIENTS, "delete", "pod", POD, "--wait=true")
    kubectl("-n", CLIENTS, "rollout", "status", f"statefulset/{NAME}", "--timeout=60s")


def served(namespace: str, name: str = SERVICE) -> list[dict[str, Any]]:
    """A pod that serves pages, and its Service."""
    container = {"name": "app", "image": TOOLBOX, "command": ["python3", "-m", "http.server", str(SERVICE_PORT)]}
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    metadata = {"name": name, "namespace": namespace}
    spec = {"selector": {"app": name}, "ports": [{"port": SERVICE_PORT}]}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "labels": {"app": name}}, "spec": pod},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec},
    ]


def user_objects(paths: Paths) -> list[dict[str, Any]]:
    """What the user has before the collection comes."""
    config = world.client_config(paths.state, SERVER.name, CLIENT_NUMBER).read_text()
    container = {"name": "app", "image": TOOLBOX, "command": ["sleep", "infinity"]}
    template = {
        "metadata": {"labels": {"app": NAME}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], "serviceAccountName": NAME},
    }
    spec = {"replicas": 1, "serviceName": NAME, "selector": {"matchLabels": {"app": NAME}}, "template": template}
    metadata = {"name": NAME, "namespace": CLIENTS}
    return [
        *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in (CLIENTS, VPN)),
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "provider", "namespace": VPN},
            "stringData": {"wg0.conf": config},
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec},
        *served(CLIENTS),
    ]


def during(paths: Paths, seconds: float, fault: Callable[[], object] | None = None) -> senders.LeakTest:
    """Run ``fault`` while the attached pod and its unattached twin send; the suite has proxy-ARP on."""
    return senders.during(paths, CLIENTS, POD, "app", seconds, fault)


def seen_address(timeout: int = 1) -> str:
    """The address under which the internet target sees the attached pod; empty when it is not reached."""
    command = f"curl --silent --max-time {timeout} http://{plan.TARGET4}/ip"
    return kubectl("-n", CLIENTS, "exec", POD, "-c", "app", "--", *command.split(), check=False).strip()


def by_the_vpn(seen: str) -> bool:
    """Whether an address that the target saw is the VPN's exit; another one than that is a failure at once."""
    assert seen in ("", SERVER.exit4), f"the target saw {seen}"
    return bool(seen)


def comes_back() -> None:
    """Wait until the attached pod leaves by the VPN's exit again."""
    places = (CLIENTS, f"app={NAME}"), (VPN, "bulkhead.mesh/role")
    until(lambda: by_the_vpn(seen_address()), f"{POD} leaves by the VPN", evidence=lambda: standing.told(*places))


def clean_up() -> None:
    """Remove what this suite made, the playbook's things first."""
    playbook("teardown", {"bulkhead_detach_to": "open"})
    kubectl("delete", "namespace", CLIENTS, VPN, "--ignore-not-found")
