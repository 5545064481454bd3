# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""ValidatingAdmissionPolicies against slipping out: a client's workload stays one that its policy selects and that has a
guard, and labels of the collection stay on pods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _admission, _dangerous, _names
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._cel import literal, selects
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client

LABELS_POLICY = "bulkhead-vpn-labels"
OUR_LABELS = (_names.CLIENT_LABEL, _names.GATEWAY_LABEL, _names.ROLE_LABEL)
PREFIX = "bulkhead-vpn-workload."
RESOURCES = {"StatefulSet": "statefulsets", "Deployment": "deployments"}
# Of the same name; a chart may make another kind of what was a client.
_KINDS = ("daemonsets", "deployments", "statefulsets")
_Object = dict[str, Any]


def workload_admission(
    client: Client, selector: Mapping[str, Any], accepted: Sequence[_admission.GuardMark]
) -> list[_Object]:
    """Policy and binding: no workload of the client's name makes pods that its policy and admission do not know.

    What leaves the pod template alone (scaling, status, annotations) is not judged. One with ``replicas: 0`` may come
    without a guard, so that a workload that was deleted can be made again and attached before it has a pod; its pods
    are judged by ``client_admission``.
    """
    kind = RESOURCES[client.kind]
    kept = (
        "apply or patch it, which keep what attaching put there; make it again with replicas: 0 and run site.yml; or "
    )
    remedy = f"{kept}detach it first (state: absent)."
    judged = [
        *_admission.guard_validations(f"{client.object}, a VPN client,", accepted, remedy),
        (
            f"variables.labels[?{literal(_names.CLIENT_LABEL)}].orValue('') == {literal(client.id)}",
            f"Pods of {client.object} have to have the label {_names.CLIENT_LABEL}: {client.id}: {remedy}",
        ),
        *_dangerous.validations(client.object),
    ]
    validations = [
        (
            selects(selector, "variables.labels"),
            f"{client.object} is a VPN client and its policy does not select pods with these labels: keep the labels of "
            "its selector, or detach it first (state: absent).",
        ),
        *((f"variables.none || ({one[0]})", *one[1:]) for one in judged),
    ]
    changed = f"request.resource.resource == {literal(kind)} && object.spec.template != oldObject.spec.template"
    rule = {
        **_admission.resources("apps", _KINDS, ["CREATE", "UPDATE"]),
        "resourceNames": [client.name],
    }
    return _admission.policy_and_binding(
        f"{PREFIX}{client.id}",
        {_names.CLIENT_LABEL: client.id},
        _admission.in_namespace(client.namespace, [rule]),
        validations,
        {
            **_admission.guard_variables("object.spec.template"),
            "none": "dyn(object).spec.?replicas.orValue(1) == 0",
        },
        {"new-or-another-template": f"request.operation == 'CREATE' || ({changed})"},
    )


def is_for_workload(one: Mapping[str, Any]) -> bool:
    """Whether this policy or binding is one of ``workload_admission``."""
    return str(one["metadata"]["name"]).startswith(PREFIX)


def refused(message: str, client: Client) -> bool:
    """Whether the API server says with this that this client's rule for the workload refused it."""
    return f"'{PREFIX}{client.id}'" in message


def labels_admission() -> list[_Object]:
    """Policy and binding: what the collection labels a pod with stays as it is for the life of the pod.

    A client's pod without its label is told no gateway and seen by no check; a gateway's pod without its labels has no
    policy, and another pod with them would get the clients' packets.
    """
    ours = literal(list(OUR_LABELS))
    variables = {
        "before": "oldObject.metadata.?labels.orValue({})",
        "after": "object.metadata.?labels.orValue({})",
    }
    before, after = "variables.before", "variables.after"
    same = f"(k in {before}) == (k in {after}) && (!(k in {before}) || {before}[k] == {after}[k])"
    message = f"A pod keeps its labels {', '.join(OUR_LABELS)}: delete the pod instead."
    concerned = (
        f"{ours}.exists(k, k in object.metadata.?labels.orValue({{}}) || k in oldObject.metadata.?labels.orValue({{}}))"
    )
    return _admission.policy_and_binding(
        LABELS_POLICY,
        {},
        {"resourceRules": [_admission.resources("", ["pods"], ["UPDATE"])]},
        [(f"{ours}.all(k, {same})", message)],
        variables,
        {"concerns-labels": concerned},
    )
