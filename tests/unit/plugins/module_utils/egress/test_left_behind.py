# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _left_behind, _names

GUARD = {"initContainers": [{"name": "theirs"}, {"name": _names.GUARD}]}
SETS = [{"kind": "ReplicaSet", "metadata": {"namespace": "tv", "name": "radarr-1", "uid": "r1", "ownerReferences": []}}]
SETS[0]["metadata"]["ownerReferences"].append({"kind": "Deployment", "name": "radarr", "uid": "d1", "controller": True})
WORKLOADS = [
    {"kind": "Deployment", "metadata": {"namespace": "tv", "name": "radarr", "uid": "d1"}},
    {"kind": "StatefulSet", "metadata": {"namespace": "tv", "name": "seed", "uid": "s1"}},
]
BY_DEPLOYMENT = {"kind": "ReplicaSet", "name": "radarr-1", "uid": "r1", "controller": True}
BY_SET = {"kind": "StatefulSet", "name": "seed", "uid": "s1", "controller": True}


def pod(owner: Any, client: str | None = "tv.radarr", spec: Any = None, phase: str = "Running", **metadata: Any) -> Any:
    labels = {_names.CLIENT_LABEL: client} if client else {"app": "radarr"}
    owners = {"ownerReferences": [owner]} if owner else {}
    return {
        "metadata": {"namespace": "tv", "name": "p", "uid": "p1", "labels": labels, **owners, **metadata},
        "spec": GUARD if spec is None else spec,
        "status": {"phase": phase},
    }


@pytest.mark.parametrize(
    "one",
    [
        pod(BY_DEPLOYMENT),
        pod(BY_SET, "tv.seed"),
        pod(BY_DEPLOYMENT, None),  # it lost our label only; its workload still replaces it
        pod({"kind": "StatefulSet", "name": "seed", "controller": True}, "tv.seed"),
        pod(None, phase="Succeeded"),
        pod(None, phase="Failed"),
        pod(None, None, spec={"initContainers": [{"name": "guard"}]}),
        pod(None, None, spec={}),
    ],
)
def test_pods_of_the_clients_workload_and_of_others_are_not_named(one: Any) -> None:
    assert _left_behind.find([one], WORKLOADS, SETS) == []


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (pod(None), "no workload owns it"),
        (pod(None, None), "no workload owns it"),
        (pod(None, "tv.radarr", {}), "no workload owns it"),
        (pod({**BY_DEPLOYMENT, "controller": False}), "no workload owns it"),
        (pod({**BY_DEPLOYMENT, "name": "radarr-0"}), "its owner ReplicaSet radarr-0 does not exist any more"),
        (pod({**BY_SET, "uid": "s0"}, "tv.seed"), "its owner StatefulSet seed does not exist any more"),
        (pod(BY_SET), "StatefulSet seed owns it, which is another workload"),
        (pod({"kind": "Job", "name": "j", "controller": True}), "Job j owns it, which cannot be a VPN client"),
        (pod({**BY_DEPLOYMENT, "namespace": "x"}, namespace="other"), "its owner ReplicaSet radarr-1 does not exist"),
    ],
)
def test_pods_that_the_clients_workload_does_not_own_are_named(one: Any, words: str) -> None:
    (found,) = _left_behind.find([one, one], WORKLOADS, SETS)
    assert found.reason.startswith(words)
    namespace = one["metadata"]["namespace"]
    assert str(found).endswith(f"kubectl -n {namespace} delete pod p") and f"Pod {namespace}/p " in str(found)


def test_a_replica_set_that_nobody_owns_leaves_its_pods_behind() -> None:
    alone = [{"kind": "ReplicaSet", "metadata": {"namespace": "tv", "name": "radarr-1", "uid": "r1"}}]
    (found,) = _left_behind.find([pod(BY_DEPLOYMENT)], WORKLOADS, alone)
    assert found.reason == "no workload owns its ReplicaSet radarr-1"
    (found,) = _left_behind.find([pod(BY_DEPLOYMENT)], WORKLOADS[1:], SETS)
    assert found.reason == "its owner Deployment radarr does not exist any more"


@pytest.mark.parametrize(
    ("client", "spec", "words"),
    [
        ("tv.radarr", None, "Pod tv/p of VPN client tv.radarr is left behind: no workload owns it. "),
        ("tv.radarr", {}, "is left behind: no workload owns it, and it has no guard. "),
        (None, None, "Pod tv/p with the guard of a VPN client is left behind: "),
    ],
)
def test_the_sentence_says_whose_it_is_and_whether_it_is_guarded(client: Any, spec: Any, words: str) -> None:
    (found,) = _left_behind.find([pod(None, client, spec)], WORKLOADS, SETS)
    told = found.to_dict()
    assert told["msg"] == str(found)
    assert words in told["msg"]
    assert (told["client"], told["guarded"]) == (client, spec is None)
