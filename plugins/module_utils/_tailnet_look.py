# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Read what of the Tailscale operator is on a cluster; on a cluster without its kinds nothing more is asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._addons import owner
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import annotations_of, labels_of
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _devices, _render
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._status import OWNER_LABEL
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import METADATA_ONLY, Request

GROUP = "tailscale.com"
_Object = Mapping[str, Any]
# Kinds whose objects the operator serves with devices of their own, and holds by its finalizer.
_SERVED = {"connectors": "Connector", "dnsconfigs": "DNSConfig", "proxygroups": "ProxyGroup", "recorders": "Recorder"}
_IMAGE = "PROXY_IMAGE"  # only the operator's container has this in its environment


def look(client: _client.Caller, target: Target, crds: Iterable[_Object]) -> dict[str, Any]:
    """``tailnet`` of the module ``ingress_info``."""
    definitions = {one["metadata"]["name"]: owner(one) for one in crds if one["metadata"]["name"].endswith(f".{GROUP}")}
    found: dict[str, Any] = {"definitions": definitions, "operators": [], "ingresses": [], "custom": [], "classes": []}
    if not definitions:
        return found
    held = _read(client, target, definitions)
    found["operators"] = [_operator(one) for one in held["deployments"] if _container(one)]
    found["classes"] = sorted(one["metadata"]["name"] for one in held["proxyclasses"])
    found["ingresses"] = [_ingress(one) for one in held["ingresses"] if _devices.is_held(one)]
    for plural, kind in _SERVED.items():
        found["custom"] += [{"kind": kind, "name": one["metadata"]["name"]} for one in held[plural]]
    return found


def _read(client: _client.Caller, target: Target, definitions: Collection[str]) -> dict[str, list[Any]]:
    asked = {
        # Whole ones: its name is anybody's, it has no label, and only its environment says what it is.
        "deployments": Request("/apis/apps/v1/deployments", "list deployments.apps"),
        "ingresses": Request("/apis/networking.k8s.io/v1/ingresses", "list ingresses.networking.k8s.io"),
    }
    for plural in (*_SERVED, "proxyclasses"):
        what = f"list {plural}.{GROUP}"
        asked[plural] = Request(f"/apis/{GROUP}/v1alpha1/{plural}", what, accept=METADATA_ONLY)
    wanted = {
        name: one
        for name, one in asked.items()
        if name in ("deployments", "ingresses") or f"{name}.{GROUP}" in definitions
    }
    held: dict[str, list[Any]] = {name: [] for name in asked}
    for name, answer in _client.read_all(client, wanted).items():
        if answer.status != 404:
            held[name] = list(_client.demand(answer, asked[name], target).get("items") or [])
    return held


def _container(deployment: _Object) -> dict[str, str]:
    """The environment of the operator's container; empty for a Deployment of something else."""
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        environment = {one["name"]: str(one.get("value", "")) for one in container.get("env") or []}
        if _IMAGE in environment:
            return environment
    return {}


def _operator(deployment: _Object) -> dict[str, str]:
    environment, metadata = _container(deployment), deployment["metadata"]
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "owner": owner(deployment),
        "hostname": environment.get("OPERATOR_HOSTNAME", ""),
        "login_server": environment.get("OPERATOR_LOGIN_SERVER", ""),
    }


def _ingress(one: _Object) -> dict[str, Any]:
    return {
        "kind": "Ingress",
        "namespace": one["metadata"]["namespace"],
        "name": one["metadata"]["name"],
        "wanted": "deletionTimestamp" not in one["metadata"],
    }


def exposed(services: Iterable[_Object], gateways: Collection[tuple[str, str]]) -> list[dict[str, Any]]:
    """Services on the tailnet, or on the way off it; ``gateways`` are ours, by namespace and name."""
    found = []
    for one in services:
        metadata, wanted = one["metadata"], _devices.is_exposed(one)
        if not wanted and not _devices.is_held(one):
            continue
        gateway = labels_of(one).get(OWNER_LABEL, "")
        place = metadata["namespace"], gateway
        found.append(
            {
                "kind": "Service",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "gateway": gateway,
                "hostname": annotations_of(one).get(_render.HOSTNAME) or f"{metadata['namespace']}-{metadata['name']}",
                "wanted": wanted,
                "ours": place in gateways,
            }
        )
    return found
