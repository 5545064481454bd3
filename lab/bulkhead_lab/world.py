"""The lab's outside world: router, internet target, VPN servers, BitTorrent, tailnet, and the node's link to it.

Functions that make things run inside the lab as root and may run again;
``torrent_*`` and ``payload_digest`` also work on the machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import capture, net, plan, seeder, tailnet, topology, torrent, tracker, wireguard
from .paths import INSIDE_BIN, INSIDE_STATE
from .service import Service
from .torrent import PAYLOAD_NAME, PAYLOAD_SIZE

__all__ = ["PAYLOAD_NAME", "PAYLOAD_SIZE"]

IPERF_PORT = 5201


def create(state: Path) -> None:
    """Make all namespaces, links, routes, keys and files of the outside world; the node's link comes with attach_node."""
    (state / "log").mkdir(parents=True, exist_ok=True)
    hosts = topology.hosts()
    _namespace(plan.NS_INTERNET, forwards=True)
    for host in hosts:
        _namespace(host.netns, host.forwards)
    ports = net.links(plan.NS_INTERNET)
    net.ip(topology.bridge(plan.LAN_BRIDGE in ports), plan.NS_INTERNET)
    for host in hosts:
        net.ip(topology.wire(host, host.port in ports), plan.NS_INTERNET)
        net.ip(topology.far_end(host), host.netns)
    net.nft(topology.home_firewall(), plan.NS_INTERNET)
    for server in plan.VPN_SERVERS:
        net.nft(topology.nat(server), server.namespace)
        wireguard.write(state, server)
    tailnet.write(state)
    seeder.write_payload(state)
    tracker.write(state, [torrent_info_hash(state)])


def _namespace(name: str, forwards: bool) -> None:
    net.add_netns(name)
    net.sysctl(topology.settings(forwards), name)


def attach_node() -> None:
    """Make the node's namespace and its uplink, which is counted before its first packet."""
    _namespace(plan.NS_NODE, forwards=False)
    ends = plan.UPLINK in net.links(plan.NS_INTERNET), plan.NODE_DEVICE in net.links(plan.NS_NODE)
    if ends[0] and not ends[1]:  # the link of a node that is gone
        net.ip([f"link delete {plan.UPLINK}"], plan.NS_INTERNET)
    if not all(ends):
        net.ip(topology.uplink(), plan.NS_INTERNET)
    if not net.is_up(plan.NS_INTERNET, plan.UPLINK):
        capture.attach()
        net.ip(topology.uplink_up(), plan.NS_INTERNET)
    net.ip(topology.node(), plan.NS_NODE)


def detach_node() -> None:
    """Take the node's link and namespace away; whatever still runs inside has no network any more."""
    if net.has_netns(plan.NS_INTERNET) and plan.UPLINK in net.links(plan.NS_INTERNET):
        net.ip([f"link delete {plan.UPLINK}"], plan.NS_INTERNET)
    net.delete_netns(plan.NS_NODE)


def _listening(address: str, port: int) -> Callable[[], bool]:
    return partial(net.accepts_tcp, plan.NS_TARGET, address, port)


def services(state: Path) -> list[Service]:
    """The programs of the outside world, in the order of their start."""
    python = ("/usr/bin/python3", "-m")
    target = (
        f"{INSIDE_BIN}/target",
        f"-listen={plan.TARGET4}",
        f"-listen={plan.RESOLVER4}",
        f"-listen={plan.TARGET6}",
        f"-zone={plan.ZONE}",
        f"-log={target_log(state)}",
        f"-http-port={plan.HTTP_PORT}",
        f"-echo-port={plan.ECHO_PORT}",
        f"-stun-port={plan.STUN_PORT}",
        f"-dns-port={plan.DNS_PORT}",
    )
    tracker_argv = ("opentracker", "-f", str(tracker.folder(state) / "opentracker.conf"))
    return [
        # Its last socket to be opened is the one that is asked.
        Service("target", target, plan.NS_TARGET, ready=_listening(plan.TARGET6, plan.DNS_PORT)),
        Service("tracker", tracker_argv, plan.NS_TARGET, ready=_listening(plan.TARGET4, plan.TRACKER_PORT)),
        Service(
            "seeder", (*python, "bulkhead_lab.seeder"), plan.NS_TARGET, ready=_listening(plan.PEER4, plan.PEER_PORT)
        ),
        Service("iperf3", ("iperf3", "--server", f"--port={IPERF_PORT}"), plan.NS_TARGET),
        *(
            Service(
                f"vpn-{server.name}",
                (*python, "bulkhead_lab.wgserver", server.name),
                server.namespace,
                ready=partial(net.is_up, server.namespace, wireguard.device(server)),
            )
            for server in plan.VPN_SERVERS
        ),
        *tailnet.services(state),
    ]


def target_log(state: Path) -> Path:
    """The internet target's request log, one JSON line per request."""
    return state / "log" / "target-requests.jsonl"


def torrent_file(state: Path) -> Path:
    """The .torrent of the seeded payload."""
    return seeder.folder(state) / f"{PAYLOAD_NAME}.torrent"


def torrent_info_hash(state: Path) -> str:
    """Its info hash, 40 hex digits."""
    return torrent.info_hash(torrent_file(state).read_bytes())


def payload_digest(state: Path) -> str:
    """SHA-256 of the seeded payload, in hex."""
    return hashlib.sha256((seeder.folder(state) / PAYLOAD_NAME).read_bytes()).hexdigest()


def client_config(state: Path, server: str, number: int) -> Path:
    """The WireGuard configuration (wg-quick's form) of a VPN server's client, numbered from 1."""
    found = {one.name: one for one in plan.VPN_SERVERS}[server]
    return wireguard.folder(state, found) / f"client{number}.conf"


def tracker_peers(info_hash: str | None = None) -> list[str]:
    """Addresses under which the tracker knows the peers of a torrent, the lab's own by default."""
    return tracker.peers(info_hash or torrent_info_hash(INSIDE_STATE))


def seeder_peers(since: str | None = None) -> list[str]:
    """Addresses of the peers that connected to the seeder, also of those that left; see seeder.addresses."""
    log = seeder.log_file(INSIDE_STATE)
    return seeder.addresses(log.read_text() if log.exists() else "", since)
