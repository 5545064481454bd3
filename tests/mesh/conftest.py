"""The demo's inventory on the lab: mesh, gateways and VPN beside each other, from an empty cluster and back to one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("mesh", "runs", "lab")] + [str(ROOT / "lab")]

# After the path is set.
import whole  # noqa: E402

from bulkhead_lab.paths import Paths  # noqa: E402


@pytest.fixture(scope="session")
def paths() -> Paths:
    """Where the running lab keeps its files."""
    return Paths.from_environment()


@pytest.fixture(scope="session")
def site(paths: Paths) -> Iterator[whole.Site]:
    """Everything set up, and what each run on the way did; taken down and cleared at the end."""
    whole.insist_on_a_fresh_cluster()
    made = whole.Site(paths)
    try:
        made.set_up()
        yield made
    finally:
        made.clear()
