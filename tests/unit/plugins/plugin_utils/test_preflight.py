# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.plugin_utils import _preflight


def known(value: Any) -> Any:
    return {"value": value, "found_by": "test", "reason": None}


def unknown(reason: Any) -> Any:
    return {"value": "unknown", "found_by": None, "reason": reason}


CLUSTER = {
    "server": "10.0.0.1:6443",
    "user": known({"name": "admin", "groups": []}),
    "version": {"git": "v1.35.4", "major": 1, "minor": 35},
    "platform": known("plain"),
    "nodes": known([{"ready": "yes"}, {"ready": "no"}]),
    "networks": {"pod_cidrs": known(["10.244.0.0/16"]), "service_cidrs": unknown("x"), "node_cidrs": unknown("x")},
    "dns": {"service": unknown("x"), "domain": known("cluster.local"), "node_local": known("no")},
    "cni": {"name": known("calico"), "policy_support": known("yes")},
    "psa": known({"vpn": {"enforce": None}, "core": {"enforce": "baseline"}, "open": {"enforce": "privileged"}}),
    "mesh": {
        "istio": known({"installed": "no", "control_planes": [], "ztunnel": None}),
        "linkerd": known({"installed": "no"}),
    },
    "gateway_api": known({"installed": "no"}),
    "metallb": known({"installed": "no"}),
    "tailscale": known({"installed": "no"}),
    "servicelb": known("no"),
    "permissions": [],
    "unreadable": [],
}


def cluster(**changes: Any) -> Any:
    return {**copy.deepcopy(CLUSTER), **changes}


def judge(seen: Any, components: Any = None, minimum: Any = "1.30", privileged: Any = ()) -> Any:
    return [(p["rule"], p["msg"]) for p in _preflight.problems(seen, components or {}, minimum, privileged)]


def test_nothing_to_say() -> None:
    components = {"metallb": "managed", "istio": "managed", "gateway_api": "managed", "tailscale": "absent"}
    assert judge(CLUSTER, components, privileged=["vpn", "open", "not-there-yet"]) == []


@pytest.mark.parametrize(
    "minor, components, msg",
    [
        (30, {}, None),
        (30, {"istio": "external"}, "installed"),
        (
            29,
            {},
            "Kubernetes 1.29.0 on 10.0.0.1:6443 is too old: this collection needs 1.30 or newer; upgrade the cluster.",
        ),
        (
            31,
            {"istio": "managed"},
            "Kubernetes 1.31.0 on 10.0.0.1:6443 is too old: Istio as a managed component needs 1.32 or newer; "
            "upgrade the cluster, or leave the component out of bulkhead_components.",
        ),
        (
            29,
            {"istio": "managed"},
            "Kubernetes 1.29.0 on 10.0.0.1:6443 is too old: Istio as a managed component needs 1.32 or newer; "
            "upgrade the cluster.",
        ),
        (32, {"istio": "managed"}, None),
    ],
)
def test_version(minor: Any, components: Any, msg: Any) -> None:
    seen = cluster(version={"git": f"v1.{minor}.0", "major": 1, "minor": minor})
    found = [m for rule, m in judge(seen, components) if rule == "kubernetes-version"]
    assert found == ([msg] if msg and msg != "installed" else [])


@pytest.mark.parametrize(
    ("networks", "vpn", "refused"),
    [
        (["fd00:10:244::/56"], True, True),
        (["fd00:10:244::/56", "10.244.0.0/16"], True, False),
        (["fd00:10:244::/56"], False, False),
        ([], True, False),
        ("unknown", True, False),
    ],
)
def test_pods_without_ipv4(networks: Any, vpn: bool, refused: bool) -> None:
    seen = cluster(networks={**CLUSTER["networks"], "pod_cidrs": known(networks)})
    found = _preflight.problems(seen, {}, "1.30", [], vpn)
    assert [one["rule"] for one in found] == ["ipv6-only"] * refused
    if refused:
        assert found[0]["msg"] == (
            "Pods on 10.0.0.1:6443 have IPv6 addresses only (fd00:10:244::/56), and VPN gateways reach their clients by "
            "IPv4: give the cluster both families, or leave bulkhead_vpn_gateways out."
        )


def test_major_versions_count() -> None:
    assert judge(cluster(version={"git": "v2.0.0", "major": 2, "minor": 0})) == []


def test_too_old_is_judged_no_further() -> None:
    seen = cluster(
        version={"git": "v1.27.0", "major": 1, "minor": 27},
        permissions=[
            {"verb": "list", "group": "", "resource": "nodes", "namespace": None, "allowed": "unknown", "reason": "404"}
        ],
    )
    assert [rule for rule, dummy in judge(seen)] == ["kubernetes-version"]


@pytest.mark.parametrize("text", ["1", "latest", "", "1.x"])
def test_bad_minimum(text: Any) -> None:
    with pytest.raises(ValueError, match="is no Kubernetes version"):
        judge(CLUSTER, minimum=text)


def test_permissions_in_one_sentence() -> None:
    asked = [
        {"verb": "list", "group": "", "resource": "nodes", "namespace": None, "allowed": "no", "reason": None},
        {"verb": "list", "group": "", "resource": "pods", "namespace": None, "allowed": "yes", "reason": None},
        {
            "verb": "create",
            "group": "apps",
            "resource": "deployments",
            "namespace": "a",
            "allowed": "no",
            "reason": None,
        },
        {"verb": "list", "group": "", "resource": "services", "namespace": None, "allowed": "unknown", "reason": "x"},
    ]
    assert judge(cluster(permissions=asked)) == [
        (
            "permission",
            "admin is not allowed on 10.0.0.1:6443 to list nodes, create deployments.apps in a: "
            "grant it by a ClusterRole, or use another context.",
        ),
        (
            "permission-unknown",
            "10.0.0.1:6443 does not say whether admin may list services: "
            "make SelfSubjectAccessReview work for this user.",
        ),
    ]


def test_permissions_of_an_unknown_user() -> None:
    asked = [{"verb": "list", "group": "", "resource": "nodes", "namespace": None, "allowed": "no", "reason": None}]
    ((dummy, msg),) = judge(cluster(permissions=asked, user=unknown("old server")))
    assert msg.startswith("the caller is not allowed")


@pytest.mark.parametrize(
    "privileged, components, names",
    [
        (["core", "vpn", "core"], {}, ["core"]),
        ([], {"istio": "managed"}, ["istio-system"]),
        ([], {"istio": "external"}, []),
        (["open"], {}, []),
    ],
)
def test_pod_security(privileged: Any, components: Any, names: Any) -> None:
    seen = cluster(psa=known({**CLUSTER["psa"]["value"], "istio-system": {"enforce": "restricted"}}))
    found = [msg for rule, msg in judge(seen, components, privileged=privileged) if rule == "pod-security"]
    assert [msg.split()[1] for msg in found] == names


def test_pod_security_sentence() -> None:
    assert judge(CLUSTER, privileged=["core"]) == [
        (
            "pod-security",
            "Namespace core enforces the Pod Security level baseline, which refuses pods with NET_ADMIN: "
            "set its label pod-security.kubernetes.io/enforce to privileged.",
        )
    ]


def test_external_must_be_there() -> None:
    assert judge(CLUSTER, {"metallb": "external", "gateway_api": "external"}) == [
        (
            "external-missing",
            "The Gateway API is not on 10.0.0.1:6443, but bulkhead_components.gateway_api is external: "
            "install it, or set the component to managed.",
        ),
        (
            "external-missing",
            "MetalLB is not on 10.0.0.1:6443, but bulkhead_components.metallb is external: "
            "install it, or set the component to managed.",
        ),
    ]
    assert judge(cluster(metallb=known({"installed": "yes"})), {"metallb": "external"}) == []


def test_external_that_cannot_be_seen_is_a_problem() -> None:
    ((rule, msg),) = judge(cluster(metallb=unknown("not allowed to list deployments.apps")), {"metallb": "external"})
    assert rule == "external-unknown"
    assert "(not allowed to list deployments.apps)" in msg


def test_servicelb_and_metallb() -> None:
    seen = cluster(servicelb=known("yes"))
    assert [rule for rule, dummy in judge(seen, {"metallb": "managed"})] == ["servicelb"]
    assert judge(seen, {}) == []


@pytest.mark.parametrize(
    "owner, rules", [("helm:istio-system/istiod", []), ("istioctl", ["other-istio"]), ("unknown", ["other-istio"])]
)
def test_another_istio(owner: Any, rules: Any) -> None:
    plane = {"namespace": "istio-system", "name": "istiod", "owner": owner, "version": "1.31.1", "revision": "default"}
    mesh = {**CLUSTER["mesh"], "istio": known({"installed": "yes", "control_planes": [plane], "ztunnel": None})}
    assert [rule for rule, dummy in judge(cluster(mesh=mesh), {"istio": "managed"})] == rules
    assert judge(cluster(mesh=mesh), {"istio": "external"}) == []


def test_all_problems_at_once() -> None:
    seen = cluster(servicelb=known("yes"))
    rules = [rule for rule, dummy in judge(seen, {"metallb": "managed", "tailscale": "external"}, privileged=["core"])]
    assert rules == ["pod-security", "external-missing", "servicelb"]


def test_wanted_permissions() -> None:
    reads = _preflight.permissions({})
    assert {p["verb"] for p in reads} == {"list"}
    both = _preflight.permissions({"istio": "managed", "metallb": "managed", "gateway_api": "external"})
    assert both[: len(reads)] == reads
    keys = [tuple(sorted((k, v or "") for k, v in p.items())) for p in both]
    assert len(keys) == len(set(keys))
    assert {"verb": "create", "group": "apps", "resource": "daemonsets", "namespace": "metallb-system"} in both
    assert _preflight.permissions({"istio": "external", "metallb": "absent"}) == reads


def test_summary_says_unknown() -> None:
    lines = _preflight.summary(cluster(unreadable=[{"request": "list nodes", "reason": "x"}], nodes=unknown("x")))
    text = "\n".join(lines)
    assert "Nodes:       unknown" in text
    assert "Services:    unknown" in text
    assert "Pods:        10.244.0.0/16" in text
    assert lines[-1].endswith("list nodes")
    assert "1 of 2 ready" in "\n".join(_preflight.summary(CLUSTER))
