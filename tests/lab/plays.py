"""The collection's playbooks as a person runs them on the lab, and what each run changed, wrote and said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkhead_lab import audit
from bulkhead_lab.paths import Paths

ROOT = Path(__file__).resolve().parents[2]
RECAP = re.compile(r"^localhost +: ok=\d+ +changed=(\d+) ", re.MULTILINE)
LIMIT = 400.0  # seconds


@dataclass(frozen=True)
class Run:
    """Exit code, what the run said, changed by its own count (-1: it said none), and writes by the API server's."""

    code: int
    output: str
    changed: int
    writes: dict[str, dict[str, int]]


def run(
    paths: Paths,
    playbook: str,
    *words: str,
    inventory: str,
    variables: Mapping[str, Any],
    vpn_namespace: str,
    env: Mapping[str, str] | None = None,
) -> Run:
    """Run one of the playbooks; ``vpn_namespace`` is where the endpoint controller writes, which is ours too."""
    log = paths.state / "audit.log"
    start, begin = audit.mark(log), time.monotonic()
    # Reports that nobody asked for do not go into the checkout, and not to those of another lab.
    given = {"bulkhead_reports": str(paths.state / "reports"), **variables}
    command = ["ansible-playbook", "-i", inventory, f"playbooks/{playbook}.yml", *words, "-e", json.dumps(given)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    output = done.stdout + done.stderr
    recap = RECAP.findall(output)
    changed = int(recap[-1]) if recap else -1
    writes = audit.count_writes(event for event in audit.events(log, start) if _is_ours(event, vpn_namespace))
    print(f"{playbook} {' '.join(words)}: {time.monotonic() - begin:.1f} s, changed {changed}")
    return Run(done.returncode, output, changed, writes)


def _is_ours(event: Mapping[str, Any], vpn_namespace: str) -> bool:
    """Whether a request came from a run, or from what it left in the cluster."""
    user, program = str(event["user"].get("username")), str(event.get("userAgent"))
    if user.startswith(f"system:serviceaccount:{vpn_namespace}:"):
        return True
    return user == "lab-admin" and not program.startswith("kubectl")
