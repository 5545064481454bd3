# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Waiting: clock and sleep are passed in, so tests never sleep."""

from __future__ import annotations

import time
from typing import Callable, Protocol

GROWTH = 1.5
LONGEST = 5.0  # seconds between two looks, however long the wait


class Clock(Protocol):
    """A monotonic clock in seconds."""

    def __call__(self) -> float: ...


def wait_until(
    look: Callable[[], tuple[bool, object]],
    *,
    timeout: float,
    sleep: float = 1.0,
    clock: Clock = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> tuple[bool, object]:
    """Call ``look`` at once and then at growing intervals until it says done or ``timeout`` seconds are over.

    ``look`` returns (done, evidence). Answers (done, last evidence); the caller decides what not done means.
    A timeout of 0 is exactly one look; no pause goes past the deadline, and the last look is at the deadline.
    """
    deadline = clock() + timeout
    while True:
        done, evidence = look()
        left = deadline - clock()
        if done or left <= 0:
            return done, evidence
        pause(min(sleep, left))
        sleep = min(sleep * GROWTH, LONGEST)
