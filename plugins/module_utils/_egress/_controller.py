# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The endpoint controller of a gateway namespace and what it may do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _agent_files, _names, _registry

NAME = _names.ENDPOINTS_ACCOUNT
RBAC = "rbac.authorization.k8s.io"
LABELS = {_names.ROLE_LABEL: "vpn-endpoints"}
USER = 65534
# Pods of ours that must never be in a mesh, whatever their namespace says.
OUTSIDE_MESH = {"istio.io/dataplane-mode": "none", "sidecar.istio.io/inject": "false"}
_Object = dict[str, Any]


def access(namespace: str, clients: Iterable[str] = (), gateways: Iterable[str] = ()) -> list[_Object]:
    """Account and roles of the controller of ``namespace``, for itself and the namespaces of ``clients``.

    Of the pods it may delete those of ``gateways``, by name.
    """
    own = [
        _rule(["pods"], ["get", "list", "patch"]),
        {**_rule(["configmaps"], ["get"]), "resourceNames": [_registry.NAME]},
    ]
    pods = [f"{gateway}-0" for gateway in sorted(set(gateways))]
    # Without names the rule would be about all pods.
    if pods:
        own.append({**_rule(["pods"], ["delete"]), "resourceNames": pods})
    objects: list[_Object] = [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": NAME, "namespace": namespace, "labels": dict(LABELS)},
            "automountServiceAccountToken": False,
        },
        *_role(NAME, namespace, namespace, own),
    ]
    for client in sorted(set(clients) - {namespace}):
        # Controllers of several namespaces may serve one: each has a role of its own.
        name = _names.fit(f"{NAME}-{namespace}", 253)
        objects += _role(name, client, namespace, [_rule(["pods"], ["list", "patch"])])
    return objects


def deployment(namespace: str, agent: str, file_names: Iterable[str], image: str, pull: str) -> _Object:
    """The controller itself. Two at once during an update do no harm: they write the same."""
    container = {
        "name": "endpoints",
        "image": image,
        "imagePullPolicy": pull,
        "command": _agent_files.command(agent, "endpoints"),
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "96Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        # It passes while the controller's loop turns.
        "livenessProbe": _agent_files.probe(
            initialDelaySeconds=10, periodSeconds=20, timeoutSeconds=10, failureThreshold=3
        ),
        "volumeMounts": [_agent_files.mount()],
    }
    pod = {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [_agent_files.volume(agent, list(file_names))],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": namespace, "labels": dict(LABELS)},
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": dict(LABELS)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": {**LABELS, **OUTSIDE_MESH}}, "spec": pod},
        },
    }


def _rule(resources: list[str], verbs: list[str]) -> _Object:
    return {"apiGroups": [""], "resources": resources, "verbs": verbs}


def _role(name: str, namespace: str, account: str, rules: list[_Object]) -> list[_Object]:
    def metadata() -> _Object:
        return {"name": name, "namespace": namespace, "labels": dict(LABELS)}

    return [
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata(), "rules": rules},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": metadata(),
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": account}],
        },
    ]
