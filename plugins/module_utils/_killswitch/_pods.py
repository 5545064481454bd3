# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""A pod as its status shows it: its name, and which containers run or have ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_Object = Mapping[str, Any]
_KEYS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


def name(pod: _Object) -> str:
    """Namespace and name."""
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def running(pod: _Object) -> set[str]:
    """Names of containers that run."""
    return _in_state(pod, "running")


def ended(pod: _Object) -> set[str]:
    """Names of containers that have ended and were not started again."""
    return _in_state(pod, "terminated")


def _in_state(pod: _Object, state: str) -> set[str]:
    status = pod.get("status") or {}
    return {one["name"] for key in _KEYS for one in status.get(key) or [] if state in (one.get("state") or {})}
