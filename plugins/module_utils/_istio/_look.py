# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Read once what of Istio is on a cluster and what lies in its way; what may not be read is an error, never empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._addons import owner
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import (
    annotations_of,
    images_of,
    labels_of,
    tag_of,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _ready
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import METADATA_ONLY, Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh import _charts, _enrolment, _leftovers, _version

_CRDS = "customresourcedefinitions.apiextensions.k8s.io"
_GATEWAY_API = "/apis/gateway.networking.k8s.io/v1"
_WAYPOINT = "istio.io/use-waypoint"
_Object = Mapping[str, Any]


def requests() -> dict[str, Request]:
    """One LIST for each kind; of Helm's Secrets only the metadata of our own releases."""
    names = ",".join(_charts.RELEASES.values())
    return {
        "deployments": Request(
            "/apis/apps/v1/deployments", "list deployments.apps", query={"labelSelector": "app=istiod"}
        ),
        "daemonsets": Request("/apis/apps/v1/daemonsets", "list daemonsets.apps"),
        "namespaces": Request("/api/v1/namespaces", "list namespaces", accept=METADATA_ONLY),
        "crds": Request(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", f"list {_CRDS}", accept=METADATA_ONLY
        ),
        "releases": Request(
            "/api/v1/secrets",
            "list secrets",
            query={"labelSelector": f"owner=helm,name in ({names})"},
            accept=METADATA_ONLY,
        ),
        "gateways": Request(f"{_GATEWAY_API}/gateways", "list gateways.gateway.networking.k8s.io"),
        "service_entries": Request(
            "/apis/networking.istio.io/v1/serviceentries", "list serviceentries.networking.istio.io"
        ),
        "sail": Request("/apis/sailoperator.io/v1/istios", "list istios.sailoperator.io", accept=METADATA_ONLY),
    }


def look(client: _client.Caller, target: Target, namespace: str) -> dict[str, Any]:
    """What the module ``istio_info`` returns as ``istio``; ``namespace`` is Istio's."""
    asked = requests()
    answers = _client.read_all(client, asked)
    held: dict[str, list[dict[str, Any]]] = {}
    for name, request in asked.items():
        # A kind that is not served has no objects.
        missing = answers[name].status == 404
        held[name] = [] if missing else list(_client.demand(answers[name], request, target).get("items") or [])
    namespaces = {one["metadata"]["name"]: one for one in held["namespaces"]}
    return {
        "namespace": _namespace(namespace, namespaces.get(namespace)),
        "parts": {
            "istiod": [_part("Deployment", one) for one in held["deployments"]],
            "cni": [_part("DaemonSet", one) for one in held["daemonsets"] if is_cni(one)],
            "ztunnel": [_part("DaemonSet", one) for one in held["daemonsets"] if is_ztunnel(one)],
        },
        "releases": _releases(held["releases"]),
        "crds": [
            {"name": one["metadata"]["name"], "owner": owner(one)}
            for one in held["crds"]
            if one["metadata"]["name"].endswith(".istio.io")
        ],
        "sail": sorted(one["metadata"]["name"] for one in held["sail"]),
        "network": _network(client, target, held["daemonsets"]),
        "enrolled_namespaces": sorted(
            name for name, one in namespaces.items() if labels_of(one).get(_enrolment.MODE) == "ambient"
        ),
        "injected_namespaces": {
            name: label
            for name, one in sorted(namespaces.items())
            for label in [_enrolment.injected_by(labels_of(one))]
            if label
        },
        "gateways": [_gateway(one) for one in held["gateways"] if _class(one) in _leftovers.CLASSES],
        "service_entries": [service_entry(one, namespaces) for one in held["service_entries"]],
    }


def _namespace(name: str, live: _Object | None) -> dict[str, Any]:
    return {
        "name": name,
        "exists": live is not None,
        "pod_security": None if live is None else labels_of(live).get(_leftovers.LEVEL),
    }


def _part(kind: str, one: _Object) -> dict[str, Any]:
    ready, evidence = judge(kind, one)
    labels = labels_of(one)
    spellings = [tag_of(image) for image in images_of(one)[:1]]
    spellings += [labels.get("app.kubernetes.io/version"), labels.get("helm.sh/chart", "").rpartition("-")[2]]
    written = [text for text in spellings if text]
    return {
        "namespace": one["metadata"]["namespace"],
        "name": one["metadata"]["name"],
        "owner": owner(one),
        "revision": labels.get("istio.io/rev") or annotations_of(one).get("istio.io/rev", ""),
        "version": next((text for text in written if _version.parse(text)), written[0] if written else "unknown"),
        "ready": ready,
        "evidence": evidence,
    }


def judge(kind: str, one: _Object) -> tuple[bool, str]:
    """Readiness of a Deployment or DaemonSet; agents that no node is to run do not make a mesh."""
    ready, evidence = _ready.ready("apps", kind, one)
    if ready and kind == "DaemonSet" and not (one.get("status") or {}).get("desiredNumberScheduled"):
        return False, "no node is to run it"
    return ready, evidence


def is_cni(one: _Object) -> bool:
    """Whether a DaemonSet is the agent that puts pods into the mesh."""
    return labels_of(one).get("k8s-app") == "istio-cni-node"


def is_ztunnel(one: _Object) -> bool:
    """Whether a DaemonSet is the mesh's proxy on the nodes."""
    return one["metadata"]["name"] == "ztunnel" or labels_of(one).get("app.kubernetes.io/name") == "ztunnel"


def _releases(secrets: Sequence[_Object]) -> list[dict[str, str]]:
    """The newest revision of each release."""
    newest: dict[tuple[str, str], tuple[int, dict[str, str]]] = {}
    for one in secrets:
        labels, namespace = labels_of(one), one["metadata"]["namespace"]
        revision = int(labels.get("version", "0"))
        if revision >= newest.get((namespace, labels["name"]), (0, {}))[0]:
            release = {"namespace": namespace, "name": labels["name"], "status": labels.get("status", "unknown")}
            newest[namespace, labels["name"]] = (revision, release)
    return [release for key, (dummy, release) in sorted(newest.items())]


def _network(client: _client.Caller, target: Target, daemonsets: Sequence[_Object]) -> dict[str, Any]:
    """Settings of the pod network that ambient mode depends on; None for a provider that is not there."""
    found: dict[str, Any] = {"cilium": None, "aws": None}
    for one in daemonsets:
        name, namespace = one["metadata"]["name"], one["metadata"]["namespace"]
        if name in ("cilium", "anetd"):
            where = f"/api/v1/namespaces/{namespace}/configmaps/cilium-config"
            request = Request(where, f"get configmaps cilium-config in {namespace}")
            answer = client.call(request)
            settings = {} if answer.status == 404 else _client.demand(answer, request, target).get("data") or {}
            found["cilium"] = {"namespace": namespace, "settings": dict(settings)}
        if name == "aws-node":
            pod = one["spec"]["template"]["spec"]
            variables = {
                entry["name"]: entry.get("value", "")
                for container in [*(pod.get("initContainers") or []), *pod["containers"]]
                for entry in container.get("env") or []
            }
            found["aws"] = {
                "namespace": namespace,
                "enforcing_mode": variables.get("POD_SECURITY_GROUP_ENFORCING_MODE", "strict"),
                "pod_security_groups": variables.get("ENABLE_POD_ENI") == "true",
            }
    return found


def _class(one: _Object) -> str:
    return str((one.get("spec") or {}).get("gatewayClassName", ""))


def _gateway(one: _Object) -> dict[str, str]:
    return {"namespace": one["metadata"]["namespace"], "name": one["metadata"]["name"], "class": _class(one)}


def service_entry(one: _Object, namespaces: Mapping[str, _Object]) -> dict[str, Any]:
    """``waypoint`` is the one its traffic takes: its own label, else that of its namespace; empty for none."""
    spec, home = one.get("spec") or {}, one["metadata"]["namespace"]
    above = labels_of(namespaces[home]).get(_WAYPOINT, "") if home in namespaces else ""
    waypoint = labels_of(one).get(_WAYPOINT, above)
    return {
        "namespace": home,
        "name": one["metadata"]["name"],
        "hosts": list(spec.get("hosts") or []),
        "addresses": list(spec.get("addresses") or []),
        "resolution": spec.get("resolution", "NONE"),
        "waypoint": "" if waypoint == "none" else waypoint,
    }
