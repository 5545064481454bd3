# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""One run of ``topology_info``: read, and put together what belongs together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _devices
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import Problem, all_of
from ansible_collections.bulkhead.mesh.plugins.module_utils._topology import _standing
from ansible_collections.bulkhead.mesh.plugins.module_utils._topology_info import _ingress, _mesh, _read, _vpn


@dataclass(frozen=True)
class Inventory:
    """The inventory's lists without what is to be absent; of an entry only what names it, mesh and gateway matter."""

    namespaces: Sequence[Mapping[str, Any]] = ()
    ingress_gateways: Sequence[Mapping[str, Any]] = ()
    gateways: Sequence[Mapping[str, Any]] = ()
    clients: Sequence[Mapping[str, Any]] = ()
    exit_addresses: Sequence[str] = ()
    accept_open: Sequence[str] = ()


# Option -> what each entry needs besides its name, to be told from others.
LISTS = {"namespaces": (), "ingress_gateways": (), "gateways": ("namespace",), "clients": ("kind", "namespace")}


def inventory(params: Mapping[str, Any]) -> Inventory:
    """The lists of the module's options without entries that are to be absent; one KubeError for all that is wrong."""
    found, problems = {}, []
    for option, needed in LISTS.items():
        kept = [one for one in params[option] if one.get("state", "present") != "absent"]
        for index, one in enumerate(kept):
            missing = [key for key in ("name", *needed) if not isinstance(one.get(key), str) or not one[key]]
            if missing:
                name = f"{option}[{index}]"
                words = (
                    f"{name} ({one.get('name') or 'without a name'}) lacks {' and '.join(missing)}: give it as a text."
                )
                problems.append(Problem(name, words))
        found[option] = kept
    if problems:
        raise all_of(problems)
    return Inventory(**found, exit_addresses=params["exit_addresses"], accept_open=params.get("accept_open_pods", ()))


def look(
    client: _client.Caller,
    target: Target,
    wanted: Inventory,
    proof: _standing.Proof,
    now: datetime,
    stale_after: float,
) -> dict[str, Any]:
    """What the module returns as ``topology``; ``stale_after`` in seconds."""
    seen = _read.read(client, _devices.is_exposed)
    ingress = _ingress.gateways(seen, wanted.ingress_gateways)
    gateways = _vpn.gateways(seen, wanted.gateways, proof, wanted.exit_addresses, now)
    clients = _vpn.clients(seen, wanted.clients, proof, now, stale_after, wanted.accept_open)
    homes = {one["namespace"] for one in (*ingress, *gateways, *clients)}
    homes |= {
        backend["service"].partition("/")[0]
        for one in ingress
        for route in one["routes"]
        for backend in route["backends"]
    }
    age = proof.age(now)
    return {
        "server": target.server,
        "read_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "unreadable": seen.unreadable(),
        "namespaces": _mesh.namespaces(seen, wanted.namespaces, homes),
        "ingress_gateways": ingress,
        "vpn_gateways": gateways,
        "vpn_clients": clients,
        "orphans": _vpn.orphans(seen, wanted.clients),
        "left_behind": _vpn.left_behind(seen),
        "proof": {
            "state": proof.state,
            "reason": proof.reason,
            "time": proof.time.strftime("%Y-%m-%dT%H:%M:%SZ") if proof.time else None,
            "age_s": None if age is None else int(age),
            "stale": age is not None and age > stale_after,
        },
    }
