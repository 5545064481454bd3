# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Client side of the overlay: device, routes, and following the gateway's address.

The address comes as a file. Empty file: sealed. Missing file or nonsense in it: the last good address stays, because
"no data" must never change what a pod may reach. Started again after a kill it finds everything in place: the guard's
set, the device and the saved route live in the pod's network namespace.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

from . import config as conf
from . import links, nft, rules
from .command import AgentError, log
from .config import OVERLAY_DEVICE, POD_DEVICE, Client, ConfigError, Peer

LOOK_SECONDS = 0.25
REPAIR_SECONDS = 5.0  # everything is put right again, changed or not


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


def live_address() -> IPv4Address | None:
    """Address the guard admits now: what was good before this process started."""
    found = sorted(nft.elements(nft.listing("inet", rules.GUARD), "gateway"))
    return IPv4Address(found[0]) if len(found) == 1 else None


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


def point_to(config: Client, address: IPv4Address | None) -> None:
    """Let the carrier go to this gateway and to no other; None seals the pod."""
    way = links.pod_exit()
    inner = conf.gateway_address(config.network)
    # The set first when it shrinks or moves: what follows may fail, and then the pod is sealed.
    nft.set_elements(("inet", rules.GUARD), {"gateway": (str(address),) if address else ()})
    hosts = [IPv4Network(address)] if address else []
    links.host_routes(way, [*hosts, *(item.address for item in config.direct)])
    links.neighbours(OVERLAY_DEVICE, [Peer(inner, conf.mac_address(inner), address)] if address else [])


def main(config: Client, environment: Mapping[str, str]) -> int:
    """Command ``overlay``: prepares, then follows the endpoint file until it is stopped."""
    path = environment.get("BULKHEAD_ENDPOINT", "/run/bulkhead/endpoint/gateway-address")
    pod_name, pod_ip = environment.get("POD_NAME", ""), conf.pod_address(environment)
    log("overlay_ready", **prepare(config, pod_name, pod_ip))
    last = live_address()
    applied: tuple[IPv4Address | None] | None = None  # None: nothing yet, so that the first look always applies
    complaint, repaired = "", time.monotonic()
    while True:
        address, why = next_address(read_text(path), last)
        if why != complaint:
            log("endpoint_unusable" if why else "endpoint_usable", detail=why)
            complaint = why
        due = time.monotonic() - repaired >= REPAIR_SECONDS
        if applied != (address,) or due:
            try:
                point_to(config, address)
                if applied != (address,):
                    log("gateway", address=str(address) if address else "")
                applied, last = (address,), address
                if due:
                    prepare(config, pod_name, pod_ip)
                    repaired = time.monotonic()
            except AgentError as exc:
                # Not fatal: a restart would only repeat it behind the kubelet's back-off.
                log("overlay_failed", detail=str(exc))
                applied = None
                time.sleep(1)
        time.sleep(LOOK_SECONDS)
