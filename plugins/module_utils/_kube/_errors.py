# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The one exception of this collection's modules."""

from __future__ import annotations

from typing import Any


class KubeError(Exception):
    """Something failed; ``msg`` is one sentence for a person, ``failure`` the same for a program.

    ``failure`` is ``{code: HTTP status or null, reason: CamelCase word, object: what it was about, details: text}``.
    """

    def __init__(
        self, msg: str, *, reason: str, code: int | None = None, object_: str | None = None, details: str | None = None
    ) -> None:
        super().__init__(msg)
        self.msg = msg
        self.failure: dict[str, Any] = {"code": code, "reason": reason, "object": object_, "details": details}
