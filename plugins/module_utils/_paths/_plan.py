# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Which requests each vantage makes for the rows of the matrix, and their answers as evidence. Pure.

Every address of a gateway or Service that the cluster knows is tried, not only those that were asked for: what is refused
has to be refused at all of them. Pods also ask every Service themselves: that is what pages are recognised by.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import Attempt, Probe
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import Gateway, Listener
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import (
    CLIENT,
    POD,
    REACHED,
    TAILNET,
    Answer,
    Page,
    Row,
    Try,
    Vantage,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._parse import behind, covers, first_host, row_of
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._seen import Door, Seen

API_SERVICE, API_PORT, API_PATH = "default/kubernetes", 443, "/version"
CONTROL, PATHS, AGAIN, RESOLVER = "control", "paths", "again", "resolver"
LOOPBACK = "127.0.0.1"
AT_ONCE = 64  # requests of one step
PATIENCE = 2.0  # times the time for one answer, for the last attempt
NOBODY = 65534


@dataclass(frozen=True)
class World:
    """What requests are made from: declared gateways by name, and the cluster. ``owned`` are Services that lead to a VPN
    client: namespace, name and port -> its vantage and the port in its pod."""

    gateways: Mapping[str, Gateway]
    seen: Seen
    owned: Mapping[tuple[str, str, int], tuple[Vantage, int]] = field(default_factory=dict)

    def door(self, name: str) -> Door:
        """All that is known of a declared gateway in the cluster."""
        gateway = self.gateways[name]
        return self.seen.gateways.get(f"{gateway.namespace}/{gateway.name}", Door())


def tries(row: Row, world: World) -> list[Try]:
    """The requests of a row, each once; the primary ones first. None where nothing has an address."""
    return _by_gateway(row, world) if row.gateway else _by_service(row.source, row.page, world)


def _unique(made: Iterable[Try]) -> list[Try]:
    found: dict[Try, Try] = {}
    for one in made:
        held = found.setdefault(one, one)
        if one.primary and not held.primary:
            found[one] = one
    return sorted(found.values(), key=lambda one: not one.primary)


def _by_gateway(row: Row, world: World) -> list[Try]:
    gateway, door = world.gateways[row.gateway], world.door(row.gateway)
    declared = [str(one) for one in gateway.addresses]
    wanted, more = _places(row.source.kind, declared, door)
    listeners = [one for one in gateway.listeners if not row.listeners or one.name in row.listeners]
    made = []
    for listener in listeners or gateway.listeners:
        for address in (*wanted, *more):
            made.append(_asked(row, listener, address, listener.port, address in wanted))
        node_port = door.ports.get(listener.port, 0)
        if node_port and row.source.kind not in (POD, CLIENT):
            made += [_asked(row, listener, node, node_port, False) for node in world.seen.nodes]
    return _unique(made)


def _places(kind: str, declared: Sequence[str], door: Door) -> tuple[Sequence[str], Sequence[str]]:
    """Addresses that have to work for one who may reach the gateway, and all others."""
    if kind == TAILNET:
        return door.tailnet, (*declared, *door.outside, *door.inside)
    if kind == CLIENT:  # every other address is behind the VPN's exit: not a path of this cluster
        return door.inside[:1], door.inside
    if kind == POD:
        return door.inside[:1], (*declared, *door.outside)
    return declared or door.outside, (*door.outside, *door.inside)


def _asked(row: Row, listener: Listener, address: str, port: int, primary: bool) -> Try:
    named = row.page.host or listener.hostname.replace("*", "bulkhead", 1)
    tls = listener.protocol == "HTTPS"
    literal = f"[{address}]" if ":" in address else address
    shown = literal if port in (80, 443) else f"{literal}:{port}"
    return Try(address, port, row.path, named or shown, tls, row.page.content, primary)


def _by_service(source: Vantage, page: Page, world: World) -> list[Try]:
    door = world.seen.doors.get(f"{page.namespace}/{page.service}", Door())
    made = [reference(page, address) for address in door.inside]
    if source.kind == TAILNET:
        made += [reference(page, address) for address in door.tailnet]
    if source.kind not in (POD, CLIENT):
        made += [reference(page, address) for address in door.outside]
        node_port = door.ports.get(page.port, 0)
        made += [replace(reference(page, node), port=node_port) for node in world.seen.nodes if node_port]
    # One address of the Service is enough: an application need not listen in both families.
    return _unique(replace(one, primary=index == 0) for index, one in enumerate(made))


def reference(page: Page, address: str) -> Try:
    """The request to the Service itself."""
    host = page.host or f"{page.service}.{page.namespace}"
    return Try(address, page.port, page.path, host, page.tls, page.content)


def pages(rows: Sequence[Row], world: World) -> list[Page]:
    """Pages that have to be known: those of the rows, and what a gateway's own routes answer at the same paths.

    An application behind a gateway may answer any path; only who knows its answer can tell it from the page in question.
    """
    found = [row.page for row in rows]
    for row in rows:
        own = world.gateways[row.gateway].routes if row.gateway else ()
        for route in [one for one in own if covers(one.path, row.path)]:
            host = row.page.host or first_host(route)
            found.append(
                Page(route.namespace, route.service, route.port, behind(route.path, route.rewrite, row.path), host=host)
            )
    return list(dict.fromkeys(found))


def references(pages: Collection[Page], world: World) -> dict[Try, Page]:
    """What pods ask every Service, with the page each answer stands for."""
    found = {}
    for page in pages:
        door = world.seen.doors.get(f"{page.namespace}/{page.service}")
        for address in door.inside[:1] if door else ():
            found[reference(page, address)] = page
    return found


def references_of(source: Vantage, pages: Collection[Page], world: World) -> dict[Try, Page]:
    """What this vantage asks so that pages are known. A VPN client asks itself: its policy may let nobody else in."""
    if source.kind == POD:
        return references(pages, world)
    found = {}
    for page in pages:
        owner, port = world.owned.get(page.service_key, (None, 0))
        if owner == source and port:
            found[replace(reference(page, LOOPBACK), port=port)] = page
    return found


def own_rows(names: Iterable[str], world: World) -> list[Row]:
    """One page of each gateway's own, asked by a pod: whether the gateway lives."""
    return [
        row_of(Vantage(POD), world.gateways[name], route, REACHED)
        for name in sorted(set(names))
        for route in world.gateways[name].routes[:1]
    ]


def controls(source: Vantage, rows: Sequence[Row], world: World) -> list[Try]:
    """What answers a vantage that works: all that it is to reach; pods ask the API server as well."""
    made = [one for row in rows if row.expect == REACHED for one in tries(row, world) if one.primary]
    if source.kind == POD:
        door = world.seen.doors.get(API_SERVICE, Door())
        made += [Try(one, API_PORT, API_PATH, "kubernetes.default", tls=True) for one in door.inside[:1]]
    return _unique(made)


def requests(source: Vantage, rows: Sequence[Row], pages: Collection[Page], world: World) -> list[Try]:
    """Everything this vantage asks, each once."""
    made = [one for row in rows for one in tries(row, world)]
    made += references_of(source, pages, world)
    if source.kind == POD:
        gates = [row.gateway for row in rows if row.gateway] or list(world.gateways)
        made += [one for row in own_rows(gates, world) for one in tries(row, world) if one.primary]
    return _unique(made)


def steps(
    source: Vantage, first: Sequence[Try], then: Sequence[Try], timeout: float, resolver: str = ""
) -> list[dict[str, Any]]:
    """Steps for the probe. Controls come first: a refusal is never one of a pod that just started.

    Everything is asked twice, the second time with more patience: a mesh may need its time for the first call of a pod.
    """
    users = [NOBODY] if source.kind == CLIENT else []
    patient = PATIENCE * timeout
    made = [{"id": CONTROL, "attempts": [_entry(one, patient) for one in first], "uids": users}]
    if resolver:
        entry = {"id": RESOLVER, "kind": "dns", "target": resolver, "port": 53, "timeout": timeout}
        made.append({"id": RESOLVER, "attempts": [{**entry, "name": "bulkhead.mesh"}], "uids": users})
    for name, seconds in ((PATHS, timeout), (AGAIN, patient)):
        for start in range(0, len(then), AT_ONCE):
            entries = [_entry(one, seconds) for one in then[start : start + AT_ONCE]]
            made.append({"id": f"{name}{start}", "attempts": entries, "uids": users})
    return made


def _entry(one: Try, timeout: float) -> dict[str, Any]:
    return {
        "id": str(one),
        "kind": "page",
        "target": one.address,
        "port": one.port,
        "path": one.path,
        "host": one.host,
        "tls": one.tls,
        "content": one.content,
        "timeout": timeout,
    }


def answers(
    probe: Probe | Missing, first: Sequence[Try], then: Sequence[Try]
) -> tuple[dict[Try, Answer], bool] | Missing:
    """What the probe brought back, and whether anything answered it before the requests of the rows.

    Of the two answers to a request the one that says something counts.
    """
    if isinstance(probe, Missing):
        return probe
    early = [answer(one) for name in (CONTROL, RESOLVER) if name in probe.steps for one in probe.steps[name].attempts]
    found: dict[Try, Answer] = {}
    for name in (PATHS, AGAIN):
        for start in range(0, len(then), AT_ONCE):
            step = probe.step(f"{name}{start}")
            wanted = then[start : start + AT_ONCE]
            if isinstance(step, Missing) or len(step.attempts) != len(wanted):
                return Missing("the probe did not make all attempts")
            for one, attempt in zip(wanted, step.attempts):
                found[one] = merged(found.get(one), answer(attempt))
    return found, any(one.spoke for one in early)


def merged(first: Answer | None, second: Answer) -> Answer:
    """Two answers to the same request as one. A page that is not the same twice is not known by its content."""
    if first is None or not first.spoke:
        return second
    if not second.spoke or first.digest == second.digest:
        return first
    return replace(first, digest="", content=first.content or second.content)


def answer(attempt: Attempt) -> Answer:
    """One attempt as an answer; an unreadable report is an attempt that was not made."""
    if attempt.outcome != "answered" or attempt.kind != "page":
        return Answer(attempt.outcome, detail=attempt.detail, seconds=attempt.seconds)
    try:
        told = json.loads(attempt.detail)
        return Answer(
            attempt.outcome,
            int(told["status"]),
            str(told["digest"]),
            str(told["title"]),
            str(told["location"]),
            bool(told["content"]),
            seconds=attempt.seconds,
        )
    except (ValueError, KeyError, TypeError) as exc:
        return Answer("tool", detail=f"{type(exc).__name__}: {exc}")
