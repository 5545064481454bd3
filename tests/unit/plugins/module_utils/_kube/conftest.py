# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._applyset import ObjectSet
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._discovery import Kinds, Resource

OWNER = ObjectSet("web", "home")
RBAC = "rbac.authorization.k8s.io"
RESOURCES = [
    Resource("", "v1", "Namespace", "namespaces", False, has_status=True),
    Resource("", "v1", "ConfigMap", "configmaps", True),
    Resource("", "v1", "Secret", "secrets", True),
    Resource("", "v1", "Service", "services", True, has_status=True),
    Resource("apps", "v1", "Deployment", "deployments", True, has_status=True),
    Resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", True),
    Resource(RBAC, "v1", "Role", "roles", True),
    Resource(RBAC, "v1", "RoleBinding", "rolebindings", True),
    Resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False),
    Resource("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", False, writable=False),
]


@pytest.fixture
def owner() -> ObjectSet:
    """The set ``home/web``."""
    return OWNER


@pytest.fixture
def kinds() -> Kinds:
    """A small cluster's kinds."""
    return Kinds(RESOURCES)


@pytest.fixture
def aggregated() -> Any:
    """The same kinds as answers of aggregated discovery: (core, groups)."""
    groups: dict[str, Any] = {}
    for resource in RESOURCES:
        entry = {
            "resource": resource.plural,
            "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "verbs": ["create", "delete", "get", "list", "patch"] if resource.writable else ["create"],
            "subresources": [{"subresource": "status"}] if resource.has_status else [],
        }
        groups.setdefault(resource.group, []).append(entry)
    bodies = [
        {"metadata": {"name": name} if name else {}, "versions": [{"version": "v1", "resources": resources}]}
        for name, resources in groups.items()
    ]
    shape = {"kind": "APIGroupDiscoveryList"}
    return {**shape, "items": bodies[:1]}, {**shape, "items": bodies[1:]}


def fields_of(value: Any) -> Any:
    """Field set of plain maps; lists and values are owned as a whole."""
    if isinstance(value, dict) and value:
        return {f"f:{name}": fields_of(child) for name, child in value.items()}
    return {}


@pytest.fixture
def stored() -> Any:
    """Make what the server holds after our apply: ``stored(manifest)``, with what others added in ``more``."""

    def make(manifest: Any, ours: bool = True, fields: Any = None, **more: Any) -> Any:
        item = copy.deepcopy(manifest)
        if ours:
            item["metadata"].setdefault("labels", {}).update(OWNER.labels)
        if fields is None:
            fields = fields_of({name: value for name, value in item.items() if name not in ("apiVersion", "kind")})
        for name in ("name", "namespace"):
            fields.get("f:metadata", {}).pop(f"f:{name}", None)
        entry = {"manager": OWNER.manager, "operation": "Apply", "apiVersion": item["apiVersion"], "fieldsV1": fields}
        item["metadata"].update(uid=f"uid-{item['metadata']['name']}", resourceVersion="1")
        if ours:
            item["metadata"]["managedFields"] = [entry]
        item.update(more)
        return item

    return make
