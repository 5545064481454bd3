# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What was read -> what should be: the policies, resolver and destinations the inventory asks for. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import PolicyView
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _address,
    _policy,
    _policy_foreign,
    _policy_union,
    _selector,
    _services,
    _template,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._killswitch import _read

_Object = dict[str, Any]


@dataclass(frozen=True)
class Mesh:
    """What rendering needs to know besides the inventory's lists; the same values as for ``vpn_client``."""

    pod_networks: Sequence[str] = ()
    cluster_domain: str = "cluster.local"
    ambient: Sequence[str] = ()
    ingress_gateways: Mapping[str, str] = field(default_factory=dict)
    probe_addresses: Sequence[str] = ()


@dataclass(frozen=True)
class Wanted:
    """How a client should be: its policy, the guard's destinations, the pods' dnsConfig."""

    policy: _Object
    direct: list[_Object]
    dns: _Object


def client(one: Client, gateway: Gateway, seen: _read.Seen, mesh: Mesh) -> Wanted | Missing:
    """How this client should be; missing when something it follows from could not be read."""
    workload = seen.held.get(one.kind, one.namespace, one.name)
    reason = seen.missing(one.kind, one.namespace)
    for rule in one.egress:
        reason = reason or seen.missing("Service", rule.namespace)
    if reason:
        return reason
    if workload is None:
        return Missing(f"there is no {one.object}")
    link = _read.registry_of(gateway, seen)
    if isinstance(link, Missing):
        return link
    try:
        own = _template.own_view(workload)["spec"]["template"]
    except _template.Tampered as exc:
        return Missing(str(exc))
    backends = seen.held.all("Pod", "StatefulSet", "Deployment")
    # Where they lead besides their pods is told by svc-audit; what is wanted does not depend on it.
    destinations, problems = _services.resolve(one, seen.held.all("Service"), backends)
    if problems:
        return Missing(str(problems[0]))
    policy = _policy.client_policy(
        one,
        workload["spec"]["selector"],
        dataclasses.replace(gateway, port=link["port"]),
        destinations,
        mesh.ambient,
        mesh.ingress_gateways,
        mesh.probe_addresses,
        _policy.probe_ports(own),
    )
    domain = mesh.cluster_domain
    dns = {
        "nameservers": [_address.gateway_address(link["network"])],
        "searches": [f"{one.namespace}.svc.{domain}", f"svc.{domain}", domain],
    }
    return Wanted(policy, _services.direct(destinations, mesh.pod_networks, mesh.ambient, one.namespace), dns)


def gateway_policy(gateway: Gateway, config: Mapping[str, Any] | Missing, seen: _read.Seen) -> _Object | Missing:
    """The policy a gateway should have: its clients of the registry, and the endpoint its firewall knows."""
    link = _read.registry_of(gateway, seen)
    for value in (link, config):
        if isinstance(value, Missing):
            return value
    endpoint = config["endpoint"]  # type: ignore[index]  # not Missing, as the loop has seen
    clients = [
        _policy.ClientPods(one["namespace"], one["selector"])
        for one in link["clients"].values()  # type: ignore[index]
        if "selector" in one
    ]
    carrier = dataclasses.replace(gateway, port=link["port"])  # type: ignore[index]
    return _policy.gateway_policy(carrier, [_policy.Endpoint(endpoint["address"], endpoint["port"])], clients)


def view(
    live: Mapping[str, Any] | None | Missing,
    wanted: Mapping[str, Any] | Missing,
    pods: Iterable[Mapping[str, Any]],
    meant: Sequence[Mapping[str, Any]] | Missing,
    seen: _read.Seen,
) -> PolicyView | Missing:
    """A policy as it is beside what it should be. ``pods`` are all of its namespace, ``meant`` those it is for."""
    for value in (live, wanted, meant):
        if isinstance(value, Missing):
            return value
    problems = tuple(str(one) for one in _policy.shape_problems(live, wanted))
    selector = (live or {}).get("spec", {}).get("podSelector")
    ended = ("Succeeded", "Failed")
    selected = {
        one["metadata"]["name"]
        for one in pods
        if live is not None
        and _selector.matches(selector or {}, one["metadata"].get("labels") or {})
        and (one.get("status") or {}).get("phase") not in ended
    }
    namespace = wanted["metadata"]["namespace"]  # type: ignore[index]  # not Missing, as the loop has seen
    policies = seen.held.all("NetworkPolicy", namespace=namespace)
    names = frozenset(one["metadata"]["name"] for one in meant)
    opened = tuple(_policy_union.openings(policies, wanted, meant))  # type: ignore[arg-type]
    return PolicyView(live, problems, frozenset(selected), names, opened, _unjudged(seen, namespace, meant))


def _unjudged(seen: _read.Seen, namespace: str, pods: Sequence[Mapping[str, Any]]) -> tuple[str, ...] | Missing:
    """Policies of kinds that are not evaluated; missing when it is not known which there are."""
    for kind in ("APIGroupList", *_policy_foreign.NAMES):
        reason = seen.missing(kind) or seen.missing(kind, namespace)
        if reason:
            return reason
    return tuple(_policy_foreign.unjudged(seen.held.all(*_policy_foreign.NAMES), namespace, pods))


def config_of(pod: Mapping[str, Any], container: str) -> dict[str, Any] | Missing:
    """The agent's configuration in a container of ours."""
    spec = pod["spec"]
    for one in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        if one["name"] == container:
            values = {variable["name"]: variable.get("value") for variable in one.get("env") or []}
            try:
                return dict(json.loads(values.get("BULKHEAD_CONFIG") or ""))
            except (ValueError, TypeError):
                return Missing(f"{container} has no configuration that can be read")
    return Missing(f"the pod has no {container}")


def image_of(pod: Mapping[str, Any], container: str) -> str | None:
    """Image of one container of a pod."""
    spec = pod["spec"]
    for one in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        if one["name"] == container:
            return str(one["image"])
    return None
