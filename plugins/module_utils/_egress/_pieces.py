# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What a client's pod gets from us: two init containers, two volumes, DNS settings, labels and annotations.

Values the API server would fill in are spelled out, so that what it holds is what was sent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _agent_files, _names

ENDPOINT_MOUNT = "/run/bulkhead/endpoint"
ENDPOINT_FILE = "gateway-address"
DIRECT_FILE = "direct"
# The service account admission plugin mounts the token here unless something is mounted already.
TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
NDOTS = "2"
UNLIMITED = 2**31 - 1  # the kubelet restarts a container that runs out of probes, and then backs off
REQUESTS = {"cpu": "10m", "memory": "32Mi"}
LIMITS = {"cpu": "500m", "memory": "96Mi"}
EQUAL = {"cpu": "100m", "memory": "96Mi"}


@dataclass(frozen=True)
class Settings:
    """How a client is attached. ``agent`` is the hash of the agent's files, ``config`` the agent's configuration."""

    client: str
    gateway: str
    agent: str
    agent_files: tuple[str, ...]
    image: str
    resolver: str
    config: Mapping[str, Any]
    cluster_domain: str = "cluster.local"
    image_pull_policy: str = "IfNotPresent"


def labels(settings: Settings) -> dict[str, str]:
    """Labels of the pod template."""
    return {_names.CLIENT_LABEL: settings.client, _names.GATEWAY_LABEL: settings.gateway}


def annotations(settings: Settings) -> dict[str, str]:
    """Annotations of the pod template, without the one that remembers the original."""
    return {_names.AGENT_ANNOTATION: settings.agent, _names.DNS_CAPTURE_ANNOTATION: "false"}


def dns_config(settings: Settings, namespace: str) -> dict[str, Any]:
    """Names go to the gateway's resolver; only suffixes of the cluster are tried, never those of the node."""
    domain = settings.cluster_domain
    return {
        "nameservers": [settings.resolver],
        "searches": [f"{namespace}.svc.{domain}", f"svc.{domain}", domain],
        "options": [{"name": "ndots", "value": NDOTS}],
    }


def volumes(settings: Settings) -> list[dict[str, Any]]:
    """The agent, and the gateway's address and the direct destinations as the endpoint controller writes them on the pod."""
    files = {ENDPOINT_FILE: _names.ADDRESS_ANNOTATION, DIRECT_FILE: _names.DIRECT_ANNOTATION}
    items = [
        {"path": path, "fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{annotation}']"}}
        for path, annotation in files.items()
    ]
    return [
        _agent_files.volume(settings.agent, settings.agent_files),
        {
            "name": _names.ENDPOINT_VOLUME,
            "downwardAPI": {"items": items, "defaultMode": 0o444},
        },
    ]


def gateway_address(pod: Mapping[str, Any]) -> str | None:
    """What the endpoint controller told a live pod: empty seals it, None is nothing yet. The controller adds white space."""
    written = (pod["metadata"].get("annotations") or {}).get(_names.ADDRESS_ANNOTATION)
    return None if written is None else str(written).strip()


def told_direct(pod: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The direct destinations the endpoint controller told a live pod; None is nothing yet, or nothing that can be read."""
    try:
        told = json.loads((pod["metadata"].get("annotations") or {}).get(_names.DIRECT_ANNOTATION) or "")
    except ValueError:
        return None
    return told if isinstance(told, list) else None


def untold(pods: Iterable[Mapping[str, Any]], direct: Any) -> list[str]:
    """Names of the live pods that were not told these direct destinations, or not yet."""
    ended = ("Succeeded", "Failed")
    return [
        one["metadata"]["name"]
        for one in pods
        if "deletionTimestamp" not in one["metadata"]
        and (one.get("status") or {}).get("phase") not in ended
        and told_direct(one) != direct
    ]


def init_containers(settings: Settings, equal: bool = False) -> list[dict[str, Any]]:
    """The guard, then the overlay; ``equal`` when requests have to equal limits (see ``guaranteed``)."""
    guard = _container(_names.GUARD, settings, "guard", equal)
    overlay = _container(_names.OVERLAY, settings, "overlay", equal)
    overlay["restartPolicy"] = "Always"
    # It passes once a nonce came back through the gateway.
    overlay["startupProbe"] = _agent_files.probe(
        periodSeconds=1, timeoutSeconds=5, successThreshold=1, failureThreshold=UNLIMITED
    )
    return [guard, overlay]


def _container(name: str, settings: Settings, command: str, equal: bool) -> dict[str, Any]:
    config = json.dumps(settings.config, sort_keys=True, separators=(",", ":"))
    return {
        "name": name,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": _agent_files.command(settings.agent, command),
        "env": [
            {"name": "BULKHEAD_CONFIG", "value": config},
            _downward("POD_NAME", "metadata.name"),
            _downward("POD_IP", "status.podIP"),
        ],
        "resources": {"requests": dict(EQUAL if equal else REQUESTS), "limits": dict(EQUAL if equal else LIMITS)},
        # Each field that a pod can set for all its containers is set here, or the pod's value would apply to ours.
        "securityContext": {
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": False,
            "runAsUser": 0,
            "runAsGroup": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            _agent_files.mount(),
            {"name": _names.ENDPOINT_VOLUME, "mountPath": ENDPOINT_MOUNT, "readOnly": True},
            # Ours get no token, whatever the pod's automountServiceAccountToken is. An emptyDir would do as well, but
            # "kubectl drain" refuses pods that have one.
            {"name": _names.ENDPOINT_VOLUME, "mountPath": TOKEN_MOUNT, "readOnly": True},
        ],
    }


def _downward(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def guaranteed(pod: Mapping[str, Any]) -> bool:
    """Whether the user's containers give the pod the QoS class Guaranteed, which ours must not take away."""
    containers = [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]
    return all(_guaranteed(container.get("resources") or {}) for container in containers)


def _guaranteed(resources: Mapping[str, Any]) -> bool:
    limits = resources.get("limits") or {}
    requests = {**limits, **(resources.get("requests") or {})}
    return all(name in limits and requests[name] == limits[name] for name in ("cpu", "memory"))


def fingerprint(item: Mapping[str, Any]) -> str:
    """Tells whether one of our items is still as we wrote it; what the API server fills in does not count."""
    return hashlib.sha256(json.dumps(_plain(item), sort_keys=True).encode()).hexdigest()[:12]


# Key -> the value it has when it is not given; only for keys that can occur in our own items.
_DEFAULTS: dict[str, Any] = {
    "apiVersion": "v1",
    "initialDelaySeconds": 0,
    "optional": False,
    "privileged": False,
    "protocol": "TCP",
    "successThreshold": 1,
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        plain = {key: _plain(one) for key, one in value.items()}
        return {key: one for key, one in plain.items() if not _is_default(key, one)}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


def _is_default(key: str, value: Any) -> bool:
    return value is None or value in ({}, []) or (key in _DEFAULTS and value == _DEFAULTS[key])


def as_held(wanted: dict[str, Any], held: dict[str, Any] | None) -> dict[str, Any]:
    """``held`` if it means the same as ``wanted``, so that defaults of a newer API server are no difference."""
    if held is not None and fingerprint(held) == fingerprint(wanted):
        return held
    return wanted
