# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _pod_outcome, _unplaced
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._patience import Patience

NAME = "registry.example.com/a:500"
NOT_FOUND = f'failed to pull and unpack image "{NAME}": failed to resolve reference "{NAME}": {NAME}: not found'
TIMEOUT = f'failed to resolve reference "{NAME}": Head "https://registry.example.com/v2/": dial tcp: i/o timeout'
HOST = f'failed to resolve reference "{NAME}": dial tcp: lookup registry.example.com: no such host'
BUSY = f'failed to resolve reference "{NAME}": unexpected status from HEAD request: 503 Service Unavailable'
PAUSE = f'Back-off pulling image "{NAME}"'
START = (
    'failed to create containerd task: OCI runtime create failed: exec: "python3": executable file not found in $PATH'
)
KEY = "couldn't find key password in Secret n/app"


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"name": "app", "state": {"waiting": {"reason": reason, "message": message}}, **more}


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def pod(status: Any = None, init: bool = False, uid: str = "u", **more: Any) -> dict[str, Any]:
    listed, key = ("initContainers", "initContainerStatuses") if init else ("containers", "containerStatuses")
    return {
        "metadata": {"name": "p", "uid": uid},
        "spec": {listed: [{"name": "app", "image": NAME}]},
        "status": {key: [status] if status else [], **more},
    }


@pytest.mark.parametrize("init", [False, True])
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (waiting("ErrImagePull", NOT_FOUND), f"image {NAME} cannot be pulled: {NOT_FOUND}"),
        (waiting("ImagePullBackOff", f"{PAUSE}: ErrImagePull: {NOT_FOUND}"), f"cannot be pulled: {NOT_FOUND}"),
        (waiting("ImagePullBackOff", f"{PAUSE}: ErrImagePull: {HOST}"), "no such host"),
        (waiting("ErrImageNeverPull", "x"), "its pull policy is Never"),
        (waiting("InvalidImageName", "x"), "is no valid name of an image"),
        (
            waiting("CrashLoopBackOff", "back-off", lastState=ended(128, "StartError", START)),
            "executable file not found",
        ),
        ({"name": "app", "state": ended(128, "StartError", START)}, "executable file not found"),
        (waiting("RunContainerError", START), "executable file not found"),
    ],
)
def test_certain_at_once(status: Any, words: str, init: bool) -> None:
    found = _pod_outcome.outcome(pod(status, init))
    assert found is not None and words in found.words and (found.patience, found.failures) == (0, 0)
    assert found.sentence().startswith("container app: ")
    assert Patience(lambda: 0).over([pod(status, init)]) is not None


@pytest.mark.parametrize(
    "status",
    [
        None,
        waiting("ContainerCreating"),
        waiting("PodInitializing"),
        waiting("CreateContainerConfigError", "failed to sync secret cache: timed out waiting for the condition"),
        waiting("CrashLoopBackOff", "back-off", lastState=ended(0), restartCount=9),
        {"name": "app", "state": {"running": {}}, "lastState": ended(1), "restartCount": 9},
        {"name": "app", "state": {"running": {}}, "lastState": ended(128, "StartError", START), "restartCount": 1},
        {"name": "app", "state": ended(1)},
    ],
)
def test_what_may_still_come_right(status: Any) -> None:
    assert _pod_outcome.outcome(pod(status)) is None


def test_a_pod_that_is_deleted_is_nobodys_failure() -> None:
    leaving = pod(waiting("ErrImagePull", NOT_FOUND))
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert _pod_outcome.outcome(leaving) is None


def test_what_is_missing_may_be_made_for_a_while() -> None:
    now = [0.0]
    patience = Patience(lambda: now[0])
    missing = pod(waiting("CreateContainerConfigError", KEY))
    assert patience.over([missing]) is None
    now[0] = 14
    assert patience.over([missing]) is None
    now[0] = 15
    found = patience.over([missing])
    assert found is not None and found[1].sentence() == (
        f"container app: {KEY}; create what is missing, or correct what refers to it"
    )
    assert patience.over([pod(waiting("ContainerCreating"))]) is None  # it came, and is missing again
    assert patience.over([missing]) is None


@pytest.mark.parametrize(
    ("status", "seconds"),
    [
        (waiting("ImagePullBackOff", PAUSE), 15),
        (waiting("ErrImagePull", HOST), 15),
        (waiting("ErrImagePull", TIMEOUT), 30),
        (waiting("CreateContainerError", "context deadline exceeded"), 30),
        (waiting("ErrImagePull", BUSY), 30),
        (waiting("ErrImagePull", "pull QPS exceeded"), 30),
        (waiting("ImagePullBackOff", f"{PAUSE}: ErrImagePull: {TIMEOUT}"), 30),
        (waiting("ImagePullBackOff", f"{PAUSE}: ErrImagePull: {BUSY}"), 30),
    ],
)
def test_a_pull_that_may_still_come_right_has_time(status: Any, seconds: float) -> None:
    now = [0.0]
    patience = Patience(lambda: now[0])
    assert patience.over([pod(status)]) is None
    now[0] = seconds - 1
    assert patience.over([pod(status)]) is None
    now[0] = seconds
    assert patience.over([pod(status)]) is not None


def test_crashes_count_only_before_our_eyes() -> None:
    def crashed(times: int) -> Any:
        return pod(waiting("CrashLoopBackOff", "back-off", lastState=ended(137, "OOMKilled"), restartCount=times))

    patience = Patience(lambda: 0)
    assert [patience.over([crashed(times)]) is not None for times in (7, 7, 8, 9)] == [False, False, False, True]
    found = _pod_outcome.outcome(crashed(9))
    assert found is not None and found.words == "it ends again and again, last with exit code 137 (OOMKilled)"


@pytest.mark.parametrize(
    ("message", "certain"),
    [
        ('create Pod p-0 failed error: pods "p-0" is forbidden: violates PodSecurity "baseline:latest"', True),
        ('pods "p-0" is forbidden: exceeded quota: q, requested: cpu=1, used: cpu=1, limited: cpu=1', True),
        ('admission webhook "w" denied the request: no', True),
        ('failed calling webhook "w": Post "https://w": dial tcp: connection refused', False),
        ("", False),
    ],
)
def test_refused_pods(message: str, certain: bool) -> None:
    found = _pod_outcome.refused(message)
    assert (found is not None) == certain
    assert found is None or (message in found.words and found.patience)


def running(started: str, born: str, died: str, code: int = 1, times: int = 4) -> Any:
    last = {"terminated": {"exitCode": code, "startedAt": born, "finishedAt": died}}
    return pod({"name": "app", "state": {"running": {"startedAt": started}}, "lastState": last, "restartCount": times})


@pytest.mark.parametrize(
    ("started", "born", "died", "code", "settled"),
    [
        ("00:01:00", "00:00:10", "00:00:11", 1, True),
        ("00:01:26", "00:00:10", "00:00:11", 1, False),  # the last one lived for a second, this one has for four
        ("00:01:15", "00:00:10", "00:00:22", 1, False),
        ("00:01:12", "00:00:10", "00:00:22", 1, True),
        ("00:01:10", "00:00:00", "00:00:50", 1, False),
        ("00:00:59", "00:00:00", "00:00:50", 1, True),  # never longer than half a minute, as after a reboot
        ("00:01:29", "00:00:10", "00:00:11", 0, True),
    ],
)
def test_ready_means_that_it_lives_longer_than_before(
    started: str, born: str, died: str, code: int, settled: bool
) -> None:
    stamps = (f"2026-01-01T{one}Z" for one in (started, born, died))
    found = running(*stamps, code)
    now = _pod_outcome.moment("2026-01-01T00:01:30Z")
    assert now is not None
    assert (_pod_outcome.unsettled(found, now) == "") == settled
    assert _pod_outcome.unsettled(found, now, ("app",)) == ""


def test_a_pod_is_of_a_template_whatever_was_added_to_it() -> None:
    template = {"spec": {"containers": [{"name": "app", "image": NAME, "env": [{"name": "A", "value": "1"}]}]}}
    held = pod()
    assert not _pod_outcome.is_of(held, template)
    held["spec"]["containers"][0]["env"] = [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]
    held["spec"]["containers"].append({"name": "sidecar"})
    assert _pod_outcome.is_of(held, template)
    held["spec"]["containers"][0]["image"] = "other"
    assert not _pod_outcome.is_of(held, template)


def test_a_pod_without_a_node_names_taints_and_images(fake_api: Any) -> None:
    from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer

    words = "0/1 nodes are available: 1 node(s) had untolerated taint(s)."
    found = pod(conditions=[{"type": "PodScheduled", "status": "False", "message": words}])
    taints = [
        {"key": "dedicated", "value": "media", "effect": "NoSchedule"},
        {"key": "x", "effect": "PreferNoSchedule"},
    ]
    nodes = {"items": [{"metadata": {"name": "n1"}, "spec": {"taints": taints}}]}
    api = fake_api({"GET /api/v1/nodes": Answer(200, nodes)})
    assert _unplaced.reason(found) == words.rstrip(".")
    assert _unplaced.told(api, found) == f"; taints: n1: dedicated=media:NoSchedule; it will need the image {NAME}"
    found["spec"]["nodeName"] = "n1"
    assert _unplaced.told(api, found) == ""
