# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Pools and BGP peers against each other and against the cluster."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import PEERS, POOLS, Peer, Pool, Range
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._range import addresses_of, readable
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._seen import Seen, Verdict

NETWORKS = {"pods": "pods", "services": "Services"}


def verdicts(pools: Sequence[Pool], peers: Sequence[Peer], frr: str, seen: Seen) -> list[Verdict]:
    """Everything that stands in the way of these pools and peers."""
    kept = [pool for pool in pools if pool.state == "present"]
    found = [*_overlaps(kept), *_announced(kept, peers), *_sessions(peers, frr)]
    return [*found, *_strangers(kept, seen), *_nodes(kept, seen), *_networks(kept, seen)]


def _verdict(rule: str, object_: str, path: str, value: object, reason: str, remedy: str) -> Verdict:
    return Verdict(rule, str(Problem(object_, path, value, reason, remedy)))


def _pool_verdict(rule: str, pool: Pool, path: str, value: object, reason: str, remedy: str) -> Verdict:
    return _verdict(rule, f"{POOLS} entry {pool.name}", path, value, reason, remedy)


def _overlaps(pools: Sequence[Pool]) -> list[Verdict]:
    found = []
    taken: list[tuple[Pool, Range]] = []
    for pool in pools:
        for mine in pool.ranges:
            for other, theirs in taken:
                if mine.overlaps(theirs):
                    where = f"pool {other.name}" if other is not pool else "the same pool"
                    reason = f"it overlaps {theirs.text} of {where}"
                    remedy = "give every address to one pool only"
                    found.append(_pool_verdict("pool-overlap", pool, "addresses", mine.text, reason, remedy))
            taken.append((pool, mine))
    return found


def _announced(pools: Sequence[Pool], peers: Sequence[Peer]) -> list[Verdict]:
    known = [peer.name for peer in peers if peer.state == "present"]
    found = []
    for pool in pools:
        if pool.bgp is None:
            continue
        if not known:
            reason = f"{PEERS} has no router to announce it to"
            found.append(
                _pool_verdict("bgp-peer", pool, "advertise", "bgp", reason, "add a peer, or announce the pool by l2")
            )
        for name in pool.bgp.peers:
            if known and name not in known:
                reason, remedy = f"{PEERS} has no peer of that name", f"use {' or '.join(known)}"
                found.append(_pool_verdict("bgp-peer", pool, "advertise.bgp.peers", name, reason, remedy))
    return found


def _sessions(peers: Sequence[Peer], frr: str) -> list[Verdict]:
    return [
        _verdict(
            "bfd-without-frr",
            f"{PEERS} entry {peer.name}",
            "bfd_profile",
            peer.bfd_profile,
            "MetalLB's own BGP speaks no BFD",
            "set bulkhead_metallb.frr to frr-k8s, or remove the profile",
        )
        for peer in peers
        if peer.state == "present" and peer.bfd_profile and frr == "none"
    ]


def _strangers(pools: Sequence[Pool], seen: Seen) -> list[Verdict]:
    found = []
    for other in seen.pools or ():
        if other["ours"]:
            continue
        place = f"{other['namespace']}/{other['name']}"
        for pool in pools:
            if pool.name == other["name"]:
                reason = f"IPAddressPool {place} has this name and somebody else made it"
                found.append(_pool_verdict("pool-exists", pool, "name", pool.name, reason, "choose another name"))
                continue
            for mine in pool.ranges:
                for theirs in readable(other["addresses"]):
                    if mine.overlaps(theirs):
                        reason = f"it overlaps {theirs.text} of IPAddressPool {place}, which somebody else made"
                        remedy = "choose other addresses, or remove that pool"
                        found.append(_pool_verdict("pool-overlap", pool, "addresses", mine.text, reason, remedy))
    return found


def _nodes(pools: Sequence[Pool], seen: Seen) -> list[Verdict]:
    return [
        _pool_verdict(
            "node-address",
            pool,
            "addresses",
            mine.text,
            f"the address {address} of node {node} is in it, and a gateway with that address would cut the node off",
            "leave it out of the range",
        )
        for pool in pools
        for mine in pool.ranges
        for node, address in addresses_of(seen.nodes or ())
        if mine.holds(address)
    ]


def _networks(pools: Sequence[Pool], seen: Seen) -> list[Verdict]:
    return [
        _pool_verdict(
            "cluster-network",
            pool,
            "addresses",
            mine.text,
            f"it overlaps {network.text}, the cluster's network of {words}",
            "use addresses of the LAN that nobody else has",
        )
        for key, words in NETWORKS.items()
        for network in readable(seen.networks.get(key) or ())
        for pool in pools
        for mine in pool.ranges
        if mine.overlaps(network)
    ]
