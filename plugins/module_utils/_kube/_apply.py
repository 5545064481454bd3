# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Carry out a plan: in order, in parallel where order does not matter, stopping at the first rank that fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import (
    _applyset,
    _calls,
    _order,
    _plan,
    _refusal,
    _workload_pods,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._client import PARALLEL, Caller
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._discovery import CRD
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError, Problem, all_of
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._objects import Key
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._patience import Patience
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._plan import Step
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._ready import ready
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import wait_until
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._workload_pods import Standing

FRESH_KIND = 10.0  # seconds that a new kind's URL may still answer 404 after it was established
Wait = Callable[..., "tuple[bool, object]"]


@dataclass
class Report:
    """What a run did, kept up to date so that a failure tells it as well."""

    plan: list[Step] = field(default_factory=list)
    written: dict[Key, Step] = field(default_factory=dict)  # with the server's answer
    record_written: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def steps(self) -> list[Step]:
        """The plan with what the server made of it so far."""
        return [self.written.get(step.key, step) for step in self.plan]


@dataclass(frozen=True)
class Waiting:
    """How long to wait, how often to look, and by which clock."""

    timeout: float
    sleep: float
    wait: Wait = wait_until


class Writer:
    """The only code of the engine that changes the cluster."""

    def __init__(self, client: Caller, owner: _applyset.ObjectSet, report: Report, waiting: Waiting) -> None:
        self.client = client
        self.owner = owner
        self.report = report
        self.waiting = waiting

    def record(self, where: _applyset.Members, *, dry: bool = False) -> None:
        """Write the set's parent."""
        request = _calls.apply(
            _applyset.CONFIG_MAP,
            _applyset.manifest(self.owner, where),
            self.owner.manager,
            force=True,  # it is ours by its label; what others put into it does not count
            dry=dry,
        )
        key = Key("ConfigMap", "", self.owner.namespace, self.owner.name)
        answer = self.client.call(request)
        if not answer.ok:
            raise all_of([_refusal.problem(key, answer)], answer.status)
        self.report.record_written |= not dry

    def forget(self, parent: Mapping[str, Any]) -> None:
        """Delete the set's parent."""
        answer = self.client.call(_calls.delete(_applyset.CONFIG_MAP, parent, dry=False))
        if not answer.ok and answer.status != 404:
            key = Key("ConfigMap", "", self.owner.namespace, self.owner.name)
            raise all_of([_refusal.problem(key, answer, "delete")], answer.status)
        self.report.record_written = True

    def write(self, steps: Sequence[Step], *, force: bool) -> None:
        """Create, update and adopt, rank by rank."""
        writes = [step for step in steps if step.action in _plan.WRITES]
        promised = {step.resource.group_kind for step in steps if not step.resource.served}
        for rank in _order.in_ranks(writes):
            self._all(rank, lambda step: self._apply(step, force))
            defined = [step for step in rank if (step.key.group, step.key.kind) == CRD and _defines(step, promised)]
            if defined:
                self.until_ready([self.report.written[step.key] for step in defined])

    def remove(self, steps: Sequence[Step]) -> None:
        """Delete and give back, in the opposite order."""
        for rank in _order.in_ranks([step for step in steps if step.action in _plan.LEAVES], last_first=True):
            self._all(rank, lambda step: self._delete(step) if step.action == _plan.PRUNE else self._release(step))

    def _apply(self, step: Step, force: bool) -> Problem | None:
        request = _calls.apply(step.resource, step.manifest or {}, self.owner.manager, force=force, dry=False)
        answer = self.client.call(request) if step.resource.served else self._when_served(request)
        if not answer.ok:
            return _refusal.problem(step.key, answer)
        self.report.written[step.key] = replace(step, after=answer.body)
        return None

    def _when_served(self, request: Request) -> Answer:
        def look() -> tuple[bool, object]:
            answer = self.client.call(request)
            return answer.status != 404, answer

        answer: Any = self.waiting.wait(look, timeout=FRESH_KIND, sleep=0.1)[1]
        return answer

    def _delete(self, step: Step) -> Problem | None:
        answer = self.client.call(_calls.delete(step.resource, step.live or {}, dry=False))
        if not answer.ok and answer.status not in _plan.GONE:
            return _refusal.problem(step.key, answer, "delete")
        self.report.written[step.key] = step
        return None

    def _release(self, step: Step) -> Problem | None:
        answer = self.client.call(_calls.release(step.resource, step.live or {}, self.owner.manager, dry=False))
        if not answer.ok and answer.status not in _plan.GONE:
            return _refusal.problem(step.key, answer, "release")
        self.report.written[step.key] = replace(step, after=answer.body) if answer.ok else step
        return None

    def _all(self, steps: Sequence[Step], do: Callable[[Step], Problem | None]) -> None:
        """Do all of a rank whatever comes of the others, then fail if one failed."""

        def one(step: Step) -> Problem | KubeError | None:
            try:
                return do(step)
            except KubeError as exc:
                return exc

        results = each(one, steps)
        errors = [result for result in results if isinstance(result, KubeError)]
        if errors:
            raise errors[0]
        problems = [result for result in results if isinstance(result, Problem)]
        if problems:
            raise all_of(problems)

    def until_ready(self, steps: Iterable[Step]) -> None:
        """Wait for the objects that stay; the first look takes what is known already."""
        known = {step.key: step.after or step.live for step in steps}
        left = {step.key: step for step in steps}
        first = [True]
        patience, hopeless = Patience(), False

        def look() -> tuple[bool, object]:
            nonlocal hopeless
            again = not first[0]
            if again:
                known.update(self._read(left.values()))
            first[0] = False
            verdicts = {key: Standing(*_judge(key, known[key])) for key in left}
            for key, verdict in list(verdicts.items()):
                if verdict.ready:
                    left.pop(key)
                elif again and key.group == "apps" and known[key]:
                    live = {**known[key], "kind": key.kind}
                    verdicts[key] = _workload_pods.by_pods(self.client, live, patience, False, verdict.words)
            hopeless = any(verdict.certain for verdict in verdicts.values())
            return not left or hopeless, {key: one.words for key, one in verdicts.items() if not one.ready}

        self._wait(look, "not ready", "NotReady", "look at its events and pods")

    def until_gone(self, targets: Iterable[Step]) -> None:
        """Wait until deleted objects do not exist any more."""
        left = {step.key: step for step in targets}
        uids = {key: (step.live or {})["metadata"]["uid"] for key, step in left.items()}

        def look() -> tuple[bool, object]:
            for key, live in self._read(left.values()).items():
                if live is None or live["metadata"]["uid"] != uids[key]:
                    left.pop(key)
                else:
                    evidence[key] = f"it still exists (finalizers: {_finalizers(live)})"
            return not left, {key: evidence[key] for key in left}

        evidence: dict[Key, str] = {}
        if left:
            self._wait(look, "not gone", "NotGone", "find out who has to remove its finalizers")

    def _read(self, steps: Iterable[Step]) -> dict[Key, Any]:
        def one(step: Step) -> tuple[Key, Any]:
            answer = self.client.call(_calls.get(step.resource, step.key.namespace, step.key.name))
            if not answer.ok and answer.status != 404:
                raise all_of([_refusal.problem(step.key, answer, "read")], answer.status)
            return step.key, answer.body if answer.ok else None

        return dict(each(one, list(steps)))

    def _wait(self, look: Callable[[], tuple[bool, object]], state: str, reason: str, remedy: str) -> None:
        timeout = self.waiting.timeout
        done, evidence = self.waiting.wait(look, timeout=timeout, sleep=self.waiting.sleep)
        # A wait that is over before its time with something left had become no use.
        when, more = ("", "") if done else (f" after {timeout:g} s", ", or raise wait_timeout")
        if isinstance(evidence, dict) and evidence:
            raise all_of(
                [
                    Problem(str(key), f"{key} is {state}{when}: {words}: {remedy}{more}.", reason)
                    for key, words in evidence.items()
                ]
            )


def each(do: Callable[[Any], Any], things: Sequence[Any]) -> list[Any]:
    """``do`` of all things, several at a time, in their order."""
    if not things:
        return []
    with ThreadPoolExecutor(max_workers=min(PARALLEL, len(things))) as pool:
        return list(pool.map(do, things))


def _judge(key: Key, live: Mapping[str, Any] | None) -> tuple[bool, str]:
    return ready(key.group, key.kind, live) if live else (False, "it does not exist")


def _defines(step: Step, promised: set[str]) -> bool:
    spec = (step.manifest or {}).get("spec") or {}
    return f"{(spec.get('names') or {}).get('kind')}.{spec.get('group')}" in promised


def _finalizers(live: Mapping[str, Any]) -> str:
    own = (live.get("spec") or {}).get("finalizers") or [] if live.get("kind") == "Namespace" else []
    return ", ".join([*(live["metadata"].get("finalizers") or []), *own]) or "none"
