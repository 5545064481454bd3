# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Whether a workload is ready now, by its status and by its pods: a status alone was true once, between two crashes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _pod_outcome, _unplaced, _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._client import Caller, list_all
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._patience import Patience
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request

_Object = Mapping[str, Any]


class Standing(NamedTuple):
    """Whether it is ready, what was seen, and whether it is certain that it will not become so by waiting."""

    ready: bool
    words: str
    certain: bool = False


def by_pods(client: Caller, workload: _Object, patience: Patience, ready: bool, words: str) -> Standing:
    """A Deployment, DaemonSet or StatefulSet now. ``ready`` and ``words`` are what its status says.

    Certain is only what pods of the newest template show; ``patience`` is that of the whole wait.
    """
    pods, why = _pods(client, workload)
    if pods is None:
        return Standing(ready, words + why)
    if ready:
        failing = next((one for one in map(_failing, pods) if one), "")
        return Standing(not failing, f"{words}, but {failing}" if failing else words)
    newest = [one for one in pods if _pod_outcome.is_of(one, (workload.get("spec") or {}).get("template") or {})]
    over = patience.over(newest)
    if over is not None:
        return Standing(False, f"{words}; pod {over[0]['metadata']['name']}, {over[1].sentence()}", True)
    blocked = next((one for one in (*newest, *pods) if not _workload.is_ready(one)), None)
    if blocked is not None:
        container, state = _workload.blocked_container(blocked)
        who = f"container {container} of pod" if container else "pod"
        told = f"{who} {blocked['metadata']['name']} is {state}{_unplaced.told(client, blocked)}"
        return Standing(False, f"{words}; {told}")
    return Standing(False, words) if pods else _without_pods(client, workload, patience, words)


def _without_pods(client: Caller, workload: _Object, patience: Patience, words: str) -> Standing:
    warning = denied = _condition(workload)
    if not denied:
        warning, denied = _workload.last_warnings(client, workload)
    refused = _pod_outcome.refused(denied)
    if patience.certain(workload["metadata"]["name"], refused) and refused is not None:
        return Standing(False, f"{words}; {refused.sentence()}", True)
    return Standing(False, f"{words}; {warning}" if warning else words)


def _condition(workload: _Object) -> str:
    """Why a Deployment gets no pods; its ReplicaSet is the one that was refused them."""
    for one in (workload.get("status") or {}).get("conditions") or []:
        if one.get("type") == "ReplicaFailure" and one.get("status") == "True":
            return " ".join(str(one.get("message") or "").split())
    return ""


def _failing(pod: _Object) -> str:
    failing = _pod_outcome.unsettled(pod, time.time())
    return f"of pod {pod['metadata']['name']} {failing}" if failing else ""


def _pods(client: Caller, workload: _Object) -> tuple[list[_Object] | None, str]:
    """Its pods, or None and why they are not known."""
    namespace, spec = workload["metadata"]["namespace"], workload.get("spec") or {}
    labels = ((spec.get("selector") or {}).get("matchLabels") or {}).items()
    if not labels:
        return None, ""
    request = Request(
        f"/api/v1/namespaces/{namespace}/pods",
        f"list pods in {namespace}",
        query={"labelSelector": ",".join(f"{key}={value}" for key, value in labels)},
    )
    answer = list_all(client, request)
    if not answer.ok:
        return None, f"; its pods cannot be read: {answer.message}"
    return list(answer.body.get("items") or []), ""
