# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""From the inventory and what a cluster is seen to have to everything that the roles do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import (
    _gateways,
    _judge_announcement,
    _judge_gateways,
    _judge_pools,
    _judge_tailnet,
    _model,
    _namespaces,
    _pools,
    _render,
    _status,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._range import readable
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._seen import Seen, Verdict, seen

PARTS = ("pools", "gateways")


def plan(
    config: Mapping[str, Any],
    facts: Mapping[str, Any] | None = None,
    networks: Mapping[str, Sequence[str]] | None = None,
    parts: Sequence[str] = PARTS,
) -> dict[str, Any]:
    """What stands in the way, what has to be looked at, and all objects.

    ``config`` has the lists ``pools``, ``peers``, ``gateways`` and ``namespaces`` as the inventory gives them, ``frr``,
    ``metallb_namespace``, and ``metallb_values`` where the chart is ours. Without ``facts`` only the inventory is judged.
    Objects are complete only without problems in any of the lists.
    """
    pools, pool_problems = _pools.parse_pools(config.get("pools"))
    peers, peer_problems = _pools.parse_peers(config.get("peers"))
    gateways, gateway_problems = _gateways.parse_gateways(config.get("gateways"))
    planned, segment_problems = segments(config.get("namespaces"))
    unreadable = [*pool_problems, *peer_problems, *gateway_problems, *segment_problems]
    known = seen(facts, networks)
    found = [Verdict("input", str(one)) for one in unreadable]
    if not unreadable:
        if "pools" in parts:
            found += _judge_pools.verdicts(pools, peers, str(config.get("frr") or "none"), known)
            found += _judge_announcement.verdicts(pools, config.get("metallb_values"), known)
        if "gateways" in parts:
            found += _judge_gateways.verdicts(gateways, pools, planned, known)
            found += _judge_tailnet.verdicts(gateways, known)
    kept = [gateway for gateway in gateways if gateway.present]
    live = known.namespaces or {}
    homes = [gateway.namespace for gateway in kept]
    return {
        "problems": [one.to_dict() for one in found],
        "secrets": _once(f"{one.namespace}/{p.tls_secret}" for one in kept for p in one.listeners if p.tls_secret),
        "services": _once(f"{route.namespace}/{route.service}" for one in kept for route in one.routes),
        "addresses": _render.address_objects(pools, peers, gateways, str(config.get("metallb_namespace") or "")),
        "namespaces": _render.gateway_namespaces(gateways, live),
        "former": sorted(
            name for name, one in live.items() if one["set"] == _model.NAMESPACES_SET and name not in homes
        ),
        "staying": [
            _render.namespace(name)
            for name, one in ((facts or {}).get("contents") or {}).items()
            if one["owned"] or one["foreign"]
        ],
        "objects": _render.gateway_objects(gateways, _ranges(pools, known)),
        "expected": [_status.expectation(one, pools) for one in kept],
        "devices": _judge_tailnet.devices(kept),
        "hidden": _judge_tailnet.hidden(kept, known),
        "operator": _judge_tailnet.home(known),
    }


def segments(raw: Any) -> tuple[dict[str, frozenset[str] | None], list[Problem]]:
    """Segments of each namespace of ``bulkhead_namespaces``, None for one that does not say; and what is wrong."""
    namespaces, problems = _namespaces.parse_namespaces(raw)
    return {one.name: one.segments for one in namespaces}, problems


def _ranges(pools: Sequence[_model.Pool], known: Seen) -> dict[str, tuple[_model.Range, ...]]:
    """Addresses of each pool: those of the inventory, and those of somebody else."""
    others = {str(one["name"]): readable(one["addresses"]) for one in known.pools or () if not one["ours"]}
    return {**others, **{pool.name: pool.ranges for pool in pools if pool.state == "present"}}


def _once(names: Any) -> list[str]:
    return list(dict.fromkeys(names))
