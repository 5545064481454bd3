# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import _version


@pytest.mark.parametrize(
    "body, expected",
    [
        ({"major": "1", "minor": "35", "gitVersion": "v1.35.4"}, (1, 35)),
        ({"major": "1", "minor": "27+", "gitVersion": "v1.27.3-gke.100"}, (1, 27)),
        ({"major": "", "minor": "", "gitVersion": "v1.30.1"}, (1, 30)),
    ],
)
def test_version_numbers(body: Any, expected: Any) -> None:
    found = _version.version(body)
    assert (found["major"], found["minor"]) == expected
    assert found["git"] == body["gitVersion"]


@pytest.mark.parametrize("body", [{}, {"message": "page not found"}, {"gitVersion": "nginx"}])
def test_no_version_is_an_error(body: Any) -> None:
    with pytest.raises(ValueError):
        _version.version(body)


@pytest.mark.parametrize(
    "git, node, expected",
    [
        ("v1.35.4+k3s1", {"name": "server"}, "k3s"),
        ("v1.35.4+k3s1", {"name": "k3d-demo-server-0"}, "k3d"),
        ("v1.35.4", {"name": "k3d-lookalike"}, "plain"),
        ("v1.35.4+rke2r1", {"name": "a"}, "rke2"),
        ("v1.34.1-gke.1710000", {"name": "a"}, "gke"),
        ("v1.34.1-eks-113cf36", {"name": "a"}, "eks"),
        ("v1.35.0", {"name": "a", "labels": {"minikube.k8s.io/name": "minikube"}}, "minikube"),
        ("v1.35.0", {"name": "a", "labels": {"microk8s.io/cluster": "true"}}, "microk8s"),
        ("v1.35.0", {"name": "a", "provider": "kind://docker/kind/kind-control-plane"}, "kind"),
        ("v1.35.0", {"name": "a"}, "plain"),
    ],
)
def test_platform(snapshot: Any, obj: Any, git: str, node: Any, expected: Any) -> None:
    item = obj(node["name"], labels=node.get("labels"), spec={"providerID": node.get("provider", "")})
    assert _version.platform(git, snapshot(nodes=[item]))["value"] == expected


def test_platform_by_api_group(snapshot: Any, served: Any) -> None:
    found = _version.platform("v1.30.0", snapshot(nodes=[], discovery=served("clusterversions.config.openshift.io")))
    assert found["value"] == "openshift"


def test_platform_without_nodes_is_not_called_plain(snapshot: Any) -> None:
    found = _version.platform("v1.35.0", snapshot(nodes="403"))
    assert found == {"value": "unknown", "found_by": None, "reason": "not allowed to read nodes"}


def test_a_cluster_without_nodes_is_not_called_plain(snapshot: Any) -> None:
    assert _version.platform("v1.35.0", snapshot(nodes=[]))["value"] == "unknown"


def test_version_mark_needs_no_nodes(snapshot: Any) -> None:
    assert _version.platform("v1.35.4+k3s1", snapshot(nodes="403"))["value"] == "k3s"


def test_node_facts(snapshot: Any, obj: Any) -> None:
    node = obj(
        "a",
        spec={"podCIDR": "10.0.0.0/24"},
        status={
            "addresses": [
                {"type": "InternalIP", "address": "10.1.0.1"},
                {"type": "Hostname", "address": "a"},
            ],
            "conditions": [{"type": "Ready", "status": "Unknown"}],
            "nodeInfo": {"kernelVersion": "6.12"},
        },
    )
    (found,) = _version.nodes(snapshot(nodes=[node]))["value"]
    assert found["ready"] == "unknown"
    assert found["addresses"] == ["10.1.0.1"]
    assert found["pod_cidrs"] == ["10.0.0.0/24"]
    assert found["kernel"] == "6.12"
