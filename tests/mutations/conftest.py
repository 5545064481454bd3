"""A client behind a gateway on the lab, every check of which passes before anything is broken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tests/mutations", "tests/faults", "tests/lab", "lab")]

# After the path is set.
import attached  # noqa: E402
from mutated import Stage  # noqa: E402
from running_lab import apply, kubectl  # noqa: E402

from bulkhead_lab.paths import Paths  # noqa: E402


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """The lab with an attached workload; all checks of all classes pass."""
    paths = Paths.from_environment()
    made = Stage(paths)
    made.normal()
    if kubectl("get", "namespace", attached.CLIENTS, "--ignore-not-found").strip():
        attached.clean_up()  # of a run that was interrupted
    try:
        apply(*attached.user_objects(paths))
        kubectl("-n", attached.CLIENTS, "rollout", "status", f"statefulset/{attached.NAME}", "--timeout=60s")
        attached.playbook("site")
        made.recover(["P", "A", "C"])
        yield made
    finally:
        made.normal()
        attached.clean_up()
