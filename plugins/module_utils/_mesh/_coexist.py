# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What keeps a mesh and VPN clients from living together; the client's traffic must not leave by somebody else's pod.

``seen`` is what ``istio_info`` returns, ``clients`` and ``gateways`` are lists as in the inventory.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh import _enrolment

_Entry = Mapping[str, Any]


def problems(
    namespaces: Sequence[_Entry],
    gateways: Sequence[_Entry],
    clients: Sequence[_Entry],
    seen: Mapping[str, Any] | None,
    dns: Mapping[str, Any] | None = None,
    socket_lb: bool = False,
) -> list[str]:
    """Every reason; ``seen`` is None without a mesh, ``dns`` is the cluster's DNS Service where it is known.

    ``socket_lb``: whether the pod network translates Services inside the sockets of pods.
    """
    wanted = [_enrolment.Wanted(one["name"], one.get("mesh") or "unmanaged") for one in namespaces]
    istio = seen["namespace"]["name"] if seen else "istio-system"
    closed = _enrolment.forbidden(istio, [one["namespace"] for one in gateways])
    found = _enrolment.problems(wanted, closed)
    if socket_lb:
        found += _hidden_services(clients)
    if not seen:
        return found
    listed = {one.name for one in wanted if one.mesh != "unmanaged"}
    found += [
        f"VPN gateway {one['namespace']}/{one['name']} is in a namespace that is in the mesh by its label "
        f"{_enrolment.MODE}=ambient: list the namespace in bulkhead_namespaces with mesh: none."
        for one in gateways
        if one["namespace"] in seen["enrolled_namespaces"] and one["namespace"] not in listed
    ]
    found += _sidecars(wanted, clients, seen["injected_namespaces"])
    ambient = {one.name for one in wanted if one.mesh == "ambient"}
    ambient |= {one for one in seen["enrolled_namespaces"] if one not in listed}
    enrolled = [one for one in clients if one["namespace"] in ambient and one.get("state") != "absent"]
    if enrolled:
        who = [f"{one['kind']} {one['namespace']}/{one['name']}" for one in enrolled]
        found += [problem for entry in seen["service_entries"] for problem in service_entry(entry, who)]
        found += _dns_routes(enrolled, dns)
    return found


def _sidecars(wanted: Sequence[_enrolment.Wanted], clients: Sequence[_Entry], injected: Mapping[str, str]) -> list[str]:
    """Namespaces whose new pods would get a sidecar against what the inventory says, or beside a VPN's guard."""
    remedy = "take the label off (kubectl label namespace {} {}-)"
    found = [
        f"Namespace {one.name} is to be in the ambient mesh (mesh: ambient), but it has the label {injected[one.name]}, with "
        "which its new pods get a sidecar and stay out of the ambient mesh: "
        f"{remedy.format(one.name, injected[one.name].partition('=')[0])}, or set its mesh to sidecar."
        for one in wanted
        if one.mesh == "ambient" and one.name in injected
    ]
    told = {one.name for one in wanted if one.mesh in ("ambient", "none")}
    homes = {one["namespace"]: one for one in clients if one.get("state") != "absent"}
    found += [
        f"{one['kind']} {name}/{one['name']} is a VPN client in a namespace with the label {injected[name]}: its new pods "
        "would get a sidecar whose own init container comes before the guard, and would be refused: "
        f"{remedy.format(name, injected[name].partition('=')[0])}, or list the namespace with mesh: none."
        for name, one in homes.items()
        if name in injected and name not in told
    ]
    return found


def _hidden_services(clients: Iterable[_Entry]) -> list[str]:
    return [
        f"{one['kind']} {one['namespace']}/{one['name']} has egress to Services ({', '.join(services)}), but the pod network "
        "translates Services inside the pod's sockets, so that its packets name backends which the guard does not know: set "
        "socketLB.hostNamespaceOnly=true in Cilium's values (bpfConnectTimeLoadBalancing: Disabled for Calico), or remove "
        "the egress."
        for one in clients
        for services in [[str(rule.get("service")) for rule in one.get("egress") or () if rule.get("service")]]
        if services and one.get("state") != "absent"
    ]


def service_entry(entry: _Entry, clients: Sequence[str]) -> list[str]:
    """How an entry leads traffic of these enrolled clients past the VPN, as sentences; ``entry`` as ``istio_info`` has it.

    ztunnel does not honour exportTo, so an entry in any namespace takes the traffic of every enrolled pod.
    """
    what = f"ServiceEntry {entry['namespace']}/{entry['name']} ({', '.join(entry['hosts'])})"
    who = ", ".join(clients)
    found = []
    if entry["resolution"].startswith("DNS"):
        found.append(
            f"{what} has the resolution {entry['resolution']}: ztunnel asks for its hosts' addresses beside the VPN of "
            f"{who}: use STATIC with addresses, or NONE."
        )
    if entry["waypoint"]:
        found.append(
            f"{what} goes through the waypoint {entry['waypoint']}, which would lead the traffic of {who} past the VPN: "
            f"label it istio.io/use-waypoint=none, or take the namespaces of these clients out of the mesh."
        )
    wide = [text for text in entry["addresses"] if _is_network(text)]
    if wide:
        found.append(
            f"{what} has the networks {', '.join(wide)}, which can take any traffic of {who} out of the VPN: give single "
            "addresses, or take the namespaces of these clients out of the mesh."
        )
    return found


def _is_network(text: str) -> bool:
    try:
        return ipaddress.ip_network(text, strict=False).num_addresses > 1
    except ValueError:
        return True  # what cannot be read is not taken for one address


def _dns_routes(clients: Iterable[_Entry], dns: Mapping[str, Any] | None) -> list[str]:
    if not dns:
        return []
    service = f"{dns['namespace']}/{dns['name']}"
    return [
        f"{one['kind']} {one['namespace']}/{one['name']} has an egress to the cluster's DNS ({service}): with a route "
        "there the names it asks for leave beside the VPN; remove the entry, its gateway answers names of services."
        for one in clients
        if any(rule.get("service") == service for rule in one.get("egress") or [])
    ]
