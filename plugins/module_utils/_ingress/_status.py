# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Whether a gateway serves: what the objects say now against what is wanted, one check for each point.

A status of an older generation counts for nothing, and what was not found is a failure, never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._judge_announcement import EXCLUDED
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import Gateway, Pool
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._render import GROUP

PASS, FAIL = "pass", "fail"
OWNER_LABEL = f"{GROUP}/gateway-name"  # of everything that Istio makes for a gateway
_Object = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """One point: what was awaited and what is there."""

    id: str
    object: str
    result: str
    expected: str
    observed: str

    def to_dict(self) -> dict[str, str]:
        """For a module's result."""
        return dict(vars(self))


@dataclass(frozen=True)
class Found:
    """The objects of one gateway; ``None`` and absent keys are objects that do not exist."""

    gateway: _Object | None = None
    services: Sequence[_Object] = ()
    deployments: Sequence[tuple[bool, str, str]] = ()  # (ready, evidence, name)
    routes: Mapping[str, _Object] = field(default_factory=dict)  # by namespace/name
    announcements: Sequence[_Object] | None = None  # ServiceL2Status objects; None where the kind does not exist
    warning: str = ""  # the last one of its Service
    excluded: Sequence[str] = ()  # nodes that a label keeps from announcing anything


def expectation(gateway: Gateway, pools: Iterable[Pool]) -> dict[str, Any]:
    """What a gateway of the inventory must come to, as an entry of option ``gateways`` of ingress_check."""
    chosen = [
        pool
        for pool in pools
        if pool.name == gateway.pool or (not gateway.pool and any(pool.holds(one) for one in gateway.addresses))
    ]
    attached = {
        listener.name: sum(not route.listeners or listener.name in route.listeners for route in gateway.routes)
        for listener in gateway.listeners
    }
    return {
        "namespace": gateway.namespace,
        "name": gateway.name,
        "exposure": "lan" if gateway.on_lan else "cluster",
        "addresses": [str(one) for one in gateway.addresses],
        "announced": bool(chosen) and all(pool.layer2 is not None for pool in chosen),
        "listeners": attached,
        "routes": [str(route) for route in gateway.routes],
    }


def checks(wanted: Mapping[str, Any], found: Found) -> list[Check]:
    """All points of one gateway, in the order in which they come true."""
    name = f"Gateway {wanted['namespace']}/{wanted['name']}"
    if found.gateway is None:
        return [Check("gateway-programmed", name, FAIL, "Accepted and Programmed", "it does not exist")]
    made = [_programmed(name, found.gateway), *_listeners(name, wanted, found.gateway), _pods(name, found)]
    made += [_route(wanted, route, found.routes.get(route)) for route in wanted["routes"]]
    made.append(_address(name, wanted, found))
    if wanted["announced"] and found.announcements is not None:
        made.append(_announced(name, found))
    return made


def _check(id_: str, object_: str, fine: bool, expected: str, observed: str) -> Check:
    return Check(id_, object_, PASS if fine else FAIL, expected, observed)


def _condition(conditions: Any, wanted: str, generation: int) -> tuple[bool, str]:
    for one in conditions or []:
        if one.get("type") != wanted:
            continue
        if (one.get("observedGeneration") or 0) < generation:
            return False, f"{wanted} is of generation {one.get('observedGeneration') or 0}, not of {generation}"
        words = " ".join(str(one.get("message") or one.get("reason") or "no explanation").split()).rstrip(". ")
        return one.get("status") == "True", f"{wanted} is {one.get('status')}: {words}"
    return False, f"it has no condition {wanted} yet"


def _first_bad(conditions: Any, wanted: Sequence[str], generation: int) -> str:
    """The evidence of the first condition that is not met; empty when all are."""
    for one in wanted:
        fine, words = _condition(conditions, one, generation)
        if not fine:
            return words
    return ""


def _generation(one: _Object) -> int:
    return int(one["metadata"].get("generation") or 0)


def _programmed(name: str, gateway: _Object) -> Check:
    conditions = (gateway.get("status") or {}).get("conditions")
    bad = _first_bad(conditions, ("Accepted", "Programmed"), _generation(gateway))
    return _check("gateway-programmed", name, not bad, "Accepted and Programmed", bad or "Accepted and Programmed")


def _listeners(name: str, wanted: Mapping[str, Any], gateway: _Object) -> list[Check]:
    states = {one.get("name"): one for one in (gateway.get("status") or {}).get("listeners") or []}
    made = []
    for listener, routes in wanted["listeners"].items():
        expected = f"{listener}: ResolvedRefs, Programmed, at least {routes} routes"
        state = states.get(listener)
        if state is None:
            made.append(_check("gateway-listener", name, False, expected, "it has no status yet"))
            continue
        bad = _first_bad(state.get("conditions"), ("ResolvedRefs", "Programmed"), _generation(gateway))
        attached = int(state.get("attachedRoutes") or 0)
        if not bad and attached < routes:
            bad = f"{attached} routes are attached"
        observed = bad or f"{attached} routes are attached"
        made.append(_check("gateway-listener", name, not bad, expected, observed))
    return made


def _pods(name: str, found: Found) -> Check:
    """Programmed alone says nothing about pods: it is True also when none is ready."""
    expected = "a Deployment of the gateway with all replicas available"
    if not found.deployments:
        return _check("gateway-pods", name, False, expected, "no Deployment was made for it yet")
    waiting = [f"{who}: {words}" for ready, words, who in found.deployments if not ready]
    words = "; ".join(waiting) or "; ".join(f"{who}: {words}" for dummy, words, who in found.deployments)
    return _check("gateway-pods", name, not waiting, expected, words)


def _route(wanted: Mapping[str, Any], route: str, live: _Object | None) -> Check:
    name, expected = f"HTTPRoute {route}", f"Accepted by Gateway {wanted['namespace']}/{wanted['name']}, ResolvedRefs"
    if live is None:
        return _check("gateway-route", name, False, expected, "it does not exist")
    parents = [
        one
        for one in (live.get("status") or {}).get("parents") or []
        if (one["parentRef"].get("namespace") or live["metadata"]["namespace"], one["parentRef"].get("name"))
        == (wanted["namespace"], wanted["name"])
    ]
    if not parents:
        return _check("gateway-route", name, False, expected, "the gateway has not answered yet")
    bad = [_first_bad(one.get("conditions"), ("Accepted", "ResolvedRefs"), _generation(live)) for one in parents]
    words = next((one for one in bad if one), "")
    return _check("gateway-route", name, not words, expected, words or "Accepted, ResolvedRefs")


def _address(name: str, wanted: Mapping[str, Any], found: Found) -> Check:
    given = [_given(one) for one in found.services]
    if wanted["exposure"] == "cluster":
        expected = "a Service of type ClusterIP and no address outside the cluster"
        kinds = [str((one.get("spec") or {}).get("type")) for one in found.services]
        fine = kinds == ["ClusterIP"] and not any(given)
        observed = f"type {', '.join(kinds)}, addresses {', '.join(a for one in given for a in one) or 'none'}"
        return _check("gateway-address", name, fine, expected, observed if kinds else "it has no Service yet")
    expected = ", ".join(wanted["addresses"]) or "an address"
    if not found.services:
        return _check("gateway-address", name, False, expected, "it has no Service yet")
    held = [address for one in given for address in one]
    fine = bool(held) and set(wanted["addresses"]) <= set(held)
    observed = ", ".join(held) or f"its Service has no address{f': {found.warning}' if found.warning else ''}"
    return _check("gateway-address", name, fine, expected, observed)


def _given(service: _Object) -> list[str]:
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return [str(one.get("ip") or one.get("hostname")) for one in ingress]


def announcing(services: Sequence[_Object], announcements: Sequence[_Object] | None) -> list[str]:
    """Nodes that announce an address of these Services."""
    places = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in services}
    states = [one.get("status") or {} for one in announcements or ()]
    return [
        str(one.get("node"))
        for one in states
        if (one.get("serviceNamespace"), one.get("serviceName")) in places and one.get("node")
    ]


def _announced(name: str, found: Found) -> Check:
    nodes = announcing(found.services, found.announcements)
    kept_out = f"; the label {EXCLUDED} keeps out {', '.join(found.excluded)}" if found.excluded else ""
    observed = f"node {', '.join(nodes)}" if nodes else f"no node announces it{kept_out}"
    return _check("gateway-announced", name, bool(nodes), "a node that announces the address", observed)


def configuration(states: Sequence[_Object]) -> list[Check]:
    """What MetalLB's parts say of the pools, as checks; silence is no consent."""
    if not states:
        return [
            _check("pools-accepted", "ConfigurationState", False, "Valid", "no part of MetalLB has said anything yet")
        ]
    made = []
    for one in states:
        status = one.get("status") or {}
        result = str(status.get("result") or "Unknown")
        words = f"{result}: {status['errorSummary']}" if status.get("errorSummary") else result
        name = f"ConfigurationState {one['metadata']['name']}"
        made.append(_check("pools-accepted", name, result == "Valid", "Valid", words))
    return made
