# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects of the cluster as addresses and routes, and which requests they lead to."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths import _plan, _seen
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import Page, Row, Vantage
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._parse import row_of
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.paths import network as n

TARGET = Target("127.0.0.1:6443", "context lab")
LABELS = {"gateway.networking.k8s.io/gateway-name": "arr"}
SERVICE: dict[str, Any] = {
    "metadata": {"namespace": "gateway-arr", "name": "arr-istio", "labels": LABELS},
    "spec": {
        "clusterIP": "10.96.0.101",
        "clusterIPs": ["10.96.0.101"],
        "externalIPs": ["192.0.2.44"],
        "ports": [{"port": 80, "nodePort": 30080, "appProtocol": "http"}, {"port": 53, "protocol": "UDP"}],
    },
    "status": {
        "loadBalancer": {"ingress": [{"ip": "192.0.2.101"}, {"ip": "100.64.0.7"}, {"hostname": "arr.x.ts.net"}]}
    },
}
GATEWAY: dict[str, Any] = {
    "metadata": {"namespace": "gateway-arr", "name": "arr"},
    "status": {"addresses": [{"value": "192.0.2.101"}, {"value": "arr-istio.gateway-arr.svc.cluster.local"}]},
}
ROUTE: dict[str, Any] = {
    "metadata": {"namespace": "media", "name": "stray"},
    "spec": {
        "parentRefs": [{"name": "arr", "namespace": "gateway-arr"}, {"kind": "Service", "name": "x"}],
        "hostnames": ["*.example.org"],
        "rules": [
            {
                "matches": [{"path": {"value": "/a"}}, {"path": {"value": "/b"}}],
                "filters": [{"urlRewrite": {"path": {"replacePrefixMatch": "/"}}}],
                "backendRefs": [{"name": "jellyfin", "port": 8096}, {"kind": "Other", "name": "x", "port": 1}],
            },
            {"backendRefs": [{"namespace": "core", "name": "radarr", "port": 7878}]},
        ],
    },
}
EMPTY: dict[str, list[Any]] = {name: [] for name in _seen.REQUESTS}


def cluster(**more: Any) -> _seen.Seen:
    return _seen.understood({**EMPTY, "services": [SERVICE], "gateways": [GATEWAY], **more})


def test_a_gateway_has_the_addresses_of_its_services() -> None:
    door = cluster().gateways["gateway-arr/arr"]
    assert door.inside == ("10.96.0.101",)
    assert door.outside == ("192.0.2.101", "192.0.2.44")
    assert door.tailnet == ("100.64.0.7", "arr.x.ts.net")
    assert door.ports == {80: 30080}


def test_a_service_of_somebody_else_is_not_the_gateways() -> None:
    other = {**SERVICE, "metadata": {**SERVICE["metadata"], "labels": {}}}
    assert cluster(services=[other]).gateways["gateway-arr/arr"].inside == ()


def test_the_device_of_a_service_by_its_annotation() -> None:
    named = {**SERVICE["metadata"], "annotations": {"tailscale.com/hostname": "films"}}
    assert _seen.door({**SERVICE, "metadata": named, "status": {}}).tailnet == ("films",)


def test_routes() -> None:
    first, second, third = _seen.strays(ROUTE)
    assert (first.path, first.behind, first.service) == ("/a", "/", ("media", "jellyfin", 8096))
    assert (second.path, third.path, third.behind, third.service) == ("/b", "/", "/", ("core", "radarr", 7878))
    assert first.parents == frozenset({("gateway-arr", "arr")})
    assert first.host == "bulkhead.example.org"


def test_services_of_a_client() -> None:
    (client,) = n.clients()
    assert _seen.services_of(client, n.seen()) == [("downloads", "qbit", 8080, 8080)]
    assert _seen.services_of(client, n.seen(clients={})) == []


@pytest.mark.parametrize(("target", "expected"), [(8080, 8080), ("web", 8080), ("8081", 8081), ("other", 0)])
def test_the_port_of_a_pod(target: Any, expected: int) -> None:
    assert _seen.pod_port(target, n.POD_OF_QBIT) == expected


class Api:
    def __init__(self, **statuses: int) -> None:
        self.statuses = statuses

    def call(self, request: Request) -> Answer:
        status = next((code for part, code in self.statuses.items() if part in request.path), 200)
        return Answer(status, {"items": []} if status == 200 else {"message": "no"})


def test_what_may_not_be_read_is_an_error() -> None:
    with pytest.raises(KubeError, match="list httproutes"):
        _seen.read(Api(httproutes=403), TARGET)


def test_kinds_that_are_not_served_have_no_objects() -> None:
    assert _seen.read(Api(httproutes=404, gateways=404), TARGET).routes == ()


# -- requests -----------------------------------------------------------------------


def tries(kind: str, gateway: str = "arr", **more: Any) -> dict[str, bool]:
    gateways = {one.name: one for one in n.gateways(more.get("changes"))}
    world = _plan.World(
        gateways, cluster(nodes=[{"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.10"}]}}])
    )
    row = row_of(Vantage(kind), gateways[gateway], gateways[gateway].routes[0], "reached")
    return {str(one): one.primary for one in _plan.tries(row, world)}


def test_the_home_network_asks_every_address_and_needs_the_declared_one() -> None:
    assert tries("lan") == {
        "192.0.2.101:80": True,
        "192.0.2.44:80": False,
        "10.96.0.101:80": False,
        "192.0.2.10:30080": False,
    }


def test_the_tailnet_needs_its_own_addresses() -> None:
    assert {name for name, primary in tries("tailnet").items() if primary} == {"100.64.0.7:80", "arr.x.ts.net:80"}
    assert "192.0.2.101:80" in tries("tailnet")


def test_a_pod_needs_the_address_in_the_cluster() -> None:
    assert tries("pod") == {"10.96.0.101:80": True, "192.0.2.101:80": False, "192.0.2.44:80": False}


def test_a_client_asks_in_the_cluster_only() -> None:
    assert tries("client") == {"10.96.0.101:80": True}


def test_a_gateway_that_the_cluster_does_not_have() -> None:
    assert tries("lan", "admin") == {}
    assert tries("lan", "media") == {"192.0.2.102:80": True}


def test_https_and_ports_of_listeners() -> None:
    changes = {
        "arr": {"listeners": [{"protocol": "HTTPS", "tls_secret": "x", "hostname": "*.example.org"}, {"port": 8080}]}
    }
    gateways = {one.name: one for one in n.gateways(changes)}
    world = _plan.World(gateways, cluster())
    row = row_of(Vantage("pod"), gateways["arr"], gateways["arr"].routes[0], "reached")
    primary = [one for one in _plan.tries(row, world) if one.primary]
    assert [(one.port, one.tls, one.host) for one in primary] == [
        (443, True, "bulkhead.example.org"),
        (8080, False, "10.96.0.101:8080"),
    ]


def test_a_service_that_is_open_on_nodes_is_asked_there() -> None:
    door = {**SERVICE, "metadata": {"namespace": "core", "name": "radarr"}, "status": {}}
    world = _plan.World(
        {},
        cluster(services=[door], nodes=[{"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.10"}]}}]),
    )
    row = Row(Vantage("lan"), Page("core", "radarr", 80), "refused", path="/")
    assert [str(one) for one in _plan.tries(row, world)] == ["10.96.0.101:80", "192.0.2.44:80", "192.0.2.10:30080"]
    row = Row(Vantage("pod", "x"), Page("core", "radarr", 80), "refused", path="/")
    assert [str(one) for one in _plan.tries(row, world)] == ["10.96.0.101:80"]


def test_controls_come_before_everything_else() -> None:
    steps = _plan.steps(Vantage("pod"), [n.Try("192.0.2.1", 80)], [n.Try("192.0.2.2", 80)] * 65, 1.0)
    assert [one["id"] for one in steps] == ["control", "paths0", "paths64", "again0", "again64"]
    assert [one["attempts"][0]["timeout"] for one in steps] == [2.0, 1.0, 1.0, 2.0, 2.0]
    client = _plan.steps(n.QBIT, [], [], 1.0, resolver="10.222.1.1")
    assert [(one["id"], one["uids"]) for one in client] == [("control", [65534]), ("resolver", [65534])]
