# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What to ask the API server, in two rounds: the second depends on the answers of the first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import _discovery, _vpn
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import Snapshot, Unknown, labels_of
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._discovery import requests as discovery
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import METADATA_ONLY, Request

# Addresses for documentation: no cluster has them as its service range, so the server's refusal names the real one.
OUTSIDE = {"IPv4": "203.0.113.1", "IPv6": "2001:db8::1"}
RANGE_PROBE = "service_range_"


def first() -> dict[str, Request]:
    """Reads that make sense on every cluster."""
    return {
        "discovery": discovery()["groups"],
        "nodes": Request("/api/v1/nodes", "list nodes"),
        "namespaces": Request("/api/v1/namespaces", "list namespaces", accept=METADATA_ONLY),
        "services": Request("/api/v1/services", "list services"),
        "daemonsets": Request("/apis/apps/v1/daemonsets", "list daemonsets.apps"),
        "deployments": Request("/apis/apps/v1/deployments", "list deployments.apps", accept=METADATA_ONLY),
        "crds": Request(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            "list customresourcedefinitions.apiextensions.k8s.io",
            accept=METADATA_ONLY,
        ),
        "webhooks": Request(
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
            "list mutatingwebhookconfigurations.admissionregistration.k8s.io",
            accept=METADATA_ONLY,
        ),
        "kubeadm": _config_map("kube-system", "kubeadm-config"),
        **_vpn.requests(),
        "self": Request(
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            "ask who the caller is",
            method="POST",
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
        ),
    }


def can_i(wanted: Iterable[Mapping[str, Any]]) -> dict[str, Request]:
    """One access review per permission asked about; reviews store nothing."""
    requests = {}
    for index, permission in enumerate(wanted):
        attributes = {"verb": permission["verb"], "group": permission["group"], "resource": permission["resource"]}
        if permission.get("namespace"):
            attributes["namespace"] = permission["namespace"]
        requests[f"can_i:{index}"] = Request(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            "ask for the caller's permissions",
            method="POST",
            body={
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            },
        )
    return requests


def second(snapshot: Snapshot) -> dict[str, Request]:
    """Reads that depend on what the first round found."""
    try:
        groups = _discovery.resources(snapshot)
    except Unknown:
        groups = {}
    requests: dict[str, Request] = {}
    for name, group, resource in (
        ("service_cidrs", "networking.k8s.io", "servicecidrs"),
        ("ip_pools", "crd.projectcalico.org", "ippools"),
        ("gateway_classes", "gateway.networking.k8s.io", "gatewayclasses"),
        ("address_pools", "metallb.io", "ipaddresspools"),
    ):
        versions = groups.get((group, resource))
        if versions:
            requests[name] = Request(f"/apis/{group}/{versions[0]}/{resource}", f"list {resource}.{group}")
    requests.update(_config_maps(snapshot))
    requests.update(_istiods(snapshot))
    return requests


def service_range() -> dict[str, Request]:
    """Other ways to the service range, asked only where no ServiceCIDR object names it.

    Dry-run creation of a Service outside every range stores nothing, and its refusal names the range; then the API
    server's own arguments, where it runs as a pod.
    """
    requests = {
        "api_server_pods": Request(
            "/api/v1/namespaces/kube-system/pods",
            "list pods in kube-system",
            query={"labelSelector": "component=kube-apiserver"},
        )
    }
    for family, address in OUTSIDE.items():
        spec = {"clusterIP": address, "ipFamilies": [family], "ipFamilyPolicy": "SingleStack", "ports": [{"port": 443}]}
        requests[RANGE_PROBE + family] = Request(
            "/api/v1/namespaces/default/services",
            "create services in default (dry run)",
            method="POST",
            query={"dryRun": "All"},
            body={"apiVersion": "v1", "kind": "Service", "metadata": {"generateName": "bulkhead-"}, "spec": spec},
        )
    return requests


def _config_maps(snapshot: Snapshot) -> dict[str, Request]:
    requests = {}
    try:
        daemonsets = snapshot.listing("daemonsets")
    except Unknown:
        daemonsets = []
    for item in daemonsets:
        if item["metadata"]["name"] == "cilium":
            requests["cilium_config"] = _config_map(item["metadata"]["namespace"], "cilium-config")
    for namespace, name in _corefiles(snapshot):
        requests[f"corefile:{namespace}/{name}"] = _config_map(namespace, name)
    return requests


def _corefiles(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Where CoreDNS keeps its configuration: in its own namespace, named after its release."""
    places = [("kube-system", "coredns")]
    try:
        for item in snapshot.listing("services"):
            if labels_of(item).get("k8s-app") == "kube-dns" or "coredns" in item["metadata"]["name"]:
                places.append((item["metadata"]["namespace"], "coredns"))
                places.append((item["metadata"]["namespace"], item["metadata"]["name"]))
    except Unknown:
        pass
    return list(dict.fromkeys(place for place in places if place[1] != "kube-dns"))


def _istiods(snapshot: Snapshot) -> dict[str, Request]:
    """The control planes in full: their image is the surest version."""
    try:
        found = [item["metadata"] for item in snapshot.listing("deployments") if labels_of(item).get("app") == "istiod"]
    except Unknown:
        return {}
    return {
        f"istiod:{m['namespace']}/{m['name']}": Request(
            f"/apis/apps/v1/namespaces/{m['namespace']}/deployments/{m['name']}",
            f"get deployments.apps {m['name']} in {m['namespace']}",
        )
        for m in found
    }


def _config_map(namespace: str, name: str) -> Request:
    return Request(f"/api/v1/namespaces/{namespace}/configmaps/{name}", f"get configmaps {name} in {namespace}")
