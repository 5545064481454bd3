# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The one exception of this collection's modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class KubeError(Exception):
    """Something failed; ``msg`` is one sentence for a person, ``failure`` the same for a program.

    ``failure`` is ``{code: HTTP status or null, reason: CamelCase word, object: what it was about, details: text}``;
    where several things were wrong at once also ``problems``: ``[{object, msg}]``, and ``msg`` holds all sentences.
    """

    def __init__(
        self, msg: str, *, reason: str, code: int | None = None, object_: str | None = None, details: str | None = None
    ) -> None:
        super().__init__(msg)
        self.msg = msg
        self.failure: dict[str, Any] = {"code": code, "reason": reason, "object": object_, "details": details}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the object it is about and one sentence with the remedy."""

    object: str
    msg: str
    reason: str = "BadInput"


def all_of(problems: Sequence[Problem], code: int | None = None) -> KubeError:
    """Several problems as one error; the reason is that of the first."""
    error = KubeError(
        " ".join(problem.msg for problem in problems),
        reason=problems[0].reason,
        code=code,
        object_=problems[0].object,
    )
    error.failure["problems"] = [{"object": problem.object, "msg": problem.msg} for problem in problems]
    return error
