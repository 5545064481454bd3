# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Ingress gateways and their routes against pools, segments and the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import (
    ATTACHES,
    GATEWAYS,
    NAMESPACES,
    SEGMENT_LABEL,
    Address,
    Gateway,
    Pool,
    Range,
    Route,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._range import parse_address, readable
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._seen import Seen, Verdict

RESERVED = ("kube-system", "kube-public", "kube-node-lease", "istio-system", "metallb-system", "tailscale")
# Namespace of the inventory -> segments whose gateways it may attach to; None where the inventory does not say.
Segments = Mapping[str, "frozenset[str] | None"]


def verdicts(gateways: Sequence[Gateway], pools: Sequence[Pool], planned: Segments, seen: Seen) -> list[Verdict]:
    """Everything that stands in the way of these gateways. ``planned`` are the segments that the inventory gives."""
    kept = [gateway for gateway in gateways if gateway.present]
    given = {pool.name: pool for pool in pools if pool.state == "present"}
    found = [*_twice(kept), *_places(kept), *_addresses(kept, given, seen), *_held(kept, seen)]
    attaching = attachable(planned, seen)
    for gateway in kept:
        found += [*_segment(gateway, attaching), *_routes(gateway, attaching), *_matches(gateway)]
    return [*found, *_needed(kept, planned, seen)]


def attachable(planned: Segments, seen: Seen) -> dict[str, set[str]]:
    """Segment -> namespaces that may attach to it: by the inventory, and by labels that namespaces have already."""
    found: dict[str, set[str]] = {}
    for namespace, segments in planned.items():
        for segment in segments or ():
            found.setdefault(segment, set()).add(namespace)
    for namespace, live in (seen.namespaces or {}).items():
        if planned.get(namespace) is not None:
            continue  # the inventory decides: what it does not name any more goes away
        # So does what an earlier run has given, unless no namespace is listed: then all are left as they are.
        going = live.get("given") or () if planned else ()
        for label, value in live["labels"].items():
            if label.startswith(SEGMENT_LABEL) and value == ATTACHES and label not in going:
                found.setdefault(label[len(SEGMENT_LABEL) :], set()).add(namespace)
    return found


def _verdict(
    rule: str, gateway: Gateway, path: str, value: Any, reason: str, remedy: str, *, missing: bool = False
) -> Verdict:
    return Verdict(rule, str(Problem(f"{GATEWAYS} entry {gateway.name}", path, value, reason, remedy)), missing)


def _twice(gateways: Sequence[Gateway]) -> list[Verdict]:
    found = []
    names: dict[str, Gateway] = {}
    addresses: dict[Address, Gateway] = {}
    routes: dict[str, Gateway] = {}
    for gateway in gateways:
        if names.setdefault(gateway.name, gateway) is not gateway:
            reason = "another gateway has this name"
            found.append(_verdict("gateway-twice", gateway, "name", gateway.name, reason, "rename one of them"))
        for address in gateway.addresses:
            if addresses.setdefault(address, gateway) is not gateway:
                reason = f"gateway {addresses[address].name} has this address"
                remedy = "give each gateway an address of its own"
                found.append(_verdict("address-twice", gateway, "address", str(address), reason, remedy))
        for route in gateway.routes:
            if str(route) in routes:
                owner = routes[str(route)]
                where = f"gateway {owner.name}" if owner is not gateway else "this gateway"
                reason = f"{where} has a route of this name in this namespace"
                found.append(_verdict("route-twice", gateway, "routes", str(route), reason, "rename one of them"))
            routes.setdefault(str(route), gateway)
    return found


def _places(gateways: Sequence[Gateway]) -> list[Verdict]:
    """Gateways live apart: a policy for all pods of an application's namespace would hold for its gateway too."""
    found = []
    applications = {route.namespace: route for gateway in gateways for route in gateway.routes}
    for gateway in gateways:
        remedy = f"give it a namespace of its own, such as gateway-{gateway.name}"
        if gateway.namespace in RESERVED:
            reason = "this namespace belongs to a part of the cluster"
            found.append(_verdict("gateway-namespace", gateway, "namespace", gateway.namespace, reason, remedy))
        elif gateway.namespace in applications:
            route = applications[gateway.namespace]
            reason = f"route {route.name} has its application there, whose policies would hold for the gateway as well"
            found.append(_verdict("gateway-namespace", gateway, "namespace", gateway.namespace, reason, remedy))
    return found


def _addresses(gateways: Sequence[Gateway], given: Mapping[str, Pool], seen: Seen) -> list[Verdict]:
    found = []
    others = {str(one["name"]): one for one in seen.pools or () if not one["ours"]}
    for gateway in gateways:
        if not gateway.on_lan:
            continue
        if gateway.pool and gateway.pool not in given and gateway.pool not in others:
            if seen.pools is not None or given:
                reason, remedy = "there is no address pool of that name", _use([*given, *others], "add it")
                found.append(_verdict("pool-unknown", gateway, "pool", gateway.pool, reason, remedy))
            continue
        found += _allowed(gateway, given)
        found += _contained(gateway, given, others, seen)
    return found


def _allowed(gateway: Gateway, given: Mapping[str, Pool]) -> list[Verdict]:
    found = []
    for pool in given.values():
        chosen = pool.name == gateway.pool or any(pool.holds(one) for one in gateway.addresses)
        if chosen and pool.segment and pool.segment != gateway.segment:
            reason = f"pool {pool.name} belongs to segment {pool.segment}, and the gateway to segment {gateway.segment}"
            path, value = ("pool", gateway.pool) if gateway.pool else ("address", _shown(gateway))
            found.append(_verdict("pool-segment", gateway, path, value, reason, "take a pool of its own segment"))
    return found


def _contained(
    gateway: Gateway, given: Mapping[str, Pool], others: Mapping[str, Mapping[str, Any]], seen: Seen
) -> list[Verdict]:
    ranges = {name: pool.ranges for name, pool in given.items()}
    ranges.update({name: readable(one["addresses"]) for name, one in others.items()})
    outside = [address for address in gateway.addresses if not _in(address, ranges.get(gateway.pool, ()))]
    if gateway.pool:
        texts = ", ".join(one.text for one in ranges[gateway.pool])
        reason = f"pool {gateway.pool} has only {texts}"
        remedy = "take an address of the pool, or extend the pool"
        return [_verdict("address-outside", gateway, "address", str(one), reason, remedy) for one in outside]
    if seen.pools is None and not given:
        return []  # the cluster may have pools that nobody has looked at yet
    # Both addresses of a Service come out of one pool.
    if outside and not any(all(_in(one, pool) for one in outside) for pool in ranges.values()):
        reason, remedy = "no address pool has it", "take an address of a pool, or add a pool that has it"
        return [_verdict("address-outside", gateway, "address", _shown(gateway), reason, remedy)]
    free = [p.name for p in given.values() if p.auto_assign and p.segment in ("", gateway.segment)]
    free += [name for name, one in others.items() if one["auto_assign"]]
    if not gateway.addresses and not free:
        reason = "no address pool gives addresses by itself"
        remedy = "give the gateway an address or a pool, or set auto_assign of a pool"
        return [_verdict("no-address", gateway, "exposure", gateway.exposure, reason, remedy)]
    return []


def _in(address: Address, ranges: Iterable[Range]) -> bool:
    return any(one.holds(address) for one in ranges)


def _shown(gateway: Gateway) -> str:
    return ", ".join(str(one) for one in gateway.addresses)


def _held(gateways: Sequence[Gateway], seen: Seen) -> list[Verdict]:
    """Addresses that another Service has already: MetalLB would leave the gateway without one."""
    found = []
    holders = [
        (address, one)
        for one in seen.load_balancers or ()
        for address in map(parse_address, one["addresses"])
        if address
    ]
    for gateway in gateways:
        for address, one in holders:
            own = (one["namespace"], one["gateway"]) == (gateway.namespace, gateway.name)
            if address in gateway.addresses and not own:
                reason = f"Service {one['namespace']}/{one['name']} has this address"
                remedy = "take another address, or give that Service another one first"
                found.append(_verdict("address-held", gateway, "address", str(address), reason, remedy))
    return found


def _segment(gateway: Gateway, attaching: Mapping[str, set[str]]) -> list[Verdict]:
    if gateway.segment in attaching:
        return []
    reason = "no namespace belongs to this segment, so no route could attach"
    known = f"use {' or '.join(sorted(attaching))}, or " if attaching else ""
    remedy = f"{known}give an entry of {NAMESPACES} segments: [{gateway.segment}]"
    return [_verdict("segment-unknown", gateway, "segment", gateway.segment, reason, remedy)]


def _routes(gateway: Gateway, attaching: Mapping[str, set[str]]) -> list[Verdict]:
    found = []
    for route in gateway.routes:
        if gateway.segment in attaching and route.namespace not in attaching[gateway.segment]:
            reason = f"namespace {route.namespace} does not belong to segment {gateway.segment}"
            remedy = (
                f"attach the route to a gateway of its own segment, or give the namespace segments: [{gateway.segment}] "
                f"in {NAMESPACES}"
            )
            found.append(_verdict("route-segment", gateway, "routes", str(route), reason, remedy))
        for host in route.hostnames:
            if not any(_serves(listener.hostname, host) for listener in _of(gateway, route)):
                reason = f"no listener of the gateway answers for {host}"
                remedy = "correct the host name, or give a listener this hostname"
                found.append(_verdict("route-host", gateway, "routes", str(route), reason, remedy))
    return found


def _of(gateway: Gateway, route: Route) -> list[Any]:
    return [one for one in gateway.listeners if not route.listeners or one.name in route.listeners]


def _serves(listener: str, host: str) -> bool:
    """Whether a listener for ``listener`` (empty: every host) answers requests for ``host``."""
    if not listener or listener == host:
        return True
    if listener.startswith("*."):
        return host.endswith(listener[1:])
    return host.startswith("*.") and listener.endswith(host[1:])


def _matches(gateway: Gateway) -> list[Verdict]:
    """Two routes for the same requests: the older one would win, and the other never be asked."""
    found = []
    taken: dict[tuple[str, str, str], Route] = {}
    for route in gateway.routes:
        names = route.listeners or tuple(one.name for one in gateway.listeners)
        path = route.path.rstrip("/") or "/"
        for key in [(name, host, path) for name in names for host in route.hostnames or ("",)]:
            first = taken.setdefault(key, route)
            if first is not route:
                reason = f"route {first} takes the same requests ({key[1] or 'every host'}, {path})"
                found.append(_verdict("route-match", gateway, "routes", str(route), reason, "change path or hostnames"))
                break
    return found


def _needed(gateways: Sequence[Gateway], planned: Segments, seen: Seen) -> list[Verdict]:
    """What has to be there before a gateway can serve."""
    found = []
    for gateway in gateways:
        if seen.classes is not None and gateway.class_name not in seen.classes:
            reason = "the cluster has no GatewayClass of that name"
            remedy = _use(sorted(seen.classes), "install what implements it")
            found.append(_verdict("class", gateway, "class", gateway.class_name, reason, remedy, missing=True))
        for listener in gateway.listeners:
            secret = f"{gateway.namespace}/{listener.tls_secret}"
            if listener.tls_secret and seen.secrets is not None and not seen.secrets.get(secret):
                reason = f"Secret {secret} does not exist"
                remedy = (
                    f"make it with kubectl -n {gateway.namespace} create secret tls {listener.tls_secret} "
                    "--cert=FILE --key=FILE"
                )
                path = f"listeners.{listener.name}.tls_secret"
                found.append(_verdict("secret", gateway, path, listener.tls_secret, reason, remedy, missing=True))
        for route in gateway.routes:
            found += _backend(gateway, route, planned, seen)
    return found


def _backend(gateway: Gateway, route: Route, planned: Segments, seen: Seen) -> list[Verdict]:
    if seen.namespaces is not None and route.namespace not in seen.namespaces:
        reason, remedy = f"namespace {route.namespace} does not exist", f"create it, or add it to {NAMESPACES}"
        # The role namespaces has run before: in check mode only, its namespaces are yet to come.
        missing = route.namespace in planned
        return [_verdict("route-namespace", gateway, "routes", str(route), reason, remedy, missing=missing)]
    if seen.services is None:
        return []
    place = f"{route.namespace}/{route.service}"
    ports = seen.services.get(place)
    if ports is None:
        reason, remedy = f"Service {place} does not exist", "install the application first, or correct the name"
        return [_verdict("service", gateway, "routes", str(route), reason, remedy, missing=True)]
    if route.port not in ports:
        reason = f"Service {place} has no port {route.port}"
        remedy = f"use {' or '.join(str(port) for port in ports)}" if ports else "give the Service this port"
        return [_verdict("service-port", gateway, "routes", str(route), reason, remedy)]
    return []


def _use(names: Iterable[str], otherwise: str) -> str:
    known = " or ".join(names)
    return f"use {known}, or {otherwise}" if known else otherwise
