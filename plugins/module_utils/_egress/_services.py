# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The Services a client may call: what they are, where they lead, and which of them are refused."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _backends, _names, _selector
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, EgressRule, Port, Problem

DNS_PORT = 53


@dataclass(frozen=True)
class ServicePort:
    """One port of a Service, with the numbers its name stands for in the pods behind it."""

    protocol: str
    port: int
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Destination:
    """An egress rule that was found in the cluster; ``selector`` selects the pods behind the Service."""

    namespace: str
    service: str
    address: str
    selector: Mapping[str, str]
    ports: tuple[ServicePort, ...]


def resolve(
    client: Client,
    services: Iterable[Mapping[str, Any]],
    backends: Iterable[Mapping[str, Any]] = (),
    slices: Iterable[Mapping[str, Any]] = (),
) -> tuple[list[Destination], list[Problem]]:
    """The destinations of a client's egress rules, and every rule that cannot be met.

    ``backends`` are workloads and pods of the namespaces concerned, ``slices`` their EndpointSlices. Where a Service
    leads besides the pods it selects is for ``audit`` to say.
    """
    by_name = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in services}
    pool, endpoints = list(backends), list(slices)
    destinations, problems = [], []
    for index, rule in enumerate(client.egress):
        path = f"egress[{index}]"
        service = by_name.get((rule.namespace, rule.service))
        found = _unusable(client, rule, path, service, endpoints, pool)
        if service is not None and not found:
            pods = [one for one in pool if _backends.behind(service, one)]
            ports, found = _ports(client, rule, path, service, pods)
            destinations.append(
                Destination(
                    rule.namespace,
                    rule.service,
                    address(service) or "",
                    dict(service["spec"]["selector"]),
                    tuple(ports),
                )
            )
        problems += found
    return destinations, problems


def audit(
    client: Client,
    services: Iterable[Mapping[str, Any]],
    backends: Iterable[Mapping[str, Any]],
    slices: Iterable[Mapping[str, Any]],
) -> list[Problem]:
    """Every rule whose Service leads, or may lead, elsewhere than to the pods it selects; only Services that are fit."""
    by_name = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in services}
    pool, endpoints, problems = list(backends), list(slices), []
    for index, rule in enumerate(client.egress):
        service = by_name.get((rule.namespace, rule.service))
        if service is not None and _backends.unfit(service, endpoints, pool) is None:
            problems += [
                Problem(client.object, f"egress[{index}].service", str(rule), lead.reason, lead.remedy)
                for lead in _backends.audit(service, endpoints, pool).leads
            ]
    return problems


def direct(
    destinations: Sequence[Destination],
    pod_networks: Sequence[str] = (),
    ambient: Iterable[str] = (),
    client_namespace: str = "",
) -> list[dict[str, Any]]:
    """The guard's set ``direct``, sorted: ``[{"protocol": "tcp", "address": "10.96.3.4", "port": 7878}]``.

    In an ambient mesh the pod's TCP never goes to the Service's address: ztunnel picks the pod itself and calls it on
    15008, or on its own port when it is not enrolled. There ``address`` is a pod network; policies narrow it.
    """
    enrolled = set(ambient)
    entries = set()
    for destination in destinations:
        for port in destination.ports:
            if port.protocol != "TCP" or client_namespace not in enrolled:
                entries.add((port.protocol.lower(), destination.address, port.port))
                continue
            targets = (_names.HBONE_PORT,) if destination.namespace in enrolled else port.targets
            networks = [one for one in pod_networks if ipaddress.ip_network(one).version == 4]
            entries.update(("tcp", network, target) for network in networks for target in targets)
    return [{"protocol": protocol, "address": address, "port": port} for protocol, address, port in sorted(entries)]


def _unusable(
    client: Client,
    rule: EgressRule,
    path: str,
    service: Mapping[str, Any] | None,
    slices: Iterable[Mapping[str, Any]],
    pool: Iterable[Mapping[str, Any]],
) -> list[Problem]:
    def refuse(reason: str, remedy: str) -> list[Problem]:
        return [Problem(client.object, f"{path}.service", str(rule), reason, remedy)]

    if service is None:
        return refuse("there is no such Service", "create it first or correct the name")
    lead = _backends.unfit(service, slices, pool)
    if lead is not None:
        return refuse(lead.reason, lead.remedy)
    if address(service) is None:
        return refuse("it has no IPv4 cluster IP", "add IPv4 to its ipFamilies")
    return []


def address(service: Mapping[str, Any]) -> str | None:
    """The IPv4 address of a Service."""
    spec = service["spec"]
    for one in spec.get("clusterIPs") or [spec.get("clusterIP") or ""]:
        if one.count(".") == 3:
            return str(one)
    return None


def _ports(
    client: Client, rule: EgressRule, path: str, service: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]
) -> tuple[list[ServicePort], list[Problem]]:
    held = service["spec"].get("ports") or []
    ports, problems = [], []
    for index, wanted in enumerate(rule.ports):
        where = f"{path}.ports[{index}]"
        chosen = [one for one in held if wanted in (one["port"], one.get("name"))]
        if not chosen:
            has = ", ".join(str(one["port"]) for one in held) or "none"
            reason = f"Service {rule} has no such port (it has {has})"
            problems.append(Problem(client.object, where, wanted, reason, "name one it has"))
        for one in chosen:
            port, problem = _port(client, where, wanted, rule, one, pods)
            problems += problem
            ports += port
    return ports, problems


def _port(
    client: Client,
    path: str,
    wanted: Port,
    rule: EgressRule,
    held: Mapping[str, Any],
    pods: Sequence[Mapping[str, Any]],
) -> tuple[list[ServicePort], list[Problem]]:
    protocol = held.get("protocol", "TCP")
    if protocol not in ("TCP", "UDP"):
        return [], [Problem(client.object, path, wanted, f"it is {protocol}", "only TCP and UDP ports can be used")]
    target = held.get("targetPort", held["port"])
    targets = [target] if isinstance(target, int) else named_ports(pods, target, protocol)
    if DNS_PORT in (held["port"], *targets):
        reason = "a DNS server in the cluster would ask the world with the node's address"
        remedy = "remove the rule; the gateway answers cluster names"
        return [], [Problem(client.object, path, wanted, reason, remedy)]
    if not targets:
        reason = f"no pod behind Service {rule} has a {protocol} port named {target}"
        remedy = "start a pod that has it, or make targetPort a number"
        return [], [Problem(client.object, path, wanted, reason, remedy)]
    return [ServicePort(protocol, held["port"], tuple(targets))], []


def named_ports(pods: Iterable[Mapping[str, Any]], name: str, protocol: str) -> list[int]:
    """The numbers that a port name has in these workloads or pods, sorted."""
    numbers = set()
    for workload in pods:
        spec = _selector.pod_template(workload).get("spec") or {}
        # Restartable init containers serve as well.
        for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
            for port in container.get("ports") or []:
                if port.get("name") == name and port.get("protocol", "TCP") == protocol:
                    numbers.add(port["containerPort"])
    return sorted(numbers)
