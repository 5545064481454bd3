# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _order, _plan
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._applyset import ADOPTED, PART_OF
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._discovery import Resource
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._objects import Desired, Key
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._plan import Options, Step
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer

KEY = Key("ConfigMap", "", "n", "a")
RBAC = "rbac.authorization.k8s.io"
MISSING = Answer(
    404,
    {"reason": "NotFound", "message": 'namespaces "n" not found', "details": {"kind": "namespaces", "name": "n"}},
)


def manifest(data: Any, **labels: Any) -> Any:
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}, "data": data}
    if labels:
        made["metadata"]["labels"] = labels
    return made


@pytest.fixture
def desired(kinds: Any, owner: Any) -> Any:
    return Desired(KEY, kinds.find("v1", "ConfigMap"), manifest({"a": "1"}, **owner.labels))


@pytest.fixture
def compare(desired: Any, owner: Any) -> Any:
    def go(live: Any, **options: Any) -> Any:
        return _plan.compare([desired], {KEY: live} if live else {}, owner, Options(**options))

    return go


def test_create_update_unchanged(compare: Any, stored: Any) -> None:
    for live, action in (
        (None, "create"),
        (stored(manifest({"a": "1"})), "unchanged"),
        (stored(manifest({"a": "2"})), "update"),
    ):
        (step,), problems = compare(live)
        assert (step.action, problems) == (action, [])


@pytest.mark.parametrize(
    ("pattern", "adopted"),
    [
        ("ConfigMap/n/a", True),
        ("ConfigMap/n/*", True),
        ("*", True),
        ("ConfigMap/a", False),
        ("ConfigMap/n/b", False),
        ("configmap/n/a", False),
    ],
)
def test_adopt_only_what_is_named(compare: Any, stored: Any, pattern: Any, adopted: Any) -> None:
    steps, problems = compare(stored(manifest({"a": "1"}), ours=False), adopt=[pattern])
    assert [step.action for step in steps] == (["adopt"] if adopted else [])
    assert [problem.msg for problem in problems] == (
        []
        if adopted
        else [
            "ConfigMap n/a exists and is not part of the set home/web: remove it, or adopt it with adopt=ConfigMap/n/a."
        ]
    )


def test_never_adopt_from_another_set(compare: Any, stored: Any) -> None:
    steps, (problem,) = compare(stored(manifest({"a": "1"}, **{PART_OF: "x"}), ours=False), adopt=["*"])
    assert steps == []
    assert problem.msg == "ConfigMap n/a belongs to another set (x): remove it there first."


def test_adopted_is_remembered_and_never_by_mistake(compare: Any, stored: Any) -> None:
    marked = manifest({"a": "1"})
    marked["metadata"]["annotations"] = {ADOPTED: "true"}
    (adopted,), dummy = compare(stored(manifest({"a": "1"}), ours=False), adopt=["*"])
    assert adopted.manifest["metadata"]["annotations"] == {ADOPTED: "true"}
    assert adopted.manifest["metadata"]["labels"]
    (again,), dummy = compare(stored(marked))
    assert again.action == "unchanged"
    (changed,), dummy = compare(stored({**marked, "data": {"a": "2"}}))
    assert (changed.action, changed.manifest["metadata"]["annotations"]) == ("update", {ADOPTED: "true"})
    (made,), dummy = compare(stored(manifest({"a": "2"})), adopt=["*"])
    assert "annotations" not in made.manifest["metadata"], "a member that the set made"


def test_what_is_being_deleted_is_refused(compare: Any, stored: Any) -> None:
    live = stored(manifest({"a": "1"}))
    live["metadata"].update(deletionTimestamp="now", finalizers=["example.com/f"])
    assert compare(live)[1] == [
        Problem(
            "ConfigMap n/a",
            "ConfigMap n/a is being deleted (finalizers: example.com/f): run again when it is gone.",
            "BeingDeleted",
        )
    ]


@pytest.mark.parametrize(
    ("options", "change", "expected"),
    [
        ({}, {}, ["prune"]),
        ({"prune": False}, {}, ["kept"]),
        ({"protect": ["ConfigMap"]}, {}, ["kept"]),
        ({"protect": ["ConfigMap.apps"]}, {}, ["prune"]),
        ({}, {"deletionTimestamp": "now"}, []),
        ({}, {"ownerReferences": [{"kind": "Service"}]}, []),
        ({}, {"annotations": {ADOPTED: "true"}}, ["release"]),
        ({}, {"annotations": {ADOPTED: "true"}, "ownerReferences": [{"kind": "Service"}]}, ["release"]),
        ({}, {"annotations": {ADOPTED: "true"}, "deletionTimestamp": "now"}, []),
        ({"protect": ["ConfigMap"]}, {"annotations": {ADOPTED: "true"}}, ["release"]),
        ({"prune": False}, {"annotations": {ADOPTED: "true"}}, ["kept"]),
        ({"release": ["ConfigMap"], "protect": ["ConfigMap"]}, {}, ["release"]),
        ({"release": ["ConfigMap.apps", "Secret"]}, {}, ["prune"]),
        ({"release": ["ConfigMap"], "prune": False}, {}, ["kept"]),
    ],
)
def test_leftovers(desired: Any, stored: Any, options: Any, change: Any, expected: Any) -> None:
    live = stored(manifest({}))
    live["metadata"].update(change)
    members = {KEY: (desired.resource, live)}
    assert [step.action for step in _plan.leftovers([], members, Options(**options))] == expected
    assert _plan.leftovers([desired], members, Options(**options)) == []


@pytest.fixture
def step(desired: Any, stored: Any) -> Any:
    return Step(KEY, desired.resource, "update", desired.manifest, stored(manifest({"a": "2"})))


def settle(step: Any, answer: Any, others: Any = (), **options: Any) -> Any:
    return _plan.settle(step, answer, "bulkhead.mesh/web", _plan.pending([step, *others]), Options(**options))


def test_dry_run_decides_what_is_an_update(step: Any, stored: Any) -> None:
    same = settle(step, Answer(200, stored(manifest({"a": "2"}))))
    assert same.action == "unchanged"
    other = settle(step, Answer(200, stored(manifest({"a": "1"}))))
    assert (other.action, other.after["data"], other.predicted) == ("update", {"a": "1"}, False)


def test_missing_namespace_is_predicted_only_in_check_mode(step: Any) -> None:
    assert settle(step, MISSING, check=True).predicted
    assert settle(step, MISSING).msg == (
        "ConfigMap n/a: the namespace n does not exist: add it to the objects, or create it first."
    )


def test_conflict_names_manager_and_fields(step: Any) -> None:
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}" using v1', "field": name}
        for manager, name in (("kubectl-edit", ".data.a"), ("helm", ".data.b"), ("kubectl-edit", ".data.c"))
    ]
    problem = settle(step, Answer(409, {"reason": "Conflict", "details": {"causes": causes}}))
    assert problem.reason == "Conflict"
    assert problem.msg == (
        "ConfigMap n/a has fields that others manage with other values: .data.a, .data.c of kubectl-edit; "
        ".data.b of helm: remove them from the input, or take them over with force_conflicts=true."
    )


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (
            403,
            'configmaps "a" is forbidden: User "u" cannot patch resource "configmaps" in API group ""',
            'ConfigMap n/a: not allowed to apply it: configmaps "a" is forbidden: User "u" cannot patch resource '
            '"configmaps" in API group "": grant it by a Role or ClusterRole.',
        ),
        (
            403,
            "ValidatingAdmissionPolicy 'p' denied request: no.",
            "ConfigMap n/a: the API server refused to apply it with status 403: ValidatingAdmissionPolicy 'p' denied "
            "request: no: correct the object.",
        ),
        (
            422,
            'ConfigMap "a" is invalid: data: field is immutable when `immutable` is set',
            "ConfigMap n/a: the API server refused to apply it with status 422: data: field is immutable when "
            "`immutable` is set: correct the object, or delete it first where a field cannot be changed.",
        ),
        (
            500,
            "failed to create typed patch object (n/a; /v1, Kind=ConfigMap): .datta: field not declared in schema",
            "ConfigMap n/a: the API server refused to apply it with status 500: .datta: field not declared in schema: "
            "correct the object.",
        ),
    ],
)
def test_refusals(step: Any, status: Any, message: Any, expected: Any) -> None:
    assert settle(step, Answer(status, {"message": message})).msg == expected


def test_words_about_a_secret_are_not_shown(step: Any) -> None:
    secret = replace(step, key=Key("Secret", "", "n", "a"))
    body = {"message": "invalid value hunter2", "reason": "Invalid", "details": {"causes": [{"field": "data[k]"}]}}
    problem = settle(secret, Answer(422, body))
    assert "hunter2" not in problem.msg
    assert "Invalid (data[k])" in problem.msg


def test_binding_waits_for_its_role(kinds: Any) -> None:
    def rbac(kind: str, name: str, **rest: Any) -> Any:
        resource = kinds.find(f"{RBAC}/v1", kind)
        return Step(Key(kind, RBAC, "n", name), resource, "create", {"metadata": {"name": name}, **rest})

    binding = rbac("RoleBinding", "b", roleRef={"kind": "Role", "name": "r"})
    no_role = Answer(404, {"message": 'roles.rbac.authorization.k8s.io "r" not found'})
    assert settle(binding, no_role, [rbac("Role", "r")]).predicted
    assert isinstance(settle(binding, no_role, [rbac("Role", "other")]), Problem)
    assert isinstance(settle(binding, Answer(422, {}), [rbac("Role", "r")]), Problem)


def test_webhook_without_dry_run_is_predicted(step: Any) -> None:
    assert settle(step, Answer(400, {"message": 'admission webhook "w" does not support dry run'})).predicted


@pytest.mark.parametrize(("status", "gone"), [(200, False), (404, True)])
def test_dry_run_of_a_deletion(step: Any, status: Any, gone: Any) -> None:
    pruned = replace(step, action="prune")
    assert settle(pruned, Answer(status, {})) == (None if gone else pruned)


@pytest.mark.parametrize(("status", "gone"), [(404, True), (409, True), (422, False), (403, False)])
def test_dry_run_of_giving_back(step: Any, status: Any, gone: Any) -> None:
    released = replace(step, action="release")
    result = settle(released, Answer(status, {"message": "spec.versions: Required value"}))
    assert (result is None) == gone
    if not gone:
        assert result.msg == (
            f"ConfigMap n/a: the API server refused to release it with status {status}: spec.versions: Required value: "
            "it needs fields that only this set gives it, so let somebody else set them before, or delete it."
        )


def test_no_dry_run_without_namespace_or_kind(kinds: Any, step: Any) -> None:
    namespace = Step(Key("Namespace", "", "", "n"), kinds.find("v1", "Namespace"), "create")
    assert _plan.can_be_tried(step, _plan.pending([step]))
    assert not _plan.can_be_tried(step, _plan.pending([step, namespace]))
    assert _plan.can_be_tried(step, _plan.pending([step, replace(namespace, action="update")]))
    unserved = replace(step, resource=Resource("e.com", "v1", "Foo", "foos", True, served=False))
    assert not _plan.can_be_tried(unserved, _plan.pending([unserved]))


def test_order() -> None:
    given = [
        ("apps", "Deployment"),
        ("example.com", "Deployment"),
        ("", "Service"),
        ("networking.k8s.io", "NetworkPolicy"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("", "Secret"),
        ("", "ConfigMap"),
        (RBAC, "RoleBinding"),
        (RBAC, "Role"),
        ("", "ServiceAccount"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("", "Namespace"),
    ]
    steps = [Step(Key(kind, group, "", "x"), Resource(group, "v1", kind, "x", True), "create") for group, kind in given]
    ranks = [[step.key.kind for step in rank] for rank in _order.in_ranks(steps)]
    assert ranks == [
        ["Namespace"],
        ["CustomResourceDefinition"],
        ["ServiceAccount"],
        ["Role"],
        ["RoleBinding"],
        ["Secret", "ConfigMap"],
        ["ValidatingAdmissionPolicy"],
        ["ValidatingAdmissionPolicyBinding"],
        ["NetworkPolicy"],
        ["Service"],
        ["Deployment"],
        ["Deployment"],
    ]
    assert _order.in_ranks(steps)[-1][0].key.group == "apps", "a custom kind of the same name comes before"
    assert _order.in_ranks(steps, last_first=True) == _order.in_ranks(steps)[::-1]
