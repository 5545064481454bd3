# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The agent beside the redirection of an ambient mesh: same marks, same routing rule, a proxy in the pod's namespace."""

from __future__ import annotations

import sys
from pathlib import Path

from world import EXIT, REAL4, TARGET4, World

# What Istio's node agent puts into an enrolled pod, DNS capture off; written down from the reference's table of rules.
REDIRECT = """
table inet mesh {
  chain marks_in {
    type filter hook prerouting priority -150; policy accept;
    meta mark and 0xfff == 0x539 ct mark set 0x111
  }
  chain marks_out {
    type route hook output priority -150; policy accept;
    ct mark and 0xfff == 0x111 meta mark set ct mark
  }
  chain redirect_in {
    type nat hook prerouting priority -100; policy accept;
    ip saddr 169.254.7.127 accept
    meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta mark and 0xfff != 0x539 redirect to :15006
  }
  chain redirect_out {
    type nat hook output priority -100; policy accept;
    ip daddr 169.254.7.127 accept
    meta l4proto tcp meta mark and 0xfff == 0x111 accept
    oifname "lo" ip daddr != 127.0.0.1 accept
    meta l4proto tcp ip daddr != 127.0.0.1 meta mark and 0xfff != 0x539 redirect to :15001
  }
}
"""
ASK = """
import socket, sys
with socket.create_connection(("10.244.0.10", 8080), 3, (sys.argv[1], 0)) as s:
    s.sendall(b"nonce\\n")
    print(s.makefile().read().split()[1], end="")
"""


def test_mesh_and_vpn_together(world: World) -> None:
    world.attached()
    world.nft("pod-client", REDIRECT)
    world.ip(
        "pod-client", "rule add pref 32764 fwmark 0x111/0xfff lookup 100", "route add local default dev lo table 100"
    )
    proxy = world.start("pod-client", [sys.executable, "-B", str(Path(__file__).with_name("proxy.py"))])
    assert proxy.stdout and proxy.stdout.readline() == "ready\n"
    world.serve("pod-client", 8080)
    world.ip("router", "addr add 169.254.7.127/32 dev lo")
    target = ("--target", TARGET4, "--port", "7777")
    with world.captured() as seen:
        assert world.seen("client", "tcp", *target) == {EXIT}
        assert world.seen("client", "udp", *target) == {EXIT}
        bound = ("--device", "eth0", "--method", "bindtodevice", "--count", "10", "--timeout", "0.1")
        assert world.outcomes("client", "udp", *target, *bound) == {"EPERM"}
        assert "answered" not in world.outcomes("client", "tcp", *target, *bound)
    assert seen["clear"] == seen["link"] == 0
    # In by the proxy (the application sees the peer's address), and in past it, as the kubelet's probes come.
    for source in (REAL4, "10.244.0.1", "169.254.7.127"):
        assert world.run("router", sys.executable, "-c", ASK, source) == source
    # A container of the mesh restarts: routing rules are still Istio's, then ours, each once.
    rules = world.run("pod-client", "ip", "rule", "show")
    assert rules.count("32764:") == rules.count("200:") == 1
