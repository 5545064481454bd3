# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""``bulkhead_ingress_gateways`` as values; everything wrong with one entry is told, not only the first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import NOT_GIVEN, Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import (
    GATEWAYS,
    SEGMENT_LENGTH,
    Address,
    Device,
    Gateway,
    Listener,
    Route,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._pools import STATES
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._range import parse_address
from ansible_collections.bulkhead.mesh.plugins.module_utils._reader import Reader, entries

EXPOSURES = ("lan", "tailnet", "both", "cluster")
ON_TAILNET = ("tailnet", "both")
PROTOCOLS = ("HTTP", "HTTPS")
_KEYS = (
    *(
        "name",
        "namespace",
        "address",
        "pool",
        "exposure",
        "tailscale",
        "segment",
        "listeners",
        "routes",
        "class",
        "state",
    ),
)
_DEVICE = ("hostname", "tags", "proxy_class")
_LISTENER = ("name", "port", "protocol", "hostname", "tls_secret")
_ROUTE = ("name", "namespace", "service", "port", "hostnames", "path", "rewrite", "listeners")
_HOSTNAME = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
TAG = re.compile(r"tag:[A-Za-z][-A-Za-z0-9]*\Z")
_PATH = re.compile(r"/[A-Za-z0-9/\-._~!$&'()*+,;=:@%]*\Z")
NAME_LENGTH = 50  # the objects that Istio generates append to the name


def parse_gateways(raw: Any) -> tuple[list[Gateway], list[Problem]]:
    """Gateways and all problems; the gateways are complete only without problems."""
    return entries(raw, GATEWAYS, _gateway)


def namespace_of(entry: Mapping[str, Any]) -> Any:
    """Namespace of an entry, which has one of its own when it names none."""
    return entry["namespace"] if entry.get("namespace") is not None else f"gateway-{entry.get('name')}"


def _gateway(reader: Reader, entry: Any, path: str) -> Gateway | None:
    if not reader.keys(entry, path, _KEYS):
        return None
    name = reader.name(entry.get("name"), f"{path}.name", NAME_LENGTH)
    state = reader.choice(entry.get("state", "present"), f"{path}.state", STATES)
    exposure = reader.choice(entry.get("exposure", "lan"), f"{path}.exposure", EXPOSURES)
    pool, kind = entry.get("pool"), entry.get("class", "istio")
    gateway = Gateway(
        name=name,
        namespace=reader.name(namespace_of(entry), f"{path}.namespace"),
        segment=reader.name(entry.get("segment", name or "x"), f"{path}.segment", SEGMENT_LENGTH),
        exposure=exposure,
        addresses=_addresses(reader, entry.get("address"), f"{path}.address"),
        pool=reader.name(pool, f"{path}.pool") if pool is not None else "",
        class_name=reader.name(kind, f"{path}.class", 253, dots=True),
        listeners=reader.list(entry.get("listeners", [{}]), f"{path}.listeners", _listener),
        routes=reader.list(entry.get("routes"), f"{path}.routes", _route),
        state=state,
        device=_device(reader, entry, name, exposure, path),
    )
    _addressed(reader, entry, gateway, path)
    _listened(reader, entry, gateway, path)
    return gateway


def _device(reader: Reader, entry: Mapping[str, Any], name: str, exposure: str, path: str) -> Device | None:
    given, path = entry.get("tailscale"), f"{path}.tailscale"
    if exposure not in ON_TAILNET:
        if given is not None:
            reason = f"a gateway with exposure {exposure} is no device of the tailnet"
            reader.wrong(path, given, reason, "remove it, or set exposure to tailnet or both")
        return None
    given = {} if given is None else given
    if not reader.keys(given, path, _DEVICE):
        return None
    kind = given.get("proxy_class")
    return Device(
        hostname=reader.name(given.get("hostname", name or "x"), f"{path}.hostname"),
        tags=reader.list(given.get("tags"), f"{path}.tags", read_tag),
        proxy_class=reader.name(kind, f"{path}.proxy_class", 253, dots=True) if kind is not None else "",
    )


def read_tag(reader: Reader, value: Any, path: str) -> str | None:
    """A tag of the tailnet's policy."""
    if not isinstance(value, str) or not TAG.match(value):
        reader.wrong(
            path, value, "a tag is tag: and letters, digits and dashes, a letter first", "write it like tag:gw-arr"
        )
        return None
    return value


def _addresses(reader: Reader, value: Any, path: str) -> tuple[Address, ...]:
    if value is None:
        return ()
    remedy = "write it like 192.0.2.101, or one of each family like [192.0.2.101, 2001:db8::101]"
    found = tuple(parse_address(one) for one in ([value] if isinstance(value, str) else _listed(value)))
    if not found or None in found or len({one.version for one in found if one}) != len(found):
        reader.wrong(path, value, "an IP address is needed, or one of each family", remedy)
        return ()
    return tuple(one for one in found if one)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, Sequence) else ()


def _addressed(reader: Reader, entry: Mapping[str, Any], gateway: Gateway, path: str) -> None:
    if not gateway.on_lan:
        other = "both" if gateway.device else "lan"
        for key in ("address", "pool"):
            if entry.get(key) is not None:
                reason = f"a gateway with exposure {gateway.exposure} has no address of a pool"
                reader.wrong(f"{path}.{key}", entry[key], reason, f"remove it, or set exposure to {other}")


def _listened(reader: Reader, entry: Mapping[str, Any], gateway: Gateway, path: str) -> None:
    if not entry.get("listeners", [{}]):
        reader.wrong(
            f"{path}.listeners", [], "a gateway without listeners answers nowhere", "give it one, or remove the key"
        )
    places: dict[tuple[int, str], str] = {}
    protocols: dict[int, str] = {}
    names: set[str] = set()
    for index, one in enumerate(gateway.listeners):
        at = f"{path}.listeners[{index}]"
        if one.name in names:
            reader.wrong(f"{at}.name", one.name, "two listeners have this name", "rename one of them")
        names.add(one.name)
        if protocols.setdefault(one.port, one.protocol) != one.protocol:
            reason = f"another listener speaks {protocols[one.port]} on port {one.port}"
            reader.wrong(f"{at}.protocol", one.protocol, reason, "give it another port")
        elif (one.port, one.hostname) in places:
            reason = f"listener {places[one.port, one.hostname]} answers on this port for the same hosts"
            reader.wrong(f"{at}.port", one.port, reason, "give it another port or hostname")
        places.setdefault((one.port, one.hostname), one.name)
    for index, route in enumerate(gateway.routes):
        for wanted in route.listeners:
            if wanted not in names:
                reason = f"gateway {gateway.name} has no listener of that name"
                remedy = f"use {' or '.join(sorted(names)) or 'a listener that exists'}"
                reader.wrong(f"{path}.routes[{index}].listeners", wanted, reason, remedy)


def _listener(reader: Reader, entry: Any, path: str) -> Listener | None:
    if not reader.keys(entry, path, _LISTENER):
        return None
    protocol = reader.choice(entry.get("protocol", "HTTP"), f"{path}.protocol", PROTOCOLS)
    default = 443 if protocol == "HTTPS" else 80
    secret = entry.get("tls_secret")
    if protocol == "HTTPS" and secret is None:
        remedy = "name a Secret of type kubernetes.io/tls in the gateway's namespace"
        reader.wrong(f"{path}.tls_secret", NOT_GIVEN, "HTTPS needs a certificate", remedy)
    if protocol == "HTTP" and secret is not None:
        reader.wrong(f"{path}.tls_secret", secret, "HTTP uses no certificate", "remove it, or set protocol to HTTPS")
    if isinstance(secret, str) and "/" in secret:
        reason = "the Secret is read from the gateway's own namespace"
        reader.wrong(f"{path}.tls_secret", secret, reason, "copy it there and give its name without a namespace")
        secret = None
    hostname = entry.get("hostname")
    return Listener(
        name=reader.name(entry.get("name", protocol.lower()), f"{path}.name"),
        port=reader.number(entry.get("port", default), f"{path}.port", 1, 65535, "a port") or default,
        protocol=protocol,
        hostname=_hostname(reader, hostname, f"{path}.hostname") or "" if hostname is not None else "",
        tls_secret=reader.name(secret, f"{path}.tls_secret", 253, dots=True) if secret is not None else "",
    )


def _hostname(reader: Reader, value: Any, path: str) -> str | None:
    if not isinstance(value, str) or len(value) > 253 or not _HOSTNAME.match(value) or parse_address(value):
        remedy = "write it like films.example.org or *.example.org"
        reader.wrong(path, value, "a host name in lower-case letters is needed", remedy)
        return None
    return value


def _route(reader: Reader, entry: Any, path: str) -> Route | None:
    if not reader.keys(entry, path, _ROUTE):
        return None
    port = entry.get("port")
    return Route(
        name=reader.name(entry.get("name"), f"{path}.name", 253, dots=True),
        namespace=reader.name(entry.get("namespace"), f"{path}.namespace"),
        service=reader.name(entry.get("service", entry.get("name")), f"{path}.service"),
        port=reader.number(NOT_GIVEN if port is None else port, f"{path}.port", 1, 65535, "the Service's port") or 0,
        hostnames=reader.list(entry.get("hostnames"), f"{path}.hostnames", _hostname),
        path=_path(reader, entry.get("path", "/"), f"{path}.path"),
        rewrite=_path(reader, entry["rewrite"], f"{path}.rewrite") if entry.get("rewrite") is not None else "",
        listeners=reader.list(entry.get("listeners"), f"{path}.listeners", _listener_name),
    )


def _listener_name(reader: Reader, value: Any, path: str) -> str | None:
    return reader.name(value, path) or None


def _path(reader: Reader, value: Any, path: str) -> str:
    bad = not isinstance(value, str) or not _PATH.match(value) or "//" in value or _dotted(value.split("/"))
    if bad:
        reader.wrong(
            path, value, "a path begins with one slash and has no empty or dotted parts", "write it like /films"
        )
        return "/"
    return value


def _dotted(parts: Sequence[str]) -> bool:
    return "." in parts or ".." in parts
