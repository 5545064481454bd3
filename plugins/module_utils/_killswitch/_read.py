# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What ``killswitch_check`` reads from the API server; a part that cannot be read is missing, the rest still counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _flow,
    _names,
    _policy,
    _policy_foreign,
    _registry,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request

_NETWORK_POLICIES = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"


class Seen:
    """Objects that were read, and why others were not. ``why`` has kind and namespace -> reason."""

    def __init__(self, objects: Sequence[Mapping[str, Any]], why: Mapping[tuple[str, str], str]) -> None:
        self.held = _flow.Held(objects)
        self.why = dict(why)

    def missing(self, kind: str, namespace: str = "") -> Missing | None:
        """Why objects of this kind were not read; None if they were."""
        reason = self.why.get((kind, namespace))
        return None if reason is None else Missing(reason)


def requests(clients: Sequence[Client], gateways: Sequence[Gateway]) -> dict[tuple[str, str], Request]:
    """One LIST for each kind and namespace, by kind and namespace."""
    homes = {one.namespace for one in clients}
    asked = {
        ("Node", ""): Request("/api/v1/nodes", "list nodes"),
        # Clients that this run was not asked about are behind the same gateways.
        ("Pod", ""): Request("/api/v1/pods", "list pods", query={"labelSelector": _names.CLIENT_LABEL}),
        # What is attached and not in the inventory may be anywhere.
        ("StatefulSet", ""): Request("/apis/apps/v1/statefulsets", "list statefulsets"),
        ("Deployment", ""): Request("/apis/apps/v1/deployments", "list deployments"),
    }
    for namespace in sorted(homes | {one.namespace for one in gateways}):
        asked["Pod", namespace] = _workload.pods_request(namespace)
        path = _NETWORK_POLICIES.format(namespace)
        asked["NetworkPolicy", namespace] = Request(path, f"list networkpolicies in {namespace}")
        path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets"
        asked["StatefulSet", namespace] = Request(path, f"list statefulsets in {namespace}")
    for namespace in sorted(homes):
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        asked["Deployment", namespace] = Request(path, f"list deployments in {namespace}")
        asked["ReplicaSet", namespace] = _workload.replica_sets_request(namespace)
    for namespace in sorted({rule.namespace for one in clients for rule in one.egress}):
        path = f"/api/v1/namespaces/{namespace}/services"
        asked["Service", namespace] = Request(path, f"list services in {namespace}")
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        asked["EndpointSlice", namespace] = Request(path, f"list endpointslices in {namespace}")
        if ("Pod", namespace) not in asked:
            asked["Pod", namespace] = _workload.pods_request(namespace)
    labels = ",".join(f"{key}={value}" for key, value in _registry.LABELS.items())
    for namespace in sorted({one.namespace for one in gateways}):
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        query = {"labelSelector": labels}
        asked["ConfigMap", namespace] = Request(path, f"list configmaps in {namespace}", query=query)
    return asked


_GROUPS = Request("/apis", "list API groups")


def foreign_requests(groups: Mapping[str, Any], namespaces: Iterable[str]) -> dict[tuple[str, str, str], Request]:
    """LISTs of policies of other kinds by kind, namespace and version, from what the API server says it has.

    Every version is asked: one kind may be in the newest version of its group, and another only in an older one.
    """
    versions = {
        one["name"]: sorted({each["groupVersion"] for each in one["versions"]}) for one in groups.get("groups") or []
    }
    asked = {}
    for kind in _policy_foreign.KINDS:
        for group in kind.groups:
            for version in versions.get(group, ()):
                for namespace in sorted(set(namespaces)) if kind.spaced else [""]:
                    room = f"namespaces/{namespace}/" if kind.spaced else ""
                    where = f"/apis/{version}/{room}{kind.plural}"
                    asked[kind.name, namespace, version] = Request(where, f"list {kind.plural} of {version}")
    return asked


def read(client: _client.Caller, clients: Sequence[Client], gateways: Sequence[Gateway]) -> Seen:
    """Everything at once. No connection is a KubeError; a refused request is only a missing part."""
    asked: dict[tuple[str, ...], Request] = {**requests(clients, gateways)}
    why: dict[tuple[str, str], str] = {}
    groups = client.call(_GROUPS)
    try:
        asked |= foreign_requests(groups.body, {one.namespace for one in (*clients, *gateways)}) if groups.ok else {}
    except (KeyError, TypeError):
        groups = Answer(500, {"message": "the list has an unexpected form"})
    if not groups.ok or not isinstance(groups.body.get("groups"), list):
        why["APIGroupList", ""] = f"not able to {_GROUPS.what} (status {groups.status}: {groups.message})"
    names = {key: "/".join(key) for key in asked}
    answers = _client.read_all(client, {names[key]: request for key, request in asked.items()})
    objects: list[dict[str, Any]] = []
    for key, request in asked.items():
        answer = answers[names[key]]
        if answer.status == 404 and key[0] in _policy_foreign.NAMES:
            continue  # the version is there, this kind of it is not
        if not answer.ok or not isinstance(answer.body.get("items"), list):
            why[key[0], key[1]] = f"not able to {request.what} (status {answer.status}: {answer.message})"
            continue
        objects += [{**one, "kind": key[0]} for one in answer.body["items"]]
    return Seen(objects, why)


def pods_of(client: Client, seen: Seen) -> list[dict[str, Any]] | Missing:
    """The live pods of a client, also those of an older template."""
    for kind in (client.kind, "Pod", *(["ReplicaSet"] if client.kind == "Deployment" else [])):
        reason = seen.missing(kind, client.namespace)
        if reason:
            return reason
    workload = seen.held.get(client.kind, client.namespace, client.name)
    if workload is None:
        return Missing(f"there is no {client.object}")
    replica_sets = seen.held.all("ReplicaSet", namespace=client.namespace)
    pods = _workload.own_pods(workload, seen.held.all("Pod", namespace=client.namespace), replica_sets)
    return [dict(one) for one in pods if (one.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]


def gateway_pods(gateway: Gateway, seen: Seen) -> tuple[dict[str, Any], ...] | Missing:
    """All pods that carry the gateway's labels."""
    reason = seen.missing("Pod", gateway.namespace)
    if reason:
        return reason
    labels = _names.gateway_pod_labels(gateway.name)
    return tuple(
        one
        for one in seen.held.all("Pod", namespace=gateway.namespace)
        if labels.items() <= (one["metadata"].get("labels") or {}).items()
    )


def own_gateway_pods(gateway: Gateway, seen: Seen) -> list[Mapping[str, Any]] | Missing:
    """The pods that the gateway's StatefulSet made; a stranger may carry the gateway's labels as well."""
    reason = seen.missing("StatefulSet", gateway.namespace) or seen.missing("Pod", gateway.namespace)
    if reason:
        return reason
    workload = seen.held.get("StatefulSet", gateway.namespace, gateway.name)
    return _workload.own_pods(workload, seen.held.all("Pod", namespace=gateway.namespace)) if workload else []


def registry_of(gateway: Gateway, seen: Seen) -> Mapping[str, Any] | Missing:
    """The gateway's part of the registry: numbers and clients."""
    reason = seen.missing("ConfigMap", gateway.namespace)
    if reason:
        return reason
    registry, problems = _registry.parse(
        seen.held.get("ConfigMap", gateway.namespace, _registry.NAME), gateway.namespace
    )
    if problems:
        return Missing(str(problems[0]))
    if gateway.name not in registry["gateways"]:
        return Missing(f"{gateway.object} is not in the registry of its namespace")
    return registry["gateways"][gateway.name]


def policy_of(kind: str, one: Client | Gateway, seen: Seen) -> dict[str, Any] | None | Missing:
    """The live policy of a client or gateway; None if there is none."""
    name = _policy.client_policy_name(one) if isinstance(one, Client) else _policy.gateway_policy_name(one)
    return seen.missing(kind, one.namespace) or seen.held.get(kind, one.namespace, name)
