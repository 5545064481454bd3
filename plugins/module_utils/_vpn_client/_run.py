# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Carry out the plans of ``vpn_client``: each step for all clients, then the next step.

A client for which a step fails takes no further part, and is told at the very end; the others are completed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils import _partly
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _client_objects,
    _flow,
    _patch,
    _policy,
    _registry,
    _workload_admission,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._client_objects import Site
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _managed, _single, _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import wait_until
from ansible_collections.bulkhead.mesh.plugins.module_utils._vpn_client import _prepare, _proof, _rollouts, _waves

EFFECTIVE_TIMEOUT = 30.0  # seconds; an API server takes a new admission policy up within one or two
TRIES = 5  # of a patch, while only the status of the workload changes


class Stopped(Exception):
    """A test asked the run to end after this step."""


@dataclass(frozen=True)
class Options:
    """How to carry out. ``max_parallel`` pods start at once on a node, None for what it has processors for.

    ``stop_after`` is for tests only: a step, or one of its waves as ``attach.template/1``.
    """

    check: bool = False
    force: bool = False
    timeout: float = 120.0
    sleep: float = 1.0
    stop_after: str | None = None
    max_parallel: int | None = None


class Run:
    """One run over the plans; ``changed`` and ``live`` (what is known of each workload by now) are its result."""

    def __init__(
        self,
        client: _client.Caller,
        target: Target,
        work: _prepare.Work,
        site: Site,
        options: Options,
        wait: _rollouts.Wait | None = None,
    ) -> None:
        self.client, self.target, self.work, self.site, self.options = client, target, work, site, options
        self.changed = False
        self.done: dict[str, list[str]] = {plan.client.id: [] for plan in work.plans}
        self.failures: dict[str, KubeError] = {}
        self.warnings: list[str] = []
        self._wait = wait or wait_until
        self._rollouts = _rollouts.Rollouts(client, target, options.timeout, options.sleep, self._wait)
        self.live = self._rollouts.live
        # What our own writes made of each workload; a generation that is neither this nor the one read is not ours.
        self._held: dict[str, dict[str, Any]] = {p.client.id: p.workload for p in work.plans if p.workload}

    def go(self) -> None:
        """All steps in order; ``failures`` says what came of it. Only what stops every client is raised."""
        handlers = {
            "attach.policy": self._policies,
            "attach.effective": self._effective,
            "attach.registration": functools.partial(self._register, "attached"),
            "attach.rollout": self._rolled_out,
            "attach.told": self._told,
            "detach.scale": self._scale,
            "detach.stopped": self._stopped,
            "detach.registration": functools.partial(self._register, "detached"),
            "detach.rollout": self._rolled_out,
        }
        self._prove()
        for step in _flow.STEPS:
            plans = [one for one in self.work.plans if step in one.steps and one.client.id not in self.failures]
            if not plans or (self.options.check and step in _flow.WAITS):
                continue
            if step.endswith(".template"):
                self._templates(step, plans)
            elif step in handlers:
                handlers[step](plans)
            else:
                self._objects(step, plans)
            for plan in plans:
                if plan.client.id not in self.failures:
                    self.done[plan.client.id].append(step)
                    self.changed = self.changed or step not in _flow.WAITS
            if self.options.stop_after == step:
                raise Stopped(step)

    def _for(self, plans: Iterable[_flow.Plan], otherwise: str = "") -> AbstractContextManager[None]:
        """What fails in here fails for these clients and no others, unless nothing can go on."""
        return _partly.failing(self.failures, [plan.client.id for plan in plans], otherwise)

    def _prove(self) -> None:
        """Before the first write: clients whose new pods would not run are left out of all steps, and told at the end."""
        prover = _proof.Prover(
            self.client,
            self.target,
            self.work.held,
            self.site.agent,
            self.options.timeout,
            self.options.sleep,
            self._wait,
        )
        with self._for(self.work.plans):
            if not self.options.check:
                self.failures.update(prover.failures(self.work.plans))
            elif prover.unproven(self.work.plans):
                self.warnings.append(_proof.UNPROVEN)

    def _objects(self, step: str, plans: Sequence[_flow.Plan]) -> None:
        """Apply or delete objects, each once; one that several clients share fails for all of them."""
        sharing: dict[tuple[str, str, str], list[_flow.Plan]] = {}
        objects: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        for plan in plans:
            for one in plan.apply.get(step) or plan.remove.get(step) or ():
                sharing.setdefault(_flow.key_of(one), []).append(plan)
                objects[_flow.key_of(one)] = one
        for key, one in objects.items():
            if all(plan.client.id in self.failures for plan in sharing[key]):
                continue
            with self._for(sharing[key]):
                if step in ("detach.seal", *_flow.ATTACH):
                    check, force = self.options.check, self.options.force
                    # The one place where objects are written.
                    _single.apply_objects(self.client, self.target, [one], dry_run=check, force=force)
                else:
                    _single.delete_objects(self.client, self.target, [one], dry_run=self.options.check)

    def _policies(self, plans: Sequence[_flow.Plan]) -> None:
        self._objects("attach.policy", plans)
        for plan in plans:
            if not self.options.check and plan.client.id not in self.failures:
                with self._for([plan]):
                    self._read_back(plan.apply["attach.policy"][0])

    def _read_back(self, wanted: Mapping[str, Any]) -> None:
        problems = _policy.shape_problems(_single.get_object(self.client, self.target, wanted), wanted)
        if problems:
            raise KubeError(
                f"{_single.reference(wanted)} is not what was applied: {problems[0]}",
                reason="ReadBack",
                object_=_single.reference(wanted),
                details="\n".join(map(str, problems)),
            )

    def _effective(self, plans: Sequence[_flow.Plan]) -> None:
        """Wait until the API server refuses an unguarded pod of each client and takes one as it will be; dry runs."""
        waiting = {plan.client.id: plan for plan in plans}
        evidence: dict[str, str] = {}

        def look() -> tuple[bool, object]:
            nonlocal waiting
            # All come into force at about the same time. While one has not, the others need not be asked about, which at
            # every look would be requests by the number of clients; but the next look begins with another one.
            for name, plan in reversed(list(waiting.items())):
                with self._for([plan]):
                    evidence[name] = self._admitted(plan)
                del waiting[name]
                if evidence.get(name) and name not in self.failures:
                    waiting = {name: plan, **waiting}
                    break
            return not waiting, ""

        self._wait(look, timeout=EFFECTIVE_TIMEOUT, sleep=min(self.options.sleep, 0.5))
        for name, plan in waiting.items():
            what = plan.client.object
            self.failures[name] = KubeError(
                f"The API server does not judge pods of {what} as it should after {EFFECTIVE_TIMEOUT:g} s "
                f"({evidence.get(name, 'not seen')}): look at the ValidatingAdmissionPolicy and its binding, then run it again; no pod "
                "was changed.",
                reason="NotEffective",
                object_=what,
                details=evidence.get(name, ""),
            )

    def _admitted(self, plan: _flow.Plan) -> str:
        """What is wrong with how this client's policy judges; empty if nothing is."""
        answer = self._tried(plan, _client_objects.unguarded_pod(plan.target, self.site.image))
        if not _refused(answer, plan):
            return f"an unguarded one: {'it would be created' if answer.ok else answer.message}"
        attached = _flow.patched(plan) or plan.target
        answer = self._tried(plan, _client_objects.guarded_pod(attached, self.site.image))
        # Until it has taken up the changed policy it would refuse every pod of the new template. Whatever else it has
        # against this pod is not for this policy to say.
        return f"one with its guard: {answer.message}" if _refused(answer, plan) else ""

    def _tried(self, plan: _flow.Plan, pod: Mapping[str, Any]) -> Answer:
        """What the API server says to a pod, tried as a dry run."""
        path, what = (
            f"/api/v1/namespaces/{plan.client.namespace}/pods",
            f"try to create pods in {plan.client.namespace}",
        )
        return self.client.call(Request(path, what, method="POST", body=pod, query={"dryRun": "All"}))

    def _register(self, after: str, plans: Sequence[_flow.Plan]) -> None:
        registries: _prepare.Registries = getattr(self.work, after)
        for namespace, registry in sorted(registries.items()):
            concerned = [one for one in plans if self._registered_in(one, namespace)]
            with self._for(concerned, otherwise=f"namespace {namespace}"):
                self._write_registry(namespace, registry)
        for gateway in self.work.gateways.values():
            concerned = [one for one in plans if self._registered_in(one, gateway.namespace, gateway.name)]
            with self._for(concerned, otherwise=gateway.object):
                domain = self.site.cluster_domain
                for wanted in _prepare.gateway_objects(gateway, registries, self.work.held, domain):
                    self._as_owner(wanted)

    def _registered_in(self, plan: _flow.Plan, namespace: str, gateway: str = "") -> bool:
        """Whether a client is at this gateway, or at any of the namespace, before it is detached."""
        links = self.work.attached.get(namespace, {"gateways": {}})["gateways"]
        return any(plan.client.id in link["clients"] for name, link in links.items() if gateway in ("", name))

    def _write_registry(self, namespace: str, registry: _registry.Registry) -> None:
        live = self._registry_map(namespace)
        if live is None or _registry.parse(live, namespace)[0] == registry:
            return
        text = _registry.config_map(namespace, registry)["data"][_registry.KEY]
        operations = [
            _version_test(live),
            {"op": "replace", "path": f"/data/{_registry.KEY}", "value": text},
        ]
        what = _single.reference(live)
        _workload.patch_tested(
            self.client, self.target, _single.path(live), what, operations, dry_run=self.options.check
        )

    def _registry_map(self, namespace: str) -> dict[str, Any] | None:
        held = self.work.held.get("ConfigMap", namespace, _registry.NAME)
        if held is None or self.options.check:
            return held
        # This run may have written it before; anybody else's change is seen in the text that was planned from.
        live = _single.get_object(self.client, self.target, held)
        if live is not None and not self._expected(live, namespace):
            raise KubeError(
                f"{_single.reference(held)} was changed by somebody else during this run: run it again.",
                reason="Changed",
                code=409,
                object_=_single.reference(held),
            )
        return live

    def _expected(self, live: Mapping[str, Any], namespace: str) -> bool:
        registry = _registry.parse(live, namespace)[0]
        return registry in (self.work.before.get(namespace), self.work.attached.get(namespace))

    def _as_owner(self, wanted: Mapping[str, Any]) -> None:
        """Change a gateway's object in the name of who applied it, so that nobody finds it changed later."""
        live = self.work.held.like(wanted)
        if live is None:
            raise ValueError(f"gateway_objects changes what is there, and {wanted['metadata']['name']} is not")
        manager = next(
            (
                one["manager"]
                for one in live["metadata"].get("managedFields") or []
                if one.get("operation") == "Apply" and str(one.get("manager")).startswith(f"{_single.MANAGER}/")
            ),
            _single.MANAGER,
        )
        fields = _managed.ours(live, manager)
        body = _managed.project(live, fields) if fields else {}
        body["metadata"] = {
            **(body.get("metadata") or {}),
            **{key: wanted["metadata"][key] for key in ("name", "namespace")},
        }
        body.update({key: wanted[key] for key in ("apiVersion", "kind", "spec", "data") if key in wanted})
        _single.apply_objects(self.client, self.target, [body], dry_run=self.options.check, force=True, manager=manager)

    def _templates(self, step: str, plans: Sequence[_flow.Plan]) -> None:
        """Change the templates; those of clients that are attached wave by wave."""
        if self.options.check or not step.startswith("attach.") or len(plans) == 1:
            self._patch(plans)
            return
        waves = _waves.waves(plans, self.work.held, _waves.per_node(self.client, self.options.max_parallel))
        for number, wave in enumerate(waves, start=1):
            self._patch(wave)
            if self.options.stop_after == f"{step}/{number}":
                raise Stopped(f"{step}/{number}")
            if number < len(waves):
                self._rollouts.settle([one for one in wave if one.client.id not in self.failures])

    def _patch(self, plans: Sequence[_flow.Plan]) -> None:
        for plan in plans:
            where, what = _workload.path(plan.target), plan.client.object

            def send(live: Mapping[str, Any], plan: _flow.Plan = plan, where: str = where, what: str = what) -> Any:
                operations = [_version_test(live), *plan.operations[1:]]
                return _workload.patch_tested(
                    self.client, self.target, where, what, operations, dry_run=self.options.check
                )

            with self._for([plan]):
                self._past_old_rule(plan, send)

    def _past_old_rule(self, plan: _flow.Plan, send: Callable[[Mapping[str, Any]], Any]) -> None:
        """Write a template; a rule that this run has changed or removed may still be in force for a moment.

        In check mode it is in force for good, and says nothing about what a real run would be told.
        """
        refusals: list[KubeError] = []

        def look() -> tuple[bool, object]:
            try:
                self._write(plan, send)
            except KubeError as exc:
                if not _workload_admission.refused(exc.failure["details"] or "", plan.client):
                    raise
                refusals[:] = [exc]
                return self.options.check, exc.msg
            return True, ""

        if not self._wait(look, timeout=EFFECTIVE_TIMEOUT, sleep=min(self.options.sleep, 0.5))[0]:
            raise refusals[0]

    def _scale(self, plans: Sequence[_flow.Plan]) -> None:
        for plan in plans:
            with self._for([plan]):
                self._write(
                    plan, lambda live: _workload.scale(self.client, self.target, live, 0, dry_run=self.options.check)
                )

    def _write(self, plan: _flow.Plan, send: Callable[[Mapping[str, Any]], Any]) -> None:
        """Write a workload; its status may change as often as it likes meanwhile, its spec may not."""
        held = self._held[plan.client.id]
        for attempt in range(TRIES):
            try:
                written = send(held)
                break
            except KubeError as exc:
                if exc.failure["reason"] != "Changed" or attempt == TRIES - 1:
                    raise
                fresh = self._workload(plan)
                if fresh is None or fresh["metadata"].get("generation") != held["metadata"].get("generation"):
                    raise
                held = fresh
        if not self.options.check:
            self._held[plan.client.id] = {**written, "kind": plan.client.kind}

    def _workload(self, plan: _flow.Plan) -> dict[str, Any] | None:
        request = Request(_workload.path(plan.target), f"get {plan.client.object}")
        answer = self.client.call(request)
        if answer.status == 404:
            return None
        return {**_client.demand(answer, request, self.target), "kind": plan.client.kind}

    @property
    def started_again(self) -> list[_flow.Plan]:
        """Sealed clients that somebody scaled up again meanwhile."""
        return self._rollouts.started_again

    def _rolled_out(self, plans: Sequence[_flow.Plan]) -> None:
        self.failures.update(self._rollouts.finish(plans))

    def _told(self, plans: Sequence[_flow.Plan]) -> None:
        self.failures.update(self._rollouts.told(plans))

    def _stopped(self, plans: Sequence[_flow.Plan]) -> None:
        self.failures.update(self._rollouts.stopped(plans))


def _refused(answer: Answer, plan: _flow.Plan) -> bool:
    """Whether this client's own policy refused it."""
    return answer.status == 403 and f"'bulkhead-vpn-client.{plan.client.id}'" in answer.message


def _version_test(live: Mapping[str, Any]) -> _patch.Operation:
    version = live["metadata"].get("resourceVersion")
    return {"op": "test", "path": "/metadata/resourceVersion", "value": version}
