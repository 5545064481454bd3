# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What a check says, and the few ways to say it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

PASS, FAIL, UNKNOWN, SKIPPED = "pass", "fail", "unknown", "skipped"
RESULTS = (PASS, FAIL, UNKNOWN, SKIPPED)
REAL, VPN, OTHER, NONE = "real", "vpn", "other", "none"
ADDRESS_CLASSES = (REAL, VPN, OTHER, NONE)


class Missing(str):
    """Stands where evidence would be; the text says why it is not there. Never evidence of anything."""

    __slots__ = ()


@dataclass(frozen=True)
class Result:
    """One check on one target.

    ``control`` is the id of the check that shows the attempt could have succeeded, ``counter_delta`` the packets the
    guard counted meanwhile, ``address_class`` whose address the far end saw: ``real`` means a leak. ``leak`` says that
    a packet demonstrably went past the VPN. ``dataplane`` is ``ztunnel`` or what stands in for it, for checks of the mesh.
    ``node`` is where the pod runs: what was seen counts for that node only.
    Addresses themselves are never in a result.
    """

    id: str
    target: str
    result: str
    layer: str = ""
    check_class: str = ""
    control: str = ""
    expected: str = ""
    observed: str = ""
    reason: str = ""
    address_class: str = NONE
    counter_delta: int | None = None
    duration_s: float = 0.0
    leak: bool = False
    dataplane: str = ""
    node: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For a module's result; ``check_class`` is called ``class`` there."""
        plain = asdict(self)
        plain["class"] = plain.pop("check_class")
        return plain


@dataclass(frozen=True)
class Finding:
    """What a judge says; the registry adds id, target, layer and class."""

    result: str
    observed: str = ""
    reason: str = ""
    control: str = ""
    address_class: str = NONE
    counter_delta: int | None = None
    duration_s: float = 0.0
    leak: bool = False


def passed(observed: str, **more: Any) -> Finding:
    """The thing holds, and this was seen."""
    return Finding(PASS, observed, **more)


def failed(observed: str, reason: str, **more: Any) -> Finding:
    """The thing does not hold."""
    return Finding(FAIL, observed, reason, **more)


def unknown(reason: str, observed: str = "", **more: Any) -> Finding:
    """It could not be seen; never counts as pass."""
    return Finding(UNKNOWN, observed, reason, **more)


def skipped(reason: str) -> Finding:
    """It was not asked for, or does not apply."""
    return Finding(SKIPPED, "", reason)


def worst(results: Iterable[str]) -> str:
    """The result of several: one fail is a fail, and unknown is never better than pass. Nothing at all is unknown."""
    found = set(results)
    for result in (FAIL, UNKNOWN, SKIPPED, PASS):
        if result in found:
            return result
    return UNKNOWN
