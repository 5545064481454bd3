# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Gateway side at run time: peers from a file, forwarding of the tunnel, and the answer to nonces and to the kubelet.

A nonce is answered only while the tunnel carries traffic, and only then is the gateway healthy. The measure is the tunnel
device's count of received packets: such a packet was decrypted with the VPN server's key. When clients are silent, packets
that make somebody behind the tunnel answer are sent: one whose life ends at the server, one to the server's own address.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Callable

from . import config as conf
from . import firewall, health, links, netlink, nft, overlay, rules
from .command import AgentError, log
from .config import NONCE_PORT, OVERLAY_DEVICE, ConfigError, Gateway, Peer

LOOK_SECONDS = 0.25
REPAIR_SECONDS = 5.0
QUIET_SECONDS = 1.0  # silence after which the tunnel is asked
ALIVE_SECONDS = 5.0  # silence after which the tunnel counts as dead
MAX_NONCE = 64
_TRACEROUTE_PORT = 33434
_SO_BINDTODEVICE = 25


@dataclass(frozen=True)
class Pulse:
    """What is known of the tunnel. Times are seconds of a monotonic clock."""

    count: int | None = None  # received packets at the last look; None: no device
    risen: float | None = None  # when the count last rose

    def look(self, count: int | None, now: float) -> Pulse:
        """State after a look. A new device counts from zero, so a smaller number is a new start, not a sign of life."""
        if count is None:
            return Pulse()
        if self.count is None or count < self.count:
            return Pulse(count)
        return Pulse(count, now if count > self.count else self.risen)

    def alive(self, now: float) -> bool:
        """Whether a packet came out of the tunnel lately."""
        return self.risen is not None and now - self.risen <= ALIVE_SECONDS

    def quiet(self, now: float) -> bool:
        """Whether it is time to ask."""
        return self.count is not None and (self.risen is None or now - self.risen >= QUIET_SECONDS)


def ask(config: Gateway) -> None:
    """Provoke answers from behind the tunnel; whether any come is seen by the counter."""
    for life in (1, 64):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, config.tunnel_device.encode() + b"\0")
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, life)
                sender.sendto(b"", (str(config.endpoint.address), _TRACEROUTE_PORT))
        except OSError:
            pass  # no device, no address yet: the counter says the same


def point_to(peers: tuple[Peer, ...]) -> None:
    """Exactly these clients may use the overlay: filter first, then routes to their pods, then entries."""
    sets = {
        "peers": tuple(str(peer.outer) for peer in peers),
        "inner": tuple(f"{peer.inner} . {peer.mac}" for peer in peers),
    }
    nft.set_elements(("inet", rules.GATEWAY), sets)
    links.host_routes(links.pod_exit(), [IPv4Network(peer.outer) for peer in peers])
    links.neighbours(OVERLAY_DEVICE, peers)


class Answerer:
    """UDP socket on the inner address that sends a nonce back, or stays silent."""

    def __init__(self, config: Gateway) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setblocking(False)
        self.socket.bind((str(conf.gateway_address(config.network)), NONCE_PORT))

    def serve(self, seconds: float, alive: Callable[[], bool]) -> None:
        """Answer what arrives within the time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.socket], [], [], left)[0]:
                return
            try:
                data, sender = self.socket.recvfrom(2048)
                if alive() and 0 < len(data) <= MAX_NONCE:
                    self.socket.sendto(data, sender)
            except OSError:
                pass  # a client that vanished; nothing depends on this packet


class Keeper:
    """What the loop remembers between two looks."""

    def __init__(self, config: Gateway, environment: Mapping[str, str]) -> None:
        self.config = config
        self.path = environment.get("BULKHEAD_PEERS", "/run/bulkhead/endpoint/peers")
        self.pod_ip = conf.pod_address(environment)
        self.peers: tuple[Peer, ...] | None = None  # None: no list was ever good; the filter stays as it is
        self.applied: tuple[Peer, ...] | None = None
        self.complaint = ""
        self.repaired = time.monotonic()
        self.pulse = Pulse()

    def read(self) -> None:
        """Take over the list; a missing or bad file leaves the last good one."""
        text, why = overlay.read_text(self.path), ""
        try:
            if text is None:
                raise ConfigError("The peer list is missing; the last one stays.")
            self.peers = conf.parse_peers(text, self.config.network)
        except ConfigError as exc:
            why = str(exc)
        if why != self.complaint:
            log("peers_unusable" if why else "peers_usable", detail=why)
            self.complaint = why

    def apply(self) -> None:
        """Bring kernel state in line when the list changed, and now and then anyway."""
        due = time.monotonic() - self.repaired >= REPAIR_SECONDS
        if due:
            firewall.prepare_overlay(self.config, self.pod_ip)
            self.repaired = time.monotonic()
        if self.peers is not None and (due or self.peers != self.applied):
            point_to(self.peers)
            if self.peers != self.applied:
                log("peers", count=len(self.peers), inner=[str(peer.inner) for peer in self.peers])
            self.applied = self.peers

    def watch_tunnel(self) -> None:
        """Look at the tunnel; a device that (re)appeared does not forward until told so."""
        now, device = time.monotonic(), self.config.tunnel_device
        seen = self.pulse.look(links.received(device), now)
        if seen.count is not None and (self.pulse.count is None or not links.forwards(device)):
            netlink.set_inet(device, {netlink.FORWARDING: 1})
            log("tunnel_forwards", device=device)
        if seen.alive(now) != self.pulse.alive(now):
            log("tunnel_alive" if seen.alive(now) else "tunnel_silent", device=device)
        self.pulse = seen


def watch(keeper: Keeper) -> None:
    """Look at the tunnel, and ask when it is quiet, for ever.

    A thread of its own: silence must not be taken for death while the loop is busy with many new clients.
    """
    asked, complaint = 0.0, ""
    while True:
        why = ""
        try:
            keeper.watch_tunnel()
        except (AgentError, OSError) as exc:
            why = str(exc)
        if why and why != complaint:
            log("watch_failed", detail=why)
        complaint, now = why, time.monotonic()
        if keeper.pulse.quiet(now) and now - asked >= QUIET_SECONDS:
            ask(keeper.config)
            asked = now
        time.sleep(LOOK_SECONDS)


def main(config: Gateway, environment: Mapping[str, str]) -> int:
    """Command ``gateway``: runs until it is stopped."""
    if not nft.exists("inet", rules.GATEWAY):
        raise AgentError(
            "The gateway's table is missing in this pod; delete the pod so that it starts with its firewall."
        )
    keeper = Keeper(config, environment)
    health.Health(keeper.pod_ip, lambda: keeper.pulse.alive(time.monotonic())).start()
    log("gateway_ready", **firewall.prepare_overlay(config, keeper.pod_ip))
    threading.Thread(target=watch, args=(keeper,), name="watch", daemon=True).start()
    answerer = Answerer(config)
    while True:
        try:
            keeper.read()
            keeper.apply()
        except (AgentError, OSError) as exc:
            log("gateway_failed", detail=str(exc))
            keeper.applied = None
        answerer.serve(LOOK_SECONDS, lambda: keeper.pulse.alive(time.monotonic()))
