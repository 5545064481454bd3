"""The outside world's networks and configuration files, as text."""

from __future__ import annotations

import ipaddress
import stat
from pathlib import Path

import pytest

from bulkhead_lab import plan, topology, wgserver, wireguard, world
from bulkhead_lab.errors import LabError

NORTH, SOUTH = plan.VPN_SERVERS


def everything() -> list[str]:
    """All lines that are given to ``ip`` in the router's namespace and in those of hosts."""
    lines = topology.bridge(False) + topology.uplink() + topology.uplink_up() + topology.node()
    for host in topology.hosts():
        lines += topology.wire(host, False) + topology.far_end(host)
    return lines


def test_only_the_hosts_have_a_default_route() -> None:
    router = topology.bridge(False) + topology.uplink() + topology.uplink_up()
    for host in topology.hosts():
        router += topology.wire(host, False)
        assert topology.far_end(host)[-2:] == [
            f"route replace default via {host.router4} dev eth0",
            f"route replace ::/0 via {host.router6} dev eth0",
        ]
    assert not [line for line in router if line.startswith("route")]
    assert topology.node()[-2:] == [
        "route replace default via 172.30.0.1 dev eth0",
        "route replace ::/0 via 2001:db8:30::1 dev eth0",
    ]


def test_every_host_reaches_its_router_directly() -> None:
    for host in topology.hosts():
        for router, own, prefix in ((host.router4, host.v4, host.prefix4), (host.router6, host.v6, host.prefix6)):
            network = ipaddress.ip_interface(f"{router}/{prefix}").network
            assert all(ipaddress.ip_address(address) in network for address in own), host
    networks = [
        ipaddress.ip_interface(f"{router}/{prefix}").network
        for host in topology.hosts()
        if not host.bridge
        for router, prefix in ((host.router4, host.prefix4), (host.router6, host.prefix6))
    ] + [ipaddress.ip_network(plan.LAN4), ipaddress.ip_network(plan.LAN6)]
    for index, one in enumerate(networks):
        assert not [other for other in networks[index + 1 :] if one.version == other.version and one.overlaps(other)]


def test_ipv6_addresses_are_usable_at_once_and_only_the_first_is_a_source() -> None:
    v6 = [line for line in everything() if line.startswith("address") and ":" in line]
    assert v6 and all(" nodad" in line for line in v6)
    assert topology.addresses("eth0", ["192.0.2.1"], ["2001:db8::1", "2001:db8::2"], 24, 64) == [
        "address replace 192.0.2.1/24 dev eth0",
        "address replace 2001:db8::1/64 dev eth0 nodad",
        "address replace 2001:db8::2/64 dev eth0 nodad preferred_lft 0",
    ]


def test_devices_are_made_once() -> None:
    assert any("type bridge" in line for line in topology.bridge(False))
    assert not any(line.startswith("link add") for line in topology.bridge(True))
    for host in topology.hosts():
        assert topology.wire(host, False)[0] == f"link add {host.port} type veth peer name eth0 netns {host.netns}"
        assert topology.wire(host, False)[1:] == topology.wire(host, True)
    # All else may run again.
    assert {line.split()[1] for line in everything() if not line.startswith("link add")} <= {"replace", "set"}


def test_the_lan_client_is_a_neighbour_of_the_node() -> None:
    """Addresses that the node announces by ARP must reach it without a router between."""
    lan = next(host for host in topology.hosts() if host.netns == plan.NS_LAN)
    assert topology.wire(lan, False)[1:] == ["link set lan-client0 master lan0", "link set lan-client0 up"]
    own = {lan.v4[0], lan.v6[0]}
    assert own == {plan.LAN_CLIENT4, plan.LAN_CLIENT6}
    assert not own & {plan.NODE4, plan.NODE6, plan.ROUTER4, plan.ROUTER6}
    assert ipaddress.ip_address(plan.LAN_CLIENT4) in ipaddress.ip_network(plan.LAN4)
    assert ipaddress.ip_address(plan.LAN_CLIENT6) in ipaddress.ip_network(plan.LAN6)
    assert {host.netns for host in topology.hosts() if host.bridge} == {plan.NS_LAN}


def test_router_ports_are_distinct_and_fit_a_device_name() -> None:
    names = [host.port for host in topology.hosts()] + [plan.UPLINK, plan.LAN_BRIDGE]
    assert len(set(names)) == len(names)
    assert all(len(name) < 16 for name in names + [wireguard.device(server) for server in plan.VPN_SERVERS])


def test_the_uplink_is_made_down_and_set_up_apart() -> None:
    assert not any(" up" in line for line in topology.uplink())
    assert topology.uplink_up() == ["link set node0 master lan0", "link set node0 up"]


def test_order_of_the_nodes_attachment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The capture is on the device after it is made and before anything can pass it."""
    done: list[str] = []
    monkeypatch.setattr(world.net, "add_netns", lambda name: None)
    monkeypatch.setattr(world.net, "sysctl", lambda values, name: None)
    monkeypatch.setattr(world.net, "links", lambda name: {})
    monkeypatch.setattr(world.net, "is_up", lambda name, device: False)
    monkeypatch.setattr(world.net, "ip", lambda lines, name: done.extend(f"{name}: {line}" for line in lines))
    monkeypatch.setattr(world.capture, "attach", lambda: done.append("capture"))
    world.attach_node()
    made = done.index(next(line for line in done if line.startswith("internet: link add node0")))
    ups = [index for index, line in enumerate(done) if line.endswith(" up")]
    assert made < done.index("capture") < min(ups) and len(ups) == 2


def test_forwarding_is_on_where_it_must_be() -> None:
    assert {host.netns for host in topology.hosts() if host.forwards} == {"vpn-north", "vpn-south"}
    assert topology.settings(True)["net.ipv4.ip_forward"] == 1
    assert topology.settings(True)["net.ipv6.conf.all.forwarding"] == 1
    assert not any("forward" in name for name in topology.settings(False))
    assert set(topology.settings(False).values()) == {0}


def test_nat_gives_tunnel_traffic_the_exit_addresses() -> None:
    text = topology.nat(NORTH)
    assert 'ip saddr 10.66.0.0/24 oifname "eth0" snat ip to 198.51.100.5' in text
    assert 'ip6 saddr fd00:66::/64 oifname "eth0" snat ip6 to 2001:db8:51::5' in text
    assert text.index("add table inet exit") < text.index("delete table inet exit") < text.index("chain")
    assert "198.51.100.13" in topology.nat(SOUTH)


def test_exit_addresses_are_the_servers_own() -> None:
    for server in plan.VPN_SERVERS:
        host = next(host for host in topology.hosts() if host.netns == server.namespace)
        assert server.exit4 in host.v4 and server.exit6 in host.v6
        assert host.v4[0] == server.address4 != server.exit4


def test_client_configuration() -> None:
    own, peer = wireguard.KeyPair("OWN-PRIVATE", "OWN-PUBLIC"), wireguard.KeyPair("PEER-PRIVATE", "PEER-PUBLIC")
    assert wireguard.client_conf(NORTH, 2, own, peer) == (
        "[Interface]\nPrivateKey = OWN-PRIVATE\nAddress = 10.66.0.3/32, fd00:66::3/128\nDNS = 203.0.113.10\n"
        "\n[Peer]\nPublicKey = PEER-PUBLIC\nEndpoint = 198.51.100.2:51820\nAllowedIPs = 0.0.0.0/0, ::/0\n"
        "PersistentKeepalive = 15\n"
    )


def test_server_configuration_gives_each_client_its_addresses() -> None:
    own = wireguard.KeyPair("OWN-PRIVATE", "OWN-PUBLIC")
    clients = [wireguard.KeyPair(f"PRIVATE{n}", f"PUBLIC{n}") for n in (1, 2)]
    text = wireguard.server_conf(SOUTH, own, clients)
    assert text == (
        "[Interface]\nPrivateKey = OWN-PRIVATE\nListenPort = 51820\n"
        "\n[Peer]\nPublicKey = PUBLIC1\nAllowedIPs = 10.67.0.2/32, fd00:67::2/128\n"
        "\n[Peer]\nPublicKey = PUBLIC2\nAllowedIPs = 10.67.0.3/32, fd00:67::3/128\n"
    )


def test_a_key_pair_does_not_show_its_private_half() -> None:
    assert "secret" not in f"{wireguard.KeyPair('secret', 'public')!r} {wireguard.KeyPair('secret', 'public')}"


def test_vpn_files_are_private_and_keys_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[list[str]] = []

    def wg(argv: list[str], text: str | None = None, netns: str | None = None) -> str:
        calls.append(argv)
        return f"key{len(calls)}\n" if argv[1] == "genkey" else f"public of {(text or '').strip()}\n"

    monkeypatch.setattr(wireguard.net, "run", wg)
    wireguard.write(tmp_path, NORTH)
    place = wireguard.folder(tmp_path, NORTH)
    first = {path.name: path.read_text() for path in place.iterdir()}
    assert set(first) == {"server.conf", "server.key"} | {
        f"client{n}.{end}" for n in range(1, 5) for end in ("key", "conf")
    }
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o600}
    assert all(argv in (["wg", "genkey"], ["wg", "pubkey"]) for argv in calls)  # no key in an argument
    server = first["server.key"].strip()
    assert all(f"PublicKey = public of {server}\n" in first[f"client{n}.conf"] for n in range(1, 5))
    assert all(
        f"PublicKey = public of {first[f'client{n}.key'].strip()}\n" in first["server.conf"] for n in range(1, 5)
    )
    place.joinpath("client1.conf").chmod(0o644)
    wireguard.write(tmp_path, NORTH)
    assert {path.name: path.read_text() for path in place.iterdir()} == first
    assert stat.S_IMODE(place.joinpath("client1.conf").stat().st_mode) == 0o600
    assert world.client_config(tmp_path, "north", 1).read_text() == first["client1.conf"]


def test_vpn_server_comes_up_last() -> None:
    lines = wgserver.set_up(NORTH)
    assert lines == [
        "link set wg-north mtu 1420",
        "address replace 10.66.0.1/24 dev wg-north",
        "address replace fd00:66::1/64 dev wg-north nodad",
        "link set wg-north up",
    ]
    with pytest.raises(LabError, match="The lab has no VPN server 'east': name one of north, south."):
        wgserver.by_name("east")


def test_services(tmp_path: Path) -> None:
    services = {service.name: service for service in world.services(tmp_path)}
    assert list(services) == [
        *("target", "tracker", "seeder", "iperf3", "vpn-north", "vpn-south", "tailnet-control", "tailnet-laptop")
    ]
    assert {name: service.netns for name, service in services.items() if name.startswith("vpn")} == {
        "vpn-north": "vpn-north",
        "vpn-south": "vpn-south",
    }
    assert {services[name].netns for name in ("target", "tracker", "seeder", "iperf3")} == {"target"}
    argv = services["target"].argv
    assert [word for word in argv if word.startswith("-listen")] == [
        "-listen=203.0.113.10",
        "-listen=203.0.113.53",
        "-listen=2001:db8:113::10",
    ]
    assert f"-log={tmp_path}/log/target-requests.jsonl" in argv
