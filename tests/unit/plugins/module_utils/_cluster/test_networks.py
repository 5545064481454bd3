# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import _networks
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer

KUBEADM = {
    "data": {
        "ClusterConfiguration": "apiVersion: kubeadm.k8s.io/v1beta4\nnetworking:\n  dnsDomain: home.arpa\n"
        '  podSubnet: "10.0.0.0/16,fd00::/48"\n  serviceSubnet: 10.96.0.0/12\n'
    }
}


def refusal(network: str) -> Any:
    text = f"provided IP is not in the valid range. The range of valid IPs is {network}"
    return Answer(422, {"message": f"Service is invalid: {text}"})


def test_service_cidr_objects_come_first(snapshot: Any, obj: Any) -> None:
    found = _networks.services(
        snapshot(
            service_cidrs=[
                obj("kubernetes", spec={"cidrs": ["10.96.0.0/16", "FD00:10::/112"]}),
                obj("b", spec={"cidrs": ["10.97.0.0/24"]}),
            ],
            kubeadm=KUBEADM,
        )
    )
    assert found["value"] == ["10.96.0.0/16", "fd00:10::/112", "10.97.0.0/24"]
    assert found["found_by"] == "ServiceCIDR objects"


def test_refusal_names_both_families(snapshot: Any) -> None:
    found = _networks.services(
        snapshot(
            service_range_IPv4=refusal("10.43.0.0/16"),
            service_range_IPv6=refusal("fd00:43::/112"),
            api_server_pods=[],
            kubeadm=None,
        )
    )
    assert found["value"] == ["10.43.0.0/16", "fd00:43::/112"]
    assert "dry run" in found["found_by"]


def test_refusal_of_a_missing_family_is_no_network(snapshot: Any) -> None:
    found = _networks.services(
        snapshot(
            service_range_IPv4=refusal("10.43.0.0/16"),
            service_range_IPv6=Answer(422, {"message": "spec.ipFamilies: not configured on this cluster"}),
            kubeadm=None,
        )
    )
    assert found["value"] == ["10.43.0.0/16"]


def test_kubeadm_then_api_server_arguments(snapshot: Any) -> None:
    accepted = Answer(201, {})
    by_kubeadm = _networks.services(snapshot(service_range_IPv4=accepted, service_range_IPv6=accepted, kubeadm=KUBEADM))
    assert by_kubeadm["value"] == ["10.96.0.0/12"]
    pod = {
        "spec": {"containers": [{"command": ["kube-apiserver", "--service-cluster-ip-range=10.1.0.0/16,fd01::/112"]}]}
    }
    by_pod = _networks.services(
        snapshot(service_range_IPv4="403", service_range_IPv6="403", kubeadm=None, api_server_pods=[pod])
    )
    assert by_pod["value"] == ["10.1.0.0/16", "fd01::/112"]


def test_unknown_service_network_says_why_for_each_way(snapshot: Any) -> None:
    found = _networks.services(
        snapshot(
            service_cidrs="403",
            service_range_IPv4="403",
            service_range_IPv6="403",
            kubeadm="403",
            api_server_pods="403",
        )
    )
    assert found["value"] == "unknown"
    assert found["reason"].count("not allowed to") == 4


def test_pod_networks_of_calico_win_over_node_shares(snapshot: Any, obj: Any) -> None:
    node = obj("a", spec={"podCIDRs": ["10.244.0.0/24"]})
    pools = [obj("p", spec={"cidr": "192.168.0.0/16"}), obj("off", spec={"cidr": "192.0.2.0/24", "disabled": True})]
    found = _networks.pods(snapshot(nodes=[node], ip_pools=pools, kubeadm=None))
    assert found["value"] == ["192.168.0.0/16"]


def test_pod_networks_of_cilium(snapshot: Any, obj: Any) -> None:
    node = obj("a", spec={"podCIDRs": ["10.244.0.0/24"]})
    config = {"data": {"ipam": "cluster-pool", "cluster-pool-ipv4-cidr": "10.0.0.0/8 10.200.0.0/16"}}
    assert _networks.pods(snapshot(nodes=[node], cilium_config=config, kubeadm=None))["value"] == [
        "10.0.0.0/8",
        "10.200.0.0/16",
    ]
    config["data"]["ipam"] = "kubernetes"
    assert _networks.pods(snapshot(nodes=[node], cilium_config=config, kubeadm=None))["value"] == ["10.244.0.0/24"]


def test_pod_networks_of_kubeadm_are_split(snapshot: Any) -> None:
    found = _networks.pods(snapshot(nodes=[], kubeadm=KUBEADM))
    assert found["value"] == ["10.0.0.0/16", "fd00::/48"]


def test_pod_networks_of_old_nodes(snapshot: Any, obj: Any) -> None:
    nodes = [
        obj("a", spec={"podCIDR": "10.244.0.0/24"}),
        obj("b", spec={"podCIDRs": ["10.244.1.0/24"]}),
        obj("c", spec={}),
    ]
    assert _networks.pods(snapshot(nodes=nodes, kubeadm=None))["value"] == ["10.244.0.0/24", "10.244.1.0/24"]


def test_no_pod_network_is_unknown(snapshot: Any) -> None:
    assert _networks.pods(snapshot(nodes=[], kubeadm=None))["value"] == "unknown"


def test_node_addresses_become_host_networks(snapshot: Any, obj: Any) -> None:
    addresses = [{"type": "InternalIP", "address": a} for a in ("10.1.0.1", "2001:DB8::1")]
    addresses.append({"type": "ExternalIP", "address": "203.0.113.1"})
    found = _networks.nodes(snapshot(nodes=[obj("a", status={"addresses": addresses})]))
    assert found["value"] == ["10.1.0.1/32", "2001:db8::1/128"]


def test_canonical_spelling() -> None:
    spelled = ["10.1.2.3/16", "FD00:0::/64", "10.1.0.0/16", "auto", ""]
    assert _networks.canonical(spelled) == ["10.1.0.0/16", "fd00::/64"]
