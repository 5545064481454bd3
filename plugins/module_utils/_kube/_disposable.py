# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""A pod that runs once, says something and is gone."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._client import Caller
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import wait_until

Wait = Callable[..., "tuple[bool, object]"]


class ProbeFailed(Exception):
    """The pod did not deliver; the text is the reason."""


def unique_name(prefix: str) -> str:
    """A name no earlier run had."""
    return f"{prefix}-{secrets.token_hex(4)}"


def run_pod(
    client: Caller,
    manifest: Mapping[str, Any],
    *,
    timeout: float,
    sleep: float,
    stuck: Callable[[dict[str, Any]], str | None],
    wait: Wait = wait_until,
) -> tuple[str, str | None]:
    """Create the pod, wait for its end and answer (output, node); the pod is deleted whatever happens.

    ``stuck`` looks at the pod and says why it will never run, so that a wrong image does not cost the whole timeout.
    """
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    pods = f"/api/v1/namespaces/{namespace}/pods"
    label = manifest["metadata"]["labels"]
    sweep(client, namespace, dict(list(label.items())[:1]))
    created = client.call(Request(pods, f"create pods in {namespace}", method="POST", body=manifest))
    if not created.ok:
        raise ProbeFailed(f"cannot create pods in {namespace}: {created.message}")
    try:
        last: dict[str, Any] = {}

        def look() -> tuple[bool, object]:
            answer = client.call(Request(f"{pods}/{name}", f"get pods {name} in {namespace}"))
            if not answer.ok:
                return True, f"cannot read the pod {namespace}/{name}: {answer.message}"
            last.update(answer.body)
            phase = (last.get("status") or {}).get("phase", "Pending")
            if phase == "Succeeded":
                return True, None
            if phase == "Failed":
                return True, f"the pod {namespace}/{name} failed"
            reason = stuck(last)
            return bool(reason), reason or f"the pod {namespace}/{name} was {phase} after {timeout:g} s"

        done, evidence = wait(look, timeout=timeout, sleep=sleep)
        if evidence:
            raise ProbeFailed(str(evidence))
        log = client.call(Request(f"{pods}/{name}/log", f"read the log of pod {name} in {namespace}", accept="*/*"))
        if not log.ok:
            raise ProbeFailed(f"cannot read the log of pod {namespace}/{name}: {log.message}")
        return str(log.body.get("text", "")), (last.get("spec") or {}).get("nodeName")
    finally:
        delete_pod(client, namespace, name)


def sweep(client: Caller, namespace: str, labels: Mapping[str, str]) -> None:
    """Delete ended pods that a killed run left behind; running ones belong to a run beside this one."""
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    answer = client.call(
        Request(f"/api/v1/namespaces/{namespace}/pods", f"list pods in {namespace}", query={"labelSelector": selector})
    )
    for pod in answer.body.get("items") or [] if answer.ok else []:
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            delete_pod(client, namespace, pod["metadata"]["name"])


def delete_pod(client: Caller, namespace: str, name: str) -> Answer:
    """Delete at once; a pod that is gone already is as good."""
    return client.call(
        Request(
            f"/api/v1/namespaces/{namespace}/pods/{name}",
            f"delete pods {name} in {namespace}",
            method="DELETE",
            query={"gracePeriodSeconds": "0"},
        )
    )
