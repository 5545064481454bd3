# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What ``vpn_client`` reads before it plans: one LIST for each kind, cluster-wide where orphans may be anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _agent_files,
    _controller,
    _flow,
    _gateway,
    _names,
    _registry,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import METADATA_ONLY, Request

_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_IN_NAMESPACE = {
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
    "Pod": "/api/v1/namespaces/{}/pods",
}


def requests(clients: Sequence[Client], gateways: Sequence[Gateway], agent: str) -> dict[tuple[str, str, str], Request]:
    """Requests by (kind, namespace, name); the name is empty for a LIST."""
    ours = {"labelSelector": _names.GATEWAY_LABEL}
    protection = {"labelSelector": _names.CLIENT_LABEL}
    asked = {
        ("StatefulSet", "", ""): Request("/apis/apps/v1/statefulsets", "list statefulsets"),
        ("Deployment", "", ""): Request("/apis/apps/v1/deployments", "list deployments"),
        ("NetworkPolicy", "", ""): Request(
            "/apis/networking.k8s.io/v1/networkpolicies", "list networkpolicies", query=ours
        ),
        ("ConfigMap", "", ""): Request(
            "/api/v1/configmaps",
            "list configmaps",
            query={"labelSelector": ",".join(f"{key}={value}" for key, value in _registry.LABELS.items())},
        ),
    }
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        plural = "validatingadmissionpolicies" if kind.endswith("Policy") else "validatingadmissionpolicybindings"
        asked[kind, "", ""] = Request(f"{_ADMISSION}/{plural}", f"list {plural}", query=protection)
    for namespace in sorted({one.namespace for one in clients}):
        for kind, path in _IN_NAMESPACE.items():
            asked[kind, namespace, ""] = Request(path.format(namespace), f"list {kind.lower()}s in {namespace}")
        labels = {"labelSelector": ",".join(f"{key}={value}" for key, value in _controller.LABELS.items())}
        for kind in ("Role", "RoleBinding"):
            path = f"{_RBAC}/namespaces/{namespace}/{kind.lower()}s"
            asked[kind, namespace, ""] = Request(path, f"list {kind.lower()}s in {namespace}", query=labels)
    for namespace in sorted({one.namespace for one in clients if one.state == "absent"}):
        asked["ConfigMap", namespace, ""] = Request(
            f"/api/v1/namespaces/{namespace}/configmaps", f"list configmaps in {namespace}", accept=METADATA_ONLY
        )
    named = {(one.namespace, _agent_files.config_map_name(agent)) for one in clients if one.state == "present"} | {
        (one.namespace, _gateway.resolver_name(one)) for one in gateways
    }
    for namespace, name in sorted(named):
        path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
        asked["ConfigMap", namespace, name] = Request(path, f"get configmaps {name} in {namespace}")
    for namespace in sorted({rule.namespace for one in clients for rule in one.egress}):
        path = f"/api/v1/namespaces/{namespace}/services"
        asked["Service", namespace, ""] = Request(path, f"list services in {namespace}")
    return asked


def read(
    client: _client.Caller, target: Target, clients: Sequence[Client], gateways: Sequence[Gateway], agent: str
) -> _flow.Held:
    """Everything at once; the objects get the kind that lists leave out."""
    asked = requests(clients, gateways, agent)
    names = {key: "/".join(key) for key in asked}
    answers = _client.read_all(client, {names[key]: request for key, request in asked.items()})
    objects = []
    # Lists first: they may hold only the metadata of an object that was also asked for by name.
    for key in sorted(asked, key=lambda one: one[2]):
        answer = answers[names[key]]
        if key[2] and answer.status == 404:
            continue
        body = _client.demand(answer, asked[key], target)
        found: Iterable[dict[str, object]] = [dict(body)] if key[2] else body.get("items") or []
        objects += [{**one, "kind": key[0]} for one in found]
    return _flow.Held(objects)
