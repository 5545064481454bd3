"""The last lines of a run are read by people and by programs."""

from __future__ import annotations

import pytest

from bulkhead_dev.results import Outcome, Result, exit_code, last_lines, table

PASSED = Result("unit", Outcome.PASSED, 1.25)
FAILED = Result("lint", Outcome.FAILED, 2.0, "ruff ended with code 1\nand much output")
SKIPPED = Result("lab-up", Outcome.SKIPPED, 0.0, "the lab needs root")


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([PASSED], "1 passed, 0 failed"),
        ([PASSED, FAILED], "1 passed, 1 failed"),
        ([PASSED, FAILED, SKIPPED, SKIPPED], "1 passed, 1 failed, 2 skipped"),
        ([], "0 passed, 0 failed"),
    ],
)
def test_counts_stand_alone_in_the_last_line(results: list[Result], expected: str) -> None:
    assert last_lines(results)[-1] == expected


def test_reasons_are_named_with_their_first_line() -> None:
    assert last_lines([SKIPPED, PASSED, FAILED])[:-1] == [
        "failed: lint: ruff ended with code 1",
        "skipped: lab-up: the lab needs root",
    ]


@pytest.mark.parametrize(
    ("results", "code"),
    [([PASSED], 0), ([PASSED, SKIPPED], 0), ([PASSED, FAILED], 1), ([SKIPPED], 1), ([], 1)],
)
def test_exit_code(results: list[Result], code: int) -> None:
    assert exit_code(results) == code


def test_table_has_name_result_and_seconds_of_each_and_of_all() -> None:
    lines = table([PASSED, FAILED], 3.0)
    assert [line.split() for line in lines[1:]] == [
        ["unit", "passed", "1.2"],
        ["lint", "failed", "2.0"],
        ["all", "3.0"],
    ]
