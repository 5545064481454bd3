# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import _facts, _pod, _requests
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import Snapshot
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer

VERSION = {"git": "v1.35.4", "major": 1, "minor": 35}
FORBIDDEN = Answer(403, {"message": "no"})


def findings(value: Any, path: Any = "") -> Any:
    """All findings below ``value`` as (path, finding)."""
    if isinstance(value, dict):
        if {"value", "found_by", "reason"} == set(value):
            yield path, value
        else:
            for key, inner in value.items():
                yield from findings(inner, f"{path}.{key}")


def test_who_may_read_nothing_learns_nothing_false() -> None:
    requests = {**_requests.first(), **_requests.service_range()}
    answers = dict.fromkeys(requests, FORBIDDEN)
    asked = {name: request.what for name, request in requests.items()}
    found = _facts.cluster("s:1", VERSION, answers, asked, _pod.not_asked("no probe"), [])
    by_path = dict(findings(found))
    assert len(by_path) > 25
    assert {path: f for path, f in by_path.items() if f["value"] != "unknown"} == {}
    assert all(f["reason"] and f["found_by"] is None for f in by_path.values())
    assert [entry["request"] for entry in found["unreadable"]] == list(asked.values())


def test_server_errors_are_not_permissions() -> None:
    answers = {name: Answer(500, {"message": "etcd is away"}) for name in _requests.first()}
    asked = {name: request.what for name, request in _requests.first().items()}
    found = _facts.cluster("s:1", VERSION, answers, asked, _pod.not_asked("no probe"), [])
    assert found["unreadable"] == []
    assert found["nodes"]["reason"] == "list nodes answered 500: etcd is away"


def test_permissions_in_order_and_unknown_is_not_no() -> None:
    wanted = [{"verb": "list", "group": "", "resource": r, "namespace": None} for r in ("pods", "nodes", "secrets")]
    answers = {
        "can_i:0": Answer(201, {"status": {"allowed": True, "reason": "RBAC"}}),
        "can_i:1": Answer(201, {"status": {"allowed": False}}),
        "can_i:2": Answer(404, {"message": "no such API"}),
    }
    found = _facts.permissions(answers, wanted)
    assert [(p["resource"], p["allowed"], p["reason"]) for p in found] == [
        ("pods", "yes", "RBAC"),
        ("nodes", "no", None),
        ("secrets", "unknown", "no such API"),
    ]


def test_can_i_leaves_out_an_absent_namespace() -> None:
    requests = _requests.can_i(
        [
            {"verb": "list", "group": "", "resource": "nodes", "namespace": None},
            {"verb": "create", "group": "apps", "resource": "deployments", "namespace": "a"},
        ]
    )
    attributes = [r.body["spec"]["resourceAttributes"] for r in requests.values()]
    assert attributes[0] == {"verb": "list", "group": "", "resource": "nodes"}
    assert attributes[1]["namespace"] == "a"


def test_range_probe_is_a_dry_run() -> None:
    for name, request in _requests.service_range().items():
        if request.method != "GET":
            assert request.query == {"dryRun": "All"}, name


def test_second_round_asks_only_for_what_is_served(snapshot: Any, served: Any, obj: Any) -> None:
    seen = snapshot(
        discovery=served("servicecidrs.networking.k8s.io", "ippools.crd.projectcalico.org"),
        services=[obj("dns/my-coredns", labels={"k8s-app": "kube-dns"})],
        daemonsets=[obj("kube-system/cilium")],
        deployments=[obj("istio-system/istiod", labels={"app": "istiod"}), obj("a/b")],
    )
    paths = [request.path for request in _requests.second(seen).values()]
    assert paths == [
        "/apis/networking.k8s.io/v1/servicecidrs",
        "/apis/crd.projectcalico.org/v1/ippools",
        "/api/v1/namespaces/kube-system/configmaps/cilium-config",
        "/api/v1/namespaces/kube-system/configmaps/coredns",
        "/api/v1/namespaces/dns/configmaps/coredns",
        "/api/v1/namespaces/dns/configmaps/my-coredns",
        "/apis/apps/v1/namespaces/istio-system/deployments/istiod",
    ]


def test_a_name_that_was_not_asked_is_unknown() -> None:
    found = _facts.user(Snapshot({}, {}))
    assert found["value"] == "unknown"
