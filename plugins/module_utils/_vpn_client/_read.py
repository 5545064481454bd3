# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What ``vpn_client`` reads before it plans: one LIST for each kind, cluster-wide where orphans may be anywhere.

Few runs need more: where a workload is attached that no client names, its namespace is looked at for pods that were left
behind; where a client is to be stopped for good, what would scale it up again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _agent_files,
    _controller,
    _detach,
    _flow,
    _gateway,
    _names,
    _registry,
    _scalers,
    _selector,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import METADATA_ONLY, Answer, Request

_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_AUTOSCALING = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers"
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
        # Wherever they are: those that no workload owns are in no namespace that a list names for sure.
        ("Pod", "", ""): Request("/api/v1/pods", "list pods of VPN clients", query=protection),
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
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        asked["EndpointSlice", namespace, ""] = Request(path, f"list endpointslices in {namespace}")
        # An endpoint is one of a pod or it leads elsewhere.
        path = _IN_NAMESPACE["Pod"].format(namespace)
        asked["Pod", namespace, ""] = Request(path, f"list pods in {namespace}")
    return asked


def read(
    client: _client.Caller, target: Target, clients: Sequence[Client], gateways: Sequence[Gateway], agent: str
) -> _flow.Held:
    """Everything at once; the objects get the kind that lists leave out."""
    asked = requests(clients, gateways, agent)
    objects = _objects(client, target, asked)
    held = _flow.Held(objects)
    more = _around_others(held, {one.namespace for one in clients})
    if more:
        objects += _objects(client, target, more)
        held = _flow.Held(objects)
    found, unread = _scaling(client, _stopping(clients, held))
    return _flow.Held([*objects, *found], unread) if found or unread else held


def _objects(
    client: _client.Caller, target: Target, asked: Mapping[tuple[str, str, str], Request]
) -> list[dict[str, Any]]:
    names = {key: "/".join(key) for key in asked}
    answers = _client.read_all(client, {names[key]: request for key, request in asked.items()})
    objects: list[dict[str, Any]] = []
    # Lists first: they may hold only the metadata of an object that was also asked for by name.
    for key in sorted(asked, key=lambda one: one[2]):
        answer = answers[names[key]]
        if key[2] and answer.status == 404:
            continue
        body = _client.demand(answer, asked[key], target)
        found: Iterable[dict[str, object]] = [dict(body)] if key[2] else body.get("items") or []
        objects += [{**one, "kind": key[0]} for one in found]
    return objects


def _around_others(held: _flow.Held, read_already: set[str]) -> dict[tuple[str, str, str], Request]:
    """Pods and ReplicaSets where workloads are attached, or pods are labelled, that no client of the list names."""
    labelled = [
        one for one in held.all("StatefulSet", "Deployment") if _names.CLIENT_LABEL in _selector.pod_labels(one)
    ]
    homes = {one["metadata"]["namespace"] for one in (*labelled, *held.all("Pod"))} - read_already
    return {
        (kind, namespace, ""): Request(_IN_NAMESPACE[kind].format(namespace), f"list {kind.lower()}s in {namespace}")
        for namespace in sorted(homes)
        for kind in ("Pod", "ReplicaSet")
    }


def _stopping(clients: Sequence[Client], held: _flow.Held) -> list[str]:
    """Namespaces of clients that are to be stopped and to lose their protection."""
    going = [one for one in clients if one.state == "absent" and one.detach_to == "stopped"]
    return sorted({one.namespace for one in going if _detach.is_behind(one, held)})


def _scaling(
    client: _client.Caller, namespaces: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[tuple[str, str], str]]:
    """What scales workloads in these namespaces, and why that could not be read, by kind and namespace."""
    if not namespaces:
        return [], {}
    asked = {
        (_scalers.HPA, one): Request(_AUTOSCALING.format(one), f"list horizontalpodautoscalers in {one}")
        for one in namespaces
    }
    unread: dict[tuple[str, str], str] = {}
    group = Request(f"/apis/{_scalers.KEDA}", f"look for {_scalers.KEDA}")
    answer = client.call(group)
    version = (answer.body.get("preferredVersion") or {}).get("groupVersion")
    for namespace in namespaces:
        if answer.ok and version:
            path = f"/apis/{version}/namespaces/{namespace}/scaledobjects"
            asked[_scalers.SCALED_OBJECT, namespace] = Request(path, f"list scaledobjects in {namespace}")
        elif answer.status != 404:
            unread[_scalers.SCALED_OBJECT, namespace] = _refusal(group, answer)
    names = {key: "/".join(key) for key in asked}
    answers = _client.read_all(client, {names[key]: request for key, request in asked.items()})
    objects: list[dict[str, Any]] = []
    for key, request in asked.items():
        answer = answers[names[key]]
        if answer.ok and isinstance(answer.body.get("items"), list):
            objects += [{**one, "kind": key[0]} for one in answer.body["items"]]
        else:
            unread[key] = _refusal(request, answer)
    return objects, unread


def _refusal(request: Request, answer: Answer) -> str:
    return f"not able to {request.what} (status {answer.status}: {answer.message})"
