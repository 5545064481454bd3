# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Networks of pods, services and nodes, each with how it was found."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import (
    Finding,
    Snapshot,
    Unknown,
    finding,
    known,
    unknown,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._requests import OUTSIDE, RANGE_PROBE

_SERVICE_ARGUMENT = re.compile(r"^--service-cluster-ip-range=(\S+)$")
_REFUSAL = re.compile(r"range of valid IPs is ([0-9A-Fa-f.:/]+)")
Way = tuple[str, Callable[[Snapshot], "list[str]"]]


def canonical(networks: Iterable[str]) -> list[str]:
    """Networks in canonical spelling, in order, each once; what is not a network is left out.

    >>> canonical(["10.1.2.3/16", "FD00:0::/64", "10.1.0.0/16", "auto"])
    ['10.1.0.0/16', 'fd00::/64']
    """
    found = []
    for text in networks:
        try:
            found.append(str(ipaddress.ip_network(text.strip(), strict=False)))
        except ValueError:
            continue
    return list(dict.fromkeys(found))


def services(snapshot: Snapshot) -> Finding:
    """Service networks of all families."""
    return _first_of(snapshot, _SERVICE_WAYS)


def pods(snapshot: Snapshot) -> Finding:
    """Pod networks: the cluster's whole ranges where someone names them, else the shares of the nodes."""
    return _first_of(snapshot, _POD_WAYS)


@finding
def nodes(snapshot: Snapshot) -> Finding:
    """The nodes' own addresses as host networks; how large their networks are the API does not say."""
    addresses = [
        address["address"]
        for node in snapshot.listing("nodes")
        for address in (node.get("status") or {}).get("addresses") or []
        if address["type"] == "InternalIP"
    ]
    networks = canonical(addresses)
    if not networks:
        raise Unknown("no node has an InternalIP address")
    return known(networks, "InternalIP addresses of nodes")


def _first_of(snapshot: Snapshot, ways: Iterable[Way]) -> Finding:
    reasons = []
    for name, way in ways:
        try:
            networks = canonical(way(snapshot))
        except Unknown as exc:
            reasons.append(f"{name}: {exc}")
            continue
        if networks:
            return known(networks, name)
        reasons.append(f"{name}: none")
    return unknown("; ".join(reasons))


def _service_cidr_objects(snapshot: Snapshot) -> list[str]:
    if "service_cidrs" not in snapshot:
        raise Unknown("the cluster does not have this kind")
    return [cidr for item in snapshot.listing("service_cidrs") for cidr in (item.get("spec") or {}).get("cidrs") or []]


def _refused_address(snapshot: Snapshot) -> list[str]:
    """The refusals of an address outside; the family that the cluster lacks is refused in other words."""
    messages = []
    for family in OUTSIDE:
        answer = snapshot.answer(RANGE_PROBE + family)
        if answer.status == 403:
            snapshot.body(RANGE_PROBE + family)
        messages.append(answer.message)
    return [text for message in messages for text in _REFUSAL.findall(message)]


def _kubeadm(snapshot: Snapshot, key: str) -> list[str]:
    config = snapshot.maybe("kubeadm")
    if config is None:
        raise Unknown("there is no such ConfigMap")
    value = kubeadm_value(config, key)
    return value.split(",") if value else []


def kubeadm_value(config_map: Any, key: str) -> str | None:
    """One scalar of kubeadm's ClusterConfiguration; kubeadm writes it as block YAML, so a line is enough."""
    text = (config_map.get("data") or {}).get("ClusterConfiguration", "")
    found = re.search(rf"^\s+{re.escape(key)}:\s*[\"']?([^\s\"'#]+)", text, re.MULTILINE)
    return found.group(1) if found else None


def _api_server_arguments(snapshot: Snapshot) -> list[str]:
    if "api_server_pods" not in snapshot:
        raise Unknown("not asked")
    return [
        cidr
        for pod in snapshot.listing("api_server_pods")
        for container in pod["spec"]["containers"]
        for argument in [*(container.get("command") or []), *(container.get("args") or [])]
        for match in [_SERVICE_ARGUMENT.match(argument)]
        if match
        for cidr in match.group(1).split(",")
    ]


def _calico_pools(snapshot: Snapshot) -> list[str]:
    if "ip_pools" not in snapshot:
        raise Unknown("the cluster does not have this kind")
    pools = [item.get("spec") or {} for item in snapshot.listing("ip_pools")]
    return [pool["cidr"] for pool in pools if pool.get("cidr") and not pool.get("disabled")]


def _cilium_pools(snapshot: Snapshot) -> list[str]:
    config = snapshot.maybe("cilium_config")
    if config is None:
        raise Unknown("there is no such ConfigMap")
    data = config.get("data") or {}
    if data.get("ipam") not in ("cluster-pool", None):
        raise Unknown(f"its ipam mode is {data['ipam']}")
    values = [data.get("cluster-pool-ipv4-cidr"), data.get("cluster-pool-ipv6-cidr")]
    return [cidr for value in values if value for cidr in re.split(r"[\s,]+", value)]


def _node_shares(snapshot: Snapshot) -> list[str]:
    specs = [node.get("spec") or {} for node in snapshot.listing("nodes")]
    return [
        cidr for spec in specs for cidr in spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    ]


_SERVICE_WAYS: tuple[Way, ...] = (
    ("ServiceCIDR objects", _service_cidr_objects),
    ("refusal of an address outside the range (dry run)", _refused_address),
    ("ConfigMap kube-system/kubeadm-config", lambda snapshot: _kubeadm(snapshot, "serviceSubnet")),
    ("arguments of the kube-apiserver pod", _api_server_arguments),
)
# A CNI with address pools of its own ignores podCIDRs, so its word comes first.
_POD_WAYS: tuple[Way, ...] = (
    ("Calico IPPool objects", _calico_pools),
    ("ConfigMap cilium-config", _cilium_pools),
    ("ConfigMap kube-system/kubeadm-config", lambda snapshot: _kubeadm(snapshot, "podSubnet")),
    ("podCIDRs of nodes", _node_shares),
)
