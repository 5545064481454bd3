"""Order, fail-fast, the lab's life around a run, and commands that hang."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkhead_dev import cli, suites
from bulkhead_dev.context import Context
from bulkhead_dev.errors import ToolError, Unavailable
from bulkhead_dev.places import Places
from bulkhead_dev.process import run_logged, tail
from bulkhead_dev.suites import SUITES, Suite, select


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
    return lambda: run_logged([sys.executable, "-c", code], log, cwd=log.parent, env={}, live=False, timeout=timeout)


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
