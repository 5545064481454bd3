# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What has to be done to attach clients: named steps in order, computed from what the cluster holds.

Attaching adds what protects before it changes the workload, detaching (``_detach``) removes it after; a run that ends
after any step leaves a client as it was, sealed or stopped. A step that has nothing to do is not in a plan, so a plan without
steps is a client that is as it should be.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _address,
    _admission,
    _client_objects,
    _names,
    _patch,
    _pieces,
    _policy,
    _refuse,
    _registry,
    _selector,
    _services,
    _template,
    _workload_admission,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._client_objects import Site
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import NOT_GIVEN, Client, Gateway, Problem

ATTACH = (
    "attach.policy",
    "attach.admission",
    "attach.effective",
    "attach.registration",
    "attach.agent",
    "attach.access",
    "attach.template",
    "attach.rollout",
    "attach.told",
    "attach.narrow",
)
DETACH = (
    "detach.scale",
    "detach.stopped",
    "detach.seal",
    "detach.release",
    "detach.template",
    "detach.registration",
    "detach.access",
    "detach.agent",
    "detach.admission",
    "detach.policy",
    "detach.rollout",
)
STEPS = (*ATTACH, *DETACH)
# These look and wait; the rest writes.
WAITS = ("attach.effective", "attach.rollout", "attach.told", "detach.stopped", "detach.rollout")
_Object = dict[str, Any]
_Key = tuple[str, str, str]


def key_of(one: Mapping[str, Any]) -> _Key:
    """Kind, namespace ("" if it has none) and name."""
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


class Held:
    """What the cluster holds, as it was read; every object has its kind.

    ``unread`` says of a kind in a namespace why it could not be read. Only kinds that not everybody may list, and that
    not every run needs, may be there; everything else is an error.
    """

    def __init__(
        self, objects: Iterable[Mapping[str, Any]], unread: Mapping[tuple[str, str], str] | None = None
    ) -> None:
        self._objects = {key_of(one): dict(one) for one in objects}
        self.unread = dict(unread or {})

    def get(self, kind: str, namespace: str, name: str) -> _Object | None:
        """One object, None if there is none."""
        return self._objects.get((kind, namespace, name))

    def like(self, wanted: Mapping[str, Any]) -> _Object | None:
        """The live object of the same kind and name."""
        return self._objects.get(key_of(wanted))

    def all(self, *kinds: str, namespace: str | None = None) -> list[_Object]:
        """Objects of these kinds, by kind and name."""
        found = [key for key in self._objects if key[0] in kinds and namespace in (None, key[1])]
        return [self._objects[key] for key in sorted(found)]


@dataclass
class Plan:
    """What is to be done with one client.

    ``apply`` and ``remove`` are objects by step, ``operations`` the JSON Patch of the workload, ``steps`` in order.
    """

    client: Client
    workload: _Object | None = None
    gateway: Gateway | None = None
    link: Mapping[str, Any] | None = None
    room: Mapping[str, Any] | None = None
    policy: _Object | None = None
    apply: dict[str, list[_Object]] = field(default_factory=dict)
    remove: dict[str, list[_Object]] = field(default_factory=dict)
    operations: list[_patch.Operation] = field(default_factory=list)
    steps: tuple[str, ...] = ()

    @property
    def target(self) -> _Object:
        """The workload, for steps that exist only where there is one."""
        if self.workload is None:
            raise ValueError(f"{self.client.object} does not exist")
        return self.workload

    @property
    def action(self) -> str:
        """One word for the result."""
        if not [step for step in self.steps if step not in WAITS]:
            return "none"
        if self.client.state == "absent":
            return "detach"
        attached = self.workload is not None and _template.is_attached(self.workload)
        return "update" if attached else "attach"


def entry(client: Client, held: Held, site: Site) -> _registry.Entry | None:
    """What the gateway has to know of a client that stays; None if there is no such workload."""
    workload = held.get(client.kind, client.namespace, client.name)
    if workload is None:
        return None
    fixed = client.kind == "Deployment"
    count = 1 if fixed else _address.pods_of(workload, client.replicas)
    destinations, dummy = _services.resolve(client, *_services_of(held))
    return _registry.Entry(
        _address.Demand(client.id, client.gateway, client.object, count, fixed),
        client.namespace,
        workload["spec"].get("selector") or {},
        {f"{one.service}.{one.namespace}": one.address for one in destinations},
        _services.direct(destinations, site.cluster_networks.get("pods", ()), site.ambient, client.namespace),
        {f"{one.service}.{one.namespace}": dict(one.selector) for one in destinations},
    )


def judge(client: Client, gateways: Mapping[str, Gateway], held: Held, site: Site) -> list[Problem]:
    """Everything that forbids what is asked for a client that is to be attached."""
    workload = held.get(client.kind, client.namespace, client.name)
    if workload is None:
        reason, remedy = "there is no such workload", "create it first or correct the name"
        return [Problem(client.object, "name", client.name, reason, remedy)]
    problems = [
        Problem(
            client.object,
            f"ingress[{index}].from.ingress_gateway",
            rule.ingress_gateway,
            "no ingress gateway of that name is known",
            "add it or correct the name",
        )
        for index, rule in enumerate(client.ingress)
        if rule.ingress_gateway is not None and rule.ingress_gateway not in site.ingress_gateways
    ]
    try:
        own = _template.own_view(workload)
    except _template.Tampered as exc:
        return problems + exc.problems
    others = [
        one if key_of(one) != key_of(workload) else own
        for one in held.all(*WORKLOADS, "Pod", "ReplicaSet", namespace=client.namespace)
    ]
    port = gateways[client.gateway].port
    reached = [*_services.resolve(client, *_services_of(held))[1], *_services.audit(client, *_services_of(held))]
    return [*problems, *_refuse.refusals(own, others, port), *reached]


WORKLOADS = ("StatefulSet", "Deployment", "DaemonSet", "Job", "CronJob")


def _services_of(held: Held) -> tuple[list[_Object], list[_Object], list[_Object]]:
    return held.all("Service"), held.all(*WORKLOADS, "Pod"), held.all("EndpointSlice")


def plan_attach(
    client: Client,
    gateway: Gateway,
    link: Mapping[str, Any],
    registered: bool,
    held: Held,
    site: Site,
    settled: bool,
) -> Plan:
    """The plan for a client that passed ``judge``.

    ``link`` is the gateway's part of the registry with this client in it, ``registered`` says whether the registries
    already are like that, ``settled`` whether all its pods are of the newest template and Ready.
    """
    workload = held.get(client.kind, client.namespace, client.name)
    if workload is None:
        raise ValueError(f"{client.object} does not exist, which judge refuses")
    own = _template.own_view(workload)
    selector = workload["spec"]["selector"]
    room = link["clients"][client.id]
    destinations, dummy = _services.resolve(client, *_services_of(held))
    carrier = dataclasses.replace(gateway, port=link["port"])
    ports = _policy.probe_ports(own["spec"]["template"])
    policy = _policy.client_policy(
        client,
        selector,
        carrier,
        destinations,
        site.ambient,
        site.ingress_gateways,
        site.probe_addresses,
        ports,
    )
    settings = _client_objects.settings(client, carrier, link, room, site)
    operations = _template.attach(workload, settings)
    attached = _patch.apply_patch(copy.deepcopy(workload), operations)["spec"]["template"]
    new = _admission.mark_of(attached)
    if new is None:
        raise ValueError(f"{client.object} has no guard after attaching")
    size = room["size"] if client.kind == "StatefulSet" else None
    # Pods of the template before may have to be made again until the rollout is over.
    old = [mark for mark in _live_marks(workload, held) if mark != new]
    wide, narrow = (admission_objects(client, selector, marks, size) for marks in ([new, *old], [new]))
    objects = {
        "attach.policy": [policy],
        "attach.admission": wide,
        "attach.agent": _client_objects.agent_objects(client.namespace, site),
        "attach.access": _client_objects.access_objects(client.namespace, gateway.namespace),
    }
    apply = {step: [one for one in listed if differs(held.like(one), one)] for step, listed in objects.items()}
    if old:
        apply["attach.narrow"] = narrow
    needed = {step for step, listed in apply.items() if listed}
    if not registered:
        needed.add("attach.registration")
    if operations:
        needed.add("attach.template")
    # The API server takes a moment to enforce a new policy; a run before this one may have been killed in it.
    if operations or "attach.admission" in needed:
        needed.add("attach.effective")
    if operations or not settled:
        needed.add("attach.rollout")
    # A new pod is not Ready before it was told.
    pods = [one for one in held.all("Pod", namespace=client.namespace) if client_label(one) == client.id]
    if not operations and _pieces.untold(pods, room.get("direct")):
        needed.add("attach.told")
    return Plan(
        client=client,
        workload=workload,
        gateway=carrier,
        link=link,
        room=room,
        policy=policy,
        apply={step: listed for step, listed in apply.items() if listed},
        operations=operations,
        steps=tuple(step for step in ATTACH if step in needed),
    )


def admission_objects(
    client: Client, selector: Mapping[str, Any], accepted: Sequence[_admission.GuardMark], size: int | None
) -> list[_Object]:
    """The workload's rule comes first: once the pods' rule is seen to be in force, the one written before it is too."""
    return [
        *_workload_admission.workload_admission(client, selector, accepted),
        *_admission.client_admission(client, selector, accepted, size),
    ]


def _live_marks(workload: Mapping[str, Any], held: Held) -> list[_admission.GuardMark]:
    """The guards of the live template and of its pods, each once."""
    selector = workload["spec"]["selector"]
    pods = [
        one
        for one in held.all("Pod", namespace=workload["metadata"]["namespace"])
        if _selector.matches(selector, one["metadata"].get("labels") or {})
    ]
    # A guard that somebody edited must not become one that is accepted, nor must a pod's from such a template.
    held_by = [workload, *({**one, "spec": {"template": one}} for one in pods)]
    marks = [_admission.mark_of(one["spec"]["template"]) for one in held_by if not _template.find_tampering(one)]
    return list(dict.fromkeys(one for one in marks if one is not None))


def client_label(one: Mapping[str, Any]) -> str | None:
    """Which client an object of ours is for."""
    return (one["metadata"].get("labels") or {}).get(_names.CLIENT_LABEL)


def differs(live: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    """Whether an object has to be written. Labels of others may be there; the rest has to be exactly ours."""
    if live is None:
        return True
    held, meant = live["metadata"].get("labels") or {}, wanted["metadata"].get("labels") or {}
    if any(held.get(key) != value for key, value in meant.items()):
        return True
    if wanted["kind"] == "NetworkPolicy":
        return bool(_policy.shape_problems(live, wanted))
    keys = set(wanted) - {"apiVersion", "kind", "metadata"}
    return any(plain(live.get(key)) != plain(wanted[key]) for key in keys)


def plain(value: Any) -> Any:
    """A value without what is empty, which the API server may or may not keep."""
    if isinstance(value, Mapping):
        parts = {key: plain(one) for key, one in value.items()}
        return {key: one for key, one in parts.items() if one not in (None, {}, [])}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value


def patched(plan: Plan) -> _Object | None:
    """The workload as the template step leaves it."""
    if plan.workload is None:
        return None
    result: _Object = _patch.apply_patch(copy.deepcopy(plan.workload), plan.operations)
    if "detach.scale" in plan.steps:
        result["spec"]["replicas"] = 0
    return result


def missing_gateway(gateway: Gateway) -> Problem:
    """A gateway that is in the inventory and not in its registry."""
    reason = "the gateway has not been set up"
    remedy = "run bulkhead.mesh.vpn_gateway for it first, as site.yml does"
    return Problem(gateway.object, f"ConfigMap {gateway.namespace}/{_registry.NAME}", NOT_GIVEN, reason, remedy)
