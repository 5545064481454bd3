# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Whether a gateway is Ready, and what stands in the way."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _pod_outcome, _unplaced, _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._client import Caller
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._patience import Patience
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request

_Object = Mapping[str, Any]
_KEEPER, _ENGINE = "bulkhead-gateway", "engine"
_PROBED = (
    "bulkhead-firewall",
    _ENGINE,
    _KEEPER,
)  # Ready means that a packet came back: it says more than how they ended


class Look(NamedTuple):
    """One look: whether it is Ready, the evidence, pods to replace, and whether it is certain that it will not be."""

    ready: bool
    evidence: str
    stale: Sequence[_Object] = ()
    certain: bool = False


def look(client: Caller, namespace: str, name: str, server: str, secret: str, patience: Patience | None = None) -> Look:
    """One gateway now. ``server`` and ``secret`` are named in sentences, ``patience`` is that of the whole wait.

    A pod of an older template that is not Ready may wait for ever to be replaced by its controller.
    """
    like = {"kind": "StatefulSet", "metadata": {"name": name, "namespace": namespace}}
    answer = client.call(Request(_workload.path(like), f"get statefulsets {name} in {namespace}"))
    if not answer.ok:
        return Look(False, f"its StatefulSet cannot be read: {answer.message}")
    workload = {**answer.body, "kind": "StatefulSet"}
    listed = client.call(_workload.pods_request(namespace))
    if not listed.ok:
        return Look(False, f"its pod cannot be read: {listed.message}")
    pods = _workload.own_pods(workload, listed.body.get("items") or [])
    rollout = _workload.rollout(workload, pods)
    stale = rollout.stale
    if rollout.done:
        failing = [_pod_outcome.unsettled(pod, time.time(), _PROBED) for pod in rollout.current]
        failing = [one for one in failing if one]
        return Look(not failing, f"its {failing[0]}" if failing else "its tunnel carries traffic")
    patience = patience or Patience()
    if rollout.current:
        over = patience.over(rollout.current)
        evidence = f"its {over[1].sentence()}" if over else _blocked(client, rollout.current[0], server, secret)
        return Look(False, evidence, stale, over is not None)
    if pods:
        return Look(False, rollout.waiting, stale)
    why, denied = _workload.last_warnings(client, workload)
    refused = _pod_outcome.refused(denied)
    if patience.certain(name, refused) and refused is not None:
        return Look(False, refused.sentence(), stale, True)
    return Look(False, f"{rollout.waiting}{': ' + why if why else ''}", stale)


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
        return f"its pod is {state.rstrip('.')}{_unplaced.told(client, pod)}"
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
