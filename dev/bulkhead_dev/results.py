"""What suites came to, and how it is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a suite ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Result:
    """One suite: ``seconds`` of wall time; ``reason`` says why it failed or was skipped."""

    name: str
    outcome: Outcome
    seconds: float
    reason: str = ""


def table(results: Sequence[Result], seconds: float) -> list[str]:
    """One line per suite, and ``seconds``, the time of all, which is less than their sum where some ran side by side."""
    width = max((len(result.name) for result in results), default=5)
    lines = [f"{'suite':{width}}  {'result':7}  seconds"]
    lines += [f"{result.name:{width}}  {result.outcome:7}  {result.seconds:7.1f}" for result in results]
    return [*lines, f"{'all':{width}}  {'':7}  {seconds:7.1f}"]


def last_lines(results: Sequence[Result]) -> list[str]:
    """The reasons, then the counts; the last line is counts only, so that a program can read it."""
    lines = []
    for outcome in (Outcome.FAILED, Outcome.SKIPPED):
        for result in results:
            if result.outcome is outcome:
                lines.append(f"{outcome}: {result.name}: {first_line(result.reason)}")
    count = {outcome: sum(result.outcome is outcome for result in results) for outcome in Outcome}
    counts = f"{count[Outcome.PASSED]} passed, {count[Outcome.FAILED]} failed"
    if count[Outcome.SKIPPED]:
        counts += f", {count[Outcome.SKIPPED]} skipped"
    return [*lines, counts]


def first_line(text: str) -> str:
    """The first line of a reason, which may quote a program's output below it."""
    return (text.splitlines() or [""])[0]


def exit_code(results: Sequence[Result]) -> int:
    """1 when any suite failed, or when none passed although some were asked for; else 0."""
    failed = any(result.outcome is Outcome.FAILED for result in results)
    return 1 if failed or not any(result.outcome is Outcome.PASSED for result in results) else 0
