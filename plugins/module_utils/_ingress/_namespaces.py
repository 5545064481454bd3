# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""``bulkhead_namespaces`` as values; everything wrong with one entry is told, not only the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _sealed
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import NAMESPACES, SEGMENT_LENGTH
from ansible_collections.bulkhead.mesh.plugins.module_utils._reader import LABEL, Reader, entries, twice

UNMANAGED = "unmanaged"
MESHES = ("ambient", "sidecar", "none", UNMANAGED)
_KEYS = ("name", "mesh", "egress", "segments")


@dataclass(frozen=True)
class Namespace:
    """One namespace. ``segments`` is None where the inventory does not say any."""

    name: str
    mesh: str = UNMANAGED
    egress: str = _sealed.OPEN
    segments: frozenset[str] | None = None

    @property
    def object(self) -> str:
        """In the words of messages."""
        return f"{NAMESPACES} entry {self.name}"


def parse_namespaces(raw: Any) -> tuple[list[Namespace], list[Problem]]:
    """Namespaces and all problems; the namespaces are complete only without problems."""
    namespaces, problems = entries(raw, NAMESPACES, _namespace)
    return namespaces, problems + twice(namespaces, NAMESPACES, lambda one: one.name, "a namespace is listed once")


def _namespace(reader: Reader, entry: Any, path: str) -> Namespace | None:
    if not reader.keys(entry, path, _KEYS):
        return None
    given = entry.get("segments")
    segments = reader.list(given, f"{path}.segments", _segment)
    return Namespace(
        name=reader.name(entry.get("name"), f"{path}.name"),
        mesh=reader.choice(entry.get("mesh", UNMANAGED), f"{path}.mesh", MESHES),
        egress=reader.choice(entry.get("egress", _sealed.OPEN), f"{path}.egress", _sealed.CHOICES),
        segments=None if given is None else frozenset(segments),
    )


def _segment(reader: Reader, value: Any, path: str) -> str | None:
    if not is_segment(value):
        reason = f"a segment's name has up to {SEGMENT_LENGTH} lower-case letters, digits and dashes"
        reader.wrong(path, value, reason, "write segments: [arr]")
        return None
    return str(value)


def is_segment(value: Any) -> bool:
    """Whether a value can be the name of a segment."""
    return isinstance(value, str) and len(value) <= SEGMENT_LENGTH and bool(LABEL.match(value))
