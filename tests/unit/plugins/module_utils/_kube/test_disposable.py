# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import _pod
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _disposable, _pod_outcome
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer

PODS = "/api/v1/namespaces/n/pods"
MANIFEST = _pod.manifest("p", "n", "i:1")
NONE = Answer(200, {"items": []})
GONE = Answer(200, {})


def pod(phase: Any, **status: Any) -> Any:
    return Answer(200, {"metadata": {"name": "p"}, "spec": {"nodeName": "node1"}, "status": {"phase": phase, **status}})


def run(api: Any, looks: Any = 3) -> Any:
    def wait(look: Any, timeout: Any, sleep: Any) -> Any:
        for _look in range(looks):
            done, evidence = look()
            if done:
                break
        return done, evidence

    try:
        return _disposable.run_pod(api, MANIFEST, timeout=9, sleep=1, stuck=_pod_outcome.disposable, wait=wait)
    finally:
        api.done()


def script(*looks: Any, **more: Any) -> Any:
    return {
        f"GET {PODS}": NONE,
        f"POST {PODS}": Answer(201, {}),
        f"GET {PODS}/p": list(looks),
        f"DELETE {PODS}/p": GONE,
        **more,
    }


def test_output_and_node(fake_api: Any) -> None:
    api = fake_api(script(pod("Pending"), pod("Succeeded"), **{f"GET {PODS}/p/log": Answer(200, {"text": "hello"})}))
    assert run(api) == ("hello", "node1")
    assert api.calls[-1].method == "DELETE"


@pytest.mark.parametrize(
    "looks, reason",
    [
        ([pod("Failed")], "the pod n/p failed"),
        ([pod("Pending")] * 3, "the pod n/p was Pending after 9 s"),
        ([Answer(404, {"message": "gone"})], "cannot read the pod n/p: gone"),
        (
            [pod("Pending", containerStatuses=[{"image": "i:1", "state": {"waiting": {"reason": "ErrImagePull"}}}])],
            "image i:1 cannot be pulled",
        ),
    ],
)
def test_whatever_happens_the_pod_is_deleted(fake_api: Any, looks: Any, reason: str) -> None:
    with pytest.raises(_disposable.ProbeFailed) as caught:
        run(fake_api(script(*looks)))
    assert str(caught.value) == reason


def test_log_that_cannot_be_read(fake_api: Any) -> None:
    api = fake_api(script(pod("Succeeded"), **{f"GET {PODS}/p/log": Answer(500, {"message": "kubelet"})}))
    with pytest.raises(_disposable.ProbeFailed, match="cannot read the log of pod n/p: kubelet"):
        run(api)


def test_refused_creation_leaves_nothing_to_delete(fake_api: Any) -> None:
    api = fake_api({f"GET {PODS}": Answer(403, {}), f"POST {PODS}": Answer(403, {"message": "quota"})})
    with pytest.raises(_disposable.ProbeFailed, match="cannot create pods in n: quota"):
        run(api)


def test_leftovers_go_but_a_running_probe_stays(fake_api: Any) -> None:
    pods = [
        {"metadata": {"name": name}, "status": {"phase": phase}}
        for name, phase in (("old", "Failed"), ("busy", "Running"))
    ]
    api = fake_api({f"GET {PODS}": Answer(200, {"items": pods}), f"DELETE {PODS}/old": GONE})
    _disposable.sweep(api, "n", {"a": "b"})
    api.done()
    assert api.calls[0].query == {"labelSelector": "a=b"}


def test_names_differ() -> None:
    assert _disposable.unique_name("p") != _disposable.unique_name("p")
