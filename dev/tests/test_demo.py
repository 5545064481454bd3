"""The demo's closing lines."""

from __future__ import annotations

from pathlib import Path

from bulkhead_dev.demo import summary, used


def test_the_summary_names_each_step_and_the_sum() -> None:
    lines = summary(
        [("lab up", 61.0), ("the picture", 9.0)], {"our cache": 2_500_000_000}, Path("/x/build/status.html")
    )
    assert lines[0].split() == ["lab", "up", "61.0", "s"]
    assert lines[2].split() == ["in", "all", "70.0", "s"]
    assert lines[3].split() == ["disk:", "our", "cache", "2.5", "GB"]
    assert lines[-1].endswith(" /x/build/status.html")


def test_used_counts_what_lies_below(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1_000_000)
    assert 1_000_000 <= used(tmp_path) < 1_200_000
