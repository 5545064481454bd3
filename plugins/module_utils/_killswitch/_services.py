# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Where the Services lead that a client reaches without the VPN, beside what its pods were told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import ServicesView
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _backends, _services
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, EgressRule, Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._killswitch import _read

_AGAIN = "run site.yml"


def view(client: Client, gateway: Gateway | None, seen: _read.Seen) -> ServicesView | Missing:
    """Every way by which a Service of this client leads elsewhere than to the pods it was listed for."""
    if not client.egress:
        return ServicesView()
    for rule in client.egress:
        for kind in ("Service", "EndpointSlice", "Pod"):
            reason = seen.missing(kind, rule.namespace)
            if reason:
                return reason
    link = Missing(f"gateway {client.gateway} is not known") if gateway is None else _read.registry_of(gateway, seen)
    if isinstance(link, Missing):
        return link
    room = link["clients"].get(client.id)
    if room is None:
        return Missing(f"{client.object} is not registered at its gateway")
    leads: list[str] = []
    unsettled: list[str] = []
    for rule in dict.fromkeys(client.egress):
        found, pending = _one(rule, room, seen)
        leads += [f"Service {rule}: {one}" for one in found]
        unsettled += pending
    return ServicesView(tuple(dict.fromkeys(map(str, client.egress))), tuple(leads), tuple(unsettled))


def _one(rule: EgressRule, room: Mapping[str, Any], seen: _read.Seen) -> tuple[list[str], list[str]]:
    service = seen.held.get("Service", rule.namespace, rule.service)
    if service is None:
        return [f"it is gone, and its address may become another Service's; create it again and {_AGAIN}"], []
    slices = seen.held.all("EndpointSlice", namespace=rule.namespace)
    pool = seen.held.all("Pod", "StatefulSet", "Deployment", namespace=rule.namespace)
    lead = _backends.unfit(service, slices, pool)
    if lead is not None:
        return [str(lead)], []
    audit = _backends.audit(service, slices, pool)
    name = f"{rule.service}.{rule.namespace}"
    return [*map(str, audit.leads), *_changed(name, service, room)], list(audit.unsettled)


def _changed(name: str, service: Mapping[str, Any], room: Mapping[str, Any]) -> list[str]:
    """What of the Service is not as it was when the client was told of it."""
    found = []
    told = (room.get("services") or {}).get(name)
    if told != _services.address(service):
        found.append(f"its address is {_services.address(service)}, and the client was told {told}; {_AGAIN}")
    # An older collection did not write it down; np-shape sees then that the policy has another one.
    known = room.get("selectors") or {}
    if name in known and known[name] != service["spec"]["selector"]:
        found.append(f"its selector is not the one that the client's policy was made for; {_AGAIN}")
    return found
