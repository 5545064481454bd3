# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Engine ``wireguard``: the tunnel device, by the kernel where it can, else by wireguard-go.

The program stays as supervisor. Killed at any point it is simply started again: the endpoint's route and the
unreachable default are in the network namespace, a stale socket or device is removed, and while the tunnel is away
the gateway's own table lets nothing of it out in clear.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from ipaddress import IPv4Network

from . import config as conf
from . import links, nft, rules, wireguard
from .command import AgentError, CommandError, log, run
from .config import POD_DEVICE, Gateway
from .overlay import read_text

_SOCKETS = "/var/run/wireguard"
_PR_SET_PDEATHSIG = 1
MEMORY_LIMIT = "/sys/fs/cgroup/memory.max"  # of this container, where the node has cgroup v2
START_SECONDS = 10.0
LOOK_SECONDS = 0.5
AGAIN_SECONDS = (0.5, 1.0, 2.0, 4.0)  # pauses between restarts of the tunnel; the last one repeats


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def prepare_routes(config: Gateway) -> None:
    """The VPN server is reached by eth0, everything else by the tunnel or not at all."""
    way = links.pod_exit()
    links.engine_route(way, IPv4Network(config.endpoint.address))
    links.answer_by_arrival()
    links.quiet_ipv6()
    links.close_main_table()


def remove_stale(device: str) -> None:
    """What a killed engine leaves: its socket, and with a kernel device the device."""
    try:
        os.unlink(f"{_SOCKETS}/{device}.sock")
    except FileNotFoundError:
        pass
    if links.link(device) is not None:
        run(["ip", "link", "del", "dev", device])


def server_environment(environment: Mapping[str, str], limit: str | None) -> dict[str, str]:
    """wireguard-go's environment; ``limit`` is the container's memory limit in bytes as the kernel words it.

    Its buffers grow with the load up to several hundred MB unless Go is told to collect them in time.
    """
    made = {**environment, "WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"}
    if limit and limit.strip().isdecimal():  # else it is "max": none
        made.setdefault("GOMEMLIMIT", str(int(limit) * 3 // 4))
    return made


def start_device(device: str) -> subprocess.Popen[bytes] | None:
    """Make the device; returns the process that serves it, or None for a kernel device."""
    try:
        run(["ip", "link", "add", device, "type", "wireguard"])
        return None
    except CommandError:
        pass  # no kernel module; the reason is of no use to anybody who has wireguard-go
    environment = server_environment(os.environ, read_text(MEMORY_LIMIT))
    try:
        # pylint: disable-next=ansible-bad-function  # runs in a pod: there is no AnsibleModule
        server = subprocess.Popen(["wireguard-go", device], env=environment, preexec_fn=_die_with_parent)
    except FileNotFoundError as exc:
        raise AgentError(
            "The node's kernel has no WireGuard and the image no wireguard-go; use another image."
        ) from exc
    deadline = time.monotonic() + START_SECONDS
    while not os.path.exists(f"{_SOCKETS}/{device}.sock") or links.link(device) is None:
        if server.poll() is not None:
            raise AgentError(f"wireguard-go ended with code {server.returncode}; does the pod have /dev/net/tun?")
        if time.monotonic() > deadline:
            stop(server)
            raise AgentError(f"wireguard-go did not make {device} within {START_SECONDS:g} s.")
        time.sleep(0.05)
    return server


def stop(server: subprocess.Popen[bytes] | None) -> None:
    """End the serving process, if there is one."""
    if server is not None and server.poll() is None:
        server.kill()
        server.wait()


def configure(config: Gateway, tunnel: wireguard.Tunnel) -> int:
    """Keys, addresses, MTU, up, default route; returns the MTU."""
    device = config.tunnel_device
    run(["wg", "setconf", device, "/dev/stdin"], stdin=tunnel.settings)
    size = conf.tunnel_mtu(links.mtu(POD_DEVICE), config.mtu, tunnel.mtu)
    for address in tunnel.addresses:
        run(["ip", "-4", "address", "replace", str(address), "dev", device])
    run(["ip", "link", "set", "dev", device, "mtu", str(size), "up"])
    links.default_by(device)
    return size


def session(config: Gateway, path: str) -> None:
    """One life of the tunnel: from nothing until its device or process is gone."""
    text = read_text(path)
    if text is None:
        raise AgentError(f"The WireGuard configuration {path} cannot be read; is the Secret mounted?")
    tunnel = wireguard.parse(text, config.endpoint, config.mark)
    remove_stale(config.tunnel_device)
    prepare_routes(config)
    server = start_device(config.tunnel_device)
    try:
        size = configure(config, tunnel)
        log("tunnel_up", device=config.tunnel_device, kernel=server is None, mtu=size)
        while links.received(config.tunnel_device) is not None and (server is None or server.poll() is None):
            if read_text(path) not in (text, None):
                log("configuration_changed")
                return
            time.sleep(LOOK_SECONDS)
        log("tunnel_gone", device=config.tunnel_device, server_code=server and server.poll())
    finally:
        stop(server)


def main(config: Gateway, environment: Mapping[str, str]) -> int:
    """Command ``engine``: keeps the tunnel up until it is stopped."""
    if not nft.exists("inet", rules.GATEWAY):
        raise AgentError(
            "The gateway's table is missing in this pod; delete the pod so that it starts with its firewall."
        )
    path = environment.get("BULKHEAD_WIREGUARD", "/run/bulkhead/wireguard/wg0.conf")
    os.makedirs(_SOCKETS, mode=0o700, exist_ok=True)
    failures = 0
    while True:
        started = time.monotonic()
        try:
            session(config, path)
        except AgentError as exc:
            log("engine_failed", detail=str(exc))
        failures = 0 if time.monotonic() - started > 30 else failures + 1
        time.sleep(AGAIN_SECONDS[min(failures, len(AGAIN_SECONDS) - 1)])
