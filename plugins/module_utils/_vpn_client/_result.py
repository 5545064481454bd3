# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What ``vpn_client`` answers: clients, plan and diff, in the same shape for a real run and for check mode."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils import _partly
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _address,
    _client_objects,
    _flow,
    _left_behind,
    _pieces,
    _template,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _single, _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._vpn_client._prepare import Work
from ansible_collections.bulkhead.mesh.plugins.module_utils._vpn_client._rollouts import guarded

_Live = Mapping[str, "tuple[dict[str, Any] | None, list[dict[str, Any]]]"]
_Object = dict[str, Any]


def clients(
    asked: Sequence[Client], work: Work, done: Mapping[str, Sequence[str]], live: _Live, predict: bool
) -> list[_Object]:
    """One entry for each client, in the order of the input; those that were refused are shown as they were read.

    ``live`` is what was seen after the writes; without it the workload is as it was read. With ``predict`` the state
    is the one that a real run would reach.
    """
    plans = {plan.client.id: plan for plan in work.plans}
    made = []
    for client in asked:
        plan = plans.get(client.id)
        if plan is None:
            held = work.held.get(client.kind, client.namespace, client.name)
            made.append(_client(_flow.Plan(client, held), work.held, (), {}, False) | {"action": "refused"})
        else:
            made.append(_client(plan, work.held, done.get(client.id, ()), live, predict))
    return made


def failure(asked: Sequence[Client], work: Work, failures: Mapping[str, KubeError]) -> _Object:
    """How a run ends in which some clients could not be what was asked: every reason and every name; empty if none."""
    names = [one.object for one in asked if one.id in work.refused or one.id in failures]
    return _partly.told(work.problems, failures.values(), names, len(asked), "client")


def warnings(work: Work, started_again: Sequence[_flow.Plan], orphans: Sequence[_Object]) -> list[str]:
    """What people have to know beside the result: each run says it again until it is so no more."""
    told = [one["msg"] for one in orphans if one["kind"] in _workload.PLURALS]
    told += [str(one) for one in left_behind(work.held)]
    told += [
        f"{plan.client.object} was scaled up again while it was stopped: its pods start with the guard and reach nothing. "
        "Find what scales it, or give it back with detach_to open."
        for plan in started_again
    ]
    return told


def left_behind(held: _flow.Held) -> list[_left_behind.LeftBehind]:
    """Pods of clients, listed or not, that no workload owns."""
    return _left_behind.find(held.all("Pod"), held.all("StatefulSet", "Deployment"), held.all("ReplicaSet"))


def _client(plan: _flow.Plan, held: _flow.Held, done: Sequence[str], live: _Live, predict: bool) -> _Object:
    client = plan.client
    workload, pods = live.get(client.id) or _as_read(plan, held)
    # What was written is newer than the last look.
    after = _flow.patched(plan) if predict or client.id not in live and _written(plan, done) else workload
    return {
        "kind": client.kind,
        "namespace": client.namespace,
        "name": client.name,
        "state": _state(
            after, pods, predict and bool(plan.steps), client.state == "absent" and client.detach_to == "sealed"
        ),
        "action": plan.action,
        "steps": list(plan.steps if predict else done),
        "inner_addresses": _inner(plan, after),
        "pods": [_pod(plan, one) for one in pods],
    }


def _written(plan: _flow.Plan, done: Sequence[str]) -> bool:
    return any(step.endswith((".template", ".scale")) for step in done)


def _as_read(plan: _flow.Plan, held: _flow.Held) -> tuple[_Object | None, list[_Object]]:
    if plan.workload is None:
        return None, []
    replica_sets = held.all("ReplicaSet", namespace=plan.client.namespace)
    return plan.workload, _workload.own_pods(plan.workload, held.all("Pod"), replica_sets)


def _state(workload: _Object | None, pods: Sequence[_Object], hoped: bool, sealing: bool) -> str:
    if workload is None:
        return "missing"
    wanted = _workload.replicas_of(workload)
    if sealing and _template.is_attached(workload):
        return "sealed"
    if wanted == 0:
        return "stopped"
    if not _template.is_attached(workload):
        return "open"
    closed = [one for one in pods if guarded(one)]
    ready = [one for one in closed if _workload.is_ready(one)]
    if hoped or len(ready) == len(pods) == wanted:
        return "attached"
    return "sealed" if len(closed) == len(pods) else "rolling"


def _inner(plan: _flow.Plan, workload: _Object | None) -> list[str]:
    if workload is None or plan.link is None or plan.room is None:
        return []
    return _client_objects.inner_addresses(workload, plan.link, plan.room)


def _pod(plan: _flow.Plan, pod: Mapping[str, Any]) -> _Object:
    metadata = pod["metadata"]
    inner = None
    if plan.link is not None and plan.room is not None and guarded(pod):
        number = metadata["name"].rpartition("-")[2] if plan.client.kind == "StatefulSet" else "0"
        inner = _address.inner_address(plan.link["network"], plan.room["first_index"], int(number))
    return {
        "name": metadata["name"],
        "ready": _workload.is_ready(pod),
        "inner_address": inner,
        "gateway_address": _pieces.gateway_address(pod),
    }


def plan(work: Work) -> list[_Object]:
    """What is to be done, step by step: ``{step, object}``."""
    found = []
    for step in _flow.STEPS:
        for one in (one for one in work.plans if step in one.steps):
            objects = [_single.reference(item) for item in [*one.apply.get(step, ()), *one.remove.get(step, ())]]
            found += [{"step": step, "object": name} for name in objects or [one.client.object]]
    return found


def diff(work: Work) -> list[_Object]:
    """Template edits, policies and registrations, before and after."""
    found = []
    for one in work.plans:
        after = _flow.patched(one)
        if one.workload is not None and after != one.workload:
            found.append(_pair(one.client.object, _workload_view(one.workload), _workload_view(after or {})))
        for item in one.apply.get("attach.policy", ()):
            live = work.held.like(item)
            found.append(_pair(_single.reference(item), (live or {}).get("spec"), item["spec"]))
        for item in one.remove.get("detach.policy", ()):
            found.append(_pair(_single.reference(item), item["spec"], None))
    for namespace, registry in sorted(work.detached.items()):
        before = work.before.get(namespace)
        if before != registry:
            found.append(_pair(f"registrations at the gateways of {namespace}", before, registry))
    return found


def _workload_view(workload: Mapping[str, Any]) -> _Object:
    spec = workload["spec"]
    return {"replicas": spec.get("replicas", 1), "template": spec["template"]}


def _pair(what: str, before: Any, after: Any) -> _Object:
    return {"before_header": what, "after_header": what, "before": _text(before), "after": _text(after)}


def _text(value: Any) -> str:
    return "" if value is None else json.dumps(value, indent=2, sort_keys=True) + "\n"
