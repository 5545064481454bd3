# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer

TARGET = Target("127.0.0.1:6443", "context lab")
PATH = "/apis/apps/v1/namespaces/n/statefulsets/s"
TEST = {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}


def stateful(replicas: Any = 1, generation: Any = 2, observed: Any = 2, revision: Any = "new") -> Any:
    return {
        "kind": "StatefulSet",
        "metadata": {"name": "s", "namespace": "n", "generation": generation, "resourceVersion": "7"},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": observed, "updateRevision": revision},
    }


def pod(
    name: Any = "s-0", revision: Any = "new", ready: Any = True, owner: Any = ("StatefulSet", "s"), **metadata: Any
) -> Any:
    return {
        "metadata": {
            "name": name,
            "namespace": "n",
            "uid": f"uid-{name}",
            "labels": {"controller-revision-hash": revision, "pod-template-hash": revision},
            "ownerReferences": [{"kind": owner[0], "name": owner[1], "controller": True}],
            **metadata,
        },
        "spec": {"initContainers": [], "containers": []},
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


DYING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("workload", "pods", "done", "stale", "waiting"),
    [
        (stateful(), [pod()], True, [], ""),
        (stateful(0), [], True, [], ""),
        (
            stateful(observed=1),
            [pod()],
            False,
            [],
            "the controller has not seen the newest template of StatefulSet n/s",
        ),
        # What status calls newest may be the old revision: nobody may be deleted.
        (stateful(observed=1), [pod(revision="old", ready=False)], False, [], None),
        (stateful(), [], False, [], "0 of 1 pods of StatefulSet n/s are ready"),
        (stateful(), [pod(ready=False)], False, [], "0 of 1 pods of StatefulSet n/s are ready"),
        (stateful(), [pod(**DYING)], False, [], None),
        (stateful(), [pod(revision="old")], False, [], "still of an older template: s-0"),
        (stateful(), [pod(revision="old", ready=False)], False, ["s-0"], None),
        (stateful(), [pod(revision="old", ready=False, **DYING)], False, [], None),
        (stateful(2), [pod("s-0", "old", ready=False), pod("s-1")], False, ["s-0"], None),
        (stateful(1), [pod("s-0"), pod("s-1")], False, [], None),
        (stateful(revision=None), [pod()], False, [], None),
    ],
)
def test_rollout_of_a_stateful_set(workload: Any, pods: Any, done: Any, stale: Any, waiting: Any) -> None:
    state = _workload.rollout(workload, pods)
    assert state.done is done
    assert [one["metadata"]["name"] for one in state.stale] == stale
    assert waiting is None or state.waiting == waiting


def deployment(revision: Any = "2") -> Any:
    made = stateful()
    made["kind"] = "Deployment"
    made["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": revision}
    return made


def replica_set(name: Any, revision: Any, owner: Any = "s") -> Any:
    return {
        "metadata": {
            "name": name,
            "namespace": "n",
            "annotations": {"deployment.kubernetes.io/revision": revision},
            "labels": {"pod-template-hash": name},
            "ownerReferences": [{"kind": "Deployment", "name": owner, "controller": True}],
        }
    }


def test_rollout_of_a_deployment_goes_by_its_newest_replica_set() -> None:
    sets = [replica_set("one", "1"), replica_set("two", "2"), replica_set("other", "2", "another")]
    pods = [pod("s-two-x", "two", owner=("ReplicaSet", "two")), pod("other-x", "other", owner=("ReplicaSet", "other"))]
    own = _workload.own_pods(deployment(), pods, sets)
    assert [one["metadata"]["name"] for one in own] == ["s-two-x"]
    assert _workload.rollout(deployment(), own, sets).done
    assert not _workload.rollout(deployment("3"), own, sets).done, "no ReplicaSet of the newest template yet"
    old = [pod("s-one-x", "one", owner=("ReplicaSet", "one"))]
    assert not _workload.rollout(deployment(), old, sets).done


def test_a_recreate_that_ends_old_pods_is_not_done_although_the_revision_is_still_the_old_one() -> None:
    def template(image: str, **labels: str) -> Any:
        return {"metadata": {"labels": {"app": "s", **labels}}, "spec": {"containers": [{"name": "a", "image": image}]}}

    changed = deployment("1")
    changed["spec"]["template"] = template("new")
    old = replica_set("one", "1")
    old["spec"] = {"template": template("old", **{"pod-template-hash": "one"})}
    pods = [pod("s-one-x", "one", owner=("ReplicaSet", "one"))]
    assert not _workload.rollout(changed, pods, [old]).done, "the ready pod is of the old template"
    new = replica_set("two", "2")
    new["spec"] = {"template": template("new", **{"pod-template-hash": "two"})}
    assert not _workload.rollout(changed, pods, [old, new]).done
    assert _workload.rollout(changed, [pod("s-two-x", "two", owner=("ReplicaSet", "two"))], [old, new]).done


def test_a_refused_pod_counts_if_it_was_after_the_last_write(fake_api: Any) -> None:
    def event(message: str, stamp: str, reason: str = "FailedCreate") -> Any:
        return {
            "involvedObject": {"name": "s"},
            "reason": reason,
            "message": message,
            "lastTimestamp": stamp,
            "metadata": {},
        }

    written = stateful()
    written["metadata"]["managedFields"] = [
        {"time": "2026-01-01T00:01:00Z"},
        {"time": "2026-01-01T00:09:00Z", "subresource": "status"},
    ]
    events = [event("old", "2026-01-01T00:00:59Z"), event("other", "2026-01-01T00:02:00Z", "FailedMount")]
    path = "GET /api/v1/namespaces/n/events"
    assert _workload.last_warnings(fake_api({path: Answer(200, {"items": events})}), written) == ("other", "")
    events.append(event("new", "2026-01-01T00:01:00Z"))
    assert _workload.last_warnings(fake_api({path: Answer(200, {"items": events})}), written) == ("other", "new")


def test_own_pods_are_those_it_controls_by_number() -> None:
    pods = [
        pod("s-10"),
        pod("s-2"),
        pod("t-0", owner=("StatefulSet", "t")),
        {**pod("s-1"), "metadata": {**pod("s-1")["metadata"], "namespace": "m"}},
    ]
    assert [one["metadata"]["name"] for one in _workload.own_pods(stateful(), pods)] == ["s-2", "s-10"]


def test_patch_without_a_test_of_the_version_is_a_mistake(fake_api: Any) -> None:
    with pytest.raises(ValueError, match="resourceVersion"):
        _workload.patch_tested(fake_api({}), TARGET, PATH, "StatefulSet n/s", [{"op": "remove", "path": "/spec"}])


@pytest.mark.parametrize("dry_run", [False, True])
def test_patch(fake_api: Any, dry_run: bool) -> None:
    api = fake_api({f"PATCH {PATH}": Answer(200, {"spec": {}})})
    assert _workload.patch_tested(api, TARGET, PATH, "StatefulSet n/s", [TEST], dry_run) == {"spec": {}}
    (call,) = api.calls
    assert call.content_type == "application/json-patch+json" and call.body == [TEST]
    assert call.query == {"fieldManager": "bulkhead.mesh", **({"dryRun": "All"} if dry_run else {})}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(422, {"reason": "Invalid", "message": "error in our request", "details": {}}), "Changed"),
        (Answer(409, {"reason": "Conflict", "message": "modified"}), "Changed"),
        (Answer(422, {"reason": "Invalid", "message": "bad", "details": {"causes": [{"field": "spec"}]}}), "Invalid"),
        (Answer(403, {"reason": "Forbidden", "message": "no"}), "Forbidden"),
    ],
)
def test_a_lost_race_is_told_apart_from_a_refusal(fake_api: Any, answer: Any, reason: str) -> None:
    with pytest.raises(KubeError) as caught:
        _workload.patch_tested(fake_api({f"PATCH {PATH}": answer}), TARGET, PATH, "StatefulSet n/s", [TEST])
    assert caught.value.failure["reason"] == reason


def test_scale_names_the_version_it_saw(fake_api: Any) -> None:
    api = fake_api({f"PATCH {PATH}": [Answer(200, {}), Answer(409, {})]})
    _workload.scale(api, TARGET, stateful(), 0)
    assert api.calls[0].body == {"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 0}}
    with pytest.raises(KubeError) as caught:
        _workload.scale(api, TARGET, stateful(), 0)
    assert caught.value.msg == "StatefulSet n/s was changed by somebody else during this run: run it again."


@pytest.mark.parametrize(("status", "deleted"), [(200, True), (404, False), (409, False)])
def test_delete_means_exactly_this_pod(fake_api: Any, status: int, deleted: bool) -> None:
    api = fake_api({"DELETE /api/v1/namespaces/n/pods/s-0": Answer(status, {})})
    assert _workload.delete_pod(api, TARGET, pod()) is deleted
    assert api.calls[0].body["preconditions"] == {"uid": "uid-s-0"} and api.calls[0].query == {}


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"text": "waiting  for\nthe gateway\n"}, "waiting for the gateway"),
        ({"event": "x"}, "{'event': 'x'}"),
        ({}, ""),
    ],
)
def test_last_line(fake_api: Any, body: Any, line: str) -> None:
    api = fake_api({"GET /api/v1/namespaces/n/pods/s-0/log": Answer(200, body)})
    assert _workload.last_line(api, pod(), "bulkhead-overlay") == line
    assert api.calls[0].query == {"container": "bulkhead-overlay", "tailLines": "1"}


def test_last_line_that_nobody_may_read_is_empty(fake_api: Any) -> None:
    api = fake_api({"GET /api/v1/namespaces/n/pods/s-0/log": Answer(403, {"message": "no"})})
    assert _workload.last_line(api, pod(), "c") == ""


def test_last_warning_is_the_newest_about_the_workload(fake_api: Any) -> None:
    def event(name: str, when: str, text: str) -> Any:
        return {"metadata": {}, "involvedObject": {"name": name}, "lastTimestamp": when, "message": text}

    events = [
        event("s", "2026-01-01", "old"),
        event("s", "2026-01-02", "denied\nrequest"),
        event("t", "2026-01-03", "x"),
    ]
    api = fake_api({"GET /api/v1/namespaces/n/events": Answer(200, {"items": events})})
    assert _workload.last_warning(api, stateful()) == "denied request"


def blocked(init: Any = None, app: Any = None, **status: Any) -> Any:
    made = pod()
    made["spec"] = {
        "initContainers": [{"name": "guard"}, {"name": "overlay", "restartPolicy": "Always"}],
        "containers": [{"name": "app"}],
    }
    made["status"] = {"phase": "Pending", "initContainerStatuses": init or [], "containerStatuses": app or [], **status}
    return made


DONE = {"name": "guard", "state": {"terminated": {"exitCode": 0}}}
STARTED = {"name": "overlay", "state": {"running": {}}, "started": True}


@pytest.mark.parametrize(
    ("init", "app", "expected"),
    [
        ([{"name": "guard", "state": {"running": {}}}], [], ("guard", "still running")),
        ([{"name": "guard", "state": {"terminated": {"exitCode": 1}}}], [], ("guard", "ended with exit code 1")),
        (
            [{"name": "guard", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}],
            [],
            ("guard", "waiting: ErrImagePull no such image"),
        ),
        (
            [DONE, {"name": "overlay", "state": {"running": {}}, "started": False}],
            [],
            ("overlay", "not started by its start-up probe"),
        ),
        (
            [DONE, {"name": "overlay", "state": {"terminated": {"exitCode": 0}}}],
            [],
            ("overlay", "ended with exit code 0"),
        ),
        ([DONE, STARTED], [{"name": "app", "state": {"running": {}}, "ready": False}], ("app", "not ready")),
        ([], [], ("", "Pending")),
    ],
)
def test_first_container_in_the_way(init: Any, app: Any, expected: Any) -> None:
    assert _workload.blocked_container(blocked(init, app)) == expected


def test_pod_that_fits_on_no_node() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
    assert _workload.blocked_container(blocked(conditions=[condition])) == (
        "",
        "not scheduled: 0/1 nodes are available",
    )
