"""How a run goes: which suites run beside which others, what stops it, and how each ended."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bulkhead_dev.context import Context
from bulkhead_dev.errors import ToolError, Unavailable
from bulkhead_dev.process import tail
from bulkhead_dev.results import Outcome, Result, first_line
from bulkhead_dev.suites import Lane, Suite, lab_down

FIRST = ("tools",)  # what all others stand on
LAB_IS_BUILT = ("lab-fresh",)  # after it a second lab finds its builds
MEMORY = Path("/proc/meminfo")
SECOND_LAB_KB = 10 * 2**20  # two labs with mesh and tailnet take about 8 GB
INTERRUPTED = "interrupted"
SECOND_LAB_DOWN = "second-lab-down"  # only told of when it fails


class Course:
    """How far a run is: its suites lane by lane, each lane in order."""

    def __init__(self, ctx: Context, *, keep_going: bool) -> None:
        self._ctx, self._keep_going = ctx, keep_going
        self._failed = ""
        self.results: list[Result] = []
        self._beside: list[threading.Thread] = []

    def run(self, suites: Sequence[Suite]) -> None:
        """Run them; the results are in their order at the end."""
        first = [suite for suite in suites if suite.name in FIRST]
        lanes = {lane: [suite for suite in suites if suite.lane is lane and suite not in first] for lane in Lane}
        if self._ctx.live or not lanes[Lane.LAB]:
            self._go(self._ctx, suites)
            return
        self._go(self._ctx, first)
        self._start(self._ctx.copy(), lanes[Lane.NO_LAB])
        # A second lab needs what the first one has built.
        second = memory_for_two() and any(suite.name in LAB_IS_BUILT for suite in suites)
        here = (Lane.LAB,) if second else (Lane.LAB, Lane.SECOND_LAB)
        pending = [suite for suite in suites if suite.lane in here and suite not in first]
        while pending:
            suite = pending.pop(0)
            if suite.alone:
                self._join()
            passed = self._go(self._ctx, [suite])
            if suite.name in LAB_IS_BUILT and second:
                if passed:
                    self._start(self._ctx.on_second_lab(), lanes[Lane.SECOND_LAB])
                else:  # they say by themselves why they cannot run
                    pending += lanes[Lane.SECOND_LAB]
        self._join()
        order = [suite.name for suite in suites]
        told = {result.name for result in self.results}
        # A lane that broke off must not look like one that had nothing to do.
        self.results += [
            Result(name, Outcome.FAILED, 0.0, "it ended without a result") for name in order if name not in told
        ]
        self.results.sort(key=lambda result: (*order, SECOND_LAB_DOWN).index(result.name))

    def _start(self, ctx: Context, suites: Sequence[Suite]) -> None:
        """Run suites beside what follows, with a context of their own."""
        if suites:
            self._beside.append(threading.Thread(target=self._lane, args=(ctx, suites), daemon=True))
            self._beside[-1].start()

    def _lane(self, ctx: Context, suites: Sequence[Suite]) -> None:
        own_lab = ctx.lab is not self._ctx.lab
        if own_lab and ctx.lab.is_up():  # a killed run left it
            self._take_down(ctx)
        try:
            self._go(ctx, suites)
        finally:
            if own_lab:
                ctx.stop = threading.Event()  # also after an interruption
                self._take_down(ctx)

    def _take_down(self, ctx: Context) -> None:
        ctx.log = ctx.places.logs / "second-lab-down.log"
        ctx.log.write_bytes(b"")
        outcome, reason = outcome_of(lambda: lab_down(ctx))
        if outcome is not Outcome.PASSED:
            print(f"The second lab was not taken down: {reason}\nFull log: {ctx.log}", flush=True)
            self.results.append(Result(SECOND_LAB_DOWN, outcome, 0.0, reason))

    def _go(self, ctx: Context, suites: Sequence[Suite]) -> bool:
        """Run them one after the other; whether all passed."""
        passed = True
        for suite in suites:
            if self._failed and not self._keep_going:
                result = Result(suite.name, Outcome.SKIPPED, 0.0, f"not run because {self._failed} failed")
            else:
                result = run_one(ctx, suite)
            self.results.append(result)
            passed = passed and result.outcome is Outcome.PASSED
            if result.outcome is Outcome.FAILED:
                self._failed = self._failed or suite.name
            if result.reason == INTERRUPTED:
                self._interrupt()
        return passed

    def _interrupt(self) -> None:
        self._keep_going = False
        self._ctx.stop.set()

    def _join(self) -> None:
        for lane in self._beside:
            try:
                lane.join()
            except KeyboardInterrupt:
                self._failed = self._failed or "what was waited for"
                self._interrupt()
                lane.join()


def memory_for_two() -> bool:
    """Whether a second lab has room beside the first one."""
    found = re.search(r"^MemAvailable: +([0-9]+) kB$", MEMORY.read_text(encoding="ascii"), re.MULTILINE)
    return found is not None and int(found[1]) >= SECOND_LAB_KB


def run_one(ctx: Context, suite: Suite) -> Result:
    """Run one suite, say how it ended, and show the end of its log if it failed."""
    print(f"\n=== {suite.name}: {suite.title}", flush=True)
    live, ctx.live = ctx.live, ctx.live or suite.live
    ctx.timeout = suite.timeout
    ctx.log = ctx.places.logs / f"{suite.name}.log"
    ctx.log.write_bytes(b"")
    start = time.monotonic()
    outcome, reason = outcome_of(lambda: suite.run(ctx))
    seconds = time.monotonic() - start
    if outcome is Outcome.FAILED:
        if not ctx.live:
            print(tail(ctx.log), flush=True)
        print(f"{reason}\nFull log: {ctx.log}")
    why = f" ({first_line(reason)})" if outcome is Outcome.SKIPPED else ""
    print(f"--- {suite.name}: {outcome} in {seconds:.1f} s{why}", flush=True)
    ctx.live = live
    return Result(suite.name, outcome, seconds, reason)


def outcome_of(work: Callable[[], None]) -> tuple[Outcome, str]:
    """How a piece of work ended, and why it did not pass; what nobody expected is raised."""
    try:
        work()
    except Unavailable as exc:
        return Outcome.SKIPPED, str(exc)
    except (ToolError, OSError) as exc:
        return Outcome.FAILED, str(exc)
    except KeyboardInterrupt:
        return Outcome.FAILED, INTERRUPTED
    return Outcome.PASSED, ""
