# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._topology import _graph, _standing, _text
from ansible_collections.bulkhead.mesh.plugins.module_utils._topology_info import _look, _read
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.topology.cluster import (
    GATEWAY_API,
    GUARD,
    Api,
    cluster,
    gateway,
    obj,
    pod,
    route,
)

NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
CLIENT = {"kind": "StatefulSet", "namespace": "downloads", "name": "qbittorrent", "gateway": "north"}
WANTED = _look.Inventory(
    namespaces=[{"name": "downloads", "mesh": "ambient"}],
    ingress_gateways=[{"name": "arr"}],
    gateways=[{"namespace": "vpn", "name": "north"}],
    clients=[CLIENT],
    exit_addresses=["198.51.100.5"],
)
SECRETS = "/api/v1/namespaces/tailscale/secrets"
HTTP = f"/apis/{GATEWAY_API}/v1/httproutes"
GATEWAYS = f"/apis/{GATEWAY_API}/v1/gateways"


def report(time: str = "2026-11-21T17:00:00Z", exit_: str = "pass", **more: Any) -> _standing.Proof:
    client = {
        **CLIENT,
        "verdict": "protected",
        "acceptable": True,
        "layers": {"guard": "holds"},
        "reason": "two layers hold",
        **more,
    }
    check = {"id": "gw-exit", "target": "vpn/north", "result": exit_, "reason": "why"}
    return _standing.proof(json.dumps({"clients": [client], "checks": [check], "time": time}))


def look(api: Api | None = None, wanted: Any = WANTED, proof: Any = None) -> dict[str, Any]:
    api = api or Api()
    return _look.look(api, api.target, wanted, proof or report(), NOW, 24 * 3600)


def test_everything_is_read_once_and_put_together() -> None:
    api = Api()
    found = look(api)
    assert len(api.asked) == len(set(api.asked)) == 11
    assert found["unreadable"] == []
    (arr,) = found["ingress_gateways"]
    assert (arr["state"], arr["exposure"], arr["addresses"], arr["segments"], arr["declared"]) == (
        "ready",
        "both",
        ["172.30.0.101"],
        ["arr"],
        True,
    )
    assert arr["tailnet"] == {"name": "arr.tail.ts.net", "addresses": ["100.64.0.3"], "reason": ""}
    backend = {"path": "/qbittorrent", "service": "downloads/qbittorrent", "port": 8080}
    assert [(one["name"], one["state"], one["backends"]) for one in arr["routes"]] == [
        ("qbittorrent", "attached", [backend])
    ]
    (north,) = found["vpn_gateways"]
    assert (north["state"], north["network"]) == ("ready", "10.222.1.0/24")
    assert north["exit"] == {"addresses": ["198.51.100.5"], "state": "confirmed", "reason": ""}
    (client,) = found["vpn_clients"]
    assert (client["state"], client["gateway"], client["pods"], client["attached"]) == ("protected", "north", 1, True)
    assert client["services"] == ["downloads/qbittorrent"]
    downloads = next(one for one in found["namespaces"] if one["name"] == "downloads")
    assert (downloads["capture"], downloads["pods"], downloads["segments"]) == ("ambient", {"in": 1}, ["arr"])
    # The namespace other takes no part.
    assert [one["name"] for one in found["namespaces"]] == ["downloads", "gateway-arr", "vpn"]
    assert found["proof"]["age_s"] == 3600 and not found["proof"]["stale"]
    assert "SECRET" not in json.dumps(found)


def states(found: dict[str, Any]) -> list[str]:
    return [part["state"] for key in ("vpn_clients", "vpn_gateways") for part in found[key]]


@pytest.mark.parametrize("kind, request_", sorted(_read.requests().items()))
def test_what_cannot_be_read_is_named_and_nothing_is_good_because_of_it(kind: str, request_: Any) -> None:
    whole = look()
    found = look(Api(refuse=(request_.path,)))
    assert [one["kind"] for one in found["unreadable"]] == [kind]
    assert "status 403: forbidden" in found["unreadable"][0]["reason"]
    assert _text.text(found).splitlines()[-1].startswith("? ")
    for view in _text.VIEWS.values():
        assert kind in view(found)
    if kind in ("Pod", "StatefulSet"):
        assert set(states(found)) == {"unknown"}
    elif kind in ("Deployment", "ReplicaSet"):
        # Whether a pod of the client is one that left its workload cannot be said; the gateway is as it was.
        assert states(found) == ["unknown", *states(whole)[1:]]
    else:
        assert states(found) == states(whole)
    (arr,) = found["ingress_gateways"]
    assert arr["state"] == ("unknown" if kind in ("Gateway", "Deployment") else "ready")
    assert arr["exposure"] == ("unknown" if kind in ("Gateway", "Service") else "both")
    named = bool(arr["tailnet"] and arr["tailnet"]["name"])
    assert named is (kind not in ("Gateway", "Service", "StatefulSet"))
    assert bool(arr["routes_reason"]) is (kind in ("HTTPRoute", "GRPCRoute"))


def test_a_cluster_without_the_gateway_api_has_no_gateways() -> None:
    held = {path: found for path, found in cluster().items() if GATEWAY_API not in path}
    found = look(Api(held), _look.Inventory())
    assert found["ingress_gateways"] == [] and found["unreadable"] == []
    # Kinds that every cluster has are not taken for none.
    held.pop("/api/v1/pods")
    assert [one["kind"] for one in look(Api(held))["unreadable"]] == ["Pod"]


def test_secrets_are_asked_for_only_where_something_is_on_the_tailnet() -> None:
    held = cluster()
    held["/api/v1/services"][1]["metadata"]["annotations"] = {}
    api = Api(held)
    found = look(api)
    assert SECRETS not in api.asked
    assert found["ingress_gateways"][0]["tailnet"] is None and found["ingress_gateways"][0]["exposure"] == "lan"
    kept = _read.read(Api(), lambda service: True).all("Secret")
    assert [sorted(one["data"]) for one in kept] == [["device_fqdn", "device_ips"]]
    refused = look(Api(refuse=(SECRETS,)))
    assert refused["ingress_gateways"][0]["tailnet"]["name"] == ""
    assert [one["kind"] for one in refused["unreadable"]] == ["Secret"]
    held = cluster()
    held[SECRETS] = []
    waiting = look(Api(held))["ingress_gateways"][0]["tailnet"]
    assert waiting["name"] == "" and "has not joined the tailnet; asked for the name arr" in waiting["reason"]


@pytest.mark.parametrize(
    "spec, exposure",
    [
        ({"type": "LoadBalancer", "loadBalancerClass": "tailscale"}, "tailnet"),
        ({"type": "ClusterIP"}, "tailnet"),
        ({"type": "NodePort"}, "both"),
    ],
)
def test_exposure_follows_the_service(spec: dict[str, str], exposure: str) -> None:
    held = cluster()
    held["/api/v1/services"][1]["spec"] = spec
    assert look(Api(held))["ingress_gateways"][0]["exposure"] == exposure
    held["/api/v1/services"][1]["metadata"]["annotations"] = {}
    inner = {"tailnet": "cluster" if spec["type"] == "ClusterIP" else "tailnet", "both": "lan"}[exposure]
    assert look(Api(held))["ingress_gateways"][0]["exposure"] == inner


def test_a_refused_route_and_a_gateway_that_is_not_programmed() -> None:
    held = cluster()
    held[HTTP].append(route("media/stray", "arr", "jellyfin", "False"))
    (arr,) = look(Api(held))["ingress_gateways"]
    assert [(one["name"], one["state"]) for one in arr["routes"]] == [
        ("qbittorrent", "attached"),
        ("stray", "not_attached"),
    ]
    assert arr["state"] == "ready"
    held[GATEWAYS][0]["status"]["conditions"][1]["status"] = "False"
    (arr,) = look(Api(held))["ingress_gateways"]
    assert arr["state"] == "not_ready" and "Programmed is False" in arr["reason"]


def test_strangers_and_missing_ones() -> None:
    held = cluster()
    held[GATEWAYS].append(gateway("media", "172.30.0.102"))
    held[GATEWAYS][1]["spec"]["gatewayClassName"] = "traefik"
    inner = gateway("inner", "10.0.0.9")
    inner["spec"]["gatewayClassName"] = "istio-waypoint"
    held[GATEWAYS].append(inner)
    wanted = _look.Inventory(
        ingress_gateways=[{"name": "gone"}],
        gateways=[{"namespace": "vpn", "name": "south"}],
        clients=[{**CLIENT, "name": "lost"}],
    )
    found = look(Api(held), wanted)
    assert [(one["name"], one["state"], one["declared"]) for one in found["ingress_gateways"]] == [
        ("gone", "missing", True),
        ("arr", "ready", False),
        ("media", "ready", False),
    ]
    assert [(one["name"], one["state"]) for one in found["vpn_gateways"]] == [("south", "missing"), ("north", "ready")]
    assert [(one["name"], one["state"], one["declared"]) for one in found["vpn_clients"]] == [
        ("lost", "missing", True),
        ("qbittorrent", "protected", False),
    ]


def test_a_pod_without_the_guard_is_seen_whatever_the_report_says() -> None:
    held = cluster()
    held["/api/v1/pods"].append(pod("downloads/qbittorrent-1", {"app": "qbittorrent"}, ("StatefulSet", "qbittorrent")))
    (client,) = look(Api(held))["vpn_clients"]
    assert client["state"] == "unprotected" and "qbittorrent-1" in client["reason"]
    graph = _graph.build(look(Api(held)))
    assert any(one.target == _graph.NODE_EXIT for one in graph.edges)
    # One that has ended, or belongs to somebody else, is none of its pods.
    held["/api/v1/pods"][-1]["status"]["phase"] = "Succeeded"
    assert look(Api(held))["vpn_clients"][0]["state"] == "protected"
    held["/api/v1/pods"][-1] = pod("downloads/other-0", {"app": "qbittorrent"}, ("StatefulSet", "other"))
    assert look(Api(held))["vpn_clients"][0]["state"] == "protected"


def test_a_pod_that_left_its_workload_makes_the_proof_worthless() -> None:
    held = cluster()
    stray = pod("downloads/qbittorrent-9", {"bulkhead.mesh/vpn-client": "downloads.qbittorrent"}, None, GUARD)
    held["/api/v1/pods"].append(stray)
    (client,) = look(Api(held))["vpn_clients"]
    assert client["state"] == "unknown" and "qbittorrent-9" in client["reason"]
    stray["metadata"]["labels"] = {}  # lost as well: the guard is what it is known by
    assert look(Api(held))["vpn_clients"][0]["state"] == "unknown"
    stray["metadata"]["labels"] = {"bulkhead.mesh/vpn-client": "downloads.other"}
    assert look(Api(held))["vpn_clients"][0]["state"] == "protected"


def test_a_pod_that_uses_what_is_the_clients_without_a_guard() -> None:
    held = cluster()
    template = held["/apis/apps/v1/statefulsets"][0]["spec"]["template"]
    template["spec"] = {**template["spec"], "serviceAccountName": "qbittorrent"}
    again = pod("downloads/again-0", {"app": "again"}, ("StatefulSet", "again"))
    again["spec"] = {**again["spec"], "serviceAccountName": "qbittorrent"}
    held["/api/v1/pods"].append(again)
    (client,) = look(Api(held))["vpn_clients"]
    assert client["state"] == "unprotected" and "again-0 uses its ServiceAccount" in client["reason"]
    accepted = replace(WANTED, accept_open=["downloads/again"])
    assert look(Api(held), accepted)["vpn_clients"][0]["state"] == "protected"


def test_pods_of_a_deployment_are_found_by_its_replica_sets() -> None:
    held = cluster()
    held["/apis/apps/v1/deployments"].append(obj("downloads/app", spec={"template": {"metadata": {}, "spec": {}}}))
    owned = obj("downloads/app-1")
    owned["metadata"]["ownerReferences"] = [{"kind": "Deployment", "name": "app", "controller": True}]
    held["/apis/apps/v1/replicasets"].append(owned)
    held["/api/v1/pods"].append(pod("downloads/app-1-x", owner=("ReplicaSet", "app-1")))
    wanted = _look.Inventory(clients=[{**CLIENT, "kind": "Deployment", "name": "app"}])
    found = look(Api(held), wanted)["vpn_clients"][0]
    assert (found["name"], found["state"], found["pods"]) == ("app", "unprotected", 1)


@pytest.mark.parametrize("which", [0, 1])
def test_a_newer_pod_of_client_or_gateway_makes_the_proof_worthless(which: int) -> None:
    held = cluster()
    held["/api/v1/pods"][which]["metadata"]["creationTimestamp"] = "2026-11-21T17:30:00Z"
    found = look(Api(held))
    assert found["vpn_clients"][0]["state"] == "unknown"
    assert found["vpn_gateways"][0]["exit"]["state"] == ("confirmed" if which == 0 else "unknown")


@pytest.mark.parametrize(
    "proof, state",
    [
        (_standing.proof(None), "unknown"),
        (report(exit_="fail"), "wrong"),
        (report(exit_="unknown"), "unknown"),
        (report(time="2026-11-22T17:00:00Z"), "unknown"),
    ],
)
def test_the_exit_is_confirmed_by_the_report_alone(proof: _standing.Proof, state: str) -> None:
    found = look(proof=proof)["vpn_gateways"][0]["exit"]
    assert found["state"] == state and found["reason"]


def test_namespaces_that_are_not_as_wanted() -> None:
    held = cluster()
    wanted = _look.Inventory(namespaces=[{"name": "vpn", "mesh": "ambient"}, {"name": "lost"}, {"name": "downloads"}])
    found = {one["name"]: one for one in look(Api(held), wanted)["namespaces"]}
    assert found["lost"]["state"] == "missing"
    assert found["vpn"]["state"] == "differs" and "wants ambient" in found["vpn"]["reason"]
    assert found["downloads"]["state"] == "as_labelled"
    held["/api/v1/pods"][0]["metadata"]["annotations"] = {}
    found = {one["name"]: one for one in look(Api(held), wanted)["namespaces"]}
    assert found["downloads"]["state"] == "differs" and "qbittorrent-0" in found["downloads"]["reason"]


def test_a_gateway_whose_pod_is_not_ready() -> None:
    held = cluster()
    held["/api/v1/pods"][1]["status"]["conditions"] = []
    assert look(Api(held))["vpn_gateways"][0]["state"] == "not_ready"
    del held["/api/v1/pods"][1]
    found = look(Api(held))["vpn_gateways"][0]
    assert (found["state"], found["reason"]) == ("not_ready", "no pod runs")


def test_bad_entries_are_refused_in_one_go() -> None:
    params: dict[str, Any] = {name: [] for name in _look.LISTS} | {"exit_addresses": []}
    params |= {
        "clients": [{"name": "app"}, {**CLIENT, "state": "absent"}],
        "gateways": [{"namespace": "vpn", "name": 7}],
    }
    with pytest.raises(KubeError) as caught:
        _look.inventory(params)
    assert caught.value.msg == (
        "gateways[0] (7) lacks name: give it as a text. clients[0] (app) lacks kind and namespace: give it as a text."
    )
    params |= {"clients": [CLIENT, {**CLIENT, "state": "absent"}], "gateways": []}
    assert _look.inventory(params).clients == [CLIENT]


def test_the_guard_of_the_fixture_is_what_makes_it_attached() -> None:
    held = cluster()
    held["/apis/apps/v1/statefulsets"][0]["spec"]["template"]["spec"] = {**GUARD, "initContainers": [{"name": "own"}]}
    (client,) = look(Api(held))["vpn_clients"]
    assert client["state"] == "unknown" and not client["attached"]


def test_who_belongs_to_nobody_is_told_with_what_to_do() -> None:
    held = cluster()
    (one,) = [one for one in held["/api/v1/pods"] if one["metadata"]["name"] == "qbittorrent-0"]
    del one["metadata"]["ownerReferences"]
    found = look(Api(held), replace(WANTED, clients=[]))
    assert [one["name"] for one in found["orphans"]] == ["qbittorrent"]
    assert "StatefulSet downloads/qbittorrent is attached to a VPN gateway and" in found["orphans"][0]["msg"]
    assert [one["name"] for one in found["left_behind"]] == ["qbittorrent-0"]
    assert "kubectl -n downloads delete pod qbittorrent-0" in found["left_behind"][0]["msg"]
