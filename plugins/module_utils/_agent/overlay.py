# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Client side of the overlay: device, routes, and following the gateway's address and the direct destinations.

Both come as files. Empty address: sealed. An empty list: nothing but the VPN. A missing file or nonsense in it, or a list
of which nobody has said anything yet: what was good last stays, because "no data" must never change what a pod may
reach. Until its destinations were told once the pod is sealed, so that nothing starts before they are in force. Started
again after a kill the agent finds everything in place: the guard's sets, the device and the saved route live in the pod's
network namespace.

Until a nonce came back through the gateway the agent asks about once a second, and then no more: that is what the
kubelet's start-up probe waits for.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

from . import config as conf
from . import health, links, nft, rules
from .command import AgentError, log
from .config import OVERLAY_DEVICE, POD_DEVICE, Client, ConfigError, Direct, Peer
from .nonce import Nonces

LOOK_SECONDS = 0.25
REPAIR_SECONDS = 5.0  # everything is put right again, changed or not
HOLD_SECONDS = 3.0  # for which the kubelet may wait for a good answer; its own patience is longer


def read_text(path: str) -> str | None:
    """Content of a small file, or None while it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return None


def next_address(text: str | None, last: IPv4Address | None) -> tuple[IPv4Address | None, str]:
    """Address to use now, and why it is the last one if the file gave none. Pure."""
    if text is None:
        return last, "The endpoint file is missing; the last address stays."
    try:
        return conf.parse_gateway_address(text), ""
    except ConfigError as exc:
        return last, str(exc)


def next_direct(
    text: str | None, last: tuple[Direct, ...] | None, cluster: tuple[IPv4Network, ...] = ()
) -> tuple[tuple[Direct, ...] | None, str]:
    """Destinations to admit now, None as long as nobody named any; and why they are the last ones. Pure."""
    if text is None:
        return last, "The file with the direct destinations is missing; the last ones stay."
    try:
        told = conf.parse_direct(text, cluster)
    except ConfigError as exc:
        return last, str(exc)
    if told is not None:
        return told, ""
    return last, "" if last is not None else "The direct destinations have not been told yet; the pod waits for them."


def elements(direct: tuple[Direct, ...]) -> tuple[str, ...]:
    """Destinations as elements of the guard's set. Pure."""
    return tuple(f"{one.protocol} . {one.address} . {one.port}" for one in direct)


def admitted(found: set[str], cluster: tuple[IPv4Network, ...] = ()) -> tuple[Direct, ...]:
    """Elements of the guard's set as destinations; what this agent did not write is not among them. Pure."""
    direct = []
    for element in found:
        parts = element.split(" . ")
        if len(parts) == 3 and parts[2].isdigit():
            told = [{"protocol": parts[0], "address": parts[1], "port": int(parts[2])}]
            try:
                direct += conf.parse_direct(json.dumps(told), cluster) or ()
            except ConfigError:
                continue
    return tuple(sorted(direct))


def live(cluster: tuple[IPv4Network, ...] = ()) -> tuple[IPv4Address | None, tuple[Direct, ...] | None]:
    """Address and destinations the guard admits now: what was good before this process started.

    A pod that has an address was told its destinations, be they none.
    """
    listed = nft.listing("inet", rules.GUARD)
    found = sorted(nft.elements(listed, "gateway"))
    address = IPv4Address(found[0]) if len(found) == 1 else None
    direct = admitted(nft.elements(listed, "direct"), cluster)
    return address, direct if direct or address else None


def prepare(config: Client, pod_name: str, pod_ip: IPv4Address) -> dict[str, object]:
    """Overlay device and routes, made or put right. Needs the guard: without it nothing is made."""
    if not nft.exists("inet", rules.GUARD):
        raise AgentError("The guard's table is missing in this pod; delete the pod so that it starts with its guard.")
    way = links.pod_exit()
    links.answer_by_arrival()
    links.quiet_ipv6()
    inner = conf.client_address(config, pod_name)
    size = conf.overlay_mtu(links.mtu(POD_DEVICE), config.mtu)
    prefix, mac = config.network.prefixlen, conf.mac_address(inner)
    links.ensure_vxlan(OVERLAY_DEVICE, config.vni, config.port, pod_ip, mac, size, inner, prefix)
    links.default_by(OVERLAY_DEVICE, conf.gateway_address(config.network))
    links.close_main_table()
    return {"inner": str(inner), "mtu": size, "router": way.router}


def point_to(config: Client, address: IPv4Address | None, direct: tuple[Direct, ...]) -> None:
    """Let the carrier go to this gateway and to no other, None seals the pod; and let it reach these destinations."""
    way = links.pod_exit()
    inner = conf.gateway_address(config.network)
    sets: dict[str, tuple[str, ...]] = {"gateway": (str(address),) if address else ()}
    # Only what differs: while such a set is filled anew, packets may not find their element for a moment.
    if nft.covered(nft.elements(nft.listing("inet", rules.GUARD), "direct")) != nft.covered(elements(direct)):
        sets["direct"] = elements(direct)
    # The sets first when they shrink or move: what follows may fail, and then the pod is sealed.
    nft.set_elements(("inet", rules.GUARD), sets)
    hosts = [IPv4Network(address)] if address else []
    links.host_routes(way, [*hosts, *(item.address for item in direct)])
    links.neighbours(OVERLAY_DEVICE, [Peer(inner, conf.mac_address(inner), address)] if address else [])


def main(config: Client, environment: Mapping[str, str]) -> int:
    """Command ``overlay``: prepares, then follows both files until it is stopped."""
    endpoint = environment.get("BULKHEAD_ENDPOINT", "/run/bulkhead/endpoint/gateway-address")
    listed = environment.get("BULKHEAD_DIRECT", "/run/bulkhead/endpoint/direct")
    pod_name, pod_ip = environment.get("POD_NAME", ""), conf.pod_address(environment)
    started, nonces = threading.Event(), Nonces(config)
    health.Health(pod_ip, started.is_set, HOLD_SECONDS).start()
    log("overlay_ready", **prepare(config, pod_name, pod_ip))
    last, direct = live(config.cluster_networks)
    applied: tuple[IPv4Address | None, tuple[Direct, ...]] | None = None  # so that the first look always applies
    complaints, repaired = {"endpoint": "", "direct": ""}, time.monotonic()
    while True:
        last, why = next_address(read_text(endpoint), last)
        direct, why_direct = next_direct(read_text(listed), direct, config.cluster_networks)
        for name, said in (("endpoint", why), ("direct", why_direct)):
            if said != complaints[name]:
                log(f"{name}_unusable" if said else f"{name}_usable", detail=said)
                complaints[name] = said
        wanted = (None, ()) if direct is None else (last, direct)
        due = time.monotonic() - repaired >= REPAIR_SECONDS
        if applied != wanted or due:
            try:
                point_to(config, *wanted)
                if applied is None or applied[0] != wanted[0]:
                    log("gateway", address=str(wanted[0]) if wanted[0] else "")
                if applied is None or applied[1] != wanted[1]:
                    log("direct", destinations=list(elements(wanted[1])))
                applied = wanted
                if due:
                    prepare(config, pod_name, pod_ip)
                    repaired = time.monotonic()
            except AgentError as exc:
                # Not fatal: a restart would only repeat it behind the kubelet's back-off.
                log("overlay_failed", detail=str(exc))
                applied = None
                time.sleep(1)
        if started.is_set() or applied is None or applied[0] is None:
            time.sleep(LOOK_SECONDS)
        elif nonces.answered(LOOK_SECONDS):
            started.set()
            nonces.close()
            log("answered", address=str(applied[0]))
