# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The matrix that the inventory implies, where nobody wrote one. Pure.

The home network reaches the routes of gateways that are exposed there and nothing else; the same for the tailnet. No gateway
serves a page of another one. A VPN client reaches what its ``egress`` names and no other page, and is reached by
whom its ``ingress`` names: for every other policy the inventory has no words, and the matrix no rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _sealed
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import Gateway, Route
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import (
    FOUND,
    LAN,
    POD,
    REACHED,
    REFUSED,
    TAILNET,
    Page,
    Row,
    Vantage,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._parse import behind, first_host, row_of, vantage_of
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._seen import Seen, services_of

EXPOSED = {LAN: ("lan", "both"), TAILNET: ("tailnet", "both")}
OUTSIDER = "default"  # namespace of the pod that is in no mesh and no segment


def derive(
    gateways: Sequence[Gateway],
    clients: Sequence[Client],
    namespaces: Iterable[Mapping[str, Any]],
    seen: Seen,
    tailnet: bool = False,
) -> list[Row]:
    """All rows, without those that another one asks already. ``tailnet``: there is a vantage on it."""
    gateways = [one for one in gateways if one.present]
    clients = [one for one in clients if one.state == "present"]
    hosts = [LAN] if gateways else []
    if gateways and (tailnet or any(one.exposure in EXPOSED[TAILNET] for one in gateways)):
        hosts.append(TAILNET)
    rows = [row for host in hosts for row in _from_outside(Vantage(host), gateways, seen)]
    rows += [row for one in clients for row in _from_client(one, gateways, seen)]
    rows += [row for one in clients for row in _to_client(one, gateways, namespaces, seen)]
    return list({row.key: row for row in reversed(rows)}.values())[::-1]


def _from_outside(source: Vantage, gateways: Sequence[Gateway], seen: Seen) -> list[Row]:
    rows = []
    for gateway in gateways:
        open_ = gateway.exposure in EXPOSED[source.kind]
        own = [row_of(source, gateway, route, REACHED if open_ else REFUSED) for route in gateway.routes]
        services = {row.page.service_key for row in own}
        rows += own
        rows += [
            row_of(source, gateway, route, REFUSED)
            for route in _others(gateway, gateways)
            if (route.namespace, route.service, route.port) not in services
        ]
        rows += _strays(source, gateway, seen)
    return rows + [_direct(source, route, REFUSED) for route in _routes(gateways)]


def _routes(gateways: Iterable[Gateway]) -> list[Route]:
    return [route for gateway in gateways for route in gateway.routes]


def _others(gateway: Gateway, gateways: Iterable[Gateway]) -> list[Route]:
    return _routes(one for one in gateways if one is not gateway)


def _direct(source: Vantage, route: Route, expect: str) -> Row:
    """The same page from the Service itself, without any gateway."""
    path = behind(route.path, route.rewrite, route.path.rstrip("/") + "/" if route.rewrite else route.path)
    page = Page(route.namespace, route.service, route.port, path, host=first_host(route))
    return Row(source, page, expect, path=path)


def _strays(source: Vantage, gateway: Gateway, seen: Seen) -> list[Row]:
    """Routes in the cluster that name the gateway and are not in the inventory."""
    declared = {str(route) for route in gateway.routes}
    rows = []
    for one in seen.routes:
        if (gateway.namespace, gateway.name) in one.parents and one.name not in declared:
            path = one.path.rstrip("/") + "/" if one.behind != one.path else one.path
            page = Page(
                *one.service, behind(one.path, one.behind if one.behind != one.path else "", path), host=one.host
            )
            rows.append(Row(source, page, REFUSED, gateway.name, path, origin=FOUND, route=one.name))
    return rows


def _from_client(client: Client, gateways: Sequence[Gateway], seen: Seen) -> list[Row]:
    source, rows, open_ = vantage_of(client), [], set()
    for rule in client.egress:
        door = seen.doors.get(f"{rule.namespace}/{rule.service}")
        routed = {
            one.port: one for one in _routes(gateways) if (one.namespace, one.service) == (rule.namespace, rule.service)
        }
        for port in sorted(door.ports) if door else []:
            open_.add((rule.namespace, rule.service, port))
            # Ports of which nobody says that they speak HTTP may have nothing to be recognised by.
            if (not rule.ports or port in rule.ports) and door and (port in routed or port in door.web):
                route = routed.get(port)
                page = Page(rule.namespace, rule.service, port)
                rows.append(_direct(source, route, REACHED) if route else Row(source, page, REACHED, path="/"))
    own = {one[:2] for one in services_of(client, seen)}
    others = [one for one in _routes(gateways) if (one.namespace, one.service) not in own]
    rows += [_direct(source, one, REFUSED) for one in others if (one.namespace, one.service, one.port) not in open_]
    # By its gateway's address a page would be reached past the guard's list of Services.
    rows += [row_of(source, gateway, route, REFUSED) for gateway in gateways for route in gateway.routes]
    return rows


def _to_client(
    client: Client, gateways: Sequence[Gateway], namespaces: Iterable[Mapping[str, Any]], seen: Seen
) -> list[Row]:
    """Pods of every namespace of applications, and one that belongs to none, to the pages of a client."""
    listed = list(namespaces)
    homes = [str(one["name"]) for one in listed if one.get("segments")]
    # Nothing is let out there but what a policy of the user's selects, which a pod made for this is not.
    sealed = {str(one["name"]) for one in listed if _sealed.is_sealed(one)}
    homes += [rule.namespace for rule in client.ingress if rule.namespace]
    sources = [Vantage(POD, name) for name in dict.fromkeys(homes)]
    sources.append(Vantage(POD, OUTSIDER, meshed=False))
    routed = {(one.namespace, one.service, one.port): one for one in _routes(gateways)}
    rows = []
    for namespace, service, port, inner in services_of(client, seen):
        route = routed.get((namespace, service, port))
        for source in sources:
            said = _allowed(client, source.namespace, inner)
            if route and said is not None and not (said and source.namespace in sealed):
                rows.append(_direct(source, route, REACHED if said else REFUSED))
    return rows


def _allowed(client: Client, namespace: str, port: int) -> bool | None:
    """Whether a pod without labels may call; None where only some pods of its namespace may."""
    rules = [one for one in client.ingress if one.namespace == namespace and port in one.ports]
    if any(not one.pods for one in rules):
        return True
    return None if rules else False


def declared_over(declared: Sequence[Row], derived: Iterable[Row]) -> list[Row]:
    """Both, where a declared row wins over a derived one that asks the same."""
    asked = {row.key for row in declared}
    return [*declared, *(row for row in derived if row.key not in asked)]
