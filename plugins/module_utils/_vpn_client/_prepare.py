# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Judge everything, then plan everything: from what was read to the plans of ``vpn_client``. No request is made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class Refused(Exception):
    """What is asked for cannot be; nothing was written."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)


@dataclass
class Work:
    """All that is to be done: the plans, and the registries as they are, after attaching and after detaching."""

    plans: list[_flow.Plan]
    held: _flow.Held
    before: Registries
    attached: Registries
    detached: Registries
    gateways: Mapping[str, Gateway] = field(default_factory=dict)


def prepare(
    clients: Sequence[Client], gateways: Sequence[Gateway], held: _flow.Held, site: Site, predict: bool
) -> Work:
    """Judge everything, then plan everything; raises Refused with all problems at once.

    With ``predict`` a gateway that has not been set up yet gets the numbers that it will get.
    """
    before, problems = _read_registries(held)
    present = [one for one in gateways if one.state == "present"]
    used = {one.gateway for one in clients if one.state == "present"}
    known = []
    for gateway in present:
        registry = before.get(gateway.namespace, {"gateways": {}})
        if gateway.name in registry["gateways"]:
            known.append(_registry.complete(gateway, registry))
        elif predict:
            known.append(gateway)
        elif gateway.name in used:
            problems.append(_flow.missing_gateway(gateway))
    by_name = {one.name: one for one in (*present, *known)}
    for client in clients:
        problems += _flow.judge(client, by_name, held, site)
    if problems:
        raise Refused(problems)
    staying = [one for one in clients if one.state == "present"]
    entries = [one for one in (_flow.entry(client, held, site) for client in staying) if one is not None]
    attached, problems = _registry.update(before, known, entries, site.cluster_networks)
    if problems:
        raise Refused(problems)
    leaving = {one.id for one in clients if one.state == "absent"}
    detached, problems = _registry.update(attached, [], [], site.cluster_networks, leaving)
    if problems:
        raise Refused(problems)
    work = Work([], held, before, attached, detached, by_name)
    # Once for each gateway, and not for each of its clients.
    stale = {one.name for one in by_name.values() if gateway_objects(one, attached, held, site.cluster_domain)}
    work.plans = [_plan(client, clients, work, site, client.gateway in stale) for client in clients]
    return work


def _read_registries(held: _flow.Held) -> tuple[dict[str, _registry.Registry], list[Problem]]:
    registries, problems = {}, []
    for one in held.all("ConfigMap"):
        if one["metadata"]["name"] == _registry.NAME and "data" in one:
            namespace = one["metadata"]["namespace"]
            registries[namespace], found = _registry.parse(one, namespace)
            problems += found
    return registries, problems


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
