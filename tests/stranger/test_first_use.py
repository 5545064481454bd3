"""docs/first-use.md, word by word, with the installed tarball and without a word of configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import documents
import pytest
from outside import Outside, Run

from bulkhead_lab import plan

PAGE = "first-use.md"
# The one thing that only the lab needs: the public servers are not in its internet.
LAB = {
    "bulkhead_verify_targets": {
        "stun": [{"address": plan.TARGET4}, {"address": plan.TARGET6}],
        "http": [{"address": plan.TARGET4}],
        "dns": [{"address": plan.TARGET4, "zone": plan.ZONE}],
        "bulk": [{"address": plan.TARGET4}],
    }
}


@dataclass
class Course:
    """What came of each line, the project's folder, and the installed collection before and after."""

    folder: Path
    lines: list[str]
    runs: dict[str, Run] = field(default_factory=dict)
    before: dict[str, bytes] = field(default_factory=dict, repr=False)
    after: dict[str, bytes] = field(default_factory=dict, repr=False)

    def of(self, playbook: str) -> str:
        """What a playbook said, without check mode."""
        (found,) = [run.output for line, run in self.runs.items() if line.endswith(f" bulkhead.mesh.{playbook}")]
        return found


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder, without what Python compiles."""
    found = [one for one in folder.rglob("*") if one.is_file() and "__pycache__" not in one.parts]
    return {str(one.relative_to(folder)): one.read_bytes() for one in found}


@pytest.fixture(scope="module")
def course(outside: Outside) -> Iterator[Course]:
    """All lines in their order; the first that fails is the last."""
    blocks = documents.blocks(outside.collection / "docs" / PAGE)
    files = {one.word: one.text for one in blocks if one.kind == "file"}
    (block,) = [one for one in blocks if one.kind == "run"]
    lines = block.text.splitlines()
    more = {"wg0.conf": outside.wg0(), "group_vars/all.yml": json.dumps(LAB)}
    made = Course(outside.project("first-use", {**files, **more}), lines)
    made.before = content(outside.collection)
    try:
        for line in lines:
            made.runs[line] = outside.run(made.folder, line)
            if made.runs[line].code:
                break
        made.after = content(outside.collection)
        yield made
    finally:
        # A sealed client keeps its admission rule.
        outside.run(made.folder, f"{lines[-1]} -e bulkhead_detach_to=open")


def test_there_are_ten_lines(course: Course) -> None:
    assert len(course.lines) == 10
    assert course.lines[-1].endswith(" bulkhead.mesh.teardown")


def test_each_ends_well(course: Course) -> None:
    bad = [f"{line}\n{run.output[-4000:]}" for line, run in course.runs.items() if run.code]
    assert not bad, bad[0]
    assert list(course.runs) == course.lines


def test_nothing_warns(course: Course) -> None:
    warnings = [line for run in course.runs.values() for line in run.output.splitlines() if "WARNING" in line]
    # Check mode warns of what a real run does first, and of what only that can try.
    told = (" In a real run this has to be so before.", ": no pod is made in check mode.")
    assert [line for line in warnings if not line.endswith(told)] == []


def test_texts_of_several_lines_are_lines(course: Course) -> None:
    said = [course.of(name) for name in ("site", "verify", "status", "teardown")]
    assert [line for text in said for line in text.splitlines() if "\\n" in line] == []


def test_verify_is_readable_and_says_what_it_proved(course: Course) -> None:
    lines = [line.strip().rstrip(",").strip('"') for line in course.of("verify").splitlines()]
    assert "Verdict protected, required protected: as required." in lines
    assert [line for line in lines if line.startswith("CHECK ") and line.endswith("OBSERVED")]


def test_status_is_readable_and_knows_the_proof(course: Course) -> None:
    lines = [line.strip().rstrip(",").strip('"') for line in course.of("status").splitlines()]
    (row,) = [line for line in lines if line.startswith("StatefulSet downloads/downloader")]
    assert row.split()[2:5] == ["vpnarr", "✓", "protected"]
    assert f'msg": "The picture is in {course.folder}/reports/status.html.' in course.of("status")


def test_reports_are_in_the_project_and_nothing_is_in_the_collection(course: Course) -> None:
    found = {str(one.relative_to(course.folder / "reports")) for one in (course.folder / "reports").rglob("*")}
    assert found == {"verify.json", "verify.html", "status.html"}
    assert json.loads((course.folder / "reports" / "verify.json").read_text())["verdict"] == "protected"
    assert {one.name for one in course.folder.iterdir()} == {
        "group_vars",
        "inventory.yml",
        "reports",
        "wg0.conf",
        "workload.yml",
    }
    assert course.before == course.after


def test_teardown_says_what_stays(course: Course) -> None:
    tasks = [task for task in course.of("teardown").split("\nTASK [") if '"msg"' in task]
    last = tasks[-1]
    (trial,) = [run.output for line, run in course.runs.items() if line.endswith(" bulkhead.mesh.teardown --check")]
    assert "This would stay:" in trial
    assert "This stays:" in last
    for words in ("StatefulSet downloads/downloader ", "0 replicas", "downloads, vpn", "bulkhead.mesh.site"):
        assert words in last
