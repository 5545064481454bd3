"""Order, fail-fast, the lab's life around a run, and commands that hang."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkhead_dev import cli, course, suites
from bulkhead_dev.context import Context
from bulkhead_dev.errors import ToolError, Unavailable
from bulkhead_dev.places import Places
from bulkhead_dev.process import run_logged, tail
from bulkhead_dev.suites import SUITES, Lane, Suite, select


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    places = Places(tmp_path / "checkout", tmp_path / "cache")
    places.logs.mkdir(parents=True)
    return Context(places, live=False, everything=False)


def suite(name: str, calls: list[str], problem: BaseException | None = None) -> Suite:
    def run(_: Context) -> None:
        calls.append(name)
        if problem is not None:
            raise problem

    return Suite(name, name.title(), run)


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_first_failure_stops_the_run(ctx: Context, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []
    chosen = [suite("a", calls), suite("b", calls, ToolError("no")), suite("c", calls)]
    assert cli.run_suites(ctx, chosen, keep_going=False, keep_lab=False) == 1
    assert calls == ["a", "b"]
    out = capsys.readouterr().out
    assert "skipped: c: not run because b failed" in out
    assert out.splitlines()[-1] == "1 passed, 1 failed, 1 skipped"


def test_keep_going_runs_all(ctx: Context, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []
    chosen = [suite("a", calls, ToolError("no")), suite("b", calls, Unavailable("not root")), suite("c", calls)]
    assert cli.run_suites(ctx, chosen, keep_going=True, keep_lab=False) == 1
    assert calls == ["a", "b", "c"]
    assert last_line(capsys) == "1 passed, 1 failed, 1 skipped"


def test_interrupt_stops_also_with_keep_going(ctx: Context, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []
    chosen = [suite("a", calls, KeyboardInterrupt()), suite("b", calls)]
    assert cli.run_suites(ctx, chosen, keep_going=True, keep_lab=False) == 130
    assert calls == ["a"]
    assert last_line(capsys) == "0 passed, 1 failed, 1 skipped"


def test_what_needs_no_lab_runs_beside_what_does(ctx: Context, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []
    quick, slow = threading.Event(), threading.Event()

    def lint(_: Context) -> None:
        assert slow.wait(20)  # ends only while the other one runs
        calls.append("lint")
        quick.set()

    def mesh(_: Context) -> None:
        slow.set()
        assert quick.wait(20)
        calls.append("mesh")

    chosen = [
        suite("tools", calls),
        Suite("lint", "L", lint, lane=Lane.NO_LAB),
        suite("docs", calls),
        Suite("mesh", "M", mesh),
        Suite("lifecycle", "Y", lambda _: calls.append("lifecycle"), alone=True),
    ]
    assert cli.run_suites(ctx, chosen, keep_going=False, keep_lab=False) == 0
    assert calls[0] == "tools" and calls[-1] == "lifecycle" and calls.index("lint") < calls.index("mesh")
    lines = [
        line.split()[0] for line in capsys.readouterr().out.splitlines() if " passed " in line and "---" not in line
    ]
    assert lines == ["tools", "lint", "docs", "mesh", "lifecycle"]


def test_what_wants_to_be_alone_waits(ctx: Context) -> None:
    calls: list[str] = []

    def sanity(_: Context) -> None:
        time.sleep(0.5)
        calls.append("sanity")

    chosen = [
        Suite("sanity", "S", sanity, lane=Lane.NO_LAB),
        Suite("lifecycle", "L", lambda _: calls.append("alone"), alone=True),
    ]
    assert cli.run_suites(ctx, chosen, keep_going=False, keep_lab=False) == 0
    assert calls == ["sanity", "alone"]


@pytest.mark.parametrize("failing", ["lint", "mesh"])
def test_a_failure_stops_both_lanes(ctx: Context, capsys: pytest.CaptureFixture[str], failing: str) -> None:
    other = threading.Event()

    def fail(_: Context) -> None:
        other.wait(20)
        raise ToolError("no")

    def wait(_: Context) -> None:
        other.set()
        time.sleep(1.0)

    chosen = [
        Suite("lint", "L", fail if failing == "lint" else wait, lane=Lane.NO_LAB),
        Suite("docs", "D", lambda _: None, lane=Lane.NO_LAB),
        Suite("mesh", "M", fail if failing == "mesh" else wait),
        Suite("runs", "R", lambda _: None),
    ]
    assert cli.run_suites(ctx, chosen, keep_going=False, keep_lab=False) == 1
    assert last_line(capsys) == "1 passed, 1 failed, 2 skipped"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_lane_that_breaks_off_is_a_failure(ctx: Context, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []
    broken = Suite("lint", "L", suite("lint", calls, RuntimeError("nobody expected this")).run, lane=Lane.NO_LAB)
    after = Suite("docs", "D", suite("docs", calls).run, lane=Lane.NO_LAB)
    assert cli.run_suites(ctx, [broken, after, suite("mesh", calls)], keep_going=True, keep_lab=False) == 1
    out = capsys.readouterr().out
    assert "failed: lint: it ended without a result" in out and "failed: docs: it ended without a result" in out
    assert out.splitlines()[-1] == "1 passed, 2 failed"


class OtherLab:
    """Stands for a second lab."""

    def __init__(self, calls: list[str], code: int = 0) -> None:
        self.calls, self.code = calls, code

    def is_up(self) -> bool:
        return True

    def check_possible(self) -> None:
        self.calls.append("second lab down")

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-c", f"raise SystemExit({self.code})"]

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        return {}


@pytest.mark.parametrize(
    ("memory", "fresh", "labs"), [(True, True, [False, True]), (False, True, [True, True]), (True, False, [True, True])]
)
def test_a_second_lab_where_there_is_room(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, memory: bool, fresh: bool, labs: list[bool]
) -> None:
    calls: list[str] = []
    seen: dict[str, bool] = {}

    def look(name: str) -> Callable[[Context], None]:
        return lambda context: seen.update({name: context.lab is ctx.lab})

    monkeypatch.setattr(course, "memory_for_two", lambda: memory)
    monkeypatch.setattr(ctx.lab, "second", lambda: OtherLab(calls))
    ctx.places.checkout.mkdir(exist_ok=True)
    chosen = [
        suite("lab-fresh", calls, None if fresh else Unavailable("not root")),
        Suite("mesh", "M", look("mesh"), lane=Lane.SECOND_LAB),
        Suite("mutations", "U", look("mutations")),
    ]
    assert cli.run_suites(ctx, chosen, keep_going=True, keep_lab=False) == 0
    assert [seen["mesh"], seen["mutations"]] == labs
    # before its suites, because a killed run left it, and after them
    assert calls == ["lab-fresh", *(["second lab down"] * 2 if labs[0] is False else [])]


def test_a_second_lab_that_stays_up_is_a_failure(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(course, "memory_for_two", lambda: True)
    monkeypatch.setattr(ctx.lab, "second", lambda: OtherLab(calls, code=1))
    monkeypatch.setattr(OtherLab, "is_up", lambda _lab: False)
    ctx.places.checkout.mkdir(exist_ok=True)
    chosen = [suite("lab-fresh", calls), Suite("mesh", "M", suite("mesh", calls).run, lane=Lane.SECOND_LAB)]
    assert cli.run_suites(ctx, chosen, keep_going=True, keep_lab=False) == 1
    assert "failed: second-lab-down: " in (out := capsys.readouterr().out)
    assert out.splitlines()[-1] == "2 passed, 1 failed"


def test_an_interruption_stops_a_command_of_the_other_lane(ctx: Context, capsys: pytest.CaptureFixture[str]) -> None:
    started = ctx.places.logs / "started"

    def sleep(context: Context) -> None:
        code = f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(60)"
        context.run([sys.executable, "-c", code], cwd=context.places.logs, env={})

    def interrupt(_: Context) -> None:
        while not started.exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    chosen = [Suite("lint", "L", sleep, lane=Lane.NO_LAB), Suite("mesh", "M", interrupt)]
    begin = time.monotonic()
    assert cli.run_suites(ctx, chosen, keep_going=True, keep_lab=False) == 130
    assert time.monotonic() - begin < 30
    assert last_line(capsys) == "0 passed, 2 failed"


@pytest.mark.parametrize(("made", "keep", "down"), [(True, False, True), (True, True, False), (False, False, False)])
def test_lab_is_taken_down_only_if_this_run_made_it(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, made: bool, keep: bool, down: bool
) -> None:
    calls: list[str] = []

    def lab(context: Context) -> None:
        context.made_lab = made
        raise ToolError("a suite on the lab fails")

    monkeypatch.setattr(cli, "SUITES", (suite("lab-up", calls), suite("lab-down", calls)))
    cli.run_suites(ctx, [Suite("molecule", "M", lab)], keep_going=False, keep_lab=keep)
    assert calls == (["lab-down"] if down else [])


def test_a_lab_that_was_up_is_brought_up_again(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def disturb(context: Context) -> None:
        context.lab_disturbed = context.made_lab = True

    monkeypatch.setattr(cli, "SUITES", (suite("lab-up", calls), suite("lab-down", calls)))
    monkeypatch.setattr(ctx.lab, "is_up", lambda: True)
    assert cli.run_suites(ctx, [Suite("lifecycle", "L", disturb)], keep_going=False, keep_lab=False) == 0
    assert calls == ["lab-up"]


def test_selection_keeps_order_and_refuses_unknown_names() -> None:
    assert [s.name for s in select(["docs", "unit", "@lint"])] == [
        "unit",
        "lint",
        "ansible-lint",
        "changelog",
        "docs",
        "go-lint",
    ]
    with pytest.raises(ToolError, match="no suite 'units'"):
        select(["units"])


def test_group_static_ends_before_the_lab() -> None:
    assert suites.GROUPS["static"][-1] == "netns"
    assert [s.name for s in SUITES if s.name not in suites.GROUPS["static"]][0] == "lab-up"


def logged(log: Path, code: str, timeout: float = 30.0) -> Callable[[], None]:
    return lambda: run_logged(
        [sys.executable, "-c", code], log, cwd=log.parent, env={}, live=False, timeout=timeout, stop=threading.Event()
    )


def test_output_goes_to_the_log_and_the_code_into_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="ended with code 3"):
        logged(tmp_path / "log", "import sys; print('seen'); print('err', file=sys.stderr); sys.exit(3)")()
    assert {"seen", "err"} <= set((tmp_path / "log").read_text().splitlines())


def test_a_child_that_stays_does_not_hold_the_run_up(tmp_path: Path) -> None:
    child = "[sys.executable, '-c', 'import time; time.sleep(20)']"
    stays = f"import subprocess, sys; subprocess.Popen({child}, start_new_session=True)"
    start = time.monotonic()
    logged(tmp_path / "log", stays)()
    assert time.monotonic() - start < 10


def test_a_command_that_hangs_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="did not end within 1 seconds"):
        logged(tmp_path / "log", "import time; time.sleep(60)", timeout=1.0)()


def test_tail_has_errors_from_further_up(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("ERROR: first\nnoise\n" + "more noise\n" * 50 + "ERROR: last\n")
    shown = tail(tmp_path / "log", 3).splitlines()
    assert shown == ["ERROR: first", "...", "more noise", "more noise", "ERROR: last"]
