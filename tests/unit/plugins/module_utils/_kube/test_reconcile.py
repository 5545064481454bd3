# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole engine against recorded calls: an unexpected one, such as a write, fails the test."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _applyset, _calls, _reconcile
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._apply import Report, Waiting
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._plan import Options
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import wait_until

PARENT = "/api/v1/namespaces/home/configmaps/web"
LIST = "/api/v1/namespaces/home/configmaps"
NOT_FOUND = Answer(404, {"reason": "NotFound", "message": "not found"})
DONE = Answer(200, {})


def config_map(name: str, **data: Any) -> Any:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "home"}, "data": data}


def namespace(name: str) -> Any:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {}}


def quick(look: Any, *, timeout: float, sleep: float) -> Any:
    """A wait by a clock that only pauses move."""
    now = [0.0]
    return wait_until(
        look, timeout=timeout, sleep=sleep, clock=lambda: now[0], pause=lambda s: now.__setitem__(0, now[0] + s)
    )


def parent(owner: Any, *group_kinds: str, namespaces: Any = ()) -> Answer:
    where = _applyset.Members(frozenset(group_kinds), frozenset(namespaces))
    body = _applyset.manifest(owner, where)
    body["metadata"]["uid"] = "uid-parent"
    return Answer(200, body)


class Run:
    """One run and what came of it."""

    def __init__(self, api: Any, owner: Any, objects: Any, present: bool, wait: bool, options: Any) -> None:
        self.api = api
        self.report = Report()
        self.error = None
        session = _calls.Session(api, quick)
        job = _reconcile.Job(owner, objects, present, Options(**options), wait, Waiting(10, 1.0, quick))
        try:
            _reconcile.reconcile(session, Target("api:6443", "tester"), job, self.report)
        except KubeError as exc:
            self.error = exc
        api.done()
        self.counts = session.counts
        self.actions = [step.action for step in self.report.steps]
        self.changed = _reconcile.changed(self.report, check=job.options.check)

    @property
    def writes(self) -> Any:
        return [
            f"{call.method} {call.path}"
            for call in self.api.calls
            if call.method != "GET" and "dryRun" not in call.query
        ]


@pytest.fixture
def run(fake_api: Any, owner: Any, aggregated: Any) -> Any:
    """Run against a script; discovery is part of every one."""

    def go(script: Any, objects: Any = (), *, present: bool = True, wait: bool = False, **options: Any) -> Run:
        first = {"GET /api": Answer(200, aggregated[0]), "GET /apis": Answer(200, aggregated[1])}
        return Run(fake_api({**first, **script}), owner, objects, present, wait, options)

    return go


def listed(*items: Any) -> Answer:
    return Answer(200, {"items": list(items)})


def test_no_change_costs_one_list_and_no_write(run: Any, owner: Any, stored: Any) -> None:
    objects = [config_map(name, a="1") for name in "abc"]
    script = {f"GET {PARENT}": parent(owner, "ConfigMap"), f"GET {LIST}": listed(*map(stored, objects))}
    for options in ({}, {"check": True}):
        result = run(script, objects, **options)
        assert result.error is None
        assert result.actions == ["unchanged"] * 3
        assert result.changed is False
        assert result.counts == {"gets": 3, "lists": 1, "dry_runs": 0, "applies": 0, "deletes": 0}


def test_members_are_listed_by_the_label_only(run: Any, owner: Any, stored: Any) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "home"}, "data": {"k": ""}}
    script = {f"GET {PARENT}": parent(owner, "Secret"), "GET /api/v1/namespaces/home/secrets": listed(stored(secret))}
    result = run(script, [secret])
    (call,) = [call for call in result.api.calls if call.path.endswith("/secrets")]
    assert call.query["labelSelector"] == f"applyset.kubernetes.io/part-of={owner.id}"


def first_run(name: str) -> Any:
    path = f"{LIST}/{name}"
    return {
        f"GET {PARENT}": NOT_FOUND,
        f"GET {LIST}": listed(),
        f"GET {path}": NOT_FOUND,
        f"PATCH {path}": [DONE, DONE],  # dry run and real
        f"PATCH {PARENT}": [DONE, DONE],
    }


def test_create_writes_the_parent_first(run: Any, owner: Any) -> None:
    result = run(first_run("a"), [config_map("a", x="1")])
    assert result.error is None
    assert result.actions == ["create"]
    assert result.changed is True
    assert result.writes == [f"PATCH {PARENT}", f"PATCH {LIST}/a"]
    call = [call for call in result.api.calls if call.path == f"{LIST}/a" and call.method == "PATCH"][-1]
    assert call.content_type == "application/apply-patch+yaml"
    assert call.query == {"fieldManager": "bulkhead.mesh/web", "force": "false", "fieldValidation": "Strict"}
    assert call.body["metadata"]["labels"] == owner.labels


def test_check_mode_asks_and_does_not_write(run: Any) -> None:
    script = first_run("a")
    script[f"PATCH {LIST}/a"] = script[f"PATCH {PARENT}"] = DONE
    result = run(script, [config_map("a", x="1")], check=True)
    assert (result.actions, result.changed, result.writes) == (["create"], True, [])


def test_every_dry_run_comes_before_the_first_write(run: Any) -> None:
    script = {**first_run("a"), f"GET {LIST}/b": NOT_FOUND, f"PATCH {LIST}/b": Answer(422, {"message": "bad b"})}
    script[f"PATCH {LIST}/a"] = script[f"PATCH {PARENT}"] = DONE
    result = run(script, [config_map("a"), config_map("b")])
    assert result.error.msg == (
        "ConfigMap home/b: the API server refused to apply it with status 422: bad b: correct the object."
    )
    assert (result.writes, result.changed, result.actions) == ([], False, [])


def test_bad_input_asks_only_for_the_kinds(run: Any) -> None:
    result = run({f"GET {PARENT}": NOT_FOUND}, [{"apiVersion": "v1", "kind": "ConfigMap"}, config_map("a"), {}])
    assert [entry["object"] for entry in result.error.failure["problems"]] == ["objects[0] (ConfigMap)", "objects[2]"]
    assert result.counts == {"gets": 3, "lists": 0, "dry_runs": 0, "applies": 0, "deletes": 0}


def test_prune_after_writing_then_trim_the_parent(run: Any, owner: Any, stored: Any) -> None:
    old = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "old", "namespace": "home"}, "spec": {"a": 1}}
    changed = config_map("a", x="2")
    script = {
        f"GET {PARENT}": parent(owner, "ConfigMap", "Service"),
        f"GET {LIST}": listed(stored(config_map("a", x="1"))),
        "GET /api/v1/namespaces/home/services": listed(stored(old)),
        f"PATCH {LIST}/a": [Answer(200, stored(changed))] * 2,
        "DELETE /api/v1/namespaces/home/services/old": [DONE, DONE],
        f"PATCH {PARENT}": DONE,
    }
    result = run(script, [changed])
    assert result.error is None
    assert result.actions == ["update", "prune"]
    assert result.writes == [f"PATCH {LIST}/a", "DELETE /api/v1/namespaces/home/services/old", f"PATCH {PARENT}"]
    delete = [call for call in result.api.calls if call.method == "DELETE"]
    assert [call.body["preconditions"] for call in delete] == [{"uid": "uid-old"}] * 2
    assert [call.body.get("dryRun") for call in delete] == [["All"], None]
    annotations = result.api.calls[-1].body["metadata"]["annotations"]
    assert annotations[_applyset.GROUP_KINDS] == "ConfigMap"


def test_interrupted_before_the_parent_was_trimmed(run: Any, owner: Any, stored: Any) -> None:
    script = {
        f"GET {PARENT}": parent(owner, "ConfigMap", "Service"),
        f"GET {LIST}": listed(stored(config_map("a"))),
        "GET /api/v1/namespaces/home/services": listed(),
        f"PATCH {PARENT}": DONE,
    }
    result = run(script, [config_map("a")])
    assert (result.error, result.actions, result.writes) == (None, ["unchanged"], [f"PATCH {PARENT}"])
    assert result.changed is True


def test_connection_lost_in_the_middle_tells_what_was_done(run: Any) -> None:
    lost = KubeError("Lost.", reason="Unreachable")
    script = {**first_run("a"), "GET /api/v1/namespaces/home/services": listed()}
    place = "/api/v1/namespaces/home/services/s"
    script.update({f"GET {place}": NOT_FOUND, f"PATCH {place}": [DONE, lost], f"PATCH {PARENT}": [DONE, DONE]})
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "home"}, "spec": {"a": 1}}
    result = run(script, [service, config_map("a")])
    assert result.error is lost
    assert result.changed is True
    assert [str(key) for key in result.report.written] == ["ConfigMap home/a"]


def test_own_namespace_comes_before_the_parent(run: Any, stored: Any) -> None:
    home = "/api/v1/namespaces/home"
    script = {
        **first_run("a"),
        "GET /api/v1/namespaces": listed(),
        f"GET {home}": NOT_FOUND,
        f"PATCH {home}": [DONE, DONE],
        f"PATCH {PARENT}": DONE,
    }
    result = run(script, [config_map("a"), namespace("home")])
    assert result.error is None
    assert [step.predicted for step in result.report.steps] == [True, False]
    assert result.writes == [f"PATCH {home}", f"PATCH {PARENT}", f"PATCH {LIST}/a"]
    # what could not be tried before was tried as soon as the namespace was there
    calls = [(call.path, "dryRun" in call.query) for call in result.api.calls if call.method == "PATCH"]
    assert calls == [(home, True), (home, False), (PARENT, False), (f"{LIST}/a", True), (f"{LIST}/a", False)]


def test_absent_deletes_members_and_parent(run: Any, owner: Any, stored: Any) -> None:
    script = {
        f"GET {PARENT}": parent(owner, "ConfigMap"),
        f"GET {LIST}": listed(stored(config_map("b")), stored(config_map("a"))),
        f"DELETE {LIST}/a": [DONE, DONE],
        f"DELETE {LIST}/b": [DONE, DONE],
        f"DELETE {PARENT}": DONE,
    }
    result = run(script, present=False)
    assert result.error is None
    assert result.actions == ["prune", "prune"]
    assert result.writes[-1] == f"DELETE {PARENT}"


def test_absent_twice(run: Any) -> None:
    result = run({f"GET {PARENT}": NOT_FOUND}, present=False)
    assert (result.error, result.changed, result.counts["lists"]) == (None, False, 0)


def test_absent_keeps_what_is_protected_and_its_record(run: Any, owner: Any, stored: Any) -> None:
    script = {
        f"GET {PARENT}": parent(owner, "ConfigMap", "Namespace"),
        "GET /api/v1/namespaces": listed(stored(namespace("home"))),
        f"GET {LIST}": listed(stored(config_map("a"))),
        f"DELETE {LIST}/a": [DONE, DONE],
        f"PATCH {PARENT}": DONE,
    }
    result = run(script, present=False, protect=["Namespace"])
    assert (result.error, sorted(result.actions)) == (None, ["kept", "prune"])


def test_adopting_writes_label_and_mark_at_once(run: Any, owner: Any, stored: Any) -> None:
    theirs = stored(config_map("a", x="1"), ours=False)
    script = {**first_run("a"), f"GET {LIST}/a": Answer(200, theirs)}
    result = run(script, [config_map("a", x="1")], adopt=["ConfigMap/home/a"])
    assert (result.error, result.actions) == (None, ["adopt"])
    sent = [call.body["metadata"] for call in result.api.calls if call.path == f"{LIST}/a" and call.method == "PATCH"]
    assert [(meta["labels"], meta["annotations"]) for meta in sent] == [(owner.labels, {_applyset.ADOPTED: "true"})] * 2


def adopted(name: str, stored: Any) -> Any:
    made = config_map(name, x="1")
    made["metadata"]["annotations"] = {_applyset.ADOPTED: "true"}
    return stored(made)


@pytest.mark.parametrize("present", [True, False])
def test_adopted_is_given_back_and_the_rest_deleted(run: Any, owner: Any, stored: Any, present: Any) -> None:
    script = {
        f"GET {PARENT}": parent(owner, "ConfigMap"),
        f"GET {LIST}": listed(adopted("theirs", stored), stored(config_map("ours"))),
        f"DELETE {LIST}/ours": [DONE, DONE],
        f"PATCH {LIST}/theirs": [DONE, DONE],
        **({f"PATCH {PARENT}": DONE} if present else {f"DELETE {PARENT}": DONE}),
    }
    result = run(script, present=present)
    assert (result.error, result.actions, result.changed) == (None, ["prune", "release"], True)
    assert sorted(result.writes[:2]) == [f"DELETE {LIST}/ours", f"PATCH {LIST}/theirs"], "the record goes last"
    sent = [call for call in result.api.calls if call.path == f"{LIST}/theirs"]
    # a bare object of this uid: an apply without it would make one where it has gone
    bare = {"name": "theirs", "namespace": "home", "uid": "uid-theirs"}
    assert [call.body for call in sent] == [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": bare}] * 2
    assert {call.query["fieldManager"] for call in sent} == {owner.manager}


def test_giving_back_in_check_mode_writes_nothing(run: Any, owner: Any, stored: Any) -> None:
    script = {
        f"GET {PARENT}": parent(owner, "ConfigMap"),
        f"GET {LIST}": listed(adopted("theirs", stored)),
        f"PATCH {LIST}/theirs": DONE,  # the dry run
    }
    result = run(script, present=False, check=True)
    assert (result.error, result.actions, result.changed, result.writes) == (None, ["release"], True, [])


def test_what_cannot_be_given_back_stops_all(run: Any, owner: Any, stored: Any) -> None:
    script = {
        f"GET {PARENT}": parent(owner, "ConfigMap"),
        f"GET {LIST}": listed(adopted("theirs", stored), stored(config_map("ours"))),
        f"DELETE {LIST}/ours": DONE,
        f"PATCH {LIST}/theirs": Answer(422, {"reason": "Invalid", "message": "spec: Required value"}),
    }
    result = run(script, present=False)
    assert (result.error.failure["reason"], result.changed, result.writes) == ("Invalid", False, [])


def test_a_new_object_in_place_of_the_adopted_one_is_left_alone(run: Any, owner: Any, stored: Any) -> None:
    script = {
        f"GET {PARENT}": parent(owner, "ConfigMap"),
        f"GET {LIST}": listed(adopted("theirs", stored)),
        f"PATCH {LIST}/theirs": [DONE, Answer(409, {"reason": "Conflict", "message": "uid mismatch"})],
        f"DELETE {PARENT}": DONE,
    }
    assert run(script, present=False).error is None


def test_own_namespace_given_back_does_not_take_the_parent_along(run: Any, owner: Any, stored: Any) -> None:
    script = {
        f"GET {PARENT}": parent(owner, "Namespace"),
        "GET /api/v1/namespaces": listed(stored(namespace("home"))),
        "PATCH /api/v1/namespaces/home": [DONE, DONE],
        f"DELETE {PARENT}": DONE,
    }
    result = run(script, present=False, protect=["Namespace"], release=["Namespace"])
    assert (result.error, result.actions) == (None, ["release"])
    assert result.writes == ["PATCH /api/v1/namespaces/home", f"DELETE {PARENT}"]


def test_absent_leaves_the_parent_to_its_namespace(run: Any, owner: Any, stored: Any) -> None:
    script = {
        f"GET {PARENT}": parent(owner, "Namespace"),
        "GET /api/v1/namespaces": listed(stored(namespace("home"))),
        "DELETE /api/v1/namespaces/home": [DONE, DONE],
    }
    result = run(script, present=False)
    assert (result.error, result.actions) == (None, ["prune"])


def test_parent_of_somebody_else(run: Any) -> None:
    result = run({f"GET {PARENT}": Answer(200, config_map("web"))}, [config_map("a")])
    assert result.error.failure["reason"] == "NotOurs"
    assert result.error.msg == (
        "The ConfigMap home/web exists and is not the record of a set of bulkhead.mesh: "
        "choose another name for the set, or remove that ConfigMap."
    )


def deployment(status: Any = None, **more: Any) -> Any:
    made = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "home"}}
    return {**made, "spec": {"replicas": 1}, **({"status": status} if status else {}), **more}


@pytest.mark.parametrize("becomes_ready", [True, False])
def test_wait(run: Any, owner: Any, stored: Any, becomes_ready: Any) -> None:
    path = "/apis/apps/v1/namespaces/home/deployments"
    seen = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}
    waiting = Answer(200, stored(deployment(), status=seen))
    ready = Answer(200, stored(deployment(), status={**seen, "availableReplicas": 1}))
    looks = [waiting, ready] if becomes_ready else [waiting] * 5
    script = {f"GET {PARENT}": parent(owner, "Deployment.apps"), f"GET {path}": listed(waiting.body)}
    script[f"GET {path}/d"] = looks
    result = run(script, [deployment()], wait=True)
    assert result.changed is False
    if becomes_ready:
        assert result.error is None
    else:
        assert result.error.failure["reason"] == "NotReady"
        assert result.error.msg == (
            "Deployment home/d is not ready after 10 s: 1 of 1 replicas updated, 0 available, 0 old: "
            "look at its events and pods, or raise wait_timeout."
        )


def test_a_wait_of_no_use_ends(run: Any, owner: Any, stored: Any) -> None:
    path = "/apis/apps/v1/namespaces/home/deployments"
    live = stored(deployment(), status={"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1})
    box = {"name": "c", "image": "x:1"}
    live["spec"] = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [box]}}}
    waiting = {"reason": "ErrImagePull", "message": "x:1: not found"}
    pod = {"metadata": {"name": "d-1"}, "spec": {"containers": [box]}}
    pod["status"] = {"containerStatuses": [{"name": "c", "state": {"waiting": waiting}}]}
    script = {
        f"GET {PARENT}": parent(owner, "Deployment.apps"),
        f"GET {path}": listed(live),
        f"GET {path}/d": [Answer(200, live)],  # once, and no more
        "GET /api/v1/namespaces/home/pods": listed(pod),
    }
    result = run(script, [deployment()], wait=True)
    assert result.error.msg == (
        "Deployment home/d is not ready: 1 of 1 replicas updated, 0 available, 0 old; pod d-1, container c: image x:1 "
        "cannot be pulled: x:1: not found; correct the image's name and tag, or let its node pull it, for example by a "
        "pull secret at the service account that the pod runs under: look at its events and pods."
    )


def test_not_ready_prunes_nothing(run: Any, owner: Any, stored: Any) -> None:
    path = "/apis/apps/v1/namespaces/home/deployments"
    waiting = stored(deployment(), status={})
    script = {
        f"GET {PARENT}": parent(owner, "Deployment.apps", "ConfigMap"),
        f"GET {path}": listed(waiting),
        f"GET {LIST}": listed(stored(config_map("old"))),
        f"DELETE {LIST}/old": DONE,  # the dry run
        f"GET {path}/d": [Answer(200, waiting)] * 5,
    }
    result = run(script, [deployment()], wait=True)
    assert result.error.failure["reason"] == "NotReady"
    assert result.writes == []


def test_ready_already_costs_nothing(run: Any, owner: Any, stored: Any) -> None:
    status = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    live = listed(stored(deployment(), status=status))
    path = "/apis/apps/v1/namespaces/home/deployments"
    script = {f"GET {PARENT}": parent(owner, "Deployment.apps"), f"GET {path}": live}
    result = run(script, [deployment()], wait=True)
    assert (result.error, result.counts["gets"]) == (None, 3)


def test_many_namespaces_are_listed_at_once_or_singly_where_that_is_forbidden(
    run: Any, owner: Any, stored: Any
) -> None:
    objects = []
    for name in ("n1", "n2", "n3", "n4"):
        made = config_map("a")
        made["metadata"]["namespace"] = name
        objects.append(made)
    record = parent(owner, "ConfigMap", namespaces=["n1", "n2", "n3", "n4"])
    script = {f"GET {PARENT}": record, "GET /api/v1/configmaps": listed(*map(stored, objects))}
    assert run(script, objects).counts["lists"] == 1
    script["GET /api/v1/configmaps"] = Answer(403, {"message": "no"})
    for made in objects:
        script[f"GET /api/v1/namespaces/{made['metadata']['namespace']}/configmaps"] = listed(stored(made))
    script[f"GET {LIST}"] = listed()
    result = run(script, objects)
    assert (result.error, result.actions) == (None, ["unchanged"] * 4)


def test_server_that_wants_it_later(run: Any, owner: Any, stored: Any) -> None:
    script = {
        f"GET {PARENT}": parent(owner, "ConfigMap"),
        f"GET {LIST}": [Answer(429, {"message": "later"}), listed(stored(config_map("a")))],
    }
    result = run(script, [config_map("a")])
    assert (result.error, result.actions, result.counts["lists"]) == (None, ["unchanged"], 2)


def test_old_server(run: Any) -> None:
    result = run({"GET /apis": Answer(200, {"kind": "APIGroupList"}), f"GET {PARENT}": NOT_FOUND}, [config_map("a")])
    assert result.error.failure["reason"] == "NoDiscovery"
