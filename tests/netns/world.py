# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pods, a node that routes for them, a WireGuard server and an internet target, in network namespaces of their own.

                     +-- pod client   10.244.0.10        target 203.0.113.10, 2001:db8:113::10
    router (node) ---+-- pod gateway  10.244.0.20   ---  vpn    198.51.100.2, exit 198.51.100.5
                     +-- pod stranger 10.244.0.30
                     +-- pod plain    10.244.0.40 (never guarded: the control)

Pods hang on point-to-point links whose node end answers ARP for everything, as Calico's do. What leaves the node has its
real address 192.0.2.10. Counters of nftables in the target and on the client's link are the capture.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
AGENT = HERE.parents[1] / "plugins" / "module_utils" / "_agent"

REAL4, REAL6 = "192.0.2.10", "2001:db8:30::10"
EXIT = "198.51.100.5"
TARGET4, TARGET6 = "203.0.113.10", "2001:db8:113::10"
SERVER, SERVER_PORT = "198.51.100.2", 51820
NETWORK = "10.222.1.0/24"
INNER_GATEWAY, INNER_CLIENT = "10.222.1.1", "10.222.1.10"
PODS = {"client": 10, "gateway": 20, "stranger": 30, "plain": 40}
PORT, VNI, MARK = 14789, 77, 0xCA6C
MTU = 1450
DIRECT = [{"protocol": "tcp", "address": "10.244.0.40", "port": 7000}]

CAPTURE = f"""
table inet capture {{
  counter exit {{ }}
  counter clear {{ }}
  chain look {{
    type filter hook prerouting priority -300; policy accept;
    iifname "lo" accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld2-listener-report }} accept
    ip saddr {EXIT} counter name exit accept
    counter name clear
  }}
}}
"""

# Everything of the client's link but carrier to the gateway and what the kernel says to its link at start.
LINK_CAPTURE = f"""
table netdev capture {{
  counter clear {{ }}
  chain look {{
    type filter hook ingress device "p-client" priority 0; policy accept;
    ether type arp accept
    ip6 daddr {{ ff00::/8, fe80::/10 }} accept
    ip daddr 10.244.0.20 udp dport {PORT} accept
    counter name clear
  }}
}}
"""

ROUTER_NAT = f"""
table inet node {{
  chain nat {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname {{ "to-vpn", "to-target" }} ip saddr 10.244.0.0/16 snat ip to {REAL4}
    oifname {{ "to-vpn", "to-target" }} ip6 saddr fd00:10:244::/56 snat ip6 to {REAL6}
  }}
}}
"""

VPN_NAT = f"""
table ip vpn {{
  chain nat {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.66.0.0/24 oifname "eth0" snat to {EXIT}
  }}
}}
"""


def sh(argv: list[str], stdin: str | None = None, check: bool = True) -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=30)
    if check and done.returncode:
        raise AssertionError(f"{argv}: {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


def eventually(what: Callable[[], Any], seconds: float = 10.0, message: str = "") -> Any:
    """Value of the call as soon as it is true; fails with what was seen last."""
    deadline, seen = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        seen = what()
        if seen:
            return seen
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {message or what}: {seen!r}")


class World:
    """One topology. ``close`` ends every process started here; the namespaces go with the last of them."""

    made = 0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[subprocess.Popen[str]] = []
        self.logs = 0
        World.made += 1
        self.tag = f"w{World.made}-"  # two topologies may live at once
        self.names = ["router", "vpn", "target", *(f"pod-{name}" for name in PODS)]
        for name in self.names:
            sh(["ip", "netns", "add", self.tag + name])
        for name in ("server", "engine"):
            (directory / f"wireguard-{name}").mkdir(mode=0o700)
        shutil.copytree(AGENT, directory / "bulkhead_agent", ignore=shutil.ignore_patterns("__pycache__"))
        self.endpoint, self.peers = directory / "gateway-address", directory / "peers"
        self.direct = directory / "direct"
        self._wire()
        self._outside()

    # -- building ------------------------------------------------------------

    def ip(self, namespace: str, *commands: str) -> None:
        sh(self.enter(namespace, "ip", "-batch", "-"), "\n".join([*commands, ""]))

    def nft(self, namespace: str, text: str) -> None:
        sh(self.enter(namespace, "nft", "-f", "-"), text)

    def enter(self, namespace: str, *argv: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.tag}{namespace}", *argv]

    def run(self, namespace: str, *argv: str) -> str:
        """Output of a command in a namespace."""
        return sh(self.enter(namespace, *argv))

    def with_sockets(self, name: str, *argv: str) -> list[str]:
        """The command with a socket directory of its own, as a container's volume is."""
        bind = f'mkdir -p /run/wireguard && mount --bind {self.directory}/wireguard-{name} /run/wireguard && exec "$@"'
        return ["unshare", "-m", "sh", "-c", bind, "sh", *argv]

    def sysctl(self, namespace: str, **settings: str) -> None:
        text = [f"{key.replace('__', '/')}={value}" for key, value in settings.items()]
        sh(self.enter(namespace, "sysctl", "-qw", *text))

    def _wire(self) -> None:
        for name in self.names:
            self.ip(name, "link set lo up")
            self.sysctl(name, net__ipv6__conf__all__disable_ipv6="0", net__ipv6__conf__default__disable_ipv6="0")
            self.sysctl(name, net__ipv6__conf__default__accept_dad="0", net__ipv4__ping_group_range="0 2147483647")
            # Pods get the strict filter that RHEL-like nodes hand down; the agent has to cope.
            strict = "1" if name.startswith("pod-") else "0"
            self.sysctl(name, net__ipv4__conf__all__rp_filter=strict, net__ipv4__conf__default__rp_filter=strict)
        self.sysctl("router", net__ipv4__ip_forward="1", net__ipv6__conf__all__forwarding="1")
        self.ip("router", f"addr add {REAL4}/32 dev lo", f"addr add {REAL6}/128 dev lo")
        for pod in PODS:
            self.pod_link(pod)
        for name, net, far in (
            ("vpn", "198.51.100.1/29", f"{SERVER}/29"),
            ("target", "203.0.113.1/24", TARGET4 + "/24"),
        ):
            self.ip(
                "router",
                f"link add to-{name} type veth peer name eth0 netns {self.tag}{name}",
                f"link set to-{name} up",
            )
            self.ip("router", f"addr add {net} dev to-{name}")
            self.ip(
                name,
                "link set eth0 up",
                f"addr add {far} dev eth0",
                f"route add default via {net.split('/', maxsplit=1)[0]}",
            )
        self.ip("router", "addr add 2001:db8:113::1/64 dev to-target")
        self.ip("target", f"addr add {TARGET6}/64 dev eth0", "route add default via 2001:db8:113::1")
        self.nft("router", ROUTER_NAT + LINK_CAPTURE)
        self.nft("target", CAPTURE)

    def pod_link(self, pod: str) -> None:
        """eth0 of a pod as the ptp CNI leaves it."""
        number, name = PODS[pod], f"pod-{pod}"
        host = f"p-{pod}"
        self.ip("router", f"link add {host} mtu {MTU} type veth peer name eth0 mtu {MTU} netns {self.tag}{name}")
        self.ip(
            "router", f"link set {host} up", f"addr add 10.244.0.1/32 dev {host}", f"addr add fe80::1/64 dev {host}"
        )
        self.ip(
            "router", f"route add 10.244.0.{number}/32 dev {host}", f"route add fd00:10:244::{number}/128 dev {host}"
        )
        # Answered at once: the default delay of up to 0.8 s would let a control end before its first packet leaves.
        proxy = {f"net__ipv4__conf__{host}__proxy_arp": "1", f"net__ipv4__neigh__{host}__proxy_delay": "0"}
        self.sysctl("router", **proxy)
        self.ip(name, "link set eth0 up", f"addr add 10.244.0.{number}/32 dev eth0")
        self.ip(name, "route add 10.244.0.1 dev eth0 scope link", "route add 10.244.0.0/24 via 10.244.0.1")
        self.ip(name, "route add default via 10.244.0.1", f"addr add fd00:10:244::{number}/128 dev eth0")
        self.ipv6_default(name)

    def ipv6_default(self, namespace: str) -> None:
        """What the CNI does at start, or a router advertisement later."""
        self.run(namespace, "ip", "-6", "route", "replace", "default", "via", "fe80::1", "dev", "eth0")

    def _outside(self) -> None:
        target = self.start("target", [sys.executable, "-B", str(HERE / "internet.py")])
        keys = {name: sh(["wg", "genkey"]).strip() for name in ("server", "client")}
        public = {name: sh(["wg", "pubkey"], key).strip() for name, key in keys.items()}
        self.start(
            "vpn", self.with_sockets("server", "wireguard-go", "wgserver"), WG_PROCESS_FOREGROUND="1", LOG_LEVEL="error"
        )
        eventually((self.directory / "wireguard-server" / "wgserver.sock").exists, message="wireguard-go of the server")
        settings = f"[Interface]\nPrivateKey={keys['server']}\nListenPort={SERVER_PORT}\n"
        settings += f"[Peer]\nPublicKey={public['client']}\nAllowedIPs=10.66.0.2/32\n"
        sh(self.enter("vpn", *self.with_sockets("server", "wg", "setconf", "wgserver", "/dev/stdin")), settings)
        self.ip("vpn", f"addr add {EXIT}/29 dev eth0", "addr add 10.66.0.1/24 dev wgserver")
        self.ip("vpn", "link set wgserver mtu 1420 up")
        self.sysctl("vpn", net__ipv4__ip_forward="1")
        self.nft("vpn", VPN_NAT)
        self.wg_conf = self.directory / "wg0.conf"
        self.wg_conf.write_text(
            f"[Interface]\nPrivateKey = {keys['client']}\nAddress = 10.66.0.2/32, fd00:66::2/128\nDNS = 10.66.0.1\n\n"
            f"[Peer]\nPublicKey = {public['server']}\nAllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = {SERVER}:{SERVER_PORT}\n"
        )
        self.wg_conf.chmod(0o600)
        assert target.stdout and target.stdout.readline().strip() == "ready"

    # -- processes -----------------------------------------------------------

    def start(self, namespace: str, argv: list[str], **environment: str) -> subprocess.Popen[str]:
        self.logs += 1
        with open(self.directory / f"log-{self.logs}-{namespace}", "w") as log:
            process = subprocess.Popen(
                self.enter(namespace, "setpriv", "--pdeathsig", "KILL", *argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **environment},
            )
        self.processes.append(process)
        return process

    def serve(self, namespace: str, port: int) -> None:
        """The echo of the target, on one port of another namespace."""
        server = self.start(namespace, [sys.executable, "-B", str(HERE / "internet.py"), str(port)])
        assert server.stdout and server.stdout.readline() == "ready\n"

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()
        for name in self.names:
            sh(["ip", "netns", "del", self.tag + name], check=False)

    def environment(self, pod: str, **config: Any) -> dict[str, str]:
        common = {"vni": VNI, "port": PORT, "network": NETWORK, "mtu": None, **config}
        if pod == "gateway":
            role = {"role": "gateway", "endpoint": {"address": SERVER, "port": SERVER_PORT}, "mark": MARK}
        else:
            networks = ["10.244.0.0/16", "10.96.0.0/16"]
            role = {"role": "client", "gateway": "north", "first_index": 10}
            role["cluster_networks"] = networks
        return {
            "BULKHEAD_CONFIG": json.dumps({**role, **common}),
            "BULKHEAD_AGENT": "0123456789abcdef",
            "BULKHEAD_PROOF": str(self.directory / f"proof-{pod}"),
            "BULKHEAD_ENDPOINT": str(self.endpoint),
            "BULKHEAD_DIRECT": str(self.direct),
            "BULKHEAD_PEERS": str(self.peers),
            "BULKHEAD_WIREGUARD": str(self.wg_conf),
            "POD_NAME": f"{pod}-0",
            "POD_IP": f"10.244.0.{PODS[pod]}",
            "PYTHONPATH": str(self.directory),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def agent_argv(self, command: str) -> list[str]:
        """As the container runtime starts it: /proc/sys read-only, NET_ADMIN and nothing else."""
        confine = 'mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec "$@"'
        capabilities = ["setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--pdeathsig", "KILL"]
        program = [*capabilities, sys.executable, "-m", "bulkhead_agent", command]
        return self.with_sockets("engine", "sh", "-c", confine, "sh", *program)

    def agent(self, pod: str, command: str, **config: Any) -> subprocess.Popen[str]:
        """Start a lasting command of the agent in a pod."""
        return self.start(f"pod-{pod}", self.agent_argv(command), **self.environment(pod, **config))

    def agent_once(self, pod: str, command: str, **config: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of the agent that ends, such as guard and firewall."""
        argv = self.enter(f"pod-{pod}", *self.agent_argv(command))
        environment = {**os.environ, **self.environment(pod, **config)}
        return subprocess.run(argv, capture_output=True, text=True, env=environment, check=False, timeout=30)

    def probe_argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "bulkhead_agent", "probe", *arguments]

    def probe(self, pod: str, *arguments: str) -> list[dict[str, Any]]:
        """Results of a probe in a pod."""
        argv = self.enter(f"pod-{pod}", *self.probe_argv(*arguments))
        environment = {**os.environ, **self.environment(pod)}
        done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False, timeout=60)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)["results"]

    def outcomes(self, pod: str, *arguments: str) -> set[str]:
        return {result["outcome"] for result in self.probe(pod, *arguments)}

    def seen(self, pod: str, *arguments: str) -> set[str]:
        """Addresses the target reported; a probe that was not answered counts as its outcome."""
        return {
            result["seen"] if result["outcome"] == "answered" else result["outcome"]
            for result in self.probe(pod, *arguments)
        }

    def counters(self, namespace: str, family: str, table: str) -> dict[str, int]:
        out = json.loads(self.run(namespace, "nft", "-j", "list", "counters", family))
        found = [item["counter"] for item in out["nftables"] if "counter" in item]
        return {counter["name"]: counter["packets"] for counter in found if counter["table"] == table}

    def count(self, namespace: str, family: str, table: str, name: str) -> int:
        return self.counters(namespace, family, table)[name]

    # -- capture -------------------------------------------------------------

    def capture(self) -> dict[str, int]:
        """Packets since the start: by the VPN at the target, in clear at the target, in clear on the client's link."""
        link = self.counters("router", "netdev", "capture")["clear"]
        return {**self.counters("target", "inet", "capture"), "link": link}

    @contextlib.contextmanager
    def captured(self) -> Iterator[dict[str, int]]:
        """Fills the dictionary with what the capture saw during the block."""
        seen: dict[str, int] = {}
        before = self.capture()
        yield seen
        time.sleep(0.05)  # for what is still on its way
        seen.update({key: value - before[key] for key, value in self.capture().items()})

    # -- whole arrangements --------------------------------------------------

    def up_gateway(self) -> None:
        done = self.agent_once("gateway", "firewall")
        assert done.returncode == 0, done.stderr
        mac = "02:42:0a:de:01:0a"
        publish(self.peers, json.dumps([{"inner": INNER_CLIENT, "mac": mac, "outer": "10.244.0.10"}]))
        self.engine = self.agent("gateway", "engine")
        self.gateway = self.agent("gateway", "gateway")

    def up_client(self, guard: bool = True) -> None:
        if guard:
            done = self.agent_once("client", "guard")
            assert done.returncode == 0, done.stderr
        publish(self.direct, json.dumps(DIRECT))
        publish(self.endpoint, "10.244.0.20")
        self.overlay = self.agent("client", "overlay")

    def attached(self) -> World:
        """Gateway and client, working."""
        self.up_gateway()
        self.up_client()
        self.wait_tunnel()
        return self

    def wait_tunnel(self, seconds: float = 15.0) -> float:
        """Seconds until the client's nonce comes back over the overlay."""
        started = time.monotonic()
        eventually(lambda: self.outcomes("client", "overlay", "--timeout", "0.3") == {"answered"}, seconds, self.tail())
        return time.monotonic() - started

    def tail(self) -> str:
        return str(self.directory)

    def remove_guard(self) -> None:
        """The control: the same pod without its tables."""
        self.run("pod-client", "nft", "flush", "ruleset")


def publish(path: Path, text: str) -> None:
    """Write as the kubelet does: readers see the old content or the new one, never an empty file in between."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.rename(path)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
