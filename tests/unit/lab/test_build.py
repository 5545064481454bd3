"""Builds cached by content: what is built, when, and what a killed build leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead_lab.build import Recipe, Store, hash_files, keys, remove_tree, run
from bulkhead_lab.errors import LabError
from bulkhead_lab.paths import Paths


def write(name: str) -> Recipe:
    def make(target: Path, parts: dict[str, Path]) -> None:
        assert not parts
        (target / "file").write_text(name)

    return Recipe(name, ("v1",), make)


def test_a_part_is_built_once_and_found_again(tmp_path: Path) -> None:
    store = Store(Paths(tmp_path), [write("a")])
    assert [recipe.name for recipe in store.missing()] == ["a"]
    store.build(store.missing()[0])
    assert store.missing() == []
    assert (store.folder("a") / "file").read_text() == "a"


def test_a_failed_build_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    def fail(target: Path, _: dict[str, Path]) -> None:
        (target / "half").write_text("x")
        raise LabError("no")

    store = Store(Paths(tmp_path), [Recipe("a", (), fail)])
    with pytest.raises(LabError):
        store.build(store.missing()[0])
    assert [recipe.name for recipe in store.missing()] == ["a"]
    assert list((tmp_path / "build").iterdir()) == []


def test_the_key_follows_inputs_and_needs() -> None:
    def nothing(_: Path, __: dict[str, Path]) -> None: ...

    def pair(first_input: str) -> dict[str, str]:
        return keys(
            [Recipe("a", (first_input,), nothing), Recipe("b", (), nothing, needs=("a",)), Recipe("c", (), nothing)]
        )

    old, new = pair("1"), pair("2")
    assert old["a"] != new["a"]
    assert old["b"] != new["b"]
    assert old["c"] == new["c"]


def test_a_need_is_handed_over_as_its_finished_folder(tmp_path: Path) -> None:
    seen: list[str] = []

    def use(_: Path, parts: dict[str, Path]) -> None:
        seen.append((parts["a"] / "file").read_text())

    store = Store(Paths(tmp_path), [write("a"), Recipe("b", (), use, needs=("a",))])
    for recipe in store.missing():
        store.build(recipe)
    assert seen == ["a"]


def test_clean_up_removes_older_builds_and_leftovers_only(tmp_path: Path) -> None:
    store = Store(Paths(tmp_path), [write("a")])
    store.build(store.missing()[0])
    for name in ("a-000000000000", ".a-111.42", "foreign-1234"):
        (tmp_path / "build" / name).mkdir()
    store.clean_up()
    left = {path.name for path in (tmp_path / "build").iterdir()}
    assert left == {store.folder("a").name, "foreign-1234"}


def test_the_hash_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    first = hash_files([tmp_path], tmp_path)
    (tmp_path / "x").rename(tmp_path / "y")
    second = hash_files([tmp_path], tmp_path)
    (tmp_path / "y").write_text("2")
    assert len({first, second, hash_files([tmp_path], tmp_path)}) == 3


def test_removing_a_tree_does_not_follow_links(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(kept)
    remove_tree(tree)
    assert not tree.exists()
    assert (kept / "file").exists()


def test_a_failed_command_says_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"Trying failed: sh ended with code 3.*\nbecause"):
        run(["sh", "-c", "echo because >&2; exit 3"], what="Trying")
    with pytest.raises(LabError, match="needs the program 'no-such-program-here'"):
        run(["no-such-program-here"], what="Trying")
