# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""``bulkhead_paths`` as rows; everything wrong with the list is told, not only the first. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import NOT_GIVEN, Client, Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import Gateway, Route
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import (
    CLIENT,
    DECLARED,
    HOSTS,
    PATHS,
    POD,
    REACHED,
    REFUSED,
    Page,
    Row,
    Vantage,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._reader import LABEL, Reader

_ROW = ("from", "to", "expect")
_POD = ("namespace", "labels", "service_account", "mesh")
_GATEWAY = ("gateway", "path", "route", "host", "content")
_SERVICE = ("service", "port", "path", "scheme", "host", "content")
_SERVICE_FORM = "write it like core/radarr, with a port beside it"


def parse(raw: Any, gateways: Sequence[Gateway], clients: Sequence[Client]) -> tuple[list[Row], list[Problem]]:
    """Rows and all problems; the rows are complete only without problems."""
    reader = Reader(PATHS)
    known = {one.name: one for one in gateways if one.present}
    listed = [one for one in clients if one.state == "present"]

    def row(inner: Reader, entry: Any, path: str) -> Row | None:
        return _row(inner, entry, path, known, listed)

    rows = list(reader.list(raw, PATHS, row))
    first: dict[object, int] = {}
    for index, one in enumerate(rows):
        before = first.setdefault(one.key, index)
        if before != index and not reader.problems:
            reason = f"{PATHS}[{before}] asks the same and expects {rows[before].expect}"
            reader.wrong(f"{PATHS}[{index}]", str(one), reason, "keep one of them")
    return rows, reader.problems


def _row(
    reader: Reader, entry: Any, path: str, gateways: Mapping[str, Gateway], clients: Sequence[Client]
) -> Row | None:
    if not reader.keys(entry, path, _ROW):
        return None
    expect = entry.get("expect")
    if expect not in (REACHED, REFUSED):
        given = NOT_GIVEN if expect is None else expect
        reader.wrong(f"{path}.expect", given, "it has to be said", f"use {REACHED} or {REFUSED}")
    source = _vantage(reader, entry.get("from"), f"{path}.from", clients)
    to = entry.get("to")
    service = isinstance(to, Mapping) and "service" in to
    made = (_to_service if service else _to_gateway)(reader, to, f"{path}.to", gateways)
    if source is None or made is None:
        return None
    return replace(made, source=source, expect=str(expect))


def _vantage(reader: Reader, value: Any, path: str, clients: Sequence[Client]) -> Vantage | None:
    remedy = f"use {', '.join(HOSTS)}, {{namespace: NAME}} or {{client: NAME}}"
    if isinstance(value, str) and value in HOSTS:
        return Vantage(value)
    if not isinstance(value, Mapping):
        reader.wrong(path, NOT_GIVEN if value is None else value, "no such place to ask from exists", remedy)
        return None
    if "client" in value:
        return _client(reader, value, path, clients) if reader.keys(value, path, ("client",)) else None
    if not reader.keys(value, path, _POD):
        return None
    labels = value.get("labels", {})
    if not isinstance(labels, Mapping) or not all(isinstance(one, str) for pair in labels.items() for one in pair):
        reader.wrong(f"{path}.labels", labels, "labels are texts", "write them like {app: radarr}")
        labels = {}
    meshed, account = value.get("mesh", True), value.get("service_account")
    if not isinstance(meshed, bool):
        reader.wrong(f"{path}.mesh", meshed, "it is true or false", "use false for a pod outside the mesh")
        meshed = True
    return Vantage(
        POD,
        reader.name(value.get("namespace"), f"{path}.namespace"),
        labels=tuple(sorted(labels.items())),
        account=reader.name(account, f"{path}.service_account", 253, dots=True) if account is not None else "",
        meshed=meshed,
    )


def _client(reader: Reader, value: Mapping[str, Any], path: str, clients: Sequence[Client]) -> Vantage | None:
    named = str(value["client"])
    found = [one for one in clients if named in (one.name, f"{one.namespace}/{one.name}")]
    if len(found) == 1:
        return vantage_of(found[0])
    known = " or ".join(f"{one.namespace}/{one.name}" for one in clients) or "a client that exists"
    reason = "several VPN clients have this name" if found else "no VPN client has this name"
    reader.wrong(f"{path}.client", value["client"], reason, f"use {known}")
    return None


def vantage_of(client: Client) -> Vantage:
    """A VPN client's own pod as vantage."""
    return Vantage(CLIENT, client.namespace, client.name)


def _text(reader: Reader, to: Mapping[str, Any], key: str, path: str) -> str:
    value = to.get(key, "")
    if not isinstance(value, str):
        reader.wrong(f"{path}.{key}", value, "a text is needed", "write it between quotes")
        return ""
    return value


def _slashed(reader: Reader, to: Mapping[str, Any], path: str, default: str) -> str:
    value = to.get("path", default)
    if not isinstance(value, str) or (value and not value.startswith("/")) or any(one in value for one in " \r\n"):
        reader.wrong(f"{path}.path", value, "a path begins with a slash and has no spaces", "write it like /films/")
        return "/"
    return value


def _to_service(reader: Reader, to: Any, path: str, gateways: Mapping[str, Gateway]) -> Row | None:
    if not reader.keys(to, path, _SERVICE):
        return None
    namespace, slash, name = str(to["service"]).partition("/")
    if not slash or not LABEL.match(namespace) or not LABEL.match(name):
        reader.wrong(f"{path}.service", to["service"], "namespace and name are needed", _SERVICE_FORM)
    given = NOT_GIVEN if to.get("port") is None else to["port"]
    page = Page(
        namespace,
        name,
        reader.number(given, f"{path}.port", 1, 65535, "the Service's port") or 0,
        path=_slashed(reader, to, path, "/") or "/",
        tls=reader.choice(to.get("scheme", "http"), f"{path}.scheme", ("http", "https")) == "https",
        host=_text(reader, to, "host", path),
        content=_text(reader, to, "content", path),
    )
    return Row(Vantage(""), page, "", path=page.path, origin=DECLARED)


def _to_gateway(reader: Reader, to: Any, path: str, gateways: Mapping[str, Gateway]) -> Row | None:
    if not reader.keys(to, path, _GATEWAY):
        return None
    gateway = gateways.get(str(to.get("gateway")))
    if gateway is None:
        given = NOT_GIVEN if to.get("gateway") is None else to["gateway"]
        remedy = f"use {' or '.join(gateways) or 'a gateway that exists'}, or a service: {_SERVICE_FORM}"
        reader.wrong(f"{path}.gateway", given, "no ingress gateway has this name", remedy)
        return None
    asked, named = _slashed(reader, to, path, ""), _text(reader, to, "route", path)
    route = _route(gateway, gateways.values(), asked, named)
    if route is None:
        key, given = ("route", named) if named else ("path", asked or NOT_GIVEN)
        reason = "no gateway has a route of this name" if named else "no gateway has a route for it"
        remedy = "name one as NAMESPACE/NAME with route, or a path that a route has"
        reader.wrong(f"{path}.{key}", given, reason, remedy)
        return None
    row = row_of(Vantage(""), gateway, route, "", asked)
    page = replace(
        row.page, host=_text(reader, to, "host", path) or row.page.host, content=_text(reader, to, "content", path)
    )
    return replace(row, page=page, origin=DECLARED)


def _route(gateway: Gateway, gateways: Any, asked: str, named: str) -> Route | None:
    """The route that is meant: by its name, or by the longest path, first of the gateway's own."""
    if named:
        every = [route for one in gateways for route in one.routes]
        return next((route for route in every if named in (str(route), route.name)), None)
    for listed in (gateway.routes, [route for one in gateways for route in one.routes]):
        fitting = [one for one in listed if asked and covers(one.path, asked)]
        if fitting:
            return max(fitting, key=lambda one: len(one.path))
    return None


def covers(prefix: str, path: str) -> bool:
    """Whether a PathPrefix match of Gateway API takes a path: whole elements only."""
    whole = prefix.rstrip("/")
    return path == whole or path.startswith(whole + "/")


def row_of(source: Vantage, gateway: Gateway, route: Route, expect: str, asked: str = "") -> Row:
    """The question for a route's page at a gateway, its own or another one."""
    path = asked or (route.path.rstrip("/") + "/" if route.rewrite else route.path)
    own = route in gateway.routes
    inner = behind(route.path, route.rewrite, path)
    page = Page(route.namespace, route.service, route.port, inner, host=first_host(route))
    return Row(source, page, expect, gateway.name, path, route.listeners if own else ())


def first_host(route: Route) -> str:
    """A host name that a route takes, empty for any."""
    return route.hostnames[0].replace("*", "bulkhead", 1) if route.hostnames else ""


def behind(prefix: str, rewrite: str, path: str) -> str:
    """What the Service is asked for when a gateway is asked for ``path``.

    >>> behind("/radarr", "/", "/radarr/api/v3")
    '/api/v3'
    """
    if not rewrite or not covers(prefix, path):
        return path
    return rewrite.rstrip("/") + "/" + path[len(prefix.rstrip("/")) :].lstrip("/")
