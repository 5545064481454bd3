# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client that works: what leaves does so by the VPN, of every kind and size."""

from __future__ import annotations

import sys

import pytest
from world import EXIT, INNER_CLIENT, INNER_GATEWAY, MTU, REAL4, TARGET4, World, sh

BULK = """
import hashlib, os, socket, struct, sys, time
data = os.urandom(int(sys.argv[1]))
with socket.create_connection((sys.argv[2], 7778), 5) as s:
    s.settimeout(20)
    t = time.monotonic()
    s.sendall(struct.pack("!Q", len(data)) + data)
    f = s.makefile("rb")
    assert f.read(32) == hashlib.sha256(data).digest()
    up = time.monotonic()
    assert f.read(len(data)) == data
    print(up - t, time.monotonic() - up)
"""
ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 3, (sys.argv[3], 0)) as s:
    s.sendall(b"nonce\\n")
    print(s.makefile().read().split()[1], end="")
"""
KINDS = [("udp", "7777"), ("tcp", "7777"), ("stun", "3478"), ("dns", "53"), ("dns_tcp", "53")]


@pytest.mark.parametrize(("kind", "port"), KINDS)
def test_target_sees_the_exit(attached: World, kind: str, port: str) -> None:
    seen = attached.seen(
        "client", kind, "--target", TARGET4, "--port", port, "--name", "probe.example", "--uid", "65534"
    )
    assert seen == {EXIT}
    if kind == "udp":  # the same program says the opposite where nothing protects
        assert attached.seen("plain", kind, "--target", TARGET4, "--port", port) == {REAL4}


def test_icmp_through_the_tunnel(attached: World) -> None:
    with attached.captured() as seen:
        assert attached.outcomes("client", "icmp", "--target", TARGET4, "--count", "3") == {"answered"}
    assert seen["exit"] == 3 and seen["clear"] == seen["link"] == 0


def test_pod_address_as_source_still_leaves_by_the_vpn(attached: World) -> None:
    assert attached.seen("client", "udp", "--target", TARGET4, "--port", "7777", "--source", "10.244.0.10") == {EXIT}


def test_bulk_both_directions(attached: World, record_property: pytest.RecordProperty) -> None:
    size = 16 * 1024 * 1024
    argv = attached.enter("pod-client", sys.executable, "-c", BULK, str(size), TARGET4)
    with attached.captured() as seen:
        up, down = (size * 8 / 1e6 / float(seconds) for seconds in sh(argv).split())
    print(f"bulk {up:.0f} Mbit/s up, {down:.0f} Mbit/s down")
    assert seen["clear"] == seen["link"] == 0
    # A black hole shows as a few kbit/s at most; a slow machine does not come near it.
    assert min(up, down) > 20


def test_largest_packet_is_the_one_computed(attached: World) -> None:
    """Overlay and tunnel have the size the formula gives; a full packet passes both ways without fragments."""
    size = (MTU - 60) // 16 * 16
    for pod, device in (("client", "bulkhead0"), ("gateway", "bulkhead0"), ("gateway", "tun0")):
        assert f" mtu {size} " in attached.run(f"pod-{pod}", "ip", "link", "show", device)
    payload = str(size - 28)
    assert attached.outcomes("client", "icmp", "--target", TARGET4, "--size", payload) == {"answered"}


def test_node_reaches_the_pod_and_gets_its_answer(attached: World) -> None:
    """Probes of the kubelet, and clients whose address the pod has no route to: answers go back the way they came."""
    attached.serve("pod-client", 8080)
    for source in ("10.244.0.1", REAL4):  # the second is no address of the pod network
        assert attached.run("router", sys.executable, "-c", ASK, "10.244.0.10", "8080", source) == source


def test_only_listed_destinations_are_reached_directly(attached: World) -> None:
    attached.serve("pod-plain", 7000)
    attached.serve("pod-plain", 7001)
    direct = ("tcp", "--target", "10.244.0.40", "--timeout", "1", "--port")
    assert attached.seen("client", *direct, "7000") == {"10.244.0.10"}
    assert attached.outcomes("client", *direct, "7001") <= {"EPERM", "timeout"}
    assert attached.seen("stranger", *direct, "7001") == {"10.244.0.30"}  # it is there


def test_cluster_addresses_do_not_go_into_the_tunnel(attached: World) -> None:
    assert attached.outcomes("client", "udp", "--target", "10.96.0.53", "--port", "53", "--timeout", "1") == {"EPERM"}


def test_overlay_is_static(attached: World) -> None:
    fdb = attached.run("pod-client", "bridge", "fdb", "show", "dev", "bulkhead0").split("\n")
    assert [line for line in fdb if line] == ["02:42:0a:de:01:01 dst 10.244.0.20 self permanent"]
    neighbours = attached.run("pod-client", "ip", "neigh", "show", "dev", "bulkhead0")
    assert neighbours.strip() == f"{INNER_GATEWAY} lladdr 02:42:0a:de:01:01 PERMANENT"
    assert "nolearning" in attached.run("pod-client", "ip", "-d", "link", "show", "bulkhead0")
    assert INNER_CLIENT in attached.run("pod-gateway", "ip", "neigh", "show", "dev", "bulkhead0")


def test_only_overlay_and_tunnel_forward(attached: World) -> None:
    argv = attached.enter(
        "pod-gateway", "sysctl", "-n", *(f"net.ipv4.conf.{name}.forwarding" for name in ("eth0", "bulkhead0", "tun0"))
    )
    assert sh(argv).split() == ["0", "1", "1"]
