"""The running lab, as the suites use it: through its command line only."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LAB = [sys.executable, str(Path(__file__).resolve().parents[2] / "lab" / "lab")]
UNREACHED = 90  # seconds a command may take at the most
PATIENCE = 120.0  # seconds to wait for something; how long things may take is what tests/benchmarks measure


def lab(*words: str, check: bool = True, stdin: str | None = None, timeout: float = UNREACHED) -> str:
    """Run the lab's command line and return what it printed."""
    done = subprocess.run([*LAB, *words], input=stdin, capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == 0 or not check, f"lab {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def kubectl(*words: str, check: bool = True, stdin: str | None = None) -> str:
    """Run kubectl as the administrator."""
    return lab("kubectl", "--", *words, check=check, stdin=stdin)


def apply(*objects: dict[str, Any]) -> None:
    """Create or update objects."""
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def netpol(*words: str) -> str:
    """Speak to the policy enforcer on the node."""
    return lab("node-exec", "--", "/opt/lab/bin/netpol", *words, "--socket", "/run/netpol.sock")


def pod(namespace: str, name: str, script: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod whose first process is the Python program ``script``."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "app", "image": "lab.local/toolbox:1", "command": ["python3", "-u", "-c", script]}],
        },
    }


def packets(window: dict[str, Any], protocol: str, destination: str) -> int:
    """Packets of a capture window to ``destination``; the window must be complete."""
    assert window["complete"] is True, window
    return sum(f["packets"] for f in window["flows"] if f["protocol"] == protocol and f["destination"] == destination)


def until(look: Callable[[], bool], what: str, limit: float = PATIENCE, evidence: Callable[[], str] = str) -> float:
    """Wait for something; how long it took in seconds. ``evidence`` says how things stand when it was in vain."""
    start = time.monotonic()
    while not look():
        assert time.monotonic() - start < limit, f"{what}: not within {limit:g} s {evidence()}".rstrip()
        time.sleep(0.3)
    return time.monotonic() - start
