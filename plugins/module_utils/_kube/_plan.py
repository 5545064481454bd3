# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Pure: what is wanted and what is there -> steps; the answers of dry runs -> final steps or problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _applyset, _managed, _objects, _refusal
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._discovery import CRD, Resource
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._objects import Desired, Key
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer

CREATE, UPDATE, ADOPT, UNCHANGED = "create", "update", "adopt", "unchanged"
PRUNE, RELEASE, KEPT = "prune", "release", "kept"
WRITES = (CREATE, UPDATE, ADOPT)
LEAVES = (PRUNE, RELEASE)
GONE = (404, 409)  # 409: the uid is another one, so somebody has made a new object of this name
_RBAC = "rbac.authorization.k8s.io"
Live = Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """How to plan; patterns of ``adopt`` match ``Kind/namespace/name``, ``protect`` and ``release`` hold kinds."""

    adopt: Sequence[str] = ()
    prune: bool = True
    protect: Sequence[str] = ()
    release: Sequence[str] = ()
    force: bool = False
    check: bool = False


@dataclass(frozen=True)
class Step:
    """What happens to one object; ``after`` is what the server made of it (or would), None until it was asked."""

    key: Key
    resource: Resource
    action: str
    manifest: Live | None = None
    live: Live | None = None
    after: Live | None = None
    predicted: bool = False


@dataclass(frozen=True)
class Pending:
    """What other objects may need and this set is going to write."""

    namespaces: frozenset[str]
    group_kinds: frozenset[str]
    roles: frozenset[Key]


def compare(
    desired: Iterable[Desired], live: Mapping[Key, Live], owner: _applyset.ObjectSet, options: Options
) -> tuple[list[Step], list[Problem]]:
    """One step for each wanted object; ``update`` means only that it is not plainly the same."""
    steps, problems = [], []
    for item in desired:
        there = live.get(item.key)
        if there is None:
            steps.append(Step(item.key, item.resource, CREATE, item.manifest))
            continue
        refused = _refused(item.key, there, owner, options)
        if refused:
            problems.append(Problem(str(item.key), *refused))
            continue
        member = _objects.labels_of(there).get(_applyset.PART_OF) == owner.id
        keep_mark = not member or _applyset.is_adopted(there)
        manifest = _applyset.as_adopted(item.manifest) if keep_mark else item.manifest
        if not member:
            steps.append(Step(item.key, item.resource, ADOPT, manifest, there))
        elif _managed.plainly_same(item.resource, owner.manager, manifest, there):
            steps.append(Step(item.key, item.resource, UNCHANGED, manifest, there, there))
        else:
            steps.append(Step(item.key, item.resource, UPDATE, manifest, there))
    return steps, problems


def _refused(key: Key, there: Live, owner: _applyset.ObjectSet, options: Options) -> tuple[str, str] | None:
    """(sentence, reason) where an existing object may not be touched."""
    if _objects.is_dying(there):
        finalizers = ", ".join(there["metadata"].get("finalizers") or []) or "none of its own"
        return f"{key} is being deleted (finalizers: {finalizers}): run again when it is gone.", "BeingDeleted"
    label = _objects.labels_of(there).get(_applyset.PART_OF)
    if label == owner.id:
        return None
    if label:
        return f"{key} belongs to another set ({label}): remove it there first.", "NotOurs"
    if any(fnmatchcase(key.path, pattern) for pattern in options.adopt):
        return None
    return f"{key} exists and is not part of the set {owner}: remove it, or adopt it with adopt={key.path}.", "NotOurs"


def leftovers(desired: Iterable[Desired], members: Mapping[Key, tuple[Resource, Live]], options: Options) -> list[Step]:
    """A step for each member that is not wanted any more, in a stable order."""
    wanted = {item.key for item in desired}
    steps = []
    for key in sorted(members):
        resource, live = members[key]
        # an owner's object got the label by copy, as EndpointSlices do from their Service; it goes with its owner
        copied = live["metadata"].get("ownerReferences") and not _applyset.is_adopted(live)
        if key in wanted or _objects.is_dying(live) or copied:
            continue
        action = _leaving(key, resource, live, options)
        steps.append(Step(key, resource, action, live=live, after=live if action == KEPT else None))
    return steps


def _leaving(key: Key, resource: Resource, live: Live, options: Options) -> str:
    """What becomes of a member that is not wanted any more."""
    names = {key.kind, resource.group_kind}
    if not options.prune:
        return KEPT
    if _applyset.is_adopted(live) or names & set(options.release):
        return RELEASE
    return KEPT if names & set(options.protect) else PRUNE


def pending(steps: Iterable[Step]) -> Pending:
    """What ``steps`` will write that other steps may wait for."""
    writes = [step for step in steps if step.action in WRITES]
    kinds = set()
    for step in writes:
        if (step.key.group, step.key.kind) == CRD:
            spec = (step.manifest or {}).get("spec") or {}
            kinds.add(f"{(spec.get('names') or {}).get('kind')}.{spec.get('group')}")
    return Pending(
        frozenset(s.key.name for s in writes if s.action == CREATE and (s.key.group, s.key.kind) == ("", "Namespace")),
        frozenset(kinds),
        frozenset(step.key for step in writes if step.key.group == _RBAC and step.key.kind in ("Role", "ClusterRole")),
    )


def can_be_tried(step: Step, waiting: Pending) -> bool:
    """Whether a dry run of ``step`` is possible now: not while its namespace or kind is still to be made."""
    return step.resource.served and step.key.namespace not in waiting.namespaces


def settle(step: Step, answer: Answer, manager: str, waiting: Pending, options: Options) -> Step | Problem | None:
    """The final step after its dry run; None where there is nothing left to do (it is gone already)."""
    if step.action == PRUNE:
        if answer.status == 404:
            return None
        return step if answer.ok else _refusal.problem(step.key, answer, "delete")
    if step.action == RELEASE and answer.status in GONE:
        return None
    if answer.ok:
        if step.action == UPDATE and step.live and _managed.same_result(step.live, answer.body, manager):
            return replace(step, action=UNCHANGED, after=step.live)
        return replace(step, after=answer.body)
    if _cannot_be_known(step, answer, waiting, options):
        return replace(step, predicted=True)
    return _refusal.problem(step.key, answer, "release" if step.action == RELEASE else "apply")


def _cannot_be_known(step: Step, answer: Answer, waiting: Pending, options: Options) -> bool:
    """Whether a failed dry run says nothing about the real run."""
    if _refusal.missing_namespace(answer):
        return options.check  # in a real run it would fail in the middle
    if "does not support dry run" in answer.message:
        return True
    if step.resource.group_kind in waiting.group_kinds:
        return True
    if step.key.group == _RBAC and step.key.kind in ("RoleBinding", "ClusterRoleBinding"):
        reference = (step.manifest or {}).get("roleRef") or {}
        namespace = step.key.namespace if reference.get("kind") == "Role" else ""
        role = Key(str(reference.get("kind")), _RBAC, namespace, str(reference.get("name")))
        return answer.status in (403, 404) and role in waiting.roles
    return False


def entry(step: Step) -> dict[str, Any]:
    """A step as the result shows it."""
    return {
        "kind": step.key.kind,
        "api_version": step.resource.api_version,
        "namespace": step.key.namespace or None,
        "name": step.key.name,
        "action": step.action,
        "predicted": step.predicted,
    }
