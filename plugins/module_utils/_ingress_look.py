# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Read once what of ingress is on a cluster; what may not be read is an error, never empty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils import _tailnet_look
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._addons import owner
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import annotations_of, labels_of
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _judge_announcement, _level, _model
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._status import OWNER_LABEL
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _applyset, _client, _discovery, _managed
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import METADATA_ONLY, Answer, Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import wait_until

Wait = Callable[..., "tuple[bool, object]"]
_Object = Mapping[str, Any]
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_METALLB = "metallb.io"
# Made in every namespace by Kubernetes and Istio, or gone with what they belong to.
_AUTOMATIC = {
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "istio-ca-root-cert"),
    ("ConfigMap", "istio-ca-crl"),
    ("ServiceAccount", "default"),
}
_PASSING = ("Event", "Endpoints", "EndpointSlice", "PodMetrics")
_SETS = {_applyset.ObjectSet(name, _model.HOME).id: name for name in _model.SETS}
# The set of the role namespaces, which takes back what labels the inventory does not say any more.
_LABELLED = _applyset.ObjectSet("bulkhead-namespaces", _model.HOME)
_OURS = {"labelSelector": f"{_applyset.PART_OF}={_applyset.ObjectSet(_model.INGRESS_SET, _model.HOME).id}"}
# A user who may not read it is told less, and not refused.
_OPTIONAL = ("proxy",)
_MANAGERS = ("addonmanager.kubernetes.io/mode", "olm.managed", "argocd.argoproj.io/instance")


def requests(secrets: Sequence[str]) -> dict[str, Request]:
    """One LIST for each kind, and of the Secrets only whether they exist."""
    crds = "customresourcedefinitions.apiextensions.k8s.io"
    asked = {
        "crds": Request(
            f"/apis/apiextensions.k8s.io/v1/{crds.partition('.')[0]}", f"list {crds}", accept=METADATA_ONLY
        ),
        "policy": Request(
            f"{_ADMISSION}/validatingadmissionpolicybindings/{_level.POLICY}",
            f"get validatingadmissionpolicybindings.admissionregistration.k8s.io {_level.POLICY}",
        ),
        "classes": Request(f"/apis/{_level.GROUP}/v1/gatewayclasses", f"list gatewayclasses.{_level.GROUP}"),
        "gateways": Request(
            f"/apis/{_level.GROUP}/v1/gateways", f"list gateways.{_level.GROUP}", query=_OURS, accept=METADATA_ONLY
        ),
        "deployments": Request("/apis/apps/v1/deployments", "list deployments.apps", accept=METADATA_ONLY),
        "pools": Request(f"/apis/{_METALLB}/v1beta1/ipaddresspools", f"list ipaddresspools.{_METALLB}"),
        "nodes": Request("/api/v1/nodes", "list nodes"),
        "proxy": Request(
            "/api/v1/namespaces/kube-system/configmaps/kube-proxy", "get configmaps kube-proxy in kube-system"
        ),
        "services": Request("/api/v1/services", "list services"),
        "namespaces": Request("/api/v1/namespaces", "list namespaces", accept=METADATA_ONLY),
        "sets": Request(
            f"/api/v1/namespaces/{_model.HOME}/configmaps",
            f"list configmaps in {_model.HOME}",
            query={"labelSelector": f"{_applyset.ID} in ({', '.join(_SETS)})"},
            accept=METADATA_ONLY,
        ),
    }
    for place in dict.fromkeys(secrets):
        namespace, dummy, name = place.partition("/")
        asked[f"secret:{place}"] = Request(
            f"/api/v1/namespaces/{namespace}/secrets/{name}",
            f"get secrets {name} in {namespace}",
            accept=METADATA_ONLY.replace("PartialObjectMetadataList", "PartialObjectMetadata"),
        )
    return asked


def look(
    client: _client.Caller,
    target: Target,
    *,
    secrets: Sequence[str] = (),
    services: Sequence[str] = (),
    contents: Sequence[str] = (),
    kinds: bool = False,
) -> dict[str, Any]:
    """What the module ``ingress_info`` returns as ``ingress``."""
    asked = requests(secrets)
    answers = _client.read_all(client, asked)
    held: dict[str, list[Any]] = {}
    for name, request in asked.items():
        # A kind that is not served has no objects; a namespace that does not exist has no Secret.
        there = answers[name].status != 404 and (name not in _OPTIONAL or answers[name].ok)
        body: Mapping[str, Any] = _client.demand(answers[name], request, target) if there else {}
        held[name] = list(body.get("items") or []) if request.what.startswith("list ") else ([body] if there else [])
    gateways = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in held["gateways"]}
    return {
        "server": target.server,
        "gateway_api": _gateway_api(client, target, held, kinds),
        "metallb": _metallb(held),
        "tailnet": _tailnet_look.look(client, target, held["crds"]),
        "exposed": _tailnet_look.exposed(held["services"], gateways),
        "nodes": [_node(one) for one in held["nodes"]],
        "proxy": str((held["proxy"][0].get("data") or {}).get("config.conf") or "") if held["proxy"] else None,
        "load_balancers": [
            _load_balancer(one) for one in held["services"] if one["spec"].get("type") == "LoadBalancer"
        ],
        "namespaces": {
            one["metadata"]["name"]: {
                "labels": dict(labels_of(one)),
                "ours": bool(set_of(one)),
                "set": set_of(one),
                "given": _managed.own_labels(one, _LABELLED.manager),
            }
            for one in held["namespaces"]
        },
        "secrets": {place: bool(held[f"secret:{place}"]) for place in secrets},
        "secret_versions": {place: _version(held[f"secret:{place}"]) for place in secrets},
        "services": {place: _ports(place, held["services"]) for place in services},
        "sets": sorted(one["metadata"]["name"] for one in held["sets"]),
        "contents": contents_of(client, target, contents),
    }


def settled(
    client: _client.Caller,
    target: Target,
    namespaces: Sequence[str],
    timeout: float,
    sleep: float,
    wait: Wait = wait_until,
) -> dict[str, dict[str, list[str]]]:
    """Contents of these namespaces once nothing in them is about to go, or after ``timeout`` seconds."""

    def look_again() -> tuple[bool, object]:
        contents = contents_of(client, target, namespaces)
        return not any(one["owned"] for one in contents.values()), contents

    contents: Any = wait(look_again, timeout=timeout, sleep=sleep)[1]
    return contents


def _version(secret: Sequence[_Object]) -> str:
    """What changes whenever a Secret does; empty for one that does not exist."""
    return str(secret[0]["metadata"]["resourceVersion"]) if secret else ""


def set_of(one: _Object) -> str:
    """Which of our sets an object belongs to; empty for none of them."""
    return _SETS.get(labels_of(one).get(_applyset.PART_OF, ""), "")


def _gateway_api(client: _client.Caller, target: Target, held: Mapping[str, Any], kinds: bool) -> dict[str, Any]:
    definitions = {
        one["metadata"]["name"]: {
            "version": annotations_of(one).get(_level.VERSION),
            "channel": annotations_of(one).get(_level.CHANNEL),
            "ours": set_of(one) == _model.GATEWAY_API_SET,
            "owner": _keeper(one),
        }
        for one in held["crds"]
        if one["metadata"]["name"].endswith(tuple(f".{group}" for group in _level.GROUPS))
    }
    accepted = {}
    for one in held["classes"]:
        conditions = (one.get("status") or {}).get("conditions") or []
        accepted[one["metadata"]["name"]] = any(c["type"] == "Accepted" and c["status"] == "True" for c in conditions)
    return {
        "definitions": definitions,
        "policy": bool(held["policy"]),
        "classes": accepted,
        "objects": _users(client, target, definitions) if kinds else [],
    }


def _keeper(one: _Object) -> str:
    """Who would set a definition back if we changed it; empty for nobody, such as ``kubectl apply``."""
    found = owner(one)
    if found != "unknown":
        return found
    return next((label for label in _MANAGERS if label in labels_of(one)), "")


def _users(client: _client.Caller, target: Target, definitions: Iterable[str]) -> list[str]:
    """Objects of the Gateway API's kinds, which would go with the definitions."""
    wanted = set(definitions)
    resources = [one for one in _resources(client, target) if one.full_name in wanted]
    asked = {one: Request(one.path(), f"list {one.full_name}", accept=METADATA_ONLY) for one in resources}
    found = []
    for resource, answer in _client.read_all(client, asked).items():
        for item in _client.demand(answer, asked[resource], target).get("items") or []:
            place = "/".join(filter(None, [item["metadata"].get("namespace"), item["metadata"]["name"]]))
            found.append(f"{resource.kind} {place}")
    return sorted(found)


def _resources(client: _client.Caller, target: Target) -> list[_discovery.Resource]:
    kinds = _discovery.kinds(_client.read_all(client, _discovery.requests()), target.server)
    return kinds.every()


def _metallb(held: Mapping[str, Any]) -> dict[str, Any]:
    crds = {one["metadata"]["name"] for one in held["crds"]}
    controllers = [
        {"namespace": one["metadata"]["namespace"], "name": one["metadata"]["name"], "owner": owner(one)}
        for one in held["deployments"]
        if "metallb" in (labels_of(one).get("app.kubernetes.io/name"), labels_of(one).get("app"))
        and "webhook" not in one["metadata"]["name"]
    ]
    return {
        "crds": f"ipaddresspools.{_METALLB}" in crds,
        "states": f"configurationstates.{_METALLB}" in crds,
        "controllers": controllers,
        "pools": [
            {
                "namespace": one["metadata"]["namespace"],
                "name": one["metadata"]["name"],
                "addresses": list(one["spec"].get("addresses") or []),
                "auto_assign": one["spec"].get("autoAssign", True),
                "ours": set_of(one) == _model.POOLS_SET,
            }
            for one in held["pools"]
        ],
    }


def _node(node: _Object) -> dict[str, Any]:
    addresses = (node.get("status") or {}).get("addresses") or []
    return {
        "name": node["metadata"]["name"],
        "addresses": [one["address"] for one in addresses if one["type"] in ("InternalIP", "ExternalIP")],
        "excluded": _judge_announcement.EXCLUDED in labels_of(node),
    }


def _load_balancer(service: _Object) -> dict[str, Any]:
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return {
        "namespace": service["metadata"]["namespace"],
        "name": service["metadata"]["name"],
        "addresses": [one["ip"] for one in ingress if one.get("ip")],
        "gateway": labels_of(service).get(OWNER_LABEL, ""),
    }


def _ports(place: str, services: Iterable[_Object]) -> list[int] | None:
    for one in services:
        if f"{one['metadata']['namespace']}/{one['metadata']['name']}" == place:
            return [port["port"] for port in one["spec"].get("ports") or []]
    return None


def contents_of(client: _client.Caller, target: Target, namespaces: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """What is in these namespaces: ``owned`` goes by itself with its owner, ``foreign`` stays until somebody acts."""
    if not namespaces:
        return {}
    resources = [
        one for one in _resources(client, target) if one.namespaced and one.writable and one.kind not in _PASSING
    ]
    asked = {
        (namespace, one): Request(one.path(namespace), f"list {one.full_name} in {namespace}", accept=METADATA_ONLY)
        for namespace in namespaces
        for one in resources
    }
    found: dict[str, dict[str, list[str]]] = {name: {"owned": [], "foreign": []} for name in namespaces}
    answers: Mapping[Any, Answer] = _client.read_all(client, asked)
    for (namespace, resource), answer in answers.items():
        for item in _client.demand(answer, asked[namespace, resource], target).get("items") or []:
            metadata = item["metadata"]
            if (resource.kind, metadata["name"]) in _AUTOMATIC:
                continue
            leaving = metadata.get("ownerReferences") or metadata.get("deletionTimestamp") or set_of(item)
            found[namespace]["owned" if leaving else "foreign"].append(f"{resource.kind} {metadata['name']}")
    return {name: {key: sorted(value) for key, value in one.items()} for name, one in found.items()}
