# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""NetworkPolicies: exact content, and that every way of widening a live one is seen."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent.config import HEALTH_PORT
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _policy
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Gateway, IngressRule
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._services import Destination, ServicePort

Object = dict[str, Any]
GATEWAY = Gateway("vpnarr", "vpn", "mullvad-wg0")
SELECTOR = {
    "matchLabels": {"app": "qbittorrent"},
    "matchExpressions": [{"key": "part", "operator": "In", "values": ["b", "a"]}],
}
RADARR = Destination(
    "core",
    "radarr",
    "10.96.3.4",
    {"app": "radarr"},
    (ServicePort("TCP", 80, (7878, 7879)), ServicePort("UDP", 90, (9090,))),
)
CLIENT = Client(
    "StatefulSet",
    "downloads",
    "qbittorrent",
    "vpnarr",
    ingress=(
        IngressRule((8080,), namespace="core", pods={"app": "sonarr"}),
        IngressRule((8080, 6881), ingress_gateway="arr"),
        IngressRule((9000,), namespace="core", protocol="UDP"),
    ),
)
GATEWAY_PEER = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "vpn"}},
    "podSelector": {"matchLabels": {"bulkhead.mesh/role": "gateway", "bulkhead.mesh/vpn-gateway": "vpnarr"}},
}
CARRIER = [{"protocol": "UDP", "port": 14789}]


def tcp(*ports: int) -> list[Object]:
    return [{"protocol": "TCP", "port": port} for port in sorted(ports)]


def namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def client_policy(**options: Any) -> Object:
    return _policy.client_policy(CLIENT, SELECTOR, GATEWAY, [RADARR], ingress_gateways={"arr": "edge"}, **options)


def rules(policy: Object, direction: str) -> list[str]:
    return sorted(json.dumps(rule, sort_keys=True) for rule in policy["spec"][direction])


def expected(*wanted: Object) -> list[str]:
    return sorted(json.dumps(rule, sort_keys=True) for rule in wanted)


def test_client_without_mesh() -> None:
    policy = client_policy()
    assert policy["metadata"]["name"] == "bulkhead-vpn-client-qbittorrent"
    assert policy["metadata"]["namespace"] == "downloads"
    assert policy["spec"]["podSelector"] == SELECTOR
    assert policy["spec"]["policyTypes"] == ["Egress", "Ingress"]
    radarr = {**namespace("core"), "podSelector": {"matchLabels": {"app": "radarr"}}}
    assert rules(policy, "egress") == expected(
        {"to": [GATEWAY_PEER], "ports": CARRIER},
        {"to": [radarr], "ports": [*tcp(7878, 7879), {"protocol": "UDP", "port": 9090}]},
    )
    arr = {"matchLabels": {"gateway.networking.k8s.io/gateway-name": "arr"}}
    assert rules(policy, "ingress") == expected(
        {"from": [GATEWAY_PEER], "ports": CARRIER},
        {"from": [{**namespace("core"), "podSelector": {"matchLabels": {"app": "sonarr"}}}], "ports": tcp(8080)},
        {"from": [{**namespace("edge"), "podSelector": arr}], "ports": tcp(6881, 8080)},
        {"from": [namespace("core")], "ports": [{"protocol": "UDP", "port": 9000}]},
    )


@pytest.mark.parametrize(
    ("ambient", "opened"),
    [
        ((), 0),
        (("core",), 0),  # the client is not in the mesh and speaks to the pod itself
        (("downloads",), 1),  # an ingress gateway speaks to the mesh from outside
        (("downloads", "core"), 3),  # and to radarr, from sonarr; the UDP rule needs none
    ],
)
def test_port_of_the_mesh_only_where_both_ends_speak_it(ambient: tuple[str, ...], opened: int) -> None:
    assert json.dumps(client_policy(ambient=ambient)).count("15008") == opened


def test_a_meshs_probe_addresses_reach_what_the_kubelet_calls() -> None:
    policy = client_policy(probe_addresses=["169.254.7.127", "fd16::1"], probe_ports=[8080])
    probe = {
        "from": [{"ipBlock": {"cidr": "169.254.7.127/32"}}, {"ipBlock": {"cidr": "fd16::1/128"}}],
        "ports": [*tcp(HEALTH_PORT), *tcp(8080)],  # in the order of their text
    }
    assert json.dumps(probe, sort_keys=True) in rules(policy, "ingress")
    assert json.dumps(tcp(HEALTH_PORT)) in json.dumps(client_policy(probe_addresses=["169.254.7.127"]))
    assert "ipBlock" not in json.dumps(client_policy(probe_ports=[8080]))


def test_order_of_the_inventory_means_nothing() -> None:
    turned = Client("StatefulSet", "downloads", "qbittorrent", "vpnarr", ingress=tuple(reversed(CLIENT.ingress)))
    turned_policy = _policy.client_policy(turned, SELECTOR, GATEWAY, [RADARR, RADARR], ingress_gateways={"arr": "edge"})
    assert turned_policy == client_policy()


def test_gateway() -> None:
    clients = [_policy.ClientPods("downloads", SELECTOR), _policy.ClientPods("tv", {"matchLabels": {"app": "tv"}})]
    policy = _policy.gateway_policy(GATEWAY, [_policy.Endpoint("198.51.100.2", 51820)], clients)
    assert policy["spec"]["podSelector"] == GATEWAY_PEER["podSelector"]
    peers = [
        {**namespace("downloads"), "podSelector": SELECTOR},
        {**namespace("tv"), "podSelector": {"matchLabels": {"app": "tv"}}},
    ]
    peers.sort(key=lambda peer: json.dumps(peer, sort_keys=True))
    assert rules(policy, "egress") == expected(
        {"to": [{"ipBlock": {"cidr": "198.51.100.2/32"}}], "ports": [{"protocol": "UDP", "port": 51820}]},
        {"to": peers, "ports": CARRIER},
    )
    assert rules(policy, "ingress") == expected({"from": peers, "ports": CARRIER})


def test_gateway_without_clients_lets_nobody_in() -> None:
    policy = _policy.gateway_policy(GATEWAY, [_policy.Endpoint("198.51.100.2", 51820)], [])
    assert "ingress" not in policy["spec"] and policy["spec"]["policyTypes"] == ["Egress", "Ingress"]
    assert len(policy["spec"]["egress"]) == 1
    opened = copy.deepcopy(policy)
    opened["spec"]["ingress"] = [{}]
    assert _policy.shape_problems(opened, policy)


def test_a_network_is_no_endpoint() -> None:
    with pytest.raises(ValueError, match="host bits"):
        _policy.gateway_policy(GATEWAY, [_policy.Endpoint("198.51.100.2/24", 51820)], [])


def test_probe_ports_of_every_kind() -> None:
    template = {
        "spec": {
            "initContainers": [{"name": "side", "startupProbe": {"tcpSocket": {"port": "7000"}}}],
            "containers": [
                {
                    "name": "app",
                    "ports": [{"name": "web", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"port": "web"}},
                    "livenessProbe": {"exec": {"command": ["true"]}},
                    "lifecycle": {"preStop": {"httpGet": {"port": 8081}}},
                },
                {"name": "rpc", "livenessProbe": {"grpc": {"port": 9000}}},
            ],
        }
    }
    assert _policy.probe_ports(template) == [7000, 8080, 8081, 9000]


# --- live policies ---


def test_what_the_api_server_holds_has_the_right_shape() -> None:
    """Order, protocols left out and the order of selector values are no difference."""
    live = client_policy()
    live["spec"]["ingress"].reverse()
    live["spec"]["policyTypes"].reverse()
    for rule in live["spec"]["egress"] + live["spec"]["ingress"]:
        for port in rule["ports"]:
            if port["protocol"] == "TCP":
                del port["protocol"]
        rule["ports"].reverse()
    live["spec"]["podSelector"] = copy.deepcopy(SELECTOR)
    live["spec"]["podSelector"]["matchExpressions"][0]["values"].reverse()
    assert _policy.shape_problems(live, client_policy()) == []


def widen(change: Callable[[Object], None]) -> list[str]:
    live = client_policy(probe_addresses=["169.254.7.127"], probe_ports=[8080])
    wanted = copy.deepcopy(live)
    change(live["spec"])
    return [str(problem) for problem in _policy.shape_problems(live, wanted)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda spec: spec["egress"].append({}), "no peers are named"),
        (lambda spec: spec["egress"][0].pop("to"), "no peers are named"),
        (lambda spec: spec["egress"][0].pop("ports"), "no ports are named"),
        (lambda spec: spec["egress"][0].update(ports=[]), "no ports are named"),
        (lambda spec: spec["egress"][0]["ports"][0].pop("port"), "a range of ports"),
        (lambda spec: spec["egress"][0]["ports"][0].update(endPort=60000), "a range of ports"),
        (lambda spec: spec["egress"][0]["to"].append({"ipBlock": {"cidr": "10.0.0.0/8"}}), '"10.0.0.0/8"'),
        (lambda spec: spec["egress"][0]["to"].append({"namespaceSelector": {}}), "every namespace"),
        (lambda spec: spec["egress"][0]["to"][0].pop("podSelector"), "it opens more"),
        (lambda spec: spec["egress"][0]["to"][0].pop("namespaceSelector"), "it opens more"),
        (lambda spec: spec["egress"][0]["ports"].append({"port": 53}), "it opens more"),
        (lambda spec: spec["ingress"].append({"from": [{"podSelector": {}}], "ports": [{"port": 1}]}), "it opens more"),
        (lambda spec: spec["ingress"].pop(), "is missing"),
        (lambda spec: spec.update(policyTypes=["Ingress"]), "both directions"),
        (lambda spec: spec["podSelector"]["matchLabels"].update(app="other"), "other pods"),
        (lambda spec: spec["podSelector"].pop("matchExpressions"), "other pods"),
    ],
)
def test_every_difference_is_named(change: Callable[[Object], None], words: str) -> None:
    found = widen(change)
    assert any(words in sentence for sentence in found), found
    assert all(sentence.startswith("NetworkPolicy downloads/bulkhead-vpn-client-qbittorrent: ") for sentence in found)


def test_a_missing_policy_is_one_problem() -> None:
    assert len(_policy.shape_problems(None, client_policy())) == 1
