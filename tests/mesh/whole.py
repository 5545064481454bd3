"""The demo as a person would run it, with what each run changed, wrote and said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import objects
import plays
from running_lab import kubectl

from bulkhead_lab import demo, senders
from bulkhead_lab.paths import Paths

INVENTORY, VPN = "inventories/lab", "vpn"
USERS = ("core", "downloads", "media", "admin", VPN)
CLIENTS, POD, APP = demo.NAMESPACE, f"{demo.NAME}-0", demo.GUARDED


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
    runs: dict[str, plays.Run] = field(default_factory=dict, repr=False)
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

    def run(self, name: str, playbook: str, *words: str, check: bool = True, **more: Any) -> plays.Run:
        """Run one of the playbooks with the lab's inventory, and keep what came of it."""
        found = plays.run(self.paths, playbook, *words, inventory=INVENTORY, variables=more, vpn_namespace=VPN)
        assert found.code == 0 or not check, f"{name}: {found.output[-4000:]}"
        self.runs[name] = found
        return found

    def verify(self, folder: Path, name: str = "verify", part: str = "killswitch") -> Proof:
        """Run the playbook that users run, one part of it or ``all``, and read the kill switch's report."""
        report = folder / "report.json"
        run = self.run(name, "verify", "--tags", part, check=False, bulkhead_verify_reports={"json": str(report)})
        told = json.loads(report.read_text())
        checks: dict[str, str] = {}
        for one in told["checks"]:
            worse = {"pass": 0, "skipped": 0, "unknown": 1, "fail": 2}
            if worse[one["result"]] >= worse[checks.get(one["id"], "pass")]:
                checks[one["id"]] = one["result"]
        planes = {one["id"]: one["dataplane"] for one in told["checks"] if one.get("dataplane")}
        return Proof(run.code, told["clients"][0]["verdict"], checks, planes)

    def during(self, seconds: float, event: Callable[[], object]) -> senders.LeakTest:
        """Have ``event`` happen while the attached pod and an unattached twin send."""
        return senders.run(self.paths, CLIENTS, POD, APP, seconds, event)

    def clear(self) -> None:
        """Remove what is left, also after something broke off."""
        if "teardown" not in self.runs:
            self.run("clearing up", "teardown", check=False, bulkhead_detach_to="open")
        kubectl("delete", "namespace", *USERS, "--ignore-not-found")


def insist_on_a_fresh_cluster() -> None:
    """Stop where another suite, or a person, is at work: the end would take it away."""
    names = kubectl(
        "get", "namespace", *USERS, "istio-system", "metallb-system", "tailscale", "--ignore-not-found", "--output=name"
    )
    assert not names, f"the lab is not fresh, it has {names.split()}"


def rollout(kind: str, name: str) -> None:
    """Restart a part of Istio and wait until it serves again."""
    kubectl("-n", "istio-system", "rollout", "restart", f"{kind}/{name}")
    kubectl("-n", "istio-system", "rollout", "status", f"{kind}/{name}", "--timeout=120s")


def annotation(name: str) -> str:
    """An annotation of the attached pod, empty where it is absent."""
    told = json.loads(kubectl("-n", CLIENTS, "get", "pod", POD, "--output=json"))
    return str((told["metadata"].get("annotations") or {}).get(name, ""))
