# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which clients start together, and when the next ones may."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _flow
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client
from ansible_collections.bulkhead.mesh.plugins.module_utils._vpn_client import _waves
from ansible_collections.bulkhead.mesh.plugins.module_utils._vpn_client._waves import Limits

Object = dict[str, Any]
SEALED = [
    {"name": "bulkhead-guard", "state": {"terminated": {"exitCode": 0}}},
    {"name": "bulkhead-overlay", "state": {"running": {}}, "started": False},
]


def plan(name: str, replicas: int | None = 1, kind: str = "StatefulSet") -> _flow.Plan:
    metadata = {"name": name, "namespace": "downloads"}
    spec = {} if replicas is None else {"replicas": replicas}
    return _flow.Plan(Client(kind, "downloads", name), {"kind": kind, "metadata": metadata, "spec": spec})


def pod(name: str, where: str | None, owner: str = "", kind: str = "StatefulSet", **status: Any) -> Object:
    owned = {"kind": kind, "name": owner or name.rpartition("-")[0], "controller": True}
    metadata = {"name": name, "namespace": "downloads", "uid": name, "ownerReferences": [owned]}
    spec = {"nodeName": where} if where else {}
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def node(name: str, cpu: Any, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": spec, "status": {"allocatable": {"cpu": cpu}}}


def waves(plans: list[_flow.Plan], held: list[Object], limits: Limits) -> list[list[str]]:
    made = _waves.waves(plans, _flow.Held(held), limits)
    return [[one.client.name for one in wave] for wave in made]


def test_what_a_node_may_start_comes_from_its_processors() -> None:
    nodes = [node("board", "500m"), node("pc", "2"), node("server", "7910m"), node("tiny", "100m")]
    assert _waves.limits(nodes) == Limits({"board": 2, "pc": 8, "server": 31, "tiny": 1}, 1)
    assert _waves.limits([node("pc", "2"), node("away", "500m", unschedulable=True)]) == Limits({"pc": 8}, 8)


@pytest.mark.parametrize("nodes", [[], [node("odd", None)], [node("odd", "much")], [{"metadata": {"name": "odd"}}]])
def test_nodes_of_which_nothing_is_known(nodes: list[Object]) -> None:
    assert _waves.limits(nodes) == Limits({}, _waves.UNKNOWN_NODES)


def test_each_node_has_its_own_number() -> None:
    held = [pod("a-0", "one"), pod("b-0", "one"), pod("c-0", "two"), pod("d-0", "two"), pod("e-0", "one")]
    plans = [plan(name) for name in "abcde"]
    assert waves(plans, held, Limits({"one": 1, "two": 2}, 1)) == [["a", "c", "d"], ["b"], ["e"]]


def test_pods_that_are_nowhere_count_on_every_node() -> None:
    held = [pod("a-0", "one"), pod("b-0", None)]
    plans = [plan(name) for name in "abcd"]  # c and d have no pods at all
    assert waves(plans, held, Limits({"one": 2, "two": 3}, 2)) == [["a", "b"], ["c", "d"]]
    assert waves(plans, held, Limits({}, 3)) == [["a", "b", "c"], ["d"]]


def test_a_big_client_has_a_wave_of_its_own_and_one_of_no_pods_needs_none() -> None:
    held = [pod(f"big-{number}", "one") for number in range(5)]
    plans = [plan("a"), plan("big", 5), plan("b"), plan("none", 0)]
    assert waves(plans, held, Limits({"one": 2}, 2)) == [["a", "b", "none"], ["big"]]


def test_a_deployments_pods_are_found_and_one_is_the_default() -> None:
    replica_set = {
        "kind": "ReplicaSet",
        "metadata": {
            "name": "web-5d",
            "namespace": "downloads",
            "ownerReferences": [{"kind": "Deployment", "name": "web", "controller": True}],
        },
    }
    held = [replica_set, pod("web-5d-x", "one", "web-5d", "ReplicaSet"), pod("a-0", "one"), pod("b-0", "two")]
    plans = [plan("web", None, "Deployment"), plan("a"), plan("b")]
    assert waves(plans, held, Limits({"one": 1, "two": 1}, 1)) == [["web", "b"], ["a"]]


def test_no_client_is_lost_or_moved() -> None:
    plans = [plan(f"c{number:02}") for number in range(50)]
    made = waves(plans, [], Limits({"node": 8}, 8))
    assert [len(one) for one in made] == [8] * 6 + [2]
    assert [name for wave in made for name in wave] == [one.client.name for one in plans]


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "CrashLoopBackOff", "CreateContainerConfigError"])
def test_a_pod_that_is_held_back_takes_no_processor(reason: str) -> None:
    waiting = [{"name": "app", "state": {"waiting": {"reason": reason}}}]
    assert _waves.over([pod("a-0", "one", containerStatuses=waiting)], _waves.IDLE_SECONDS)
    creating = [{"name": "app", "state": {"waiting": {"reason": "ContainerCreating"}}}]
    assert not _waves.over([pod("a-0", "one", containerStatuses=creating)], _waves.IDLE_SECONDS)
    nowhere = [{"type": "PodScheduled", "status": "False"}]
    assert _waves.over([pod("a-0", None, conditions=nowhere)], _waves.IDLE_SECONDS)


def test_a_sealed_pod_is_left_sooner_than_one_that_may_be_busy() -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    sealed, busy = pod("a-0", "one", initContainerStatuses=SEALED), pod("a-1", "one", phase="Pending")
    assert _waves.over([sealed], _waves.IDLE_SECONDS)
    assert _waves.over([pod("a-2", "one", **ready), sealed], _waves.IDLE_SECONDS)
    for pods in ([busy], [sealed, busy], []):
        assert not _waves.over(pods, _waves.IDLE_SECONDS)
        assert _waves.over(pods, _waves.STUCK_SECONDS)
    started = [SEALED[0], {**SEALED[1], "started": True}]
    assert not _waves.over([pod("a-0", "one", initContainerStatuses=started)], _waves.IDLE_SECONDS)


def test_what_counts_as_a_change() -> None:
    base = pod("a-0", "one", initContainerStatuses=SEALED, phase="Pending")
    started = [SEALED[0], {**SEALED[1], "started": True}]
    others = [
        pod("a-0", "one", initContainerStatuses=started, phase="Pending"),
        pod("a-0", "one", initContainerStatuses=SEALED[:1], phase="Pending"),
        pod("a-0", "one", initContainerStatuses=SEALED, phase="Running"),
        {**base, "metadata": {**base["metadata"], "uid": "other"}},
        {**base, "metadata": {**base["metadata"], "deletionTimestamp": "now"}},
    ]
    seen = [_waves.state([one]) for one in (base, *others)]
    assert len(set(seen)) == len(seen)
    again = [{**SEALED[0], "restartCount": 7}, SEALED[1]]
    assert _waves.state([pod("a-0", "one", initContainerStatuses=again, phase="Pending")]) == seen[0]
