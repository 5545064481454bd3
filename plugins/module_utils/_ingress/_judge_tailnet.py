# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Gateways on the tailnet against each other and against what is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import GATEWAYS, Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._seen import Seen, Verdict

NAMESPACE = "tailscale"  # of the operator where none has been seen yet


def verdicts(gateways: Sequence[Gateway], seen: Seen) -> list[Verdict]:
    """Everything that stands in the way of these gateways being on the tailnet."""
    exposed = [one for one in gateways if one.present and one.device]
    if not exposed:
        return []
    return [*_hostnames(exposed, seen), *_needed(exposed, seen)]


def _verdict(
    rule: str, gateway: Gateway, path: str, value: str, reason: str, remedy: str, *, missing: bool = False
) -> Verdict:
    return Verdict(rule, str(Problem(f"{GATEWAYS} entry {gateway.name}", path, value, reason, remedy)), missing)


def _hostnames(gateways: Sequence[Gateway], seen: Seen) -> list[Verdict]:
    """A name that is taken gets a number appended by the control server, and nobody would look for that."""
    found = []
    taken = {str(one["hostname"]): f"the operator {one['namespace']}/{one['name']}" for one in seen.operators or ()}
    own = {(one.namespace, one.name) for one in gateways}
    for one in seen.exposed or ():
        if one["wanted"] and (one["namespace"], one["gateway"]) not in own and not one["ours"]:
            taken[str(one["hostname"])] = f"Service {one['namespace']}/{one['name']}"
    for gateway in gateways:
        name = gateway.device.hostname if gateway.device else ""
        if name in taken:
            reason = f"{taken[name]} has this name on the tailnet"
            remedy = "give each device a name of its own"
            found.append(_verdict("hostname-twice", gateway, "tailscale.hostname", name, reason, remedy))
        taken.setdefault(name, f"gateway {gateway.name}")
    return found


def _needed(gateways: Sequence[Gateway], seen: Seen) -> list[Verdict]:
    if seen.operators is None:
        return []
    first, found = gateways[0], []
    if not seen.operators:
        reason, remedy = (
            "the cluster has no Tailscale operator",
            "set bulkhead_components.tailscale to managed, or install it",
        )
        found.append(_verdict("operator", first, "exposure", first.exposure, reason, remedy, missing=True))
    for gateway in gateways:
        kind = gateway.device.proxy_class if gateway.device else ""
        if kind and kind not in (seen.proxy_classes or ()):
            reason, remedy = "the cluster has no ProxyClass of that name", "make it, or remove the key"
            found.append(_verdict("proxy-class", gateway, "tailscale.proxy_class", kind, reason, remedy, missing=True))
    return found


def devices(gateways: Sequence[Gateway]) -> list[dict[str, Any]]:
    """What has to be on the tailnet, for option ``devices`` of tailnet_check."""
    return [
        {"namespace": one.namespace, "gateway": one.name, "hostname": one.device.hostname}
        for one in gateways
        if one.device
    ]


def hidden(gateways: Sequence[Gateway], seen: Seen) -> list[dict[str, Any]]:
    """Services of our gateways that are on the tailnet and are not to be, for option ``gone`` of tailnet_check."""
    wanted = {(one.namespace, one.name) for one in gateways if one.device}
    return [
        {"namespace": one["namespace"], "name": one["name"]}
        for one in seen.exposed or ()
        if one["ours"] and (one["namespace"], one["gateway"]) not in wanted
    ]


def home(seen: Seen) -> str:
    """Namespace of the operator, where the states of its proxies are."""
    return str(seen.operators[0]["namespace"]) if seen.operators else NAMESPACE
