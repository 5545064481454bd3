# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The entry line: nothing of the agent runs before its files were compared with the hash in the pod template."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import ENTRY, content_hash

FILES = {"__init__.py": b"", "__main__.py": b"import os, sys; print(sys.argv[1:], os.environ['BULKHEAD_AGENT'])"}


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    directory = tmp_path / "bulkhead_agent"
    directory.mkdir()
    for name, content in FILES.items():
        (directory / name).write_bytes(content)
    return tmp_path


def run(mounted: Path, expected: str) -> subprocess.CompletedProcess[str]:
    code = ENTRY.replace("/opt/bulkhead", str(mounted))
    argv = [sys.executable, "-c", code, expected, "guard", "x"]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_right_files(mounted: Path) -> None:
    done = run(mounted, content_hash(FILES))
    assert (done.returncode, done.stdout) == (0, f"['guard', 'x'] {content_hash(FILES)}\n")


@pytest.mark.parametrize("change", ["changed", "added", "missing"])
def test_other_files(mounted: Path, change: str) -> None:
    directory = mounted / "bulkhead_agent"
    if change == "changed":
        (directory / "__init__.py").write_bytes(b"#")
    elif change == "added":
        (directory / "more.py").write_bytes(b"")
    else:
        (directory / "__init__.py").unlink()
    done = run(mounted, content_hash(FILES))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and content_hash(FILES) in done.stderr


def test_no_files(tmp_path: Path) -> None:
    done = run(tmp_path, "0" * 16)
    assert done.returncode == 1 and "cannot be read" in done.stderr and "Traceback" not in done.stderr


def test_hash_cannot_be_moved_between_files() -> None:
    assert content_hash({"a": b"xy", "b": b""}) != content_hash({"a": b"x", "b": b"y"})
    assert len(content_hash(FILES)) == 16
