# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""First program of a gateway pod: tables first, then the overlay, then forwarding of the overlay device only."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

from . import config as conf
from . import guard, links, netlink, nft, rules
from .command import log
from .config import OVERLAY_DEVICE, POD_DEVICE, Gateway


def prepare_overlay(config: Gateway, pod_ip: IPv4Address) -> dict[str, Any]:
    """The overlay device of the gateway, and forwarding for what comes in by it.

    Forwarding is decided by the device a packet arrives on. eth0 never gets it: nothing from the pod network is routed.
    """
    links.pod_exit()
    links.answer_by_arrival()
    inner = conf.gateway_address(config.network)
    size = conf.overlay_mtu(links.mtu(POD_DEVICE), config.mtu)
    prefix, mac = config.network.prefixlen, conf.mac_address(inner)
    links.ensure_vxlan(OVERLAY_DEVICE, config.vni, config.port, pod_ip, mac, size, inner, prefix)
    netlink.set_inet(POD_DEVICE, {netlink.FORWARDING: 0})
    netlink.set_inet(OVERLAY_DEVICE, {netlink.FORWARDING: 1})
    return {"inner": str(inner), "mtu": size}


def load(config: Gateway) -> dict[str, Any]:
    """Put the gateway's tables in force and return their proof; errors leave the closed table."""
    nft.load_table(rules.closed_table(rules.GATEWAY))
    links.require_single_exit()
    mode = guard.frames_mode()
    table = nft.load_table(rules.gateway_table(config))
    frames = guard.load_frames(rules.GATEWAY, mode)
    guard.prove_refusal(rules.GATEWAY)
    return {"table": table, "frames": frames}


def main(config: Gateway, environment: Mapping[str, str]) -> int:
    """Command ``firewall``."""
    pod_ip = conf.pod_address(environment)
    proof = {"agent": environment.get("BULKHEAD_AGENT", ""), **load(config)}
    overlay = prepare_overlay(config, pod_ip)
    guard.write_proof(proof, environment.get("BULKHEAD_PROOF", "/dev/termination-log"))
    log("firewall_loaded", **proof, **overlay)
    return 0
