"""The address plan agrees with itself, and no address of it can be somebody's."""

from __future__ import annotations

import ipaddress
import json

import pytest

from bulkhead_lab import nodeconfig, plan

net, address = ipaddress.ip_network, ipaddress.ip_address
DOCUMENTATION = [net(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]
OUTSIDE = [plan.TARGET4, plan.TARGET6, plan.PEER4, plan.PEER6, plan.NODE6, plan.ROUTER6]
OUTSIDE += [plan.CONTROL6, plan.TAILNET_CLIENT4, plan.TAILNET_CLIENT6]
OUTSIDE += [text for s in plan.VPN_SERVERS for text in (s.address4, s.address6, s.exit4, s.exit6, s.router4, s.router6)]


@pytest.mark.parametrize("text", OUTSIDE)
def test_outside_addresses_are_reserved_for_documentation(text: str) -> None:
    assert any(address(text) in one for one in DOCUMENTATION if one.version == address(text).version)


def test_the_control_server_has_a_private_address_outside_the_cluster_and_the_home_network() -> None:
    assert address(plan.CONTROL4).is_private
    for network in (plan.LAN4, plan.CLUSTER_CIDR4, plan.SERVICE_CIDR4, *(s.inner4 for s in plan.VPN_SERVERS)):
        assert address(plan.CONTROL4) not in net(network)


def test_cluster_addresses_lie_in_their_networks() -> None:
    assert net(plan.POD_CIDR4).subnet_of(net(plan.CLUSTER_CIDR4))  # type: ignore[arg-type]
    assert net(plan.POD_CIDR6).subnet_of(net(plan.CLUSTER_CIDR6))  # type: ignore[arg-type]
    for text in (plan.DNS_SERVICE4, plan.API_SERVICE4):
        assert address(text) in net(plan.SERVICE_CIDR4)
    for text in (plan.NODE4, plan.ROUTER4, plan.LAN_CLIENT4, *plan.METALLB_RANGE.split("-")):
        assert address(text) in net(plan.LAN4)
    for text in (plan.NODE6, plan.ROUTER6, plan.LAN_CLIENT6, *plan.METALLB_RANGE6.split("-")):
        assert address(text) in net(plan.LAN6)


@pytest.mark.parametrize("pool", (plan.METALLB_RANGE, plan.METALLB_RANGE6))
def test_load_balancer_addresses_are_nobodys(pool: str) -> None:
    first, last = (address(text) for text in pool.split("-"))
    taken = (plan.NODE4, plan.ROUTER4, plan.LAN_CLIENT4, plan.NODE6, plan.ROUTER6, plan.LAN_CLIENT6)
    assert first < last
    assert not [text for text in taken if address(text).version == first.version and first <= address(text) <= last]


def test_networks_do_not_overlap() -> None:
    texts = [plan.CLUSTER_CIDR4, plan.SERVICE_CIDR4, plan.LAN4, *(s.inner4 for s in plan.VPN_SERVERS)]
    networks = [net(text) for text in texts]
    assert not [(a, b) for a in networks for b in networks if a is not b and a.overlaps(b)]


@pytest.mark.parametrize("server", plan.VPN_SERVERS, ids=lambda server: server.name)
def test_a_vpn_server_leaves_by_an_address_of_its_own_network(server: plan.VpnServer) -> None:
    link = net(f"{server.address4}/{server.prefix4}", strict=False)
    assert address(server.exit4) in link
    assert address(server.router4) in link
    assert len({server.address4, server.exit4, server.router4}) == 3


def test_every_configuration_file_parses_and_names_the_plan() -> None:
    files = nodeconfig.files()
    parsed = {name: json.loads(text) for name, text in files.items() if name.endswith((".yaml", ".conflist"))}
    kubelet = parsed[f"{nodeconfig.ETC}/kubelet.yaml"]
    assert kubelet["clusterDNS"] == [plan.DNS_SERVICE4]
    assert kubelet["cgroupRoot"] == f"/{nodeconfig.CGROUP}"
    chain = parsed["/etc/cni/net.d/10-lab.conflist"]["plugins"]
    assert [plugin["type"] for plugin in chain] == ["ptp", "netpol-cni", "portmap"], (
        "the enforcer knows addresses from ptp"
    )


def test_the_api_server_listens_where_it_is_called() -> None:
    flags = nodeconfig.commands()["kube-apiserver"]
    assert f"--secure-port={plan.API_PORT}" in flags
    assert nodeconfig.LOCAL_API == f"https://127.0.0.1:{plan.API_PORT}"
