# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What has to be done to detach clients; the other half of ``_flow``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _names,
    _selector,
    _template,
    _workload_admission,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._flow import (
    DETACH,
    Held,
    Plan,
    client_label,
    key_of,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client

_Object = dict[str, Any]


def plan_detach(client: Client, registered: bool, held: Held, clients: Sequence[Client], settled: bool) -> Plan:
    """The plan for a client that passed ``judge``; ``registered``: at any gateway. ``clients`` are all of the list.

    ``settled`` is as in ``plan_attach``.
    """
    workload = held.get(client.kind, client.namespace, client.name)
    ours = _protection(client, held)
    attached = workload is not None and _template.is_attached(workload)
    operations = _template.detach(workload) if workload is not None else []
    # The binding goes first: a binding without its policy would refuse everything.
    rules = sorted((one for one in ours if one["kind"] != "NetworkPolicy"), key=_binding_last)[::-1]
    remove = {
        "detach.policy": [one for one in ours if one["kind"] == "NetworkPolicy"],
        # The rule for the workload would refuse the template that is given back; the one for its pods goes later.
        "detach.release": [one for one in rules if _workload_admission.is_for_workload(one)],
        "detach.admission": [one for one in rules if not _workload_admission.is_for_workload(one)],
    }
    staying = _staying(client.namespace, held, clients)
    if not staying:
        remove["detach.access"] = [
            one
            for one in held.all("RoleBinding", "Role", namespace=client.namespace)
            if one["metadata"]["name"].startswith(f"{_names.ENDPOINTS_ACCOUNT}-")
        ][::-1]
        remove["detach.agent"] = [
            one
            for one in held.all("ConfigMap", namespace=client.namespace)
            if one["metadata"]["name"].startswith(f"{_names.AGENT_VOLUME}-")
        ]
    needed = {step for step, listed in remove.items() if listed}
    replicas = (workload or {}).get("spec", {}).get("replicas", 1)
    if workload is not None and client.detach_to == "stopped" and (attached or ours):
        if replicas:
            needed.add("detach.scale")
        if replicas or _pods_left(client, held):
            needed.add("detach.stopped")
    if operations:
        needed.add("detach.template")
    if registered:
        needed.add("detach.registration")
    opening = workload is not None and client.detach_to == "open"
    if opening and (operations or ours and not settled):
        needed.add("detach.rollout")
    return Plan(
        client=client,
        workload=workload,
        remove={step: listed for step, listed in remove.items() if listed},
        operations=operations,
        steps=tuple(step for step in DETACH if step in needed),
    )


def _binding_last(one: Mapping[str, Any]) -> bool:
    return bool(one["kind"] == "ValidatingAdmissionPolicyBinding")


def _pods_left(client: Client, held: Held) -> bool:
    """Whether pods with the client's label are left."""
    return any(client_label(one) == client.id for one in held.all("Pod", namespace=client.namespace))


def _protection(client: Client, held: Held) -> list[_Object]:
    """Policy and admission of a client."""
    kinds = ("NetworkPolicy", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    return [one for one in held.all(*kinds) if client_label(one) == client.id]


def _staying(namespace: str, held: Held, clients: Sequence[Client]) -> bool:
    """Whether a client or gateway in this namespace still needs what clients there share; orphans do as well."""
    leaving = {(one.kind, one.namespace, one.name) for one in clients if one.state == "absent"}
    coming = any(one.namespace == namespace for one in clients if one.state == "present")
    attached = [
        one
        for one in held.all("StatefulSet", "Deployment", namespace=namespace)
        if key_of(one) not in leaving and _template.is_attached(one)
    ]
    gateway = any(
        _selector.pod_labels(one).get(_names.ROLE_LABEL) == _names.GATEWAY_ROLE
        for one in held.all("StatefulSet", namespace=namespace)
    )
    return coming or gateway or bool(attached)
