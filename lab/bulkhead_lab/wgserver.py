"""Runs one WireGuard server of the outside world: ``python3 -m bulkhead_lab.wgserver NAME``, in the server's namespace.

User space, because the machine's kernel may have no WireGuard. Ends when wireguard-go ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import net, plan, wireguard
from .errors import LabError
from .paths import INSIDE_BIN, INSIDE_STATE
from .procs import die_with_parent

SOCKETS = Path("/run/wireguard")
START_TIMEOUT = 10.0  # seconds


def by_name(name: str) -> plan.VpnServer:
    """The server of this name in the plan."""
    for server in plan.VPN_SERVERS:
        if server.name == name:
            return server
    known = ", ".join(server.name for server in plan.VPN_SERVERS)
    raise LabError(f"The lab has no VPN server {name!r}: name one of {known}.")


def set_up(server: plan.VpnServer) -> list[str]:
    """``ip`` lines for the tunnel device; up comes last, as the sign that the server is ready."""
    device, (v4, v6) = wireguard.device(server), wireguard.inner(server, 0)
    prefix4, prefix6 = server.inner4.partition("/")[2], server.inner6.partition("/")[2]
    return [
        f"link set {device} mtu {wireguard.MTU}",
        f"address replace {v4}/{prefix4} dev {device}",
        f"address replace {v6}/{prefix6} dev {device} nodad",
        f"link set {device} up",
    ]


def serve(server: plan.VpnServer) -> int:
    """Start, configure and wait; the exit code for the supervisor."""
    device = wireguard.device(server)
    socket = SOCKETS / f"{device}.sock"
    socket.unlink(missing_ok=True)  # a killed server leaves it, and wireguard-go would then refuse to start
    child = subprocess.Popen(
        [f"{INSIDE_BIN}/wireguard-go", device],
        env={"LOG_LEVEL": "error", "WG_PROCESS_FOREGROUND": "1", "PATH": os.environ.get("PATH", os.defpath)},
        preexec_fn=die_with_parent,
    )
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    deadline = time.monotonic() + START_TIMEOUT
    while not socket.exists():
        if child.poll() is not None or time.monotonic() > deadline:
            child.kill()
            raise LabError(
                f"wireguard-go made no device {device} within {START_TIMEOUT:.0f} s; /dev/net/tun must exist."
            )
        time.sleep(0.05)
    try:
        net.run(["wg", "syncconf", device, str(wireguard.folder(INSIDE_STATE, server) / "server.conf")])
        net.ip(set_up(server))
    except LabError:
        child.kill()
        raise
    print(f"{device} is up on port {server.port}", flush=True)
    return child.wait() or 1  # whatever ended it, this server is down


def main() -> int:
    """Entry point."""
    if len(sys.argv) != 2:
        print("usage: python3 -m bulkhead_lab.wgserver NAME", file=sys.stderr)
        return 2
    try:
        return serve(by_name(sys.argv[1]))
    except LabError as exc:
        print(exc, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
