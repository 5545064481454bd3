"""Progress: numbers, estimates and what is remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bulkhead_lab.progress import Progress, human


def test_human() -> None:
    assert (human(45.4), human(240)) == ("45 s", "4 min")


def test_steps_are_numbered_and_remembered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    memory = tmp_path / "times.json"
    memory.write_text(json.dumps({"b": 600}))
    progress = Progress([("a", 60.0), ("b", 60.0)], memory)
    assert progress.remaining() == 660
    with progress.step("a"):
        pass
    assert progress.remaining() == 600
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "[1/2] a (about 11 min left in all)"
    assert said[1] == "[1/2] a: 0 s"
    assert json.loads(memory.read_text())["a"] < 60


def test_a_failed_step_is_not_remembered(tmp_path: Path) -> None:
    memory = tmp_path / "times.json"
    with pytest.raises(ValueError, match="x"), Progress([("a", 1.0)], memory).step("a"):
        raise ValueError("x")
    assert not memory.exists()


def test_a_broken_memory_is_no_memory(tmp_path: Path) -> None:
    memory = tmp_path / "times.json"
    memory.write_text("[1]")
    assert Progress([("a", 7.0)], memory).remaining() == 7.0
