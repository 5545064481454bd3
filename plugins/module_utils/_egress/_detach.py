# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What has to be done to detach clients; the other half of ``_flow``.

- sealed: scaled to 0; guard, policy and admission stay, the policy without any way out. Whoever scales it up again gets
  pods that start with the guard and reach nothing. Its room at the gateway is given up, so the gateway may go.
- stopped: scaled to 0, then everything of ours is taken away. Whoever scales it up again starts it in the clear, so
  that is refused while something is there that does so by itself.
- open: it runs on without the VPN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _admission,
    _left_behind,
    _names,
    _policy,
    _scalers,
    _selector,
    _template,
    _workload_admission,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._flow import (
    DETACH,
    Held,
    Plan,
    admission_objects,
    client_label,
    differs,
    key_of,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Problem

_Object = dict[str, Any]
_PROTECTION = ("NetworkPolicy", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


def judge(client: Client, held: Held) -> list[Problem]:
    """Everything that forbids what is asked for a client that is to be detached."""
    workload = held.get(client.kind, client.namespace, client.name)
    if workload is None:
        return _pods_in_the_way(client, held) if client.detach_to == "stopped" else []
    # Sealing does not touch the template, so whatever somebody did to it is no reason to leave it running.
    problems = [] if client.detach_to == "sealed" else _template.find_tampering(workload)
    if not is_behind(client, held):
        return problems
    problems += _volumes(client, workload)
    if client.detach_to == "stopped":
        problems += [*_scaled_by(client, workload, held), *_pods_in_the_way(client, held)]
    return problems


def is_behind(client: Client, held: Held) -> bool:
    """Whether the client's workload exists and has anything of ours on it or around it."""
    workload = held.get(client.kind, client.namespace, client.name)
    return workload is not None and (_template.is_attached(workload) or bool(_protection(client, held)))


def _volumes(client: Client, workload: Mapping[str, Any]) -> list[Problem]:
    """Scaling to 0 must not delete what the user stored."""
    spec = workload["spec"]
    kept = (spec.get("persistentVolumeClaimRetentionPolicy") or {}).get("whenScaled", "Retain") != "Delete"
    if client.detach_to == "open" or kept or not spec.get("volumeClaimTemplates") or not _replicas(workload):
        return []
    path = "spec.persistentVolumeClaimRetentionPolicy.whenScaled"
    reason = f"detach_to {client.detach_to} scales it to 0, which would delete its volumes"
    remedy = "set it to Retain, or detach with detach_to open"
    return [Problem(client.object, path, "Delete", reason, remedy)]


def _scaled_by(client: Client, workload: Mapping[str, Any], held: Held) -> list[Problem]:
    unread = [held.unread[kind, client.namespace] for kind in _scalers.KINDS if (kind, client.namespace) in held.unread]
    if unread:
        reason = f"whether something would scale it up again, in the clear, is not known: {'; '.join(unread)}"
        remedy = "allow that, or use detach_to sealed or open"
        return [Problem(client.object, "detach_to", client.detach_to, reason, remedy)]
    found = _scalers.targeting(workload, held.all(*_scalers.KINDS, namespace=client.namespace))
    if not found:
        return []
    reason = f"{', '.join(found)} would scale it up again, in the clear"
    remedy = "use detach_to sealed, or pause or remove the scaler first, or use detach_to open"
    return [Problem(client.object, "detach_to", client.detach_to, reason, remedy)]


def _pods_in_the_way(client: Client, held: Held) -> list[Problem]:
    """Pods that scaling does not reach would lose the policy that holds them."""
    found = left_behind(client, held)
    if not found or not _protection(client, held):
        return []
    reason = "no workload owns them, so they run on and would lose their policy"
    remedy = f"delete them (kubectl -n {client.namespace} delete pod {' '.join(one.name for one in found)})"
    return [Problem(client.object, "pods", [one.name for one in found], reason, f"{remedy}, or use detach_to sealed")]


def left_behind(client: Client, held: Held) -> list[_left_behind.LeftBehind]:
    """Pods of this client, by their label, that its workload does not own."""
    found = _left_behind.find(
        held.all("Pod", namespace=client.namespace), held.all("StatefulSet", "Deployment"), held.all("ReplicaSet")
    )
    return [one for one in found if one.client == client.id]


def plan_detach(client: Client, registered: bool, held: Held, clients: Sequence[Client], settled: bool) -> Plan:
    """The plan for a client that passed ``judge``; ``registered``: at any gateway. ``clients`` are all that take part.

    ``settled`` is as in ``plan_attach``.
    """
    workload = held.get(client.kind, client.namespace, client.name)
    behind = is_behind(client, held)
    sealing = client.detach_to == "sealed" and (behind or workload is None and bool(left_behind(client, held)))
    operations = _template.detach(workload) if workload is not None and client.detach_to != "sealed" else []
    remove = _access(client, held, clients)
    if not sealing:
        remove |= _last_layers(client, held, clients)
    apply = {"detach.seal": _seal(client, workload, held)} if sealing and workload is not None else {}
    needed = {step for step, listed in (*remove.items(), *apply.items()) if listed}
    if workload is not None and client.detach_to != "open" and behind:
        replicas = _replicas(workload)
        if replicas:
            needed.add("detach.scale")
        if replicas or _pods_left(client, held):
            needed.add("detach.stopped")
    if operations:
        needed.add("detach.template")
    if registered:
        needed.add("detach.registration")
    opening = workload is not None and client.detach_to == "open"
    if opening and (operations or behind and not settled):
        needed.add("detach.rollout")
    return Plan(
        client=client,
        workload=workload,
        apply={step: listed for step, listed in apply.items() if listed},
        remove={step: listed for step, listed in remove.items() if listed},
        operations=operations,
        steps=tuple(step for step in DETACH if step in needed),
    )


def _seal(client: Client, workload: Mapping[str, Any], held: Held) -> list[_Object]:
    """What of policy and admission is not yet as a sealed client needs it; nothing of its gateway has to be known."""
    selector, template = workload["spec"]["selector"], workload["spec"]["template"]
    labels = [
        _selector.pod_labels(workload),
        *(one["metadata"].get("labels") or {} for one in _protection(client, held)),
    ]
    gateway = next((one[_names.GATEWAY_LABEL] for one in labels if one.get(_names.GATEWAY_LABEL)), client.gateway)
    wanted = [_policy.sealed_policy(client, selector, gateway)]
    # A guard that somebody edited must not become one that is accepted; what is accepted now stays then.
    mark = None if _template.find_tampering(workload) else _admission.mark_of(template)
    if mark is not None:
        wanted += admission_objects(client, selector, [mark], None)
    return [one for one in wanted if differs(held.like(one), one)]


def _last_layers(client: Client, held: Held, clients: Sequence[Client]) -> dict[str, list[_Object]]:
    """Policy, admission, and the agent where nobody needs it any more."""
    ours = _protection(client, held)
    # The binding goes first: a binding without its policy would refuse everything.
    rules = sorted((one for one in ours if one["kind"] != "NetworkPolicy"), key=_binding_last)[::-1]
    remove = {
        "detach.policy": [one for one in ours if one["kind"] == "NetworkPolicy"],
        # The rule for the workload would refuse the template that is given back; the one for its pods goes later.
        "detach.release": [one for one in rules if _workload_admission.is_for_workload(one)],
        "detach.admission": [one for one in rules if not _workload_admission.is_for_workload(one)],
    }
    if not _staying(client.namespace, held, clients, ("stopped", "open")):
        remove["detach.agent"] = [
            one
            for one in held.all("ConfigMap", namespace=client.namespace)
            if one["metadata"]["name"].startswith(f"{_names.AGENT_VOLUME}-")
        ]
    return remove


def _access(client: Client, held: Held, clients: Sequence[Client]) -> dict[str, list[_Object]]:
    """The endpoint controllers' access to the namespace; a sealed client's pods have nothing to be told."""
    if _staying(client.namespace, held, clients, ("sealed", "stopped", "open")):
        return {}
    return {
        "detach.access": [
            one
            for one in held.all("RoleBinding", "Role", namespace=client.namespace)
            if one["metadata"]["name"].startswith(f"{_names.ENDPOINTS_ACCOUNT}-")
        ][::-1]
    }


def _replicas(workload: Mapping[str, Any]) -> int:
    replicas = workload["spec"].get("replicas", 1)
    return 1 if replicas is None else int(replicas)


def _binding_last(one: Mapping[str, Any]) -> bool:
    return bool(one["kind"] == "ValidatingAdmissionPolicyBinding")


def _pods_left(client: Client, held: Held) -> bool:
    """Whether pods of the client's workload are left; pods that no workload owns are told and not waited for."""
    alone = {one.name for one in left_behind(client, held)}
    pods = held.all("Pod", namespace=client.namespace)
    return any(client_label(one) == client.id and one["metadata"]["name"] not in alone for one in pods)


def _protection(client: Client, held: Held) -> list[_Object]:
    """Policy and admission of a client."""
    return [one for one in held.all(*_PROTECTION) if client_label(one) == client.id]


def _staying(namespace: str, held: Held, clients: Sequence[Client], leaving_to: Sequence[str]) -> bool:
    """Whether a client or gateway in this namespace still needs what clients there share; orphans do as well.

    Clients of ``clients`` that are detached to one of ``leaving_to`` do not.
    """
    leaving = {
        (one.kind, one.namespace, one.name) for one in clients if one.state == "absent" and one.detach_to in leaving_to
    }
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
