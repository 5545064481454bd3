# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What a pod that no node takes is waiting for: the scheduler's words, the nodes' taints, and the images it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._client import Caller
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request

_HINDERING = ("NoSchedule", "NoExecute")
_Object = Mapping[str, Any]


def reason(pod: _Object) -> str:
    """The scheduler's words about a pod that it cannot place; empty for one that has a node or is not looked at yet."""
    if (pod.get("spec") or {}).get("nodeName"):
        return ""
    for one in (pod.get("status") or {}).get("conditions") or []:
        if one["type"] == "PodScheduled" and one["status"] != "True":
            return " ".join(str(one.get("message") or one.get("reason") or "").split()).rstrip(".")
    return ""


def taints(nodes: Iterable[_Object]) -> list[str]:
    """``node: key=value:effect`` of each taint that keeps pods away."""
    return [
        f"{node['metadata']['name']}: {one['key']}{'=' + one['value'] if one.get('value') else ''}:{one['effect']}"
        for node in nodes
        for one in (node.get("spec") or {}).get("taints") or []
        if one.get("effect") in _HINDERING
    ]


def images(pod: _Object) -> list[str]:
    """The images of a pod, each once."""
    spec = pod.get("spec") or {}
    boxes = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    return list(dict.fromkeys(str(one.get("image")) for one in boxes if one.get("image")))


def told(client: Caller, pod: _Object) -> str:
    """All of it for the end of a sentence; empty for a pod that has a node."""
    if not reason(pod):
        return ""
    answer = client.call(Request("/api/v1/nodes", "list nodes"))
    found = taints(answer.body.get("items") or []) if answer.ok else []
    parts = [f"taints: {', '.join(found)}"] if found else []
    needed = images(pod)
    parts += [f"it will need the image{'s' if len(needed) > 1 else ''} {', '.join(needed)}"] if needed else []
    return "".join(f"; {one}" for one in parts)
