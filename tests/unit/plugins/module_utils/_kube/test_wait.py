# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import LONGEST, wait_until


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses = []

    def clock(self) -> Any:
        return self.now

    def pause(self, seconds: Any) -> Any:
        self.pauses.append(seconds)
        self.now += seconds


def run(looks: Any, **options: Any) -> Any:
    time = Time()
    answers = iter(looks)
    last = looks[-1]
    result = wait_until(lambda: next(answers, last), clock=time.clock, pause=time.pause, **options)
    return result, time.pauses


def test_first_look_at_once() -> None:
    assert run([(True, "a")], timeout=10) == ((True, "a"), [])


def test_timeout_zero_is_one_look() -> None:
    assert run([(False, "a"), (True, "b")], timeout=0) == ((False, "a"), [])


def test_pauses_grow_and_are_capped() -> None:
    (done, dummy), pauses = run([(False, None)] * 9 + [(True, None)], timeout=100, sleep=1)
    assert done
    assert pauses[:3] == [1, 1.5, 2.25]
    assert max(pauses) == LONGEST


@pytest.mark.parametrize("timeout", [1, 4, 10])
def test_never_past_the_deadline_and_a_last_look_there(timeout: Any) -> None:
    looks = []
    time = Time()

    def look() -> Any:
        looks.append(time.now)
        return False, len(looks)

    done, evidence = wait_until(look, timeout=timeout, sleep=1, clock=time.clock, pause=time.pause)
    assert (done, evidence) == (False, len(looks))
    assert sum(time.pauses) == timeout
    assert looks[-1] == 100 + timeout
