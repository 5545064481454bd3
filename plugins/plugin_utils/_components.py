# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Which components a run takes care of: what the inventory says, and for the rest what its lists need. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.plugin_utils._preflight import COMPONENTS, NAMES, STATES

MANAGED, ABSENT = "managed", "absent"
MESHED = ("ambient", "sidecar")


def needs(
    namespaces: Sequence[Mapping[str, Any]], gateways: Sequence[Mapping[str, Any]], pools: Collection[Any]
) -> dict[str, str]:
    """Component -> the part of the inventory that cannot be without it, in words; only those that are needed."""
    found: dict[str, str] = {}
    meshed = [str(one.get("name")) for one in namespaces if one.get("mesh") in MESHED]
    if gateways:
        found["gateway_api"] = found["istio"] = "bulkhead_ingress_gateways"
    if meshed:
        found["istio"] = f"the mesh of namespace {meshed[0]}"
    if any(one.get("address") or one.get("pool") for one in gateways):
        found["metallb"] = "an address in bulkhead_ingress_gateways"
    if pools:
        found["metallb"] = "bulkhead_address_pools"
    exposed = [one for one in gateways if one.get("exposure") in ("tailnet", "both")]
    if exposed:
        found["tailscale"] = f"the exposure of ingress gateway {exposed[0].get('name')}"
    return found


def effective(named: Mapping[str, str], needed: Mapping[str, str]) -> dict[str, str]:
    """State of every component: as the inventory names it, else managed if it is needed and absent if not.

    ValueError: a name or a state that does not exist, or ``absent`` for what another part of the inventory needs.
    """
    for component, state in named.items():
        if component not in COMPONENTS:
            raise ValueError(
                f"bulkhead_components names {component!r}, which is no component: use {', '.join(COMPONENTS)}."
            )
        if state not in STATES:
            raise ValueError(f"bulkhead_components.{component} is {state!r}: use one of {', '.join(STATES)}.")
        if state == ABSENT and component in needed:
            raise ValueError(
                f"bulkhead_components.{component} is absent, but {needed[component]} needs {NAMES[component]}: "
                "set it to managed or external, or take that part out of the inventory."
            )
    return {one: named.get(one, MANAGED if one in needed else ABSENT) for one in COMPONENTS}
