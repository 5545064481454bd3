# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Templates are changed wave by wave, so that a node has few pods to start at once. Pure but for ``per_node``.

Everything that protects is in force for all clients before the first wave. A wave is over when each of its clients is
ready or nothing has happened to it for a while: a pod that waits for an image, a node or the tunnel costs nothing, and
its client is waited for after the last wave.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _flow, _names
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request

PODS_PER_CPU = 4.0
UNKNOWN_NODES = 4  # pods per node where the nodes may not be read
STUCK_SECONDS = 60.0  # without any change of its pods; a busy node takes half a minute to end one
IDLE_SECONDS = 5.0  # the same, when nothing that its pods wait for takes a processor
HELD_BACK = ("CrashLoopBackOff", "CreateContainerConfigError", "ErrImagePull", "ImagePullBackOff", "InvalidImageName")
NODES = "/api/v1/nodes"
_UNITS = {"m": 1e-3, "": 1.0, "k": 1e3, "u": 1e-6, "n": 1e-9}
_Object = Mapping[str, Any]


@dataclass(frozen=True)
class Limits:
    """How many pods may start at once: on each node that is known, and on any other."""

    nodes: Mapping[str, int]
    other: int


def bad_limit(wanted: int | None) -> list[Problem]:
    """What is wrong with the user's number."""
    if wanted is None or wanted > 0:
        return []
    return [
        Problem(
            "VPN clients",
            "bulkhead_vpn_max_parallel",
            wanted,
            "no pod could ever start",
            "give at least 1, or leave it out",
        )
    ]


def per_node(client: _client.Caller, wanted: int | None) -> Limits:
    """What the user wants, else what the nodes have; one LIST."""
    if wanted is not None:
        return Limits({}, wanted)
    answer = client.call(Request(NODES, "list nodes"))
    return limits(answer.body.get("items") or [] if answer.ok else [])


def limits(nodes: Iterable[_Object]) -> Limits:
    """By the processors of each node that takes pods."""
    found = {
        one["metadata"]["name"]: max(1, math.floor(cpus * PODS_PER_CPU))
        for one in nodes
        if not (one.get("spec") or {}).get("unschedulable")
        for cpus in [_cpus((((one.get("status") or {}).get("allocatable")) or {}).get("cpu"))]
        if cpus is not None
    }
    return Limits(found, min(found.values(), default=UNKNOWN_NODES))


def _cpus(quantity: Any) -> float | None:
    """A quantity of processors as the API writes it.

    >>> _cpus("1930m"), _cpus("2"), _cpus(None)
    (1.93, 2.0, None)
    """
    text = str(quantity)
    number = text.rstrip("munk")
    try:
        return float(number) * _UNITS[text[len(number) :]]
    except (ValueError, KeyError):
        return None


def waves(plans: Sequence[_flow.Plan], held: _flow.Held, allowed: Limits) -> list[list[_flow.Plan]]:
    """The plans in as few waves as fit; a client with more pods than may start at once has a wave of its own.

    A client's new pods are thought to come where its pods are now. Those that are nowhere yet may come anywhere and count
    on every node.
    """
    made: list[list[_flow.Plan]] = []
    loads: list[Counter[str]] = []
    for plan in plans:
        need = _need(plan, held)
        for wave, load in zip(made, loads, strict=True):
            if _fits(load + need, allowed):
                wave.append(plan)
                load.update(need)
                break
        else:
            made.append([plan])
            loads.append(need)
    return made


def _need(plan: _flow.Plan, held: _flow.Held) -> Counter[str]:
    """How many pods of a client start on which node; on "" those of which nobody knows where."""
    wanted = _workload.replicas_of(plan.target)
    if not wanted:
        return Counter()
    sets = held.all("ReplicaSet", namespace=plan.client.namespace)
    pods = _workload.own_pods(plan.target, held.all("Pod", namespace=plan.client.namespace), sets)
    here = Counter(one["spec"]["nodeName"] for one in pods if one["spec"].get("nodeName"))
    return here + Counter({"": max(0, wanted - here.total())})


def _fits(load: Counter[str], allowed: Limits) -> bool:
    anywhere = load[""]
    nodes = {*allowed.nodes, *load} - {""} or {""}
    return all(
        anywhere + (load[node] if node else 0) <= allowed.nodes.get(node, allowed.other) for node in sorted(nodes)
    )


def state(pods: Iterable[_Object]) -> tuple[Any, ...]:
    """What of a client's pods changes while they start; restarts of a container that fails do not count as progress."""
    return tuple(
        (
            one["metadata"].get("uid"),
            "deletionTimestamp" in one["metadata"],
            (one.get("status") or {}).get("phase"),
            _workload.is_ready(one),
            tuple(
                (held["name"], *sorted(held.get("state") or {}), held.get("started"), held.get("ready"))
                for key in ("initContainerStatuses", "containerStatuses")
                for held in (one.get("status") or {}).get(key) or []
            ),
        )
        for one in pods
    )


def idle(pod: _Object) -> bool:
    """Whether a pod waits for something that takes no processor: the tunnel, a node, an image, its next attempt."""
    status = pod.get("status") or {}
    for one in status.get("conditions") or []:
        if one["type"] == "PodScheduled" and one["status"] != "True":
            return True
    for key in ("initContainerStatuses", "containerStatuses"):
        for held in status.get(key) or []:
            state_ = held.get("state") or {}
            if (state_.get("waiting") or {}).get("reason") in HELD_BACK:
                return True
            if held["name"] == _names.OVERLAY and "running" in state_ and not held.get("started"):
                return True
    return False


def over(pods: Sequence[_Object], unchanged: float) -> bool:
    """Whether a client that is not ready need not be waited for before the next wave; ``unchanged`` are seconds."""
    left = [one for one in pods if not _workload.is_ready(one)]
    return unchanged >= (IDLE_SECONDS if left and all(map(idle, left)) else STUCK_SECONDS)
