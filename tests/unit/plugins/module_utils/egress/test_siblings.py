# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pods that are the client's under another name or other labels: found by account, claim and image."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _siblings

AGENT = "registry.example:5000/agent:3"
WORKLOAD = {
    "kind": "StatefulSet",
    "metadata": {"namespace": "downloads", "name": "qbit"},
    "spec": {
        "volumeClaimTemplates": [{"metadata": {"name": "config"}}],
        "template": {
            "spec": {
                "serviceAccountName": "qbit",
                "initContainers": [{"name": "bulkhead-guard", "image": AGENT}],
                "containers": [{"name": "app", "image": "lscr.io/qbittorrent:4.6"}, {"name": "tool", "image": AGENT}],
                "volumes": [{"name": "media", "persistentVolumeClaim": {"claimName": "media"}}, {"name": "tmp"}],
            }
        },
    },
}


def pod(name: str = "other-0", phase: str = "Running", namespace: str = "downloads", **spec: Any) -> dict[str, Any]:
    plain = {"serviceAccountName": "default", "containers": [{"name": "x", "image": "nginx:1"}], **spec}
    return {"metadata": {"namespace": namespace, "name": name}, "spec": plain, "status": {"phase": phase}}


def claim(name: str) -> list[dict[str, Any]]:
    return [{"name": "x", "persistentVolumeClaim": {"claimName": name}}]


def image(name: str) -> list[dict[str, Any]]:
    return [{"name": "nginx", "image": "nginx:1"}, {"name": "x", "image": name}]


def found(one: Any, workload: Any = None, **more: Any) -> list[str]:
    return [str(each) for each in _siblings.find(workload or WORKLOAD, more.pop("own", []), [one], **more)]


@pytest.mark.parametrize(
    ("one", "shares"),
    [
        (pod(serviceAccountName="qbit"), "its ServiceAccount qbit"),
        (pod(volumes=claim("media")), "its volume claim media"),
        (pod(volumes=claim("config-qbit-12")), "its volume claim config-qbit-12"),
        (pod(containers=image("lscr.io/qbittorrent:4.6")), "its image lscr.io/qbittorrent"),
        (pod(containers=image("lscr.io/qbittorrent:5.0@sha256:0a")), "its image lscr.io/qbittorrent"),
        (pod(phase="Pending", serviceAccountName="qbit"), "its ServiceAccount qbit"),
        # An init container that only has another name is no guard.
        (pod(serviceAccountName="qbit", initContainers=[{"name": "guard"}]), "its ServiceAccount qbit"),
        (
            pod(serviceAccountName="qbit", volumes=claim("media")),
            "its ServiceAccount qbit and its volume claim media",
        ),
    ],
)
def test_what_is_shared_is_told(one: Any, shares: str) -> None:
    assert found(one) == [f"pod downloads/other-0 uses {shares}, and has no guard"]


@pytest.mark.parametrize(
    "one",
    [
        pod(),
        pod(namespace="tv", serviceAccountName="qbit"),
        pod(phase="Succeeded", serviceAccountName="qbit"),
        pod(phase="Failed", serviceAccountName="qbit"),
        pod(serviceAccountName="qbit", initContainers=[{"name": "bulkhead-guard"}]),
        pod(volumes=claim("config-qbit-old")),
        pod(volumes=claim("xconfig-qbit-0")),
        pod(volumes=claim("config-qbit-0-1")),
        pod(volumes=[{"name": "media", "emptyDir": {}}]),
        pod(containers=image("lscr.io/qbittorrent-exporter:4.6")),
        pod(containers=image("qbittorrent:4.6")),
        # Twins and gateways have it.
        pod(containers=image(AGENT)),
    ],
)
def test_what_is_no_sibling(one: Any) -> None:
    assert found(one) == []


def test_the_default_account_says_nothing() -> None:
    plain = {**WORKLOAD, "spec": {"template": {"spec": {"containers": [{"name": "app", "image": "a"}]}}}}
    assert found(pod(), plain) == []
    named = {**WORKLOAD, "spec": {"template": {"spec": {"serviceAccountName": "default", "containers": []}}}}
    assert found(pod(), named) == []


def test_own_pods_are_looked_at_elsewhere() -> None:
    one = pod("qbit-0", serviceAccountName="qbit")
    assert found(one, own=[one]) == []


@pytest.mark.parametrize(
    ("accepted", "told"),
    [
        (["downloads/other-0"], False),
        (["downloads/other"], False),
        (["downloads/oth"], True),
        (["tv/other"], True),
        (["other"], True),
        (["downloads/other-0-1"], True),
    ],
)
def test_accepted_by_name_of_pod_or_workload(accepted: list[str], told: bool) -> None:
    assert bool(found(pod(serviceAccountName="qbit"), accepted=accepted)) == told
