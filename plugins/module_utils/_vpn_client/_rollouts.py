# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Wait for rollouts, several at once; say what is wrong with one that does not end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _flow, _names, _pieces, _refuse
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import (
    _client,
    _gateway_ready,
    _pod_outcome,
    _unplaced,
    _workload,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._patience import Patience
from ansible_collections.bulkhead.mesh.plugins.module_utils._vpn_client import _waves

Wait = Callable[..., "tuple[bool, object]"]
Failures = dict[str, KubeError]
_NO_POD = 3.0  # seconds


class Rollouts:
    """``live`` is what was seen last: workload (None when it is gone) and pods by client id."""

    def __init__(
        self,
        client: _client.Caller,
        target: Target,
        timeout: float,
        sleep: float,
        wait: Wait,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client, self.target, self.timeout, self.sleep = client, target, timeout, sleep
        self._clock, self._deleted = clock, set[str]()
        self.live: dict[str, tuple[dict[str, Any] | None, list[dict[str, Any]]]] = {}
        self.started_again: list[_flow.Plan] = []  # sealed clients that somebody scaled up while they were stopped
        self._wait = wait

    def _look_at(self, plans: Sequence[_flow.Plan]) -> dict[str, _workload.Rollout]:
        """One look at workloads and pods of these plans."""
        listed = self._lists(plans)
        found = {}
        for plan in plans:
            kind, namespace = plan.client.kind, plan.client.namespace
            workload = listed[kind, namespace].get(plan.client.name)
            pods, sets = (list(listed.get((one, namespace), {}).values()) for one in ("Pod", "ReplicaSet"))
            if workload is None:
                self.live[plan.client.id] = (None, [])
                found[plan.client.id] = _workload.Rollout(True)
                continue
            own = _workload.own_pods(workload, pods, sets)
            self.live[plan.client.id] = (workload, own)
            found[plan.client.id] = _workload.rollout(workload, own, sets)
        return found

    def _lists(self, plans: Sequence[_flow.Plan]) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
        """Workloads, pods and, for Deployments, ReplicaSets by kind, namespace and name: one LIST each.

        Asking for each workload would be requests by the number of clients, at every look.
        """
        kinds = {(plan.client.kind, plan.client.namespace) for plan in plans}
        # Pods last: what a workload's status says about revisions must not be newer than its pods.
        asked = sorted(kinds)
        asked += sorted(("ReplicaSet", namespace) for kind, namespace in kinds if kind == "Deployment")
        asked += sorted({("Pod", namespace) for _kind, namespace in kinds})
        requests = {f"{kind}/{namespace}": _workload.list_request(kind, namespace) for kind, namespace in asked}
        answers = _client.read_all(self.client, requests)
        found = {}
        for kind, namespace in asked:
            key = f"{kind}/{namespace}"
            items = _client.demand(answers[key], requests[key], self.target).get("items") or []
            found[kind, namespace] = {one["metadata"]["name"]: {**one, "kind": kind} for one in items}
        return found

    def finish(self, plans: Sequence[_flow.Plan]) -> Failures:
        """Wait for all these rollouts at once; replace what a StatefulSet leaves standing.

        Pods without a guard go at once, not one after another as each new one gets ready: with a tunnel that is down
        that would be never, and they would run on with nothing but the policy before them.
        """
        waiting = {plan.client.id: plan for plan in plans}
        last: dict[str, _workload.Rollout] = {}
        failures: Failures = {}
        patience = Patience()

        def look() -> tuple[bool, object]:
            for name, state in self._advance(list(waiting.values())).items():
                last[name] = state
                hopeless = "" if state.done else self._hopeless(waiting[name], state, patience)
                if hopeless:
                    failures[name] = self._not_ready(waiting[name], state, hopeless)
                if hopeless or state.done:
                    del waiting[name]
            return not waiting, None

        self._wait(look, timeout=self.timeout, sleep=self.sleep)
        failures |= {name: self._not_ready(plan, last[name]) for name, plan in waiting.items()}
        for plan in plans:
            workload, pods = self.live[plan.client.id]
            problems = _refuse.first_init_containers([{**one, "kind": "Pod"} for one in pods], workload)
            if plan.client.state == "present" and plan.client.id not in failures and problems:
                failures[plan.client.id] = KubeError(
                    str(problems[0]), reason="GuardNotFirst", object_=plan.client.object
                )
        return failures

    def _hopeless(self, plan: _flow.Plan, state: _workload.Rollout, patience: Patience) -> str:
        """Why it is certain that pods of the newest template will not run; empty while they may."""
        workload, pods = self.live[plan.client.id]
        over = patience.over(state.current)
        if over is not None:
            return f"pod {over[0]['metadata']['name']}, {over[1].sentence()}"
        # A controller takes a moment to make a pod; only then its events are asked for.
        alone = patience.lasts(plan.client.id, "no pod", not pods) > _NO_POD
        if workload is None or not alone:
            return ""
        refused = _pod_outcome.refused(_workload.last_warnings(self.client, workload, self._sets(plan))[1])
        return refused.sentence() if patience.certain(plan.client.id, refused) and refused else ""

    def _sets(self, plan: _flow.Plan) -> list[Mapping[str, Any]]:
        """The ReplicaSets of a Deployment, which make its pods and say why not."""
        workload = self.live[plan.client.id][0]
        if workload is None or plan.client.kind != "Deployment":
            return []
        listed = self.client.call(_workload.replica_sets_request(plan.client.namespace))
        return _workload.own_replica_sets(workload, listed.body.get("items") or []) if listed.ok else []

    def settle(self, plans: Sequence[_flow.Plan]) -> None:
        """Wait for a wave: until each of its clients is ready, or waits for something that takes no processor."""
        waiting = {plan.client.id: plan for plan in plans}
        seen: dict[str, tuple[Any, float]] = {}

        def look() -> tuple[bool, object]:
            now = self._clock()
            for name, rollout in self._advance(list(waiting.values())).items():
                pods = self.live[name][1]
                state = _waves.state(pods)
                if seen.get(name, (None, 0.0))[0] != state:
                    seen[name] = (state, now)
                if rollout.done or _waves.over(pods, now - seen[name][1]):
                    del waiting[name]
            return not waiting, None

        self._wait(look, timeout=self.timeout, sleep=self.sleep)

    def _advance(self, plans: Sequence[_flow.Plan]) -> dict[str, _workload.Rollout]:
        """One look, and the end of pods that a StatefulSet leaves standing."""
        states = self._look_at(plans)
        for plan in plans:
            if plan.client.kind != "StatefulSet":
                continue
            # A StatefulSet never replaces a pod that is not Ready while it waits for it to become so.
            for pod in (*states[plan.client.id].stale, *self._unguarded(plan)):
                if pod["metadata"]["uid"] not in self._deleted:
                    self._deleted.add(pod["metadata"]["uid"])
                    _workload.delete_pod(self.client, self.target, pod)
        return states

    def _unguarded(self, plan: _flow.Plan) -> list[Mapping[str, Any]]:
        """Pods without a guard of a workload that stays, once its controller has seen the template with it."""
        workload, pods = self.live[plan.client.id]
        if plan.client.state == "absent" or workload is None:
            return []
        seen = (workload.get("status") or {}).get("observedGeneration") or 0
        if seen < workload["metadata"].get("generation", 0):
            return []
        return [one for one in pods if not guarded(one) and "deletionTimestamp" not in one["metadata"]]

    def _gateway(self, plan: _flow.Plan) -> list[str]:
        """What stands in the way of the client's gateway, if anything does."""
        gateway = plan.gateway
        if gateway is None:
            return []
        secret = f"{gateway.namespace}/{gateway.config_secret}"
        found = _gateway_ready.look(self.client, gateway.namespace, gateway.name, f"of {gateway.name}", secret)
        return [] if found[0] else [f"{gateway.object} is not ready: {found[1]}"]

    def _not_ready(self, plan: _flow.Plan, state: _workload.Rollout, hopeless: str = "") -> KubeError:
        """What keeps a rollout from ending, with the last evidence and where to look."""
        workload, pods = self.live[plan.client.id]
        what, namespace = plan.client.object, plan.client.namespace
        blocked = next((one for one in (*state.current, *pods) if not _workload.is_ready(one)), None)
        parts, container = [hopeless or state.waiting], ""
        if hopeless:
            container = _workload.blocked_container(blocked)[0] if blocked else ""
            line = _workload.last_line(self.client, blocked, container) if blocked and "ends again" in hopeless else ""
            parts += [f"its last line is: {line}"] if line else []
        elif blocked is None:
            warning = _workload.last_warning(self.client, workload, self._sets(plan)) if workload else ""
            parts += [f"the last warning was: {warning}"] if warning else []
        else:
            container, why = _workload.blocked_container(blocked)
            name = blocked["metadata"]["name"]
            parts.append(
                f"pod {name}"
                + (f", container {container}" if container else "")
                + f": {why.rstrip('.')}"
                + _unplaced.told(self.client, blocked)
            )
            line = _workload.last_line(self.client, blocked, container) if container in _names.CONTAINERS else ""
            parts += [f"its last line is: {line}"] if line else []
            address = _pieces.gateway_address(blocked)
            shown = {None: "not written yet", "": "empty, which means sealed"}.get(address, address)
            parts.append(f"the gateway's address on it is {shown}")
            if address and _pieces.told_direct(blocked) is None:
                parts.append("what it may reach without the VPN is not written on it yet")
            parts += self._gateway(plan) if container in _names.CONTAINERS else []
        return KubeError(
            f"{what} {'will not get ready' if hopeless else f'is not ready after {self.timeout:g} s'}: "
            f"{'; '.join(parts)}. {_meaning(plan, container)} Look at: "
            + ", ".join(_where(plan, blocked, container))
            + ".",
            reason="NotReady",
            object_=what,
            details=f"namespace {namespace}",
        )

    def told(self, plans: Sequence[_flow.Plan]) -> Failures:
        """Wait until the endpoint controller has told the pods of these clients their direct destinations."""
        waiting = {plan.client.id: plan for plan in plans}
        missing: dict[str, list[str]] = {}

        def look() -> tuple[bool, object]:
            self._look_at(list(waiting.values()))
            for name, plan in list(waiting.items()):
                missing[name] = _pieces.untold(self.live[name][1], (plan.room or {}).get("direct"))
                if not missing[name]:
                    del waiting[name]
            return not waiting, None

        self._wait(look, timeout=self.timeout, sleep=self.sleep)
        failures = {}
        for name, plan in waiting.items():
            where = plan.gateway.namespace if plan.gateway else plan.client.namespace
            failures[name] = KubeError(
                f"{plan.client.object} is attached, and after {self.timeout:g} s nobody has told {', '.join(missing[name])} "
                "what may be reached without the VPN now: what was told before holds. Look at: "
                f"kubectl -n {where} logs deployment/{_names.ENDPOINTS_ACCOUNT}.",
                reason="NotTold",
                object_=plan.client.object,
            )
        return failures

    def stopped(self, plans: Sequence[_flow.Plan]) -> Failures:
        """Wait until no pod of these clients is left."""
        waiting = {plan.client.id: plan for plan in plans}

        def look() -> tuple[bool, object]:
            self._look_at(list(waiting.values()))
            for name, plan in list(waiting.items()):
                workload, pods = self.live[name]
                if not pods:
                    del waiting[name]
                elif plan.client.detach_to == "sealed" and workload and _workload.replicas_of(workload):
                    self.started_again.append(waiting.pop(name))
            return not waiting, None

        self._wait(look, timeout=self.timeout, sleep=self.sleep)
        failures = {}
        for name, plan in waiting.items():
            pods = ", ".join(one["metadata"]["name"] for one in self.live[name][1])
            failures[name] = KubeError(
                f"{plan.client.object} is scaled to 0 and {pods} still there after {self.timeout:g} s: it stays "
                "sealed; see why the pod does not end (kubectl describe), then run it again.",
                reason="NotStopped",
                object_=plan.client.object,
            )
        return failures


def guarded(pod: Mapping[str, Any]) -> bool:
    """Whether the guard is what a pod starts with."""
    first = (pod["spec"].get("initContainers") or [{}])[0]
    return bool(first.get("name") == _names.GUARD)


def _meaning(plan: _flow.Plan, container: str) -> str:
    if plan.client.state == "absent":
        return "It is detached, and this collection no longer holds it back."
    if container in _names.CONTAINERS:
        return "Pods with the guard stay sealed until the tunnel carries traffic, and then start by themselves."
    return "Pods with the guard reach nothing but the VPN and what was allowed."


def _where(plan: _flow.Plan, pod: Mapping[str, Any] | None, container: str) -> list[str]:
    namespace = plan.client.namespace
    if pod is None:
        return [f"kubectl -n {namespace} describe {plan.client.kind.lower()} {plan.client.name}"]
    name = pod["metadata"]["name"]
    places = [f"kubectl -n {namespace} describe pod {name}"]
    if container:
        places = [f"kubectl -n {namespace} logs {name} -c {container}"]
    if plan.gateway is not None and container in _names.CONTAINERS:
        gateway = plan.gateway
        places.append(f"kubectl -n {gateway.namespace} get pods -l {_names.GATEWAY_LABEL}={gateway.name}")
    return places
