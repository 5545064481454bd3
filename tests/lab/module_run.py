"""A module of this collection as a program: started on its own, outside any playbook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODULES = "ansible_collections.bulkhead.mesh.plugins.modules"
LIMIT = 180  # seconds one run may take at the most


@dataclass(frozen=True)
class Run:
    """Whether the module failed as such (exit code not 0), and all that it returned."""

    failed: bool
    told: Mapping[str, Any]


def run(module: str, options: Mapping[str, Any]) -> Run:
    """Run it; AssertionError with its output when it does not answer in JSON."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / '.workspace'}:{os.environ.get('PYTHONPATH', '')}"}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as arguments:
        json.dump({"ANSIBLE_MODULE_ARGS": dict(options)}, arguments)
        arguments.flush()
        command = [sys.executable, "-m", f"{MODULES}.{module}", arguments.name]
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT
        )
    try:
        return Run(done.returncode != 0, json.loads(done.stdout))
    except ValueError as exc:
        raise AssertionError(f"{module} did not answer in JSON: {done.stdout[-500:]}{done.stderr[-1500:]}") from exc
