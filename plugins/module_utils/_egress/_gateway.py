# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The objects of a VPN gateway and of its namespace."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _address,
    _admission,
    _agent_files,
    _controller,
    _names,
    _pod_settings,
    _policy,
    _registry,
    _resolver,
    _tunnel,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._registry import Registry

FIREWALL, ENGINE, GATEWAY, RESOLVER = "bulkhead-firewall", "engine", "bulkhead-gateway", "resolver"
CONTAINERS = dict(zip(_pod_settings.CONTAINERS, (FIREWALL, ENGINE, GATEWAY, RESOLVER)))
SECRET_VERSION = _names.PREFIX + "config-version"  # a changed Secret rolls the gateway
AGENT_ROLE = "agent"  # clients in the same namespace label theirs the same
TUNNEL_DEVICE = "tun0"
PEERS_FILE = "peers"
ENDPOINT_MOUNT = "/run/bulkhead/endpoint"
WIREGUARD_MOUNT = "/run/bulkhead/wireguard"
SOCKET_MOUNT = "/var/run/wireguard"
TUN = "/dev/net/tun"
GRACE = 5  # seconds; nothing in the pod has anything to finish
_Object = dict[str, Any]


@dataclass(frozen=True)
class Images:
    """``engine`` needs python3, iproute2, nftables, wg and, without a kernel module, wireguard-go."""

    agent: str
    engine: str
    resolver: str
    pull_policy: str = "IfNotPresent"


@dataclass(frozen=True)
class Shared:
    """What all gateways have in common."""

    agent_files: Mapping[str, str]
    images: Images
    cluster_domain: str = "cluster.local"

    @property
    def agent(self) -> str:
        return _agent_files.agent_hash(self.agent_files)


@dataclass(frozen=True)
class Plan:
    """One gateway with its numbers chosen, its endpoint an address, and nothing secret."""

    gateway: Gateway
    endpoint: _policy.Endpoint
    dns: Sequence[str]
    mtu: int | None  # of the WireGuard configuration
    secret_key: str
    secret_version: str

    @property
    def inner(self) -> str:
        return _address.gateway_address(self.gateway.network or "")


def gateway_objects(plan: Plan, registry: Registry, shared: Shared) -> list[_Object]:
    """Objects of one gateway in the order in which they have to be there: limits first, the pod last."""
    gateway = plan.gateway
    clients = _registry.clients_of(registry, gateway.name)
    selected = [_policy.ClientPods(one["namespace"], one["selector"]) for one in clients.values() if "selector" in one]
    return [
        *_admission.gateway_admission(gateway),
        _policy.gateway_policy(gateway, [plan.endpoint], selected),
        resolver_config(plan, registry, shared.cluster_domain),
        stateful_set(plan, shared),
    ]


def namespace_objects(
    namespace: str, registry: Registry, shared: Shared, pods: Iterable[_pod_settings.PodSettings] = ()
) -> list[_Object]:
    """What all gateways of a namespace share: the endpoint controller. ``pods`` are the settings of these gateways."""
    images = shared.images
    made = _controller.deployment(namespace, shared.agent, shared.agent_files, images.agent, images.pull_policy)
    made["spec"]["template"] = _pod_settings.for_controller(made["spec"]["template"], pods)
    return [*_controller.access(namespace, gateways=registry["gateways"]), made]


def agent_objects(namespace: str, shared: Shared) -> list[_Object]:
    """The agent's files; the name holds their hash, and clients in the same namespace use the same object."""
    made = _agent_files.config_map(namespace, shared.agent_files)
    made["metadata"]["labels"] = {_names.ROLE_LABEL: AGENT_ROLE}
    return [made]


def agent_config(plan: Plan) -> dict[str, Any]:
    """The agent's configuration in the gateway pod."""
    gateway = plan.gateway
    limits = [limit for limit in (gateway.mtu, plan.mtu) if limit]
    return {
        "role": "gateway",
        "vni": gateway.vni,
        "port": gateway.port,
        "network": gateway.network,
        "tunnel_device": TUNNEL_DEVICE,
        "endpoint": {"address": plan.endpoint.address, "port": plan.endpoint.port},
        "mtu": min(limits) if limits else None,
        "mark": _tunnel.MARK,
    }


def live_endpoint(stateful_set_: Mapping[str, Any] | None) -> str | None:
    """The VPN server's address that a live gateway uses."""
    try:
        containers = (stateful_set_ or {})["spec"]["template"]["spec"]["containers"]
        variables = {one["name"]: one.get("value") for box in containers for one in box.get("env") or []}
        return str(json.loads(variables["BULKHEAD_CONFIG"])["endpoint"]["address"])
    except (KeyError, TypeError, ValueError):
        return None


def resolver_config(plan: Plan, registry: Registry, domain: str) -> _Object:
    """The resolver's configuration; CoreDNS reads it again when it changes."""
    records: dict[str, str] = {}
    for client in _registry.clients_of(registry, plan.gateway.name).values():
        records.update({f"{name}.svc": address for name, address in (client.get("services") or {}).items()})
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": resolver_name(plan.gateway),
            "namespace": plan.gateway.namespace,
            "labels": _labels(plan.gateway),
        },
        "data": {"Corefile": _resolver.corefile(plan.inner, records, plan.dns, domain)},
    }


def resolver_name(gateway: Gateway) -> str:
    """Name of the ConfigMap of a gateway's resolver."""
    return f"bulkhead-resolver-{gateway.name}"


def stateful_set(plan: Plan, shared: Shared) -> _Object:
    """The gateway: at most one pod by construction."""
    gateway = plan.gateway
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": gateway.name, "namespace": gateway.namespace, "labels": _labels(gateway)},
        "spec": {
            "replicas": 1,
            "serviceName": gateway.name,
            # A pod that never becomes Ready has to make way for its correction.
            "podManagementPolicy": "Parallel",
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": _names.gateway_pod_labels(gateway.name)},
            "updateStrategy": {"type": "RollingUpdate"},
            "template": _pod_settings.applied(_template(plan, shared), gateway.pod, CONTAINERS),
        },
    }


def _template(plan: Plan, shared: Shared) -> _Object:
    return {
        "metadata": {
            "labels": {**_names.gateway_pod_labels(plan.gateway.name), **_controller.OUTSIDE_MESH},
            "annotations": {_names.AGENT_ANNOTATION: shared.agent, SECRET_VERSION: plan.secret_version},
        },
        "spec": _pod(plan, shared),
    }


def _labels(gateway: Gateway) -> dict[str, str]:
    return {_names.GATEWAY_LABEL: gateway.name}


def _pod(plan: Plan, shared: Shared) -> _Object:
    agent, images = shared.agent, shared.images
    firewall = _agent_container(FIREWALL, images.agent, plan, shared, "firewall")
    engine = _agent_container(ENGINE, images.engine, plan, shared, "engine")
    engine["volumeMounts"] += [
        {"name": "wireguard", "mountPath": WIREGUARD_MOUNT, "readOnly": True},
        {"name": "sockets", "mountPath": SOCKET_MOUNT},
        {"name": "tun", "mountPath": TUN},
    ]
    # No CPU limit: a tunnel in user space encrypts with it, and a limit is a limit of throughput.
    # wireguard-go's buffers take 250 MB at 2 Gbit/s; with less it is killed in the middle of a transfer.
    engine["resources"] = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
    keeper = _agent_container(GATEWAY, images.agent, plan, shared, "gateway")
    keeper["volumeMounts"].append({"name": "peers", "mountPath": ENDPOINT_MOUNT, "readOnly": True})
    # Ready means that a packet came back from behind the tunnel lately.
    keeper["readinessProbe"] = _agent_files.probe(periodSeconds=2, timeoutSeconds=5, failureThreshold=2)
    peers = {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{_names.PEERS_ANNOTATION}']"}
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE,
        # Nothing in the pod may ask the cluster's name service, which asks the world with the node's address.
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": [plan.inner]},
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [firewall],
        "containers": [engine, keeper, _resolver_container(images)],
        "volumes": [
            _agent_files.volume(agent, list(shared.agent_files)),
            {
                "name": "peers",
                "downwardAPI": {"items": [{"path": PEERS_FILE, "fieldRef": peers}], "defaultMode": 0o444},
            },
            {
                "name": "wireguard",
                "secret": {
                    "secretName": plan.gateway.config_secret,
                    "items": [{"key": plan.secret_key, "path": _tunnel.SECRET_KEY, "mode": 0o400}],
                    "defaultMode": 0o400,
                },
            },
            {"name": "sockets", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "tun", "hostPath": {"path": TUN, "type": "CharDevice"}},
            {
                "name": "resolver",
                "configMap": {"name": resolver_name(plan.gateway), "defaultMode": 0o444},
            },
        ],
    }


def _agent_container(name: str, image: str, plan: Plan, shared: Shared, command: str) -> _Object:
    config = json.dumps(agent_config(plan), sort_keys=True, separators=(",", ":"))
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": shared.images.pull_policy,
        "command": _agent_files.command(shared.agent, command),
        "env": [
            {"name": "BULKHEAD_CONFIG", "value": config},
            _downward("POD_NAME", "metadata.name"),
            _downward("POD_IP", "status.podIP"),
        ],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "96Mi"}},
        "securityContext": {**_confined(["NET_ADMIN"]), "runAsUser": 0, "runAsGroup": 0},
        "volumeMounts": [_agent_files.mount()],
    }


def _resolver_container(images: Images) -> _Object:
    return {
        "name": RESOLVER,
        "image": images.resolver,
        "imagePullPolicy": images.pull_policy,
        "args": ["-conf", "/etc/coredns/Corefile"],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        # As root the capability does not depend on whether the image's file has it.
        "securityContext": {**_confined(["NET_BIND_SERVICE"]), "runAsUser": 0, "runAsGroup": 0},
        "volumeMounts": [{"name": "resolver", "mountPath": "/etc/coredns", "readOnly": True}],
    }


def _confined(capabilities: Sequence[str]) -> _Object:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"add": list(capabilities), "drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": False,
    }


def _downward(name: str, path: str) -> _Object:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
