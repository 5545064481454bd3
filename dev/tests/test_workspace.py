"""The workspace holds what the checkout holds, and nothing that was deleted from it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bulkhead_dev.workspace import EXCLUDED, below, synchronise, tracked


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def content(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): p.read_text(encoding="utf-8") for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("lab/lab", True),
        ("lab", True),
        ("labels.yml", False),
        ("tests/unit/lab/test_a.py", True),
        ("tests/unit/x.py", False),
    ],
)
def test_below_compares_whole_names(path: str, expected: bool) -> None:
    assert below(path, EXCLUDED) is expected


def test_changed_deleted_and_moved_files_follow(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write(source / "a/one", "1")
    write(source / "two", "2")
    synchronise(source, target, ["a/one", "two"])
    assert content(target) == {"a/one": "1", "two": "2"}
    write(source / "two", "two, longer")
    (source / "a/one").unlink()
    (source / "a").rmdir()
    write(source / "a", "now a file")
    synchronise(source, target, ["a", "two"])
    assert content(target) == {"a": "now a file", "two": "two, longer"}
    (source / "a").unlink()
    write(source / "a/again", "a folder again")
    synchronise(source, target, ["a/again"])
    assert content(target) == {"a/again": "a folder again"}


def test_same_size_and_time_is_not_written_again_but_a_new_mode_is(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write(source / "script", "x")
    synchronise(source, target, ["script"])
    before = (target / "script").stat().st_ino
    write(target / "script", "y")
    os.utime(target / "script", ns=(0, (source / "script").stat().st_mtime_ns))
    synchronise(source, target, ["script"])
    assert content(target) == {"script": "y"}
    assert (target / "script").stat().st_ino == before
    (source / "script").chmod(0o755)
    synchronise(source, target, ["script"])
    assert content(target) == {"script": "x"}
    assert (target / "script").stat().st_mode & 0o111


def test_results_of_tools_stay_and_a_dangling_link_is_copied_as_it_is(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write(target / "tests/output/junit/a.xml", "kept")
    write(target / "tests/other", "removed")
    source.mkdir()
    (source / "link").symlink_to("nowhere")
    synchronise(source, target, ["link"])
    assert content(target) == {"tests/output/junit/a.xml": "kept"}
    assert (target / "link").readlink() == Path("nowhere")


def test_a_link_in_the_target_never_leads_the_copy_out_of_it(tmp_path: Path) -> None:
    source, target, outside = tmp_path / "source", tmp_path / "target", tmp_path / "outside"
    write(source / "a/one", "1")
    outside.mkdir()
    target.mkdir()
    (target / "a").symlink_to(outside)
    synchronise(source, target, ["a/one"])
    assert content(target) == {"a/one": "1"}
    assert content(outside) == {}


def test_files_git_ignores_or_that_are_deleted_are_left_out(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for name in ("kept", "deleted", "ignored", ".gitignore"):
        write(tmp_path / name, "ignored")
    subprocess.run(["git", "-C", str(tmp_path), "add", "deleted"], check=True)
    (tmp_path / "deleted").unlink()
    assert tracked(tmp_path) == [".gitignore", "kept"]
