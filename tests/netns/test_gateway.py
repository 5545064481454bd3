# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gateway: nothing in clear when the tunnel goes, nothing for strangers, nothing of itself for clients."""

from __future__ import annotations

import json
import sys
import time

import pytest
from world import EXIT, INNER_CLIENT, INNER_GATEWAY, TARGET4, World, eventually, kill, publish, sh

MASQUERADE = """
table inet nat {
  chain p {
    type nat hook postrouting priority 99; policy accept;
    oifname "eth0" masquerade
  }
}
"""
ASK = ("udp", "--target", TARGET4, "--port", "7777", "--timeout", "0.2")


def test_engine_killed_ten_times(attached: World) -> None:
    """SIGKILL of the engine with its tunnel; the sender goes on all the time."""
    argv = attached.probe_argv("udp", "--target", TARGET4, "--port", "7777", "--timeout", "0.02", "--count", "300")
    with attached.captured() as seen:
        sender = attached.start("pod-client", argv, **attached.environment("client"))
        slowest = 0.0
        for _kill in range(10):
            kill(attached.engine)
            eventually(lambda: "tun0" not in attached.run("pod-gateway", "ip", "-br", "link"))
            attached.engine = attached.agent("gateway", "engine")
            started = time.monotonic()
            eventually(lambda: attached.seen("client", *ASK) == {EXIT}, 10, attached.tail())
            slowest = max(slowest, time.monotonic() - started)
        sender.wait(timeout=30)
    print(f"slowest recovery {slowest:.2f} s")
    assert seen["clear"] == seen["link"] == 0
    assert slowest < 5


def test_wireguard_process_killed_alone(attached: World) -> None:
    """The supervisor starts it again without a new container."""
    pid = sh(["pgrep", "-P", str(attached.engine.pid), "-x", "wireguard-go"]).strip()
    with attached.captured() as seen:
        sh(["kill", "-9", pid])
        eventually(lambda: "tun0" not in attached.run("pod-gateway", "ip", "-br", "link"))
        eventually(lambda: attached.seen("client", *ASK) == {EXIT}, 10, attached.tail())
    assert seen["clear"] == seen["link"] == 0
    assert attached.engine.poll() is None


def test_nothing_in_clear_while_the_tunnel_is_away(world: World) -> None:
    """The worst case by hand: no tunnel, a default route by eth0, forwarding on. Only the table stands in between."""
    world.attached()
    kill(world.engine)
    kill(world.gateway)
    eventually(lambda: "tun0" not in world.run("pod-gateway", "ip", "-br", "link"))
    world.run("pod-gateway", "ip", "route", "replace", "default", "via", "10.244.0.1", "dev", "eth0", "onlink")
    world.sysctl("pod-gateway", net__ipv4__ip_forward="1")
    own = ("udp", "--target", TARGET4, "--port", "7777", "--timeout", "0.1", "--count", "5")
    world.nft("pod-gateway", MASQUERADE)
    with world.captured() as seen:
        assert "answered" not in world.outcomes("client", *ASK, "--count", "5")
        assert world.outcomes("gateway", *own) == {"EPERM"}
    assert seen["clear"] == 0
    world.run("pod-gateway", "nft", "delete", "table", "inet", "bulkhead_gateway")
    world.run("pod-gateway", "nft", "delete", "table", "netdev", "bulkhead_gateway")
    with world.captured() as seen:  # the control
        assert world.seen("client", *ASK, "--count", "5") == {"192.0.2.10"}
        assert world.seen("gateway", *own) == {"192.0.2.10"}
    assert seen["clear"] == 10


def test_own_ports_are_out_of_reach_from_the_overlay(attached: World) -> None:
    attached.serve("pod-gateway", 8000)
    ask = ("--port", "8000", "--timeout", "0.5")
    for address in (INNER_GATEWAY, "10.244.0.20", "10.66.0.2"):
        for kind in ("tcp", "udp"):
            assert "answered" not in attached.outcomes("client", kind, "--target", address, *ask), (kind, address)
    assert attached.outcomes("gateway", "tcp", "--target", INNER_GATEWAY, *ask) == {"answered"}  # it listens
    assert attached.outcomes("client", "icmp", "--target", INNER_GATEWAY) == {"answered"}


def test_endpoint_needs_the_mark(attached: World) -> None:
    """A process of the gateway pod cannot use the hole for the VPN server; the engine can."""
    to_server = ("udp", "--target", "198.51.100.2", "--port", "51820", "--timeout", "0.2")
    assert attached.outcomes("gateway", *to_server) == {"EPERM"}


def carrier(world: World, pod: str, outer: str, inner_source: str, mac: str, target: str = TARGET4) -> list[str]:
    """Program that sends forged carrier packets: VXLAN with a UDP packet to the echo in it."""
    code = f"""
import socket, struct, sys
sys.path.insert(0, {str(world.directory)!r})
from bulkhead_agent import wire
macs = bytes.fromhex("02420ade0101") if {outer!r} == "10.244.0.20" else bytes.fromhex("02420ade010a")
frame = wire.udp_frame(macs + bytes.fromhex({mac.replace(":", "")!r}), {inner_source!r}, {target!r}, 7777, b"forged")
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(20):
    s.sendto(struct.pack("!II", 0x08000000, 77 << 8) + frame, ({outer!r}, 14789))
"""
    return world.enter(f"pod-{pod}", sys.executable, "-B", "-c", code)


def test_forged_carrier_is_ignored(attached: World) -> None:
    known = "02:42:0a:de:01:0a"
    before = attached.count("pod-gateway", "inet", "bulkhead_gateway", "dropped_carrier")
    with attached.captured() as seen:
        sh(carrier(attached, "stranger", "10.244.0.20", INNER_CLIENT, known))
    assert seen["exit"] == 0
    assert attached.count("pod-gateway", "inet", "bulkhead_gateway", "dropped_carrier") - before == 20
    before = attached.count("pod-client", "inet", "bulkhead_guard", "dropped_carrier")
    fdb = attached.run("pod-client", "bridge", "fdb", "show", "dev", "bulkhead0")
    sh(carrier(attached, "stranger", "10.244.0.10", INNER_GATEWAY, "02:42:0a:de:01:01", INNER_CLIENT))
    assert attached.count("pod-client", "inet", "bulkhead_guard", "dropped_carrier") - before == 20
    assert attached.run("pod-client", "bridge", "fdb", "show", "dev", "bulkhead0") == fdb


def test_registered_client_cannot_take_another_inner_address(attached: World) -> None:
    with attached.captured() as seen:
        sh(carrier(attached, "client", "10.244.0.20", "10.222.1.99", "02:42:0a:de:01:63"))
        sh(carrier(attached, "client", "10.244.0.20", "10.222.1.99", "02:42:0a:de:01:0a"))
    assert seen["exit"] == 0
    with attached.captured() as seen:  # the control: its own address passes, so the packets are well formed
        sh(carrier(attached, "client", "10.244.0.20", INNER_CLIENT, "02:42:0a:de:01:0a"))
    assert seen["exit"] == 20


def test_peer_list(attached: World) -> None:
    """Empty: the client is out. Nonsense or missing: the last good list stays."""
    good = attached.peers.read_text()
    bad = json.dumps([{"inner": INNER_CLIENT, "mac": "02:42:00:00:00:01", "outer": "10.244.0.30"}])
    for content in (bad, "{", None):
        attached.peers.unlink() if content is None else publish(attached.peers, content)
        time.sleep(0.6)
        assert attached.seen("client", *ASK) == {EXIT}, content
    publish(attached.peers, "")
    eventually(lambda: attached.outcomes("client", *ASK) == {"timeout"})
    publish(attached.peers, good)
    eventually(lambda: attached.seen("client", *ASK) == {EXIT})
    kill(attached.gateway)
    attached.gateway = attached.agent("gateway", "gateway")
    attached.wait_tunnel()


def test_nonce_is_answered_only_while_the_tunnel_carries(world: World) -> None:
    """Device up, process alive, handshake fresh, but nothing comes back: no answer."""
    world.attached()
    world.ip("vpn", "link set eth0 down")
    up = world.run("pod-gateway", "ip", "-br", "link", "show", "tun0")
    eventually(lambda: world.outcomes("client", "overlay", "--timeout", "0.2") == {"timeout"}, 12)
    assert "UP" in up and world.engine.poll() is None
    world.ip("vpn", "link set eth0 up", "route replace default via 198.51.100.1")
    assert world.wait_tunnel() < 10


def test_firewall_again_on_a_live_gateway(attached: World) -> None:
    """A new run closes for a moment and ends where it was."""
    with attached.captured() as seen:
        assert attached.agent_once("gateway", "firewall").returncode == 0
        eventually(lambda: attached.seen("client", *ASK) == {EXIT})
    assert seen["clear"] == seen["link"] == 0


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("PostUp = iptables -F", "The WireGuard configuration sets postup; remove it"),
        ("Endpoint = 198.51.100.9:51820", "Endpoint of the WireGuard configuration is 198.51.100.9"),
    ],
)
def test_engine_says_what_is_wrong(world: World, line: str, sentence: str) -> None:
    assert world.agent_once("gateway", "firewall").returncode == 0
    text = world.wg_conf.read_text()
    old = next(item for item in text.splitlines() if item.startswith(("Endpoint",) if "Endpoint" in line else ("DNS",)))
    world.wg_conf.write_text(text.replace(old, line))
    engine = world.agent("gateway", "engine")
    log = world.directory / f"log-{world.logs}-pod-gateway"
    eventually(lambda: sentence in log.read_text(), 5, log.read_text())
    assert engine.poll() is None
    world.wg_conf.write_text(text)  # corrected: no restart needed
    eventually(lambda: "tunnel_up" in log.read_text(), 10, log.read_text())
    assert text.splitlines()[1].split()[-1] not in log.read_text()
