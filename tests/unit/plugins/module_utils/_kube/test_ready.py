# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._ready import ready

FULL = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "observedGeneration": 3}
PODS = {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2, "observedGeneration": 3}
STOPPED = {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "timed out"}


def judge(kind: str, status: Any, group: str = "apps", **spec: Any) -> Any:
    return ready(group, kind, {"metadata": {"generation": 3}, "spec": {"replicas": 2, **spec}, "status": status})


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("Deployment", FULL, (True, "2 of 2 replicas updated, 2 available, 0 old")),
        ("Deployment", {**FULL, "observedGeneration": 2}, (False, "its controller has seen generation 2 of 3")),
        ("Deployment", {}, (False, "its controller has seen generation 0 of 3")),
        ("Deployment", {**FULL, "replicas": 3}, (False, "2 of 2 replicas updated, 2 available, 1 old")),
        ("Deployment", {**FULL, "availableReplicas": 1}, (False, "2 of 2 replicas updated, 1 available, 0 old")),
        ("Deployment", {**FULL, "conditions": [STOPPED]}, (False, "the rollout has stopped: timed out")),
        ("StatefulSet", FULL, (True, "2 of 2 replicas updated, 2 available")),
        ("StatefulSet", {**FULL, "observedGeneration": 2}, (False, "its controller has seen generation 2 of 3")),
        ("StatefulSet", {**FULL, "updatedReplicas": 1}, (False, "1 of 2 replicas updated, 2 available")),
        ("DaemonSet", PODS, (True, "2 of 2 pods updated, 2 available")),
        ("DaemonSet", {**PODS, "updatedNumberScheduled": 1}, (False, "1 of 2 pods updated, 2 available")),
        ("DaemonSet", {**PODS, "numberAvailable": 0}, (False, "2 of 2 pods updated, 0 available")),
    ],
)
def test_workloads(kind: Any, status: Any, expected: Any) -> None:
    assert judge(kind, status) == expected


def test_no_replicas_wanted_is_ready_once_seen() -> None:
    assert judge("Deployment", {"observedGeneration": 3}, replicas=0)[0]
    assert not judge("Deployment", {"observedGeneration": 2}, replicas=0)[0]


def test_update_strategies() -> None:
    partition = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    assert judge("StatefulSet", {**FULL, "updatedReplicas": 1}, updateStrategy=partition)[0]
    assert not judge("StatefulSet", {**FULL, "updatedReplicas": 0}, updateStrategy=partition)[0]
    assert judge("StatefulSet", {**FULL, "updatedReplicas": 0}, updateStrategy={"type": "OnDelete"})[0]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], (False, "it has no condition Established yet")),
        ([{"type": "Established", "status": "True", "message": "ok"}], (True, "Established is True: ok")),
        (
            [{"type": "Established", "status": "False", "reason": "Installing"}],
            (False, "Established is False: Installing"),
        ),
        ([{"type": "NamesAccepted", "status": "True"}], (False, "it has no condition Established yet")),
    ],
)
def test_definition(conditions: Any, expected: Any) -> None:
    assert judge("CustomResourceDefinition", {"conditions": conditions}, "apiextensions.k8s.io") == expected


def test_others() -> None:
    assert judge("Namespace", {"phase": "Terminating"}, "") == (False, "its phase is Terminating")
    assert judge("Namespace", {"phase": "Active"}, "") == (True, "its phase is Active")
    assert judge("ConfigMap", {}, "") == (True, "it exists")
    assert judge("Deployment", {}, "example.com") == (True, "it exists")
