# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Judge every client, then plan for those that can be helped: from what was read to the plans of ``vpn_client``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _client_objects,
    _detach,
    _flow,
    _gateway,
    _policy,
    _registry,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._client_objects import Site
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Gateway, Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _workload

Registries = Mapping[str, _registry.Registry]
Broken = Mapping[str, Sequence[Problem]]  # by namespace of the registry


class Refused(Exception):
    """What is asked for cannot be; nothing was written."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)


@dataclass
class Work:
    """All that is to be done: the plans, and the registries as they are, after attaching and after detaching.

    ``refused`` are the clients that cannot be what is asked, by id, each with its problems: they have no plan, so they
    stay as they are, and nobody waits for them.
    """

    plans: list[_flow.Plan]
    held: _flow.Held
    before: Registries
    attached: Registries
    detached: Registries
    gateways: Mapping[str, Gateway] = field(default_factory=dict)
    refused: Mapping[str, Sequence[Problem]] = field(default_factory=dict)

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with the clients that are left out, each once."""
        found: list[Problem] = []
        for listed in self.refused.values():
            found += [one for one in listed if one not in found]
        return found


def prepare(
    clients: Sequence[Client], gateways: Sequence[Gateway], held: _flow.Held, site: Site, predict: bool
) -> Work:
    """Judge every client, then plan for those that can be what is asked.

    With ``predict`` a gateway that has not been set up yet gets the numbers that it will get.
    """
    before, broken = _read_registries(held)
    present = {one.name: one for one in gateways if one.state == "present"}
    known, unusable = _known_gateways(present.values(), before, broken, predict)
    by_name = {**present, **{one.name: one for one in known}}
    refused: dict[str, list[Problem]] = {}
    for client in clients:
        found = _judge(client, by_name, unusable, broken, before, held, site)
        if found:
            refused[client.id] = found
    attached = _allocate(clients, known, before, held, site, refused)
    taking_part = [one for one in clients if one.id not in refused]
    leaving = {one.id for one in taking_part if one.state == "absent"}
    detached, problems = _registry.update(attached, [], [], site.cluster_networks, leaving)
    if problems:
        raise Refused(problems)
    work = Work([], held, before, attached, detached, by_name, refused)
    # Once for each gateway, and not for each of its clients.
    stale = {one.name for one in by_name.values() if gateway_objects(one, attached, held, site.cluster_domain)}
    work.plans = [_plan(client, taking_part, work, site, client.gateway in stale) for client in taking_part]
    return work


def _known_gateways(
    gateways: Iterable[Gateway], before: Registries, broken: Broken, predict: bool
) -> tuple[list[Gateway], dict[str, list[Problem]]]:
    """Gateways with the numbers they have, and by name why others cannot take clients."""
    known, unusable = [], {}
    for gateway in gateways:
        registry = before.get(gateway.namespace, {"gateways": {}})
        if gateway.namespace in broken:
            unusable[gateway.name] = list(broken[gateway.namespace])
        elif gateway.name in registry["gateways"]:
            known.append(_registry.complete(gateway, registry))
        elif predict:
            known.append(gateway)
        else:
            unusable[gateway.name] = [_flow.missing_gateway(gateway)]
    return known, unusable


def _judge(
    client: Client,
    gateways: Mapping[str, Gateway],
    unusable: Mapping[str, list[Problem]],
    broken: Broken,
    before: Registries,
    held: _flow.Held,
    site: Site,
) -> list[Problem]:
    if client.state == "present":
        return [*unusable.get(client.gateway, ()), *_flow.judge(client, gateways, held, site)]
    found = _detach.judge(client, held)
    # Its room at a gateway could not be given back where nobody can read which it has.
    if broken and _detach.is_behind(client, held) and not _entries(before, client.id):
        found = [*(one for listed in broken.values() for one in listed), *found]
    return found


def _allocate(
    clients: Sequence[Client],
    known: Sequence[Gateway],
    before: Registries,
    held: _flow.Held,
    site: Site,
    refused: dict[str, list[Problem]],
) -> Registries:
    """The registries with all clients that stay; those for which there is no room are added to ``refused``."""
    gateways = list(known)
    while True:
        staying = [one for one in clients if one.state == "present" and one.id not in refused]
        entries = [one for one in (_flow.entry(client, held, site) for client in staying) if one is not None]
        attached, problems = _registry.update(before, gateways, entries, site.cluster_networks)
        if not problems:
            return attached
        bad = {one.object: [other for other in problems if other.object == one.object] for one in problems}
        for client in staying:
            gateway = next(one for one in gateways if one.name == client.gateway)
            found = [*bad.get(gateway.object, ()), *bad.get(client.object, ())]
            if found:
                refused[client.id] = found
        left = [one for one in gateways if one.object not in bad]
        if len(left) == len(gateways) and not any(one.id in refused for one in staying):
            raise Refused(problems)
        gateways = left


def _read_registries(held: _flow.Held) -> tuple[dict[str, _registry.Registry], dict[str, list[Problem]]]:
    """Registries by namespace, and the problems of those that cannot be read; such a one counts as empty."""
    registries, broken = {}, {}
    for one in held.all("ConfigMap"):
        if one["metadata"]["name"] == _registry.NAME and "data" in one:
            namespace = one["metadata"]["namespace"]
            registries[namespace], found = _registry.parse(one, namespace)
            if found:
                broken[namespace] = found
    return registries, broken


def _plan(client: Client, clients: Sequence[Client], work: Work, site: Site, stale: bool) -> _flow.Plan:
    settled = _settled(client, work.held)
    if client.state == "absent":
        registered = any(client.id in link["clients"] for link in _links(work.before))
        return _detach.plan_detach(client, registered, work.held, clients, settled)
    gateway = work.gateways[client.gateway]
    link = work.attached[gateway.namespace]["gateways"][gateway.name]
    same = all(_entries(work.before, client.id) == _entries(one, client.id) for one in (work.attached,))
    return _flow.plan_attach(client, gateway, link, same and not stale, work.held, site, settled)


def _links(registries: Registries) -> list[dict[str, Any]]:
    return [link for registry in registries.values() for link in registry["gateways"].values()]


def _entries(registries: Registries, client: str) -> list[tuple[str, Any]]:
    return [
        (name, link["clients"][client])
        for registry in registries.values()
        for name, link in registry["gateways"].items()
        if client in link["clients"]
    ]


def gateway_objects(gateway: Gateway, registries: Registries, held: _flow.Held, domain: str) -> list[dict[str, Any]]:
    """What of the gateway's own objects has to follow its registry."""
    registry = registries.get(gateway.namespace, {"gateways": {}})
    if gateway.name not in registry["gateways"]:
        return []
    policy = held.get("NetworkPolicy", gateway.namespace, _policy.gateway_policy_name(gateway))
    resolver = held.get("ConfigMap", gateway.namespace, _gateway.resolver_name(gateway))
    return _client_objects.gateway_objects(gateway, registry, policy, resolver, domain)


def _settled(client: Client, held: _flow.Held) -> bool:
    workload = held.get(client.kind, client.namespace, client.name)
    return workload is not None and rollout_of(workload, held).done


def rollout_of(workload: Mapping[str, Any], held: _flow.Held) -> _workload.Rollout:
    replica_sets = held.all("ReplicaSet", namespace=workload["metadata"]["namespace"])
    pods = _workload.own_pods(workload, held.all("Pod"), replica_sets)
    return _workload.rollout(workload, pods, replica_sets)
