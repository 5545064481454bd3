# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What stands around a client's pods: the agent's files, the endpoint controller's access, the agent's settings."""

from __future__ import annotations

import copy
import dataclasses
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _address,
    _agent_files,
    _controller,
    _names,
    _pieces,
    _policy,
    _resolver,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._registry import Registry

COREFILE = "Corefile"
_FORWARD = re.compile(r"^ *forward \. ([^{]+) \{", re.MULTILINE)
_Object = dict[str, Any]


@dataclass(frozen=True)
class Site:
    """What all clients share. ``cluster_networks`` are CIDRs by what they are for: pods, services, nodes."""

    agent_files: Mapping[str, str]
    image: str
    image_pull_policy: str = "IfNotPresent"
    cluster_domain: str = "cluster.local"
    cluster_networks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ambient: Sequence[str] = ()
    ingress_gateways: Mapping[str, str] = field(default_factory=dict)
    probe_addresses: Sequence[str] = ()

    @property
    def agent(self) -> str:
        """The hash of the agent's files."""
        return _agent_files.agent_hash(self.agent_files)


def agent_objects(namespace: str, site: Site) -> list[_Object]:
    """The agent's files for the pods of one namespace."""
    return [_agent_files.config_map(namespace, site.agent_files)]


def access_objects(namespace: str, gateway_namespace: str) -> list[_Object]:
    """The endpoint controller of ``gateway_namespace`` may read and annotate pods of ``namespace``."""
    # In the gateway's own namespace it may already.
    made = _controller.access(gateway_namespace, [namespace])
    return [one for one in made if one["metadata"]["namespace"] == namespace != gateway_namespace]


def gateway_objects(
    gateway: Gateway,
    registry: Registry,
    policy: Mapping[str, Any] | None,
    resolver: Mapping[str, Any] | None,
    domain: str,
) -> list[_Object]:
    """The gateway's policy and its resolver's configuration for the clients that ``registry`` has, where they differ.

    What the gateway alone knows, where its tunnel goes and whom its resolver asks, is kept from the live objects.
    """
    link, found = registry["gateways"][gateway.name], []
    clients = [one for one in link["clients"].values() if "selector" in one]
    if policy is not None:
        selected = [_policy.ClientPods(one["namespace"], one["selector"]) for one in clients]
        wanted = _policy.gateway_policy(dataclasses.replace(gateway, port=link["port"]), _endpoints(policy), selected)
        if _policy.shape_problems(policy, wanted):
            found.append(wanted)
    text = ((resolver or {}).get("data") or {}).get(COREFILE, "")
    dns = _FORWARD.search(text)
    if resolver is not None and dns:
        records = {f"{name}.svc": address for one in clients for name, address in (one.get("services") or {}).items()}
        made = _resolver.corefile(_address.gateway_address(link["network"]), records, dns.group(1).split(), domain)
        if made != text:
            metadata = {key: resolver["metadata"][key] for key in ("name", "namespace")}
            data = {COREFILE: made}
            found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    return found


def _endpoints(policy: Mapping[str, Any]) -> list[_policy.Endpoint]:
    """Where the tunnel goes, by the rules of a live policy that name an address."""
    return [
        _policy.Endpoint(peer["ipBlock"]["cidr"].split("/")[0], port["port"], port.get("protocol", "TCP"))
        for rule in policy["spec"].get("egress") or []
        for peer in rule.get("to") or []
        if "ipBlock" in peer
        for port in rule.get("ports") or []
    ]


def settings(
    client: Client,
    gateway: Gateway,
    link: Mapping[str, Any],
    room: Mapping[str, Any],
    site: Site,
) -> _pieces.Settings:
    """How this client is attached; ``link`` and ``room`` are the gateway's and the client's parts of an allocation.

    What follows Services is not in it: a change of it would replace the pods.
    """
    resolver = _address.gateway_address(link["network"])
    config = {
        "role": "client",
        "gateway": gateway.name,
        "vni": link["vni"],
        "port": link["port"],
        "network": link["network"],
        "first_index": room["first_index"],
        "mtu": gateway.mtu,
        "cluster_networks": ipv4(network for listed in site.cluster_networks.values() for network in listed),
        "resolver": resolver,
    }
    return _pieces.Settings(
        client=client.id,
        gateway=gateway.name,
        agent=site.agent,
        agent_files=tuple(sorted(site.agent_files)),
        image=site.image,
        resolver=resolver,
        config=config,
        cluster_domain=site.cluster_domain,
        image_pull_policy=site.image_pull_policy,
    )


def ipv4(networks: Iterable[str]) -> list[str]:
    """The IPv4 ones, canonical, each once and sorted.

    >>> ipv4(["10.96.0.0/16", "fd00::/64", "10.0.0.10"])
    ['10.0.0.10/32', '10.96.0.0/16']
    """
    parsed = {ipaddress.ip_network(one, strict=False) for one in networks}
    return [str(one) for one in sorted(one for one in parsed if isinstance(one, ipaddress.IPv4Network))]


def unguarded_pod(workload: Mapping[str, Any], image: str) -> _Object:
    """A pod as the workload would make it without our edit, reduced to what admission looks at.

    It is only ever sent as a dry run. Even the level "restricted" of Pod Security has nothing against it, so that
    nothing but the client's admission policy can refuse it.
    """
    metadata = workload["metadata"]
    labels = (workload["spec"]["template"].get("metadata") or {}).get("labels") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "bulkhead-unguarded-",
            "namespace": metadata["namespace"],
            "labels": {key: value for key, value in labels.items() if not key.startswith(_names.PREFIX)},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65534,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "unguarded",
                    "image": image,
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }


def guarded_pod(workload: Mapping[str, Any], image: str) -> _Object:
    """The same pod with what attaching gives it; ``workload`` is attached. Only ever sent as a dry run too."""
    made, template = unguarded_pod(workload, image), workload["spec"]["template"]
    annotations, spec = template["metadata"]["annotations"], template["spec"]
    made["metadata"].update(
        generateName="bulkhead-guarded-",
        labels=dict(template["metadata"]["labels"]),
        annotations={_names.AGENT_ANNOTATION: annotations[_names.AGENT_ANNOTATION]},
    )
    for key, names in (("initContainers", _names.CONTAINERS), ("volumes", _names.VOLUMES)):
        made["spec"][key] = [copy.deepcopy(one) for one in spec[key] if one["name"] in names]
    return made


def inner_addresses(workload: Mapping[str, Any], link: Mapping[str, Any], room: Mapping[str, Any]) -> list[str]:
    """The inner addresses of the pods a workload has now, by their number."""
    spec = workload.get("spec") or {}
    replicas = spec.get("replicas")
    start = (spec.get("ordinals") or {}).get("start", 0)
    numbers = range(start, start + (1 if replicas is None else replicas))
    return [_address.inner_address(link["network"], room["first_index"], number) for number in numbers]
