# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""How long a wait goes on with a pod that looks as if it will never run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _pod_outcome
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._pod_outcome import Outcome
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import Clock

_Object = Mapping[str, Any]


class Patience:
    """Remembers over the looks of one wait what was seen since when."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[tuple[str, str], float] = {}
        self._failures: dict[tuple[str, str], int] = {}

    def lasts(self, who: str, what: str, so: bool = True) -> float:
        """For how many seconds this has been so without a break; ``who`` and ``what`` tell it from others."""
        if not so:
            self._since.pop((who, what), None)
            return 0.0
        now = self._clock()
        return now - self._since.setdefault((who, what), now)

    def over(self, pods: Iterable[_Object]) -> tuple[_Object, Outcome] | None:
        """The first pod of which it is certain by now that it will not run, and why."""
        for pod in pods:
            found = _pod_outcome.outcome(pod)
            metadata = pod["metadata"]
            if self.certain(str(metadata.get("uid") or metadata.get("name")), found) and found is not None:
                return pod, found
        return None

    def certain(self, who: str, found: Outcome | None) -> bool:
        """Whether this has been so for long enough; ``who`` tells what it is about."""
        lasted = self.lasts(who, "outcome", found is not None)
        if found is None:
            return False
        if found.failures:
            # Those before the first look may have been somebody else's doing, and are over.
            key = who, found.container
            seen = found.failures - self._failures.setdefault(key, found.failures)
            return seen >= _pod_outcome.CRASHES - 1
        return lasted >= found.patience
