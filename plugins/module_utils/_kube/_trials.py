# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Disposable pods that show beforehand whether others would run, several at once; and trials that are none but words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _disposable, _unplaced, _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._client import Caller
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._patience import Patience
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request

Wait = Callable[..., "tuple[bool, object]"]
PULL = 300.0  # seconds that a node may take to pull, however short the wait for everything else is
_NO_TRIAL = "does not support dry run"  # of a webhook with side effects: it says nothing about the pod
_OURS = "ValidatingAdmissionPolicy 'bulkhead-"  # knows pods by what they are for, which a trial is not
_EXCEEDED = re.compile(r"exceeded quota: [^,]+, requested: (?P<asked>[^ ]+(?:,[^ ]+)*?), used:")
_COUNTS = ("pods", "count/pods")


def refusal(client: Caller, pod: Mapping[str, Any], replaces: bool = False) -> str:
    """What the API server has against a pod, in its own words, tried as a dry run; empty if nothing.

    ``replaces`` says that a pod like this one goes first, and gives back what it takes from a quota.
    """
    namespace = pod["metadata"]["namespace"]
    path, what = f"/api/v1/namespaces/{namespace}/pods", f"try to create pods in {namespace}"
    answer = client.call(Request(path, what, method="POST", body=pod, query={"dryRun": "All"}))
    words = " ".join(answer.message.split()).rstrip(".")
    if answer.ok or answer.status >= 500 or answer.status == 404 or _NO_TRIAL in words or _OURS in words:
        return ""
    exceeded = _EXCEEDED.search(words)
    if exceeded and (replaces or {one.split("=")[0] for one in exceeded["asked"].split(",")} <= set(_COUNTS)):
        return ""
    return words


def run(
    client: Caller,
    pods: Sequence[Mapping[str, Any]],
    verdict: Callable[[Mapping[str, Any]], str | None],
    *,
    timeout: float,
    sleep: float,
    wait: Wait,
) -> dict[str, str]:
    """Run these pods, all at once, and delete them whatever happens; what is wrong by the name of the pod.

    ``verdict`` says of a live one how it ended: empty for well, None while it goes on.
    """
    failed: dict[str, str] = {}
    left: dict[str, Mapping[str, Any]] = {}
    made: list[tuple[str, str]] = []
    patience = Patience()
    try:
        for pod in pods:
            namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            labels = dict(list(pod["metadata"]["labels"].items())[:1])
            _disposable.sweep(client, namespace, labels)
            path = f"/api/v1/namespaces/{namespace}/pods"
            answer = client.call(Request(path, f"create pods in {namespace}", method="POST", body=pod))
            if answer.ok:
                made.append((namespace, name))
                left[name] = pod
            else:
                failed[name] = f"a pod that tries it is refused: {' '.join(answer.message.split()).rstrip('.')}"

        def look() -> tuple[bool, object]:
            for name, pod in list(left.items()):
                words = _look(client, pod, verdict, patience, timeout)
                if words is not None:
                    del left[name]
                if words:
                    failed[name] = words
            return not left, None

        if left:
            wait(look, timeout=max(timeout, PULL), sleep=min(sleep, 0.5))
        failed |= {name: f"its trial did not end within {max(timeout, PULL):g} s" for name in left}
    finally:
        for namespace, name in made:
            _disposable.delete_pod(client, namespace, name)
    return failed


def _look(
    client: Caller,
    pod: Mapping[str, Any],
    verdict: Callable[[Mapping[str, Any]], str | None],
    patience: Patience,
    timeout: float,
) -> str | None:
    """One pod now: empty for well, None while it goes on, else what is wrong."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    answer = client.call(Request(f"/api/v1/namespaces/{namespace}/pods/{name}", f"get pods {name} in {namespace}"))
    if not answer.ok:
        return f"the pod that tries it cannot be read: {answer.message}"
    live = answer.body
    words = verdict(live)
    if words is not None:
        return words
    over = patience.over([live])
    if over is not None:
        return f"{over[1].words}; {over[1].remedy}"
    unplaced = _unplaced.reason(live)
    if patience.lasts(name, "unplaced", bool(unplaced)) > timeout:
        return f"no node takes its pod: {unplaced}{_unplaced.told(client, live)}"
    if (live.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        status = live["status"]
        return f"the pod that tries it is {status['phase']}: {status.get('message') or status.get('reason') or 'no reason'}"
    return None


def ready_nodes(client: Caller, names: Sequence[str]) -> set[str]:
    """Those of these nodes that can start pods; one that cannot be read counts as one that can."""
    found = set()
    for name in names:
        answer = client.call(Request(f"/api/v1/nodes/{name}", f"get nodes {name}"))
        if answer.status != 404 and (not answer.ok or _workload.is_ready(answer.body)):
            found.add(name)
    return found
