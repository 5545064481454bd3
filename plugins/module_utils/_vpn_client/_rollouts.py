# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Wait for rollouts, several at once; say what is wrong with one that does not end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _flow, _names, _pieces, _refuse
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _gateway_ready, _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request

Wait = Callable[..., "tuple[bool, object]"]
Failures = dict[str, KubeError]


class Rollouts:
    """``live`` is what was seen last: workload (None when it is gone) and pods by client id."""

    def __init__(self, client: _client.Caller, target: Target, timeout: float, sleep: float, wait: Wait) -> None:
        self.client, self.target, self.timeout, self.sleep = client, target, timeout, sleep
        self.live: dict[str, tuple[dict[str, Any] | None, list[dict[str, Any]]]] = {}
        self.started_again: list[_flow.Plan] = []  # sealed clients that somebody scaled up while they were stopped
        self._wait = wait

    def _look_at(self, plans: Sequence[_flow.Plan]) -> dict[str, _workload.Rollout]:
        """One look at workloads and pods of these plans."""
        requests = {
            f"workload/{plan.client.id}": Request(_workload.path(plan.workload), f"get {plan.client.object}")
            for plan in plans
            if plan.workload
        }
        for namespace in {plan.client.namespace for plan in plans}:
            requests[f"pods/{namespace}"] = _workload.pods_request(namespace)
        for namespace in {plan.client.namespace for plan in plans if plan.client.kind == "Deployment"}:
            requests[f"sets/{namespace}"] = _workload.replica_sets_request(namespace)
        answers = _client.read_all(self.client, requests)
        found = {}
        for plan in plans:
            name, namespace = f"workload/{plan.client.id}", plan.client.namespace
            lists = []
            for listed in (f"pods/{namespace}", f"sets/{namespace}"):
                body = _client.demand(answers[listed], requests[listed], self.target) if listed in requests else {}
                lists.append(list(body.get("items") or []))
            if answers[name].status == 404:
                self.live[plan.client.id] = (None, [])
                found[plan.client.id] = _workload.Rollout(True)
                continue
            workload = {**_client.demand(answers[name], requests[name], self.target), "kind": plan.client.kind}
            pods = _workload.own_pods(workload, *lists)
            self.live[plan.client.id] = (workload, pods)
            found[plan.client.id] = _workload.rollout(workload, pods, lists[1])
        return found

    def finish(self, plans: Sequence[_flow.Plan]) -> Failures:
        """Wait for all these rollouts at once; replace what a StatefulSet leaves standing.

        Pods without a guard go at once, not one after another as each new one gets ready: with a tunnel that is down
        that would be never, and they would run on with nothing but the policy before them.
        """
        waiting = {plan.client.id: plan for plan in plans}
        deleted: set[str] = set()

        def look() -> tuple[bool, object]:
            for name, state in self._look_at(list(waiting.values())).items():
                # A StatefulSet never replaces a pod that is not Ready while it waits for it to become so.
                stale = [*state.stale, *self._unguarded(waiting[name])]
                stale = stale if waiting[name].client.kind == "StatefulSet" else []
                for pod in stale:
                    if pod["metadata"]["uid"] in deleted:
                        continue
                    deleted.add(pod["metadata"]["uid"])
                    _workload.delete_pod(self.client, self.target, pod)
                if state.done:
                    del waiting[name]
                else:
                    last[name] = state
            return not waiting, None

        last: dict[str, _workload.Rollout] = {}
        self._wait(look, timeout=self.timeout, sleep=self.sleep)
        failures = {name: self._not_ready(plan, last[name]) for name, plan in waiting.items()}
        for plan in plans:
            pods = self.live[plan.client.id][1]
            problems = _refuse.first_init_containers([{**one, "kind": "Pod"} for one in pods])
            if plan.client.state == "present" and plan.client.id not in failures and problems:
                failures[plan.client.id] = KubeError(
                    str(problems[0]), reason="GuardNotFirst", object_=plan.client.object
                )
        return failures

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

    def _not_ready(self, plan: _flow.Plan, state: _workload.Rollout) -> KubeError:
        """What keeps a rollout from ending, with the last evidence and where to look."""
        workload, pods = self.live[plan.client.id]
        what, namespace = plan.client.object, plan.client.namespace
        blocked = next((one for one in pods if not _workload.is_ready(one)), None)
        parts, container = [state.waiting], ""
        if blocked is None:
            warning = _workload.last_warning(self.client, workload) if workload else ""
            parts += [f"the last warning was: {warning}"] if warning else []
        else:
            container, why = _workload.blocked_container(blocked)
            name = blocked["metadata"]["name"]
            parts.append(f"pod {name}" + (f", container {container}" if container else "") + f": {why}")
            line = _workload.last_line(self.client, blocked, container) if container in _names.CONTAINERS else ""
            parts += [f"its last line is: {line}"] if line else []
            address = _pieces.gateway_address(blocked)
            shown = {None: "not written yet", "": "empty, which means sealed"}.get(address, address)
            parts.append(f"the gateway's address on it is {shown}")
            if address and _pieces.told_direct(blocked) is None:
                parts.append("what it may reach without the VPN is not written on it yet")
            parts += self._gateway(plan) if container in _names.CONTAINERS else []
        return KubeError(
            f"{what} is not ready after {self.timeout:g} s: {'; '.join(parts)}. {_meaning(plan, container)} Look at: "
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
