# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Whether a gateway is Ready, and what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._client import Caller
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request

_Object = Mapping[str, Any]
_KEEPER, _ENGINE = "bulkhead-gateway", "engine"


def look(client: Caller, namespace: str, name: str, server: str, secret: str) -> tuple[bool, str, list[_Object]]:
    """(Ready, evidence, pods to replace) of one gateway now. ``server`` and ``secret`` are named in sentences.

    A pod of an older template that is not Ready may wait for ever to be replaced by its controller.
    """
    like = {"kind": "StatefulSet", "metadata": {"name": name, "namespace": namespace}}
    answer = client.call(Request(_workload.path(like), f"get statefulsets {name} in {namespace}"))
    if not answer.ok:
        return False, f"its StatefulSet cannot be read: {answer.message}", []
    workload = {**answer.body, "kind": "StatefulSet"}
    listed = client.call(_workload.pods_request(namespace))
    if not listed.ok:
        return False, f"its pod cannot be read: {listed.message}", []
    pods = _workload.own_pods(workload, listed.body.get("items") or [])
    rollout = _workload.rollout(workload, pods)
    if rollout.done:
        return True, "its tunnel carries traffic", []
    if not rollout.current:
        why = _workload.last_warning(client, workload) if not pods else ""
        return False, f"{rollout.waiting}{': ' + why if why else ''}", list(rollout.stale)
    return False, _blocked(client, rollout.current[0], server, secret), list(rollout.stale)


def _blocked(client: Caller, pod: _Object, server: str, secret: str) -> str:
    container, state = _workload.blocked_container(pod)
    if container == _KEEPER and state == "not ready":
        failure = _detail(client, pod, _ENGINE)
        if failure:
            return f"its engine says: {failure}"
        return (
            f"its tunnel has no handshake: nothing came back from the VPN server {server}; check the keys in Secret "
            f"{secret}, and whether the server can be reached from the node"
        )
    if not container:
        return f"its pod is {state}"
    failure = _detail(client, pod, container)
    return f"its container {container} is {state}{': ' + failure if failure else ''}"


def _detail(client: Caller, pod: _Object, container: str) -> str:
    """What the agent said when its last line was about a failure; empty otherwise."""
    metadata = pod["metadata"]
    answer = client.call(
        Request(
            f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log",
            f"read the log of pod {metadata['name']} in {metadata['namespace']}",
            query={"container": container, "tailLines": "1"},
            accept="*/*",
        )
    )
    # One line of JSON comes decoded.
    failed = answer.ok and answer.body.get("event") in ("engine_failed", "gateway_failed", "failed")
    return str(answer.body.get("detail", "")).rstrip(".") if failed else ""
