# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inventory entries, Services and selectors that are fine, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _model,
    _parse,
    _refuse,
    _selector,
    _services,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, EgressRule, IngressRule
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._services import Destination, ServicePort

Object = dict[str, Any]
Make = Callable[..., Any]


def test_full_entries() -> None:
    gateways, problems = _parse.parse_gateways(
        [
            {"name": "vpnarr", "namespace": "vpn", "engine": "gluetun", "config_secret": "mullvad.wg0"},
            {"name": "old", "namespace": "vpn", "state": "absent"},
        ]
    )
    assert problems == []
    assert gateways[0] == _model.Gateway("vpnarr", "vpn", "mullvad.wg0", engine="gluetun")
    clients, problems = _parse.parse_clients(
        [
            {
                "kind": "StatefulSet",
                "namespace": "downloads",
                "name": "qbittorrent",
                "gateway": "vpnarr",
                "replicas": 3,
                "egress": [{"service": "core/radarr", "ports": [7878, "metrics"]}],
                "ingress": [
                    {"from": {"namespace": "core", "pods": {"app": "sonarr"}}, "ports": [8080]},
                    {"from": {"ingress_gateway": "arr"}, "ports": [8080], "protocol": "UDP"},
                ],
            },
            {"kind": "Deployment", "namespace": "tv", "name": "a.b", "state": "absent", "detach_to": "open"},
        ],
        gateways,
    )
    assert problems == []
    assert clients == [
        Client(
            "StatefulSet",
            "downloads",
            "qbittorrent",
            "vpnarr",
            egress=(EgressRule("core", "radarr", (7878, "metrics")),),
            ingress=(
                IngressRule((8080,), namespace="core", pods={"app": "sonarr"}),
                IngressRule((8080,), ingress_gateway="arr", protocol="UDP"),
            ),
            replicas=3,
        ),
        Client("Deployment", "tv", "a.b", state="absent", detach_to="open"),
    ]


@pytest.mark.parametrize("raw", [None, []])
def test_nothing_is_nothing(raw: Any) -> None:
    assert _parse.parse_gateways(raw) == ([], [])
    assert _parse.parse_clients(raw) == ([], [])


@pytest.mark.parametrize(
    "raw", ["text", 5, [None], ["x"], [5], [{}], [{"name": {}}], [{"kind": [], "egress": {}}], [[1]]]
)
def test_no_shape_of_input_is_an_exception(raw: Any) -> None:
    assert _parse.parse_gateways(raw)[1]
    assert _parse.parse_clients(raw)[1]
    assert _parse.parse_clients([{"egress": raw, "ingress": raw, "gateway": raw}])[1]


@pytest.mark.parametrize("value", [True, "8080", 80.0, None, {}])
def test_a_port_is_a_whole_number(value: Any) -> None:
    entry = {"name": "a", "namespace": "b", "config_secret": "c", "port": value}
    assert [problem.path for problem in _parse.parse_gateways([entry])[1]] == ["bulkhead_vpn_gateways[0].port"]


def test_sentence_shows_long_values_cut() -> None:
    sentence = str(_model.Problem("Pod a/b", "x", "v" * 500, "reason", "remedy"))
    assert len(sentence) < 130 and sentence.startswith("Pod a/b: x is ") and sentence.endswith(": reason; remedy.")
    assert _model.Problem("o", "p", _model.NOT_GIVEN, "r", "m").to_dict()["value"] is None


# --- selectors ---


@pytest.mark.parametrize(
    ("expression", "labels", "selected"),
    [
        ({"operator": "In", "values": ["1"]}, {"k": "1"}, True),
        ({"operator": "In", "values": ["1"]}, {"k": "2"}, False),
        ({"operator": "In", "values": ["1"]}, {}, False),
        ({"operator": "NotIn", "values": ["1"]}, {"k": "1"}, False),
        ({"operator": "NotIn", "values": ["1"]}, {}, True),
        ({"operator": "Exists"}, {"k": ""}, True),
        ({"operator": "Exists"}, {}, False),
        ({"operator": "DoesNotExist"}, {"k": ""}, False),
        ({"operator": "DoesNotExist"}, {}, True),
    ],
)
def test_expressions_mean_what_they_do_in_kubernetes(expression: Object, labels: Object, selected: bool) -> None:
    selector = {"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "k", **expression}]}
    assert _selector.matches(selector, {"app": "x", **labels}) is selected
    assert _selector.matches(selector, {"app": "y", **labels}) is False


def test_strangers_are_not_what_the_workload_owns() -> None:
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}}

    def one(kind: str, name: str, owner: tuple[str, str] | None = None, namespace: str = "n") -> Object:
        metadata: Object = {"namespace": namespace, "name": name}
        if owner:
            metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "controller": True}]
        if kind == "Pod":
            return {"kind": kind, "metadata": {**metadata, "labels": labels}}
        spec = {"template": template}
        return {
            "kind": kind,
            "metadata": metadata,
            "spec": {"jobTemplate": {"spec": spec}} if kind == "CronJob" else spec,
        }

    workload = one("Deployment", "app")
    workload["spec"]["selector"] = {"matchLabels": labels}
    others = [
        workload,
        one("ReplicaSet", "app-1", ("Deployment", "app")),
        one("Pod", "app-1-x", ("ReplicaSet", "app-1")),
        one("Pod", "alone"),
        one("Pod", "of-other", ("ReplicaSet", "other-1")),
        one("CronJob", "nightly"),
        one("StatefulSet", "app"),
        one("Deployment", "far", namespace="m"),
    ]
    assert _selector.strangers(workload, others) == [
        "CronJob n/nightly",
        "Pod n/alone",
        "Pod n/of-other",
        "StatefulSet n/app",
    ]


# --- what is allowed although it looks like what is refused ---


@pytest.mark.parametrize(
    "path", ["/data", "/srv/proc", "/runner", "/var/lib/media", "/procedures", "/dev/dri", "/mnt/run/containerd"]
)
def test_ordinary_host_paths(path: str, workload: Make) -> None:
    container = {"name": "app", "image": "a", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    pod = {"containers": [container], "volumes": [{"name": "v", "hostPath": {"path": path}}]}
    assert _refuse.refusals(workload(pod=pod)) == []


@pytest.mark.parametrize(
    "path", ["/", "/run", "/var", "/var/run", "/var/lib", "//proc", "/run/netns/x", "/var/lib/kubelet"]
)
def test_paths_that_lead_there_from_above_and_below(path: str, workload: Make) -> None:
    container = {"name": "app", "image": "a", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    pod = {"initContainers": [container], "volumes": [{"name": "v", "hostPath": {"path": path}}]}
    assert ["hostPath" in problem.path for problem in _refuse.refusals(workload(pod=pod))] == [True]


@pytest.mark.parametrize(
    ("image", "refused"),
    [
        ("qmcgaw/gluetun", True),
        ("ghcr.io/angelnu/pod-gateway:v1", True),
        ("localhost:5000/wireguard@sha256:00", True),
        ("tailscale/tailscale:stable", True),
        ("example.org/wireguard-exporter-ui:1", True),
        ("gluetun.example.org/app:1", False),
        ("example.org/notgluetunish:1", False),
        ("example.org/qbittorrent:5", False),
    ],
)
def test_images_of_other_vpns(image: str, refused: bool, workload: Make) -> None:
    problems = _refuse.refusals(workload(pod={"containers": [{"name": "app", "image": image}]}))
    assert bool(problems) is refused


def test_everything_wrong_is_told_at_once(workload: Make) -> None:
    pod = {"hostNetwork": True, "hostPID": True, "containers": [{"name": "a", "securityContext": {"privileged": True}}]}
    assert len(_refuse.refusals(workload(pod=pod, spec={"updateStrategy": {"type": "OnDelete"}}))) == 4


def test_what_a_webhook_put_before_the_guard_is_found() -> None:
    def pod(*names: str) -> Object:
        return {
            "kind": "Pod",
            "metadata": {"namespace": "n", "name": "p-0"},
            "spec": {"initContainers": [{"name": name} for name in names]},
        }

    assert _refuse.first_init_containers([pod("bulkhead-guard", "x")]) == []
    problems = _refuse.first_init_containers([pod("istio-init", "bulkhead-guard"), pod()])
    assert [problem.value for problem in problems] == ["istio-init", _model.NOT_GIVEN]


def test_a_cause_is_named_only_when_it_is_known() -> None:
    def pod(*names: str) -> Object:
        inits = [{"name": name} for name in names]
        return {"kind": "Pod", "metadata": {"namespace": "n", "name": "p-0"}, "spec": {"initContainers": inits}}

    guarded = {"spec": {"template": pod("bulkhead-guard")}}
    first, without, older = (
        str(_refuse.first_init_containers([found], workload)[0])
        for found, workload in ((pod("x", "bulkhead-guard"), guarded), (pod(), guarded), (pod(), {"spec": {}}))
    )
    assert "something started before the guard" in first and "mutating webhook" in first
    assert "something started before" not in without and "although the template of its workload has" in without
    assert "webhook" not in older and "neither the pod nor the template of its workload has a guard" in older


# --- Services ---


def client(*ports: Any) -> Client:
    return Client("StatefulSet", "downloads", "qbittorrent", "vpnarr", egress=(EgressRule("core", "radarr", ports),))


def backend(number: int, name: str = "web", labels: Object | None = None, namespace: str = "core") -> Object:
    port = {"name": name, "containerPort": number}
    return {
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": f"p{number}", "labels": labels or {"app": "radarr"}},
        "spec": {"containers": [{"name": "c", "ports": [port]}]},
    }


def test_named_ports_are_those_of_the_pods_behind(service: Make) -> None:
    held = service(spec={"ports": [{"name": "http", "port": 80, "targetPort": "web"}]})
    pods = [
        backend(8080),
        backend(8081),
        backend(1, labels={"app": "other"}),
        backend(2, namespace="elsewhere"),
        backend(3, name="admin"),
    ]
    destinations, problems = _services.resolve(client("http"), [held], pods)
    assert problems == []
    assert destinations == [
        Destination("core", "radarr", "10.96.3.4", {"app": "radarr"}, (ServicePort("TCP", 80, (8080, 8081)),))
    ]


def test_target_port_is_the_port_when_it_is_not_given(service: Make) -> None:
    held = service(spec={"ports": [{"port": 7878}]})
    assert _services.resolve(client(7878), [held])[0][0].ports == (ServicePort("TCP", 7878, (7878,)),)


def test_ipv4_is_taken_from_a_service_of_both_families(service: Make) -> None:
    held = service(spec={"clusterIP": "fd00::4", "clusterIPs": ["fd00::4", "10.96.3.9"]})
    assert _services.resolve(client(7878), [held])[0][0].address == "10.96.3.9"


@pytest.mark.parametrize(
    ("ambient", "expected"),
    [
        ((), [("tcp", "10.96.3.4", 80), ("udp", "10.96.3.4", 81)]),
        (("core",), [("tcp", "10.96.3.4", 80), ("udp", "10.96.3.4", 81)]),
        (("downloads",), [("tcp", "10.244.0.0/16", 8080), ("udp", "10.96.3.4", 81)]),
        (("downloads", "core"), [("tcp", "10.244.0.0/16", 15008), ("udp", "10.96.3.4", 81)]),
    ],
)
def test_direct_names_what_leaves_the_pod(ambient: tuple[str, ...], expected: list[tuple[str, str, int]]) -> None:
    ports = (ServicePort("TCP", 80, (8080,)), ServicePort("UDP", 81, (8081,)))
    destination = Destination("core", "radarr", "10.96.3.4", {"app": "radarr"}, ports)
    entries = _services.direct([destination], ["10.244.0.0/16", "fd00::/48"], ambient, "downloads")
    assert [(one["protocol"], one["address"], one["port"]) for one in entries] == expected
