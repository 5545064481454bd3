"""Each path of path_check sees what it guards removed, and is as declared before and after."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import paths_on_lab as lab_paths
import pytest
from whole import Site

SECONDS = 60.0  # until what was changed is in force everywhere


def _parameters() -> list[Any]:
    marks = {True: [], False: [pytest.mark.slow]}
    return [pytest.param(one, id=one["name"], marks=marks[bool(one.get("quick"))]) for one in lab_paths.listed()]


@contextmanager
def kept(objects: list[str]) -> Iterator[None]:
    """Whatever happens inside, these objects are as they were before."""
    with ExitStack() as stack:
        for one in objects:
            stack.callback(lab_paths.saved(one))
        yield


def until(mutation: Mapping[str, Any], expected: Mapping[str, str]) -> None:
    """Look until exactly ``expected`` does not pass; what a change has not reached yet may take a while."""
    deadline = time.monotonic() + SECONDS
    while True:
        seen = lab_paths.look(mutation)
        if seen.unlike_pass() == expected:
            return
        assert time.monotonic() < deadline, f"{seen.why()}\nexpected: {dict(expected)}"


@pytest.fixture(scope="module", autouse=True)
def as_before(site: Site) -> Iterator[None]:
    """In the end the inventory's own matrix is as declared; each mutation looks at its own before it breaks anything."""
    yield
    until({}, {})


@pytest.mark.parametrize("mutation", _parameters())
def test_mutation(site: Site, mutation: Mapping[str, Any]) -> None:
    with kept(mutation["touch"]):
        for step in mutation.get("before", ()):
            lab_paths.do(step)
        until(mutation, {})
        for step in mutation["do"]:
            lab_paths.do(step)
        # Nothing else may change: a path that fails whatever is broken shows nothing.
        until(mutation, mutation["expect"])


@pytest.mark.slow
def test_a_path_that_is_not_as_declared_fails_the_play(site: Site, tmp_path: Path) -> None:
    files = {kind: str(tmp_path / kind) for kind in ("json", "junit", "html")}
    wrong = [{"from": "lan", "to": {"gateway": "arr", "path": "/radarr/"}, "expect": "refused"}]
    words = ("verify", "--tags", "paths")
    run = site.run("wrong", *words, check=False, bulkhead_paths=wrong, bulkhead_paths_reports=files)
    assert run.code != 0
    assert "core/radarr:7878 can be reached from there" in run.output
    assert json.loads(Path(files["json"]).read_text())["verdict"] == "not_as_declared"
    assert all(Path(one).stat().st_size for one in files.values())


# -- the tool itself is broken: then nothing is known -------------------------------

REFUSED = {"from": "lan", "to": {"gateway": "media", "route": "core/radarr"}, "expect": "refused"}
PODS = {"from": {"namespace": "media"}, "to": {"service": "downloads/qbittorrent", "port": 8080}, "expect": "refused"}
BROKEN = {
    "no vantage": ({"vantages": {}}, "give bulkhead_vantages.lan a command"),
    "no such command": ({"vantages": {"lan": {"command": ["/nowhere/ssh", "laptop"]}}}, "cannot be run"),
    "the command ends at once": ({"vantages": {"lan": {"command": ["false"]}}}, "ended before it took the probe"),
    "the command fails": (
        {"vantages": {"lan": {"command": ["sh", "-c", "cat > /dev/null; exit 7"]}}},
        "ended with exit code 7",
    ),
    "it says something else": (
        {"vantages": {"lan": {"command": ["sh", "-c", "cat > /dev/null; echo {}"]}}},
        "unexpected form",
    ),
    "a host without a network": (
        {"vantages": {"lan": {"command": ["unshare", "--net", "--"]}}},
        "nothing answered this vantage before",
    ),
    "no pods": ({"check_classes": ["P", "A"]}, "no pod asked Service core/radarr:7878"),
    "no python in their image": ({"twin_image": "lab.local/coredns:1", "timeout": 20}, "no pod asked Service"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BROKEN))
def test_the_tool_is_broken(site: Site, name: str) -> None:
    options, reason = BROKEN[name]
    seen = lab_paths.look({"paths": [REFUSED, PODS]}, settle=0, enforce=True, **options)
    assert seen.failed, seen.why()
    assert seen.told["verdict"] == "unknown", seen.why()
    told = next(one for one in seen.told["checks"] if one["target"].startswith("lan -> "))
    assert (told["result"], reason in told["reason"]) == ("unknown", True), seen.why()


@pytest.mark.slow
def test_nothing_is_left(site: Site) -> None:
    assert lab_paths.left_behind() == []
