"""The demo as a person would run it, with what each run changed, wrote and said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import objects
from running_lab import kubectl

from bulkhead_lab import audit, capture, demo, plan, senders
from bulkhead_lab.client import lab_call
from bulkhead_lab.paths import Paths

ROOT = Path(__file__).resolve().parents[2]
RECAP = re.compile(r"^localhost +: ok=\d+ +changed=(\d+) ", re.MULTILINE)
USERS = ("core", "downloads", "media", "admin", "vpn")
CLIENTS, POD, APP = demo.NAMESPACE, f"{demo.NAME}-0", demo.GUARDED


@dataclass(frozen=True)
class Run:
    """One run of a playbook: exit code, what it said, changed by its own count, and writes by the API server's."""

    code: int
    output: str
    changed: int
    writes: dict[str, dict[str, int]]
    seconds: float


@dataclass(frozen=True)
class Proof:
    """What verify said: exit code, verdict of the client, result by check, and the data plane by check."""

    code: int
    verdict: str
    checks: dict[str, str]
    dataplanes: dict[str, str]


@dataclass
class Site:
    """The whole demo on the lab. ``before`` are all objects when only the user's own were there."""

    paths: Paths
    runs: dict[str, Run] = field(default_factory=dict, repr=False)
    before: objects.Listing = field(default_factory=dict, repr=False)

    def set_up(self) -> None:
        """The user's applications, then site.yml in every way it can be run."""
        demo.prepare(self.paths)
        for namespace in ("core", "media", "admin"):
            kubectl("-n", namespace, "wait", "--for=condition=Available", "deployment", "--all", "--timeout=120s")
        self.before = objects.now()
        self.run("check on fresh", "site", "--check", "--diff")
        self.run("site", "site")
        self.run("site again", "site")
        self.run("check on converged", "site", "--check", "--diff")

    def run(self, name: str, playbook: str, *words: str, check: bool = True, **more: Any) -> Run:
        """Run one of the playbooks with the lab's inventory, and keep what came of it."""
        log = self.paths.state / "audit.log"
        start, begin = audit.mark(log), time.monotonic()
        command = [
            "ansible-playbook",
            "-i",
            "inventories/lab",
            f"playbooks/{playbook}.yml",
            *words,
            "-e",
            json.dumps(more),
        ]
        done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        recap = RECAP.findall(output)
        writes = audit.count_writes(event for event in audit.events(log, start) if _by_us(event))
        seconds = time.monotonic() - begin
        print(f"{name}: {seconds:.1f} s, changed {recap[-1:] or '?'}")
        found = Run(done.returncode, output, int(recap[-1]) if recap else -1, writes, seconds)
        assert done.returncode == 0 or not check, f"{name}: {output[-4000:]}"
        self.runs[name] = found
        return found

    def verify(self, folder: Path, name: str = "verify") -> Proof:
        """Run the playbook that users run, and read its report."""
        report = folder / "report.json"
        run = self.run(name, "verify", check=False, bulkhead_verify_reports={"json": str(report)})
        told = json.loads(report.read_text())
        checks: dict[str, str] = {}
        for one in told["checks"]:
            worse = {"pass": 0, "skipped": 0, "unknown": 1, "fail": 2}
            if worse[one["result"]] >= worse[checks.get(one["id"], "pass")]:
                checks[one["id"]] = one["result"]
        planes = {one["id"]: one["dataplane"] for one in told["checks"] if one.get("dataplane")}
        return Proof(run.code, told["clients"][0]["verdict"], checks, planes)

    def during(self, seconds: float, event: Callable[[], None]) -> Window:
        """Have ``event`` happen while the attached pod and an unattached twin send."""
        senders.make_twin(self.paths, CLIENTS)
        lab_call(self.paths, "proxy-arp", value="on")
        try:
            before = lab_call(self.paths, "capture")
            attached = senders.start(self.paths, CLIENTS, POD, APP, plan.TARGET4, seconds)
            twin = senders.start(self.paths, CLIENTS, senders.TWIN, "app", plan.PEER4, seconds)
            time.sleep(1)
            event()
            tried = {name: count["tried"] for name, count in senders.finish(attached, seconds).items()}
            senders.finish(twin, seconds)
            window = capture.difference(before, lab_call(self.paths, "capture"))
        finally:
            lab_call(self.paths, "proxy-arp", value="off")
            kubectl("-n", CLIENTS, "delete", "pod", senders.TWIN, "--grace-period=0", "--force", "--wait=false")
        assert window["complete"], window["reason"]
        return Window(tried, senders.packets(window, plan.TARGET4), senders.packets(window, plan.PEER4))

    def clear(self) -> None:
        """Remove what is left, also after something broke off."""
        self.run("clearing up", "teardown", check=False, bulkhead_detach_to="open")
        kubectl("delete", "namespace", *USERS, "--ignore-not-found")


@dataclass(frozen=True)
class Window:
    """What senders in the attached pod tried during an event, what got out, and what the twin's capture saw."""

    tried: dict[str, int]
    leaked: int
    twin: int

    def judge(self) -> None:
        """Nothing got out, although every sender sent and the capture sees what gets out."""
        assert min(self.tried.values()) > 0 and self.twin > 0, "the senders or the capture were idle: nothing is proven"
        assert self.leaked == 0


def insist_on_a_fresh_cluster() -> None:
    """Stop where another suite, or a person, is at work: the end would take it away."""
    names = kubectl(
        "get", "namespace", *USERS, "istio-system", "metallb-system", "tailscale", "--ignore-not-found", "--output=name"
    )
    assert not names, f"the lab is not fresh, it has {names.split()}"


def _by_us(event: dict[str, Any]) -> bool:
    """Whether a request came from a run, or from the endpoint controller that it left in the cluster."""
    user, program = str(event["user"].get("username")), str(event.get("userAgent"))
    if user.startswith("system:serviceaccount:vpn:"):
        return True
    return user == "lab-admin" and not program.startswith("kubectl")


def rollout(kind: str, name: str) -> None:
    """Restart a part of Istio and wait until it serves again."""
    kubectl("-n", "istio-system", "rollout", "restart", f"{kind}/{name}")
    kubectl("-n", "istio-system", "rollout", "status", f"{kind}/{name}", "--timeout=120s")


def until(look: Callable[[], bool], what: str, limit: float = 60.0) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + limit
    while not look():
        assert time.monotonic() < end, f"{what} within {limit:.0f} s"
        time.sleep(0.5)


def annotation(name: str) -> str:
    """An annotation of the attached pod, empty where it is absent."""
    told = json.loads(kubectl("-n", CLIENTS, "get", "pod", POD, "--output=json"))
    return str((told["metadata"].get("annotations") or {}).get(name, ""))
