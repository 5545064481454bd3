"""A stranger's machine beside the lab's cluster; docs/development.md says what the suite is for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("stranger", "lab")] + [str(ROOT / "lab")]

# After the path is set.
import outside as machine  # noqa: E402
import shown  # noqa: E402
from running_lab import kubectl  # noqa: E402


@pytest.fixture(scope="session")
def installed() -> Path:
    """Where the suite `build` has installed the tarball."""
    named = os.environ.get("BULKHEAD_INSTALLED")
    return Path(named) if named else ROOT / "build" / "install" / "path"


@pytest.fixture(scope="session")
def outside(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[machine.Outside]:
    """The stranger; what the documentation names on the cluster is gone afterwards."""
    stranger = machine.Outside(tmp_path_factory.mktemp("stranger") / "home", installed)
    names = shown.namespaces(stranger)
    taken = kubectl("get", "namespace", *names, "--ignore-not-found", "--output=name")
    assert not taken, f"the lab is not fresh, it has {taken.split()}"
    try:
        machine.name_images()
        yield stranger
    finally:
        machine.name_images(gone=True)
        kubectl("delete", "namespace", *names, "--ignore-not-found")
