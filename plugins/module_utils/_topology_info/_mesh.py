# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Objects of the cluster -> namespaces, and what of the mesh holds in them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import ATTACHES, SEGMENT_LABEL
from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh import _enrolment
from ansible_collections.bulkhead.mesh.plugins.module_utils._topology_info._read import Seen

UNKNOWN = "unknown"
_Object = Mapping[str, Any]


def capture(labels: Mapping[str, str]) -> str:
    """How the labels of a namespace put its pods into the mesh: ambient, sidecar or none."""
    if labels.get(_enrolment.MODE) == "ambient":
        return "ambient"
    if labels.get(_enrolment.INJECTION) == "enabled" or labels.get(_enrolment.REVISION):
        return "sidecar"
    return "none"


def namespaces(seen: Seen, declared: Sequence[_Object], involved: Collection[str]) -> list[dict[str, Any]]:
    """Namespaces of the inventory, those in the mesh, and those ``involved`` in the picture; by name."""
    live = {one["metadata"]["name"]: one for one in seen.all("Namespace")}
    wanted = {one["name"]: str(one.get("mesh") or "unmanaged") for one in declared}
    enrolled = {name for name, one in live.items() if capture(one["metadata"].get("labels") or {}) != "none"}
    return [_namespace(name, seen, live, wanted.get(name, "")) for name in sorted({*wanted, *enrolled, *involved})]


def _namespace(name: str, seen: Seen, live: Mapping[str, _Object], wanted: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "wanted": wanted, "capture": UNKNOWN, "segments": [], "pods": None}
    unread = seen.missing("Namespace")
    if unread:
        return {**made, "state": UNKNOWN, "reason": unread}
    if name not in live:
        return {**made, "state": "missing", "reason": "the inventory names it"}
    labels = live[name]["metadata"].get("labels") or {}
    made["capture"] = capture(labels)
    made["segments"] = sorted(
        key[len(SEGMENT_LABEL) :]
        for key, value in labels.items()
        if key.startswith(SEGMENT_LABEL) and value == ATTACHES
    )
    unread = seen.missing("Pod")
    if unread:
        return {**made, "state": UNKNOWN, "reason": unread}
    pods = [one for one in seen.all("Pod") if one["metadata"]["namespace"] == name]
    judged = [_enrolment.judge(made["capture"], one) for one in pods]
    made["pods"] = dict(sorted(Counter(one.state for one in judged if one.state != _enrolment.IDLE).items()))
    astray = [one for one in judged if one.state in (_enrolment.WAITING, _enrolment.RESTART, _enrolment.WRONG)]
    if wanted not in ("", "unmanaged", made["capture"]):
        return {**made, "state": "differs", "reason": f"the inventory wants {wanted}, its labels say {made['capture']}"}
    if astray:
        return {**made, "state": "differs", "reason": f"pod {astray[0].name}: {astray[0].reason}"}
    return {**made, "state": "as_labelled", "reason": ""}
