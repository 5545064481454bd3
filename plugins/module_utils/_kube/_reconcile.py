# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The engine for plain objects: read, plan, ask the server about every change, and only then write.

Nothing is written before the whole plan has passed a dry run. The parent is written before the first member and
trimmed after the last deletion, so whatever a killed run leaves is found by the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import (
    _applyset,
    _calls,
    _client,
    _discovery,
    _input,
    _objects,
    _plan,
    _read,
    _refusal,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._apply import Report, Waiting, Writer, each
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import Problem, all_of
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._objects import Desired, Key
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._plan import Options, Step


@dataclass(frozen=True)
class Job:
    """What is asked of one run."""

    owner: _applyset.ObjectSet
    objects: Sequence[Mapping[str, Any]] = ()
    present: bool = True
    options: Options = field(default_factory=Options)
    wait: bool = False
    waiting: Waiting = field(default_factory=lambda: Waiting(120, 1.0))


@dataclass(frozen=True)
class World:
    """What was read: ``recorded`` by the parent, ``members`` by label, ``found`` is those and the wanted ones."""

    parent: Mapping[str, Any] | None
    recorded: _applyset.Members
    members: _read.Found
    found: _read.Found


def reconcile(client: _client.Caller, target: Target, job: Job, report: Report) -> None:
    """Make the set what ``job`` says and tell it in ``report``; in check mode only plan."""
    problems = _input.names({"name": job.owner.name, "namespace": job.owner.namespace})
    if problems:
        raise all_of(problems)
    kinds, parent = _first_round(client, target, job)
    known = kinds.plus(_discovery.promised(job.objects))
    recorded = _applyset.recorded(job.owner, parent)
    desired: list[Desired] = []
    if job.present:
        desired, problems, report.warnings = _input.read(job.objects, known, job.owner, predict=job.options.check)
        if problems:
            raise all_of(problems)
        where = recorded.plus(_applyset.members((item.resource, item.key.namespace) for item in desired))
    else:
        where = recorded.plus(_places(job.objects, known))
    world = _second_round(client, target, job, kinds, parent, recorded, where, desired)
    report.plan = _planned(client, job, world, desired)
    before, after = _records(recorded, report.plan)
    keeps = job.present or any(step.action == _plan.KEPT for step in report.plan)
    # a parent whose namespace is deleted goes with it
    deleted = set(world.members) - {step.key for step in report.plan if step.action != _plan.PRUNE}
    forgets = parent is not None and not keeps and _home(job) not in deleted
    if job.options.check:
        report.record_written = forgets or (keeps and not _applyset.same_record(job.owner, after, recorded))
        _warn_of_namespaces(report)
        return
    writer = Writer(client, job.owner, report, job.waiting)
    if job.present:
        _write(writer, job, recorded, before)
    _remove(writer, job, world)
    if keeps and not _applyset.same_record(job.owner, after, replace(before, exists=True)):
        writer.record(after)
    if forgets and parent is not None:
        writer.forget(parent)


def changed(report: Report, *, check: bool) -> bool:
    """Whether anything was written, or would be."""
    planned = check and any(step.action in (*_plan.WRITES, *_plan.LEAVES) for step in report.plan)
    return bool(planned or report.written or report.record_written)


def _first_round(client: _client.Caller, target: Target, job: Job) -> tuple[_discovery.Kinds, Mapping[str, Any] | None]:
    place = _calls.get(_applyset.CONFIG_MAP, job.owner.namespace, job.owner.name)
    answers = _client.read_all(client, {**_discovery.requests(), "parent": place})
    kinds = _discovery.kinds(answers, target.server)
    parent = answers["parent"]
    return kinds, None if parent.status == 404 else _client.demand(parent, place, target)


def _places(objects: Sequence[Mapping[str, Any]], kinds: _discovery.Kinds) -> _applyset.Members:
    """Kinds and namespaces that ``objects`` mention, for an absent set whose parent is gone."""
    found = []
    for manifest in objects:
        resource = kinds.find(str(manifest.get("apiVersion")), str(manifest.get("kind")))
        metadata = manifest.get("metadata")
        if resource is not None and isinstance(metadata, Mapping):
            found.append((resource, str(metadata.get("namespace") or "")))
    return _applyset.members(found)


def _second_round(
    client: _client.Caller,
    target: Target,
    job: Job,
    kinds: _discovery.Kinds,
    parent: Mapping[str, Any] | None,
    recorded: _applyset.Members,
    where: _applyset.Members,
    desired: list[Desired],
) -> World:
    looked_for = _read.resources(where, desired, kinds)
    found = _read.members(client, target, job.owner, looked_for, where.namespaces)
    missing = [item for item in desired if item.key not in found and item.resource.served]
    return World(parent, recorded, found, {**found, **_read.others(client, target, missing)})


def _planned(client: _client.Caller, job: Job, world: World, desired: list[Desired]) -> list[Step]:
    """The final steps: every change has been tried by a dry run where that is possible."""
    live = {key: item for key, (dummy, item) in world.found.items()}
    steps, problems = _plan.compare(desired, live, job.owner, job.options)
    if problems:
        raise all_of(problems)
    options = job.options if job.present else replace(job.options, prune=True)
    steps += _plan.leftovers(desired, world.members, options)
    settled, problems = _tried(client, job, steps)
    problems += _parent_problem(client, job, world, settled)
    if problems:
        raise all_of(problems)
    return settled


def _tried(client: _client.Caller, job: Job, steps: Sequence[Step]) -> tuple[list[Step], list[Problem]]:
    """``steps`` after the dry runs that are possible now, and what they found wrong."""
    absent = _plan.pending(steps)
    owner, options = job.owner, job.options

    def one(step: Step) -> Step | Problem | None:
        if step.action not in (*_plan.WRITES, *_plan.LEAVES):
            return step
        if not _plan.can_be_tried(step, absent):
            return replace(step, predicted=True)
        if step.action == _plan.PRUNE:
            request = _calls.delete(step.resource, step.live or {}, dry=True)
        elif step.action == _plan.RELEASE:
            request = _calls.release(step.resource, step.live or {}, owner.manager, dry=True)
        else:
            request = _calls.apply(step.resource, step.manifest or {}, owner.manager, force=options.force, dry=True)
        return _plan.settle(step, client.call(request), owner.manager, absent, options)

    settled = each(one, steps)
    problems = [result for result in settled if isinstance(result, Problem)]
    return [result for result in settled if isinstance(result, Step)], problems


def _parent_problem(client: _client.Caller, job: Job, world: World, steps: Sequence[Step]) -> list[Problem]:
    """Try to write the parent, which has to be possible before anything else is written."""
    before = _records(world.recorded, steps)[0]
    if not job.present or _applyset.same_record(job.owner, before, world.recorded):
        return []
    if job.owner.namespace in _plan.pending(steps).namespaces:
        return []
    manifest = _applyset.manifest(job.owner, before)
    answer = client.call(_calls.apply(_applyset.CONFIG_MAP, manifest, job.owner.manager, force=True, dry=True))
    if answer.ok or (job.options.check and _refusal.missing_namespace(answer)):
        return []
    return [_refusal.problem(Key("ConfigMap", "", job.owner.namespace, job.owner.name), answer)]


def _records(recorded: _applyset.Members, steps: Sequence[Step]) -> tuple[_applyset.Members, _applyset.Members]:
    """The parent's content (while members come and go, at the end)."""
    after = _applyset.members((step.resource, step.key.namespace) for step in steps if step.action not in _plan.LEAVES)
    return recorded.plus(after), after


def _write(writer: Writer, job: Job, recorded: _applyset.Members, before: _applyset.Members) -> None:
    steps, force = writer.report.plan, job.options.force
    namespaces = [step for step in steps if step.key.kind == "Namespace" and step.action in _plan.WRITES]
    # the parent's own namespace is the one member that has to come before it
    writer.write([step for step in namespaces if step.key == _home(job)], force=force)
    if not _applyset.same_record(job.owner, before, recorded):
        writer.record(before)
    writer.write([step for step in namespaces if step.key != _home(job)], force=force)
    steps = [step for step in steps if step not in namespaces]
    if namespaces:
        # what could not be tried for want of a namespace can be now, before the rest is written
        late = [step for step in steps if step.predicted and step.key.namespace]
        problems = _tried(writer.client, job, late)[1]
        if problems:
            raise all_of(problems)
    writer.write(steps, force=force)
    if job.wait:
        writer.until_ready([step for step in writer.report.steps if step.action in (*_plan.WRITES, _plan.UNCHANGED)])


def _remove(writer: Writer, job: Job, world: World) -> None:
    writer.remove(writer.report.plan)
    if job.wait:
        wanted = {step.key for step in writer.report.plan if step.action != _plan.PRUNE}
        going = [step for step in writer.report.plan if step.action == _plan.PRUNE]
        going += [
            Step(key, resource, _plan.PRUNE, live=live)
            for key, (resource, live) in world.members.items()
            if _objects.is_dying(live) and key not in wanted
        ]
        writer.until_gone(going)


def _home(job: Job) -> Key:
    """The namespace of the set's parent."""
    return Key("Namespace", "", "", job.owner.namespace)


def _warn_of_namespaces(report: Report) -> None:
    """Name namespaces that a real run would miss."""
    made = {step.key.name for step in report.plan if step.key.kind == "Namespace"}
    missing = {
        step.key.namespace
        for step in report.plan
        if step.predicted and step.resource.served and step.action == _plan.CREATE
    } - made
    for namespace in sorted(missing - {""}):
        report.warnings.append(f"The namespace {namespace} does not exist: a real run needs it to be made before.")
