"""Whole runs of the playbooks on the lab, one after the other: what they write, what they leave, what they let slip."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("runs", "faults", "lab")] + [str(ROOT / "lab")]

# After the path is set.
import story as whole  # noqa: E402

from bulkhead_lab.paths import Paths  # noqa: E402


@pytest.fixture(scope="session")
def story() -> Iterator[whole.Story]:
    """All runs, each done once; the tests judge what came of them."""
    paths = Paths.from_environment()
    whole.insist_on_a_fresh_cluster()
    told = False
    try:
        story = whole.tell(paths)
        told = True
        yield story
    finally:
        whole.clean_up(paths, told=told)
