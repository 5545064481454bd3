"""Command line: dev/run SUITE..."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from bulkhead_dev.context import Context
from bulkhead_dev.course import INTERRUPTED, Course, run_one
from bulkhead_dev.errors import ToolError, Unavailable
from bulkhead_dev.places import Places, locked
from bulkhead_dev.results import Outcome, exit_code, last_lines, table
from bulkhead_dev.suites import DEMO, GROUPS, SUITES, Suite, select

NESTED = "BULKHEAD_DEV_RUNNING"  # set for everything a run starts: a run inside a run must not wait for its own lock


def parser() -> argparse.ArgumentParser:
    """The options."""
    suites = "\n".join(f"  {suite.name:14} {suite.title}" for suite in SUITES)
    groups = "\n".join(f"  @{name:13} {' '.join(members)}" for name, members in GROUPS.items())
    top = argparse.ArgumentParser(
        prog="dev/run",
        description="Run the project's suites; brings the tools they need.",
        epilog=f"suites:\n{suites}\n\ngroups:\n{groups}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("suite", nargs="+", help="suite, @group, demo, format, or env (print settings)")
    top.add_argument("--keep-going", action="store_true", help="run all suites, also after a failed one")
    top.add_argument("--keep-lab", action="store_true", help="leave the lab up that this run brought up")
    top.add_argument("--all", action="store_true", help="slow tests too; sanity on every Python found")
    top.add_argument("--verbose", action="store_true", help="show all output as it comes; default with one suite")
    return top


def main(argv: Sequence[str]) -> int:
    """Run and return the exit code."""
    options = parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    places = Places.from_environment()
    try:
        places.cache.mkdir(parents=True, exist_ok=True)
        places.logs.mkdir(parents=True, exist_ok=True)
        ctx = Context(places, live=options.verbose, everything=options.all)
        if options.suite == ["env"]:
            return _print_env(ctx)
        if options.suite == ["format"]:
            return _format(ctx)
        suites = [DEMO] if options.suite == ["demo"] else select(options.suite)
    except (ToolError, Unavailable) as exc:
        print(exc, file=sys.stderr)
        return 1
    if options.suite == ["demo"]:
        return _demo(ctx)
    ctx.live = options.verbose or len(suites) == 1
    with ExitStack() as stack:
        if NESTED not in os.environ:
            stack.enter_context(locked(places.workspace / ".lock", "this checkout's workspace"))
            os.environ[NESTED] = "1"
        return run_suites(ctx, suites, keep_going=options.keep_going, keep_lab=options.keep_lab)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End like Ctrl-C: children are stopped and a lab that this run made goes down."""
    raise KeyboardInterrupt


def run_suites(ctx: Context, suites: Sequence[Suite], *, keep_going: bool, keep_lab: bool) -> int:
    """Run them, say how each ended, and sum up; a lab that this run brought up is taken down at the end."""
    start = time.monotonic()
    was_up = ctx.lab.is_up()
    up, down = (next(suite for suite in SUITES if suite.name == name) for name in ("lab-up", "lab-down"))
    asked_down = [suite.name for suite in suites] == ["lab-down"]
    course = Course(ctx, keep_going=keep_going)
    course.run(suites if asked_down else [suite for suite in suites if suite is not down])
    results = course.results
    ctx.stop.clear()  # what follows is to run after an interruption too
    if was_up and ctx.lab_disturbed:
        results.append(run_one(ctx, up))
    elif ctx.made_lab and not keep_lab:
        results.append(run_one(ctx, down))
    print()
    print("\n".join(table(results, time.monotonic() - start)))
    if was_up and not asked_down and (not ctx.lab_disturbed or results[-1].outcome is Outcome.PASSED):
        print("The lab was up before and stays up.")
    print(f"Logs: {ctx.places.logs}")
    print("\n".join(last_lines(results)), flush=True)
    return 130 if any(result.reason == INTERRUPTED for result in results) else exit_code(results)


def _format(ctx: Context) -> int:
    """Rewrite what ruff and gofmt can."""
    ctx.live, ctx.log = True, ctx.places.logs / "format.log"
    ruff = ctx.program("ruff")
    commands = [[ruff, "check", "--fix", "."], [ruff, "format", "."]]
    modules = [str(path.parent) for path in (ctx.places.checkout / "lab").glob("go*/go.mod")]
    if modules:
        commands.append([str(Path(ctx.go).parent / "gofmt"), "-l", "-w", *modules])
    ctx.run_all(commands, cwd=ctx.places.checkout, env=ctx.tool_env())
    return 0


def _print_env(ctx: Context) -> int:
    """Shell lines that give a terminal the runner's tools: eval "$(dev/run env)"."""
    checkout = ctx.places.checkout
    paths = (checkout / ".workspace", ctx.kubernetes_core)
    values = {
        "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(str(path) for path in paths),
        "BULKHEAD_CACHE": str(ctx.places.cache),
        "BULKHEAD_GO": ctx.go,
        "PATH": f"{ctx.venv / 'bin'}:{os.environ.get('PATH', '')}",
    }
    try:
        ctx.lab.check_possible()
        values["KUBECONFIG"] = ctx.lab.kubeconfig()
        values["PATH"] = ctx.lab.path(values["PATH"])
    except (ToolError, Unavailable):
        pass  # no lab here: the user's own KUBECONFIG stays
    print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items()))
    return 0


def _demo(ctx: Context) -> int:
    """The demo and the commands it starts write straight to the terminal; no table, the picture is the result."""
    ctx.live = True
    result = run_one(ctx, DEMO)
    if result.outcome is Outcome.SKIPPED:
        print(f"The demo cannot run here: {result.reason}.", file=sys.stderr)
    return 0 if result.outcome is Outcome.PASSED else 1
