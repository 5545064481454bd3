# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What has to be done to set up and remove gateways, computed from the inventory and what the cluster holds. Pure."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent.config import ConfigError
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _gateway, _registry, _tunnel
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import NOT_GIVEN, Gateway, Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._policy import Endpoint
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._registry import Registry

ENGINE = "wireguard"
_Object = Mapping[str, Any]


@dataclass(frozen=True)
class Seen:
    """What the cluster holds. ``secrets`` and ``live`` (StatefulSets) are by gateway name, None where there is none."""

    namespaces: frozenset[str]
    registries: Mapping[str, Registry]
    secrets: Mapping[str, _Object | None]
    live: Mapping[str, _Object | None]


@dataclass
class Work:
    """What is to be done; ``unknown`` are gateways that only a real run can plan, each with the reason."""

    registries: dict[str, Registry] = field(default_factory=dict)
    plans: list[_gateway.Plan] = field(default_factory=list)
    removed: list[Gateway] = field(default_factory=list)
    unknown: dict[str, Problem] = field(default_factory=dict)
    before: list[Problem] = field(default_factory=list)  # in check mode: what has to be done before the real run
    problems: list[Problem] = field(default_factory=list)

    @property
    def live_namespaces(self) -> list[str]:
        """Namespaces that have a gateway afterwards."""
        return sorted(name for name, registry in self.registries.items() if registry["gateways"])


def configuration(gateway: Gateway, secret: _Object | None) -> tuple[str, str] | Problem:
    """(key, text) of the WireGuard configuration in a Secret."""
    where = f"{gateway.namespace}/{gateway.config_secret}"
    if secret is None:
        reason = "there is no such Secret"
        remedy = f"create it from the provider's file under the key {_tunnel.SECRET_KEY}, or correct the name"
        return Problem(gateway.object, "config_secret", where, reason, remedy)
    key = _tunnel.secret_key(secret)
    if key is None:
        reason = f"it has neither a key {_tunnel.SECRET_KEY} nor a single one that ends in .conf"
        remedy = f"put the provider's file under the key {_tunnel.SECRET_KEY}"
        return Problem(gateway.object, "config_secret", where, reason, remedy)
    try:
        return key, base64.b64decode(secret["data"][key] or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        reason = f"its key {key} is not a text"
        return Problem(gateway.object, "config_secret", where, reason, "put the provider's file there as it is")


def facts(gateway: Gateway, secret: _Object | None) -> _tunnel.Facts | Problem:
    """Endpoint, DNS and MTU of a gateway's configuration."""
    found = configuration(gateway, secret)
    if isinstance(found, Problem):
        return found
    try:
        return _tunnel.facts(found[1])
    except ConfigError as exc:
        where = f"{gateway.namespace}/{gateway.config_secret}"
        return Problem(gateway.object, "config_secret", where, str(exc).rstrip("."), "correct that file")


def hosts(gateways: Iterable[Gateway], seen: Seen) -> set[str]:
    """Names of VPN servers that have to be looked up."""
    found = set()
    for gateway in gateways:
        known = facts(gateway, seen.secrets.get(gateway.name)) if gateway.state == "present" else None
        if isinstance(known, _tunnel.Facts) and not _tunnel.is_address(known.host):
            found.add(known.host)
    return found


def plan(
    gateways: Sequence[Gateway],
    seen: Seen,
    addresses: Mapping[str, Sequence[str]],
    dns: Sequence[str],
    cluster_networks: Mapping[str, Iterable[str]],
    predict: bool,
) -> Work:
    """What can be done, and the problems of gateways that cannot be what is asked: those stay as they are.

    ``addresses`` are those of ``hosts``; with ``predict`` (check mode) a missing namespace or Secret is no problem but
    something that may come into being before the real run, and clients of a gateway that goes may be detached before.
    """
    work = Work()
    detached: set[str] = set()
    if predict:
        work.before = _registry.occupied(seen.registries, gateways)
        going = [one for one in gateways if one.state == "absent" and one.namespace in seen.registries]
        detached.update(*(_registry.clients_of(seen.registries[one.namespace], one.name) for one in going))
    settings: dict[str, Settings] = {}
    taking_part = []
    for gateway in gateways:
        found = _settings(gateway, seen, addresses, dns) if gateway.state == "present" else None
        if isinstance(found, Settings):
            settings[gateway.name] = found
        elif found is not None and predict and gateway.engine == ENGINE and _may_come(gateway, seen):
            work.unknown[gateway.name] = found
        elif found is not None:
            work.problems.append(found)
            continue
        taking_part.append(gateway)
    # A gateway that is left out is not mentioned, so its part of the registry stays as it is.
    standing = {name for registry in seen.registries.values() for name in registry["gateways"]}
    while True:
        # Where two want the same numbers, those that have theirs already come first.
        ordered = sorted(taking_part, key=lambda one: one.name not in standing)
        work.registries, problems = _registry.update(seen.registries, ordered, (), cluster_networks, detached)
        if not problems:
            break
        bad = {one.object for one in problems}
        left = [one for one in taking_part if one.object not in bad]
        work.problems += problems
        if len(left) == len(taking_part):  # not the problem of any one of them
            work.registries, work.unknown = dict(seen.registries), {}
            return work
        taking_part = left
    work.unknown = {one.name: work.unknown[one.name] for one in taking_part if one.name in work.unknown}
    for gateway in taking_part:
        if gateway.state == "absent":
            work.removed.append(gateway)
        elif gateway.name in settings:
            work.plans.append(settings[gateway.name].plan(gateway, work.registries[gateway.namespace]))
    return work


def _may_come(gateway: Gateway, seen: Seen) -> bool:
    return gateway.namespace not in seen.namespaces or seen.secrets.get(gateway.name) is None


@dataclass(frozen=True)
class Settings:
    """What of a gateway comes from its Secret and not from the registry."""

    endpoint: Endpoint
    dns: tuple[str, ...]
    mtu: int | None
    secret_key: str
    secret_version: str

    def plan(self, gateway: Gateway, registry: Registry) -> _gateway.Plan:
        """The gateway's plan with the numbers that the registry gives it."""
        return _gateway.Plan(
            gateway=_registry.complete(gateway, registry),
            endpoint=self.endpoint,
            dns=self.dns,
            mtu=self.mtu,
            secret_key=self.secret_key,
            secret_version=self.secret_version,
        )


def _settings(
    gateway: Gateway, seen: Seen, addresses: Mapping[str, Sequence[str]], dns: Sequence[str]
) -> Settings | Problem:
    if gateway.engine != ENGINE:
        reason, remedy = "this engine is not there yet", f"use {ENGINE}"
        return Problem(gateway.object, "engine", gateway.engine, reason, remedy)
    if gateway.namespace not in seen.namespaces:
        reason, remedy = "there is no such namespace", "create it, or add it to bulkhead_namespaces"
        return Problem(gateway.object, "namespace", gateway.namespace, reason, remedy)
    secret = seen.secrets.get(gateway.name)
    known = facts(gateway, secret)
    if isinstance(known, Problem):
        return known
    where = f"{gateway.namespace}/{gateway.config_secret}"
    servers = tuple(known.dns or dns)
    if not servers:
        reason = "its configuration names no DNS server with an IPv4 address"
        return Problem(
            gateway.object, "config_secret", where, reason, "add DNS to it, or name servers in bulkhead_vpn_dns"
        )
    address: str | None = known.host
    if not _tunnel.is_address(known.host):
        found = list(addresses.get(known.host, ()))
        if not found:
            reason = f"its endpoint {known.host} has no IPv4 address that this machine can find"
            remedy = "correct the name, or write the address"
            return Problem(gateway.object, "config_secret", where, reason, remedy)
        address = _tunnel.choose(found, _gateway.live_endpoint(seen.live.get(gateway.name)))
    metadata = (secret or {}).get("metadata") or {}
    return Settings(
        endpoint=Endpoint(str(address), known.port),
        dns=servers,
        mtu=known.mtu,
        secret_key=_tunnel.secret_key(secret or {}) or _tunnel.SECRET_KEY,
        secret_version=f"{metadata.get('uid', '')}.{metadata.get('resourceVersion', '')}",
    )


def orphans(gateways: Iterable[Gateway], registries: Mapping[str, Registry]) -> list[dict[str, str]]:
    """Gateways that are registered and in no list; they go on as they are."""
    listed = {gateway.name for gateway in gateways}
    return [
        {"name": name, "namespace": namespace}
        for namespace, registry in sorted(registries.items())
        for name in sorted(registry["gateways"])
        if name not in listed
    ]


def writers(work: Work) -> list[Gateway]:
    """All gateways there are afterwards, also those of no list, for the admission of what controllers write."""
    return [
        Gateway(name, namespace, "")
        for namespace, registry in sorted(work.registries.items())
        for name in sorted(registry["gateways"])
    ]


def bad_options(
    dns: Iterable[str], cluster_networks: Mapping[str, Iterable[str]], dns_path: str = "dns"
) -> list[Problem]:
    """What is wrong with the options beside the gateways; ``dns_path`` is what the user calls the name servers."""
    problems = []
    for index, server in enumerate(dns):
        if not _tunnel.is_address(server):
            reason = "a name server is given by its IPv4 address"
            problems.append(Problem(dns_path, f"{dns_path}[{index}]", server, reason, "write it like 10.64.0.1"))
    for name, networks in cluster_networks.items():
        for index, network in enumerate(networks):
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError:
                path = f"cluster_networks.{name}[{index}]"
                reason = "a network in CIDR form is needed"
                problems.append(Problem("cluster_networks", path, network, reason, "write it like 10.42.0.0/16"))
    return problems


def no_engine_image(path: str = "images.engine") -> Problem:
    """No image for the engine was given; ``path`` is what the user calls it."""
    reason = "no public image has python3, iproute2, nftables and wg together"
    remedy = "build one and name it"
    return Problem(path.partition(".")[0], path, NOT_GIVEN, reason, remedy)
