"""Machines on which the lab cannot run: the exact sentence, and nothing written. One file per rule in invalid/."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from running_lab import LAB

CASES = sorted((Path(__file__).parent / "invalid").glob("*.yaml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_bad_machine(case: Path, tmp_path: Path) -> None:
    rule = yaml.safe_load(case.read_text())
    folder = tmp_path / "folder"
    folder.mkdir()
    tmp_path.chmod(0o755)
    environment = {**os.environ, "FOLDER": str(folder), "BULKHEAD_LAB_HOME": str(folder / "home")}
    command = [*rule["wrapper"], "/usr/bin/python3", *LAB[1:], "up"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.strip() == rule["message"].format(folder=folder)
    assert done.returncode == 1
    assert list(folder.iterdir()) == []


def test_each_rule_has_its_file() -> None:
    assert [case.stem for case in CASES] == ["not-root", "too-little-disk"]
