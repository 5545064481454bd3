# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The port on which the kubelet asks: what it says, who reaches it, and that no other way leads to or out of it."""

from __future__ import annotations

import sys

from world import INNER_CLIENT, INNER_GATEWAY, REAL4, World, eventually, kill, publish

PORT = "14791"
CLIENT, GATEWAY = "10.244.0.10", "10.244.0.20"
NODE = "10.244.0.1"
# Prints the status, or why there is none.
ASK = """
import http.client, socket, sys
host, port, seconds, source, device = sys.argv[1:]
try:
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    connection.sock = socket.socket()
    connection.sock.settimeout(float(seconds))
    if device:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    connection.sock.bind((source, 0))
    connection.sock.connect((host, int(port)))
    connection.request("GET", "/healthy")
    print(connection.getresponse().status, end="")
except OSError as exc:
    print(type(exc).__name__, end="")
"""


def asked(world: World, where: str, host: str, source: str = "", device: str = "") -> str:
    seconds = "5" if where == "router" else "0.5"
    return world.run(where, sys.executable, "-c", ASK, host, PORT, seconds, source, device)


def test_the_node_hears_both_and_nobody_hears_them_elsewhere(attached: World) -> None:
    # The second source is no address of the pod network: a node that asks with its own.
    for source in (NODE, REAL4):
        eventually(lambda source=source: asked(attached, "router", CLIENT, source) == "200")
        eventually(lambda source=source: asked(attached, "router", GATEWAY, source) == "200")
    # Over the overlay neither end reaches the other's, by none of its addresses.
    for address in (INNER_GATEWAY, GATEWAY, "10.66.0.2"):
        assert asked(attached, "pod-client", address, INNER_CLIENT) not in ("200", "503"), address
        assert asked(attached, "pod-client", address, device="bulkhead0") not in ("200", "503"), address
    for address in (INNER_CLIENT, CLIENT):
        assert asked(attached, "pod-gateway", address, device="bulkhead0") not in ("200", "503"), address
    # Behind the tunnel is whoever the provider lets in.
    attached.run("vpn", "ip", "route", "replace", "10.244.0.0/16", "dev", "wgserver")
    for address in ("10.66.0.2", GATEWAY, CLIENT):
        assert asked(attached, "vpn", address, "10.66.0.1", "wgserver") not in ("200", "503"), address
    attached.run("vpn", "ip", "route", "del", "10.244.0.0/16", "dev", "wgserver")


def test_the_port_is_no_way_out(attached: World) -> None:
    """What the application sends from or to that port leaves eth0 no more than anything else."""
    attached.serve("pod-plain", int(PORT))
    assert attached.outcomes("stranger", "tcp", "--target", "10.244.0.40", "--port", PORT) == {"answered"}
    for method in ("route", "bindtodevice"):
        words = ("tcp", "--target", "10.244.0.40", "--port", PORT, "--timeout", "0.5", "--device", "eth0")
        assert attached.outcomes("client", *words, "--method", method) <= {"EPERM", "timeout"}


def test_a_client_starts_when_the_gateway_answers_and_stays_started(world: World) -> None:
    world.up_gateway()
    assert world.agent_once("client", "guard").returncode == 0
    publish(world.endpoint, "")
    publish(world.direct, "[]")
    world.overlay = world.agent("client", "overlay")
    eventually(lambda: asked(world, "router", CLIENT, NODE) == "503")  # sealed
    assert asked(world, "router", CLIENT, NODE) == "503"
    publish(world.endpoint, GATEWAY)
    eventually(lambda: asked(world, "router", CLIENT, NODE) == "200", 15)
    publish(world.endpoint, "")
    assert asked(world, "router", CLIENT, NODE) == "200"
    # One that is started anew has to hear from the gateway again.
    kill(world.overlay)
    world.overlay = world.agent("client", "overlay")
    eventually(lambda: asked(world, "router", CLIENT, NODE) == "503")


def test_a_gateway_is_healthy_while_its_tunnel_carries(world: World) -> None:
    world.attached()
    eventually(lambda: asked(world, "router", GATEWAY, NODE) == "200")
    world.ip("vpn", "link set eth0 down")
    eventually(lambda: asked(world, "router", GATEWAY, NODE) == "503", 12)
    # A client that starts meanwhile waits, with the gateway's address and all.
    kill(world.overlay)
    world.overlay = world.agent("client", "overlay")
    eventually(lambda: asked(world, "router", CLIENT, NODE) == "503")
    assert asked(world, "router", CLIENT, NODE) == "503"
    world.ip("vpn", "link set eth0 up", "route replace default via 198.51.100.1")
    eventually(lambda: asked(world, "router", GATEWAY, NODE) == "200", 12)
    eventually(lambda: asked(world, "router", CLIENT, NODE) == "200", 12)
