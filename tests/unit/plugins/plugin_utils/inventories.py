# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An inventory with everything the table of variables knows, and what can be left out of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory._field import Field
from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory._table import VARIABLES

Place = tuple["str | int", ...]
# Keys of an ingress gateway that other variables count on.
REFERRED = ("exposure", "tailscale", "tags", "listeners", "routes")


def full() -> dict[str, Any]:
    """Every variable and every key that may be given, in a way that makes sense together."""
    made = {name: copy.deepcopy(one.value.example()) for name, one in VARIABLES.items()}
    client = made["bulkhead_vpn_clients"][0]
    detach_to = client.pop("detach_to")  # for one that goes only
    caller = client["ingress"][0]
    del caller["from"]["ingress_gateway"]
    client["ingress"].append({**caller, "from": {"ingress_gateway": "arr"}})
    gone = {"kind": "StatefulSet", "namespace": "downloads", "name": "gone", "state": "absent", "detach_to": detach_to}
    made["bulkhead_vpn_clients"].append(gone)
    made["bulkhead_components"] = dict.fromkeys(made["bulkhead_components"], "external")
    path = made["bulkhead_paths"][0]
    path["from"] = {"namespace": "core", "labels": {"app": "radarr"}, "service_account": "radarr", "mesh": True}
    path["to"] = {key: path["to"][key] for key in ("service", "port", "scheme", "path", "host", "content")}
    other = {"from": {"client": "qbittorrent"}, "to": {"gateway": "arr", "route": "core/radarr"}, "expect": "refused"}
    made["bulkhead_paths"].append(other)
    return made


def places(value: Any, field: Field, at: Place) -> Iterator[tuple[Place, Field]]:
    """Every place in a value that the table has keys for, with its field."""
    yield at, field
    if isinstance(value, Mapping):
        for key, below in field.keys.items():
            if key in value:
                yield from places(value[key], below, (*at, key))
    if isinstance(value, list) and field.each is not None:
        for index, one in enumerate(value):
            yield from places(one, field.each, (*at, index))


def every(inventory: Mapping[str, Any]) -> list[tuple[Place, Field]]:
    """The same for a whole inventory."""
    return [one for name, value in inventory.items() for one in places(value, VARIABLES[name].value, (name,))]


def at(inventory: Any, place: Place) -> Any:
    """What lies at a place."""
    for part in place:
        inventory = inventory[part]
    return inventory


def without(inventory: Mapping[str, Any], *gone: Place) -> dict[str, Any]:
    """A copy without these keys."""
    made = copy.deepcopy(dict(inventory))
    for place in gone:
        del at(made, place[:-1])[place[-1]]
    return made


def written(place: Place) -> str:
    """A place as messages name it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def optional(inventory: Mapping[str, Any]) -> list[Place]:
    """Keys and variables that may be absent, each alone."""
    return [
        place for place, one in every(inventory) if isinstance(place[-1], str) and not one.needed and not _tied(place)
    ]


def least(inventory: Mapping[str, Any]) -> dict[str, Any]:
    """Every list with its entries, and no key that may be absent."""
    made = copy.deepcopy(dict(inventory))
    # They name what goes: a route, and the tags of a gateway.
    del made["bulkhead_paths"][1], made["bulkhead_tailnet_policy"]
    for place in sorted(optional(made), key=len, reverse=True):
        if len(place) > 1:
            del at(made, place[:-1])[place[-1]]
    return made


def _tied(place: Place) -> bool:
    """Keys of which one or the other is needed, and those that hang on another one."""
    name, last = str(place[0]), place[-1]
    if "from" in place and last in ("namespace", "ingress_gateway", "client"):
        return True
    if name == "bulkhead_paths" and "to" in place:
        return last in ("service", "gateway", "route", "port")
    if name == "bulkhead_vpn_clients" and place[1:2] == (1,):
        return last == "state"
    return last in ("tls_secret", "protocol", "l2", "bgp") or (name == "bulkhead_vpn_images" and last == "engine")
