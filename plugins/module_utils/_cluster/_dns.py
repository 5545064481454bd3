# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The cluster's name service: where it is, its domain, and whether nodes run a cache of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import (
    Finding,
    Snapshot,
    Unknown,
    finding,
    known,
    labels_of,
    name_of,
    yes_no,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._networks import kubeadm_value

_NAMES = ("kube-dns", "coredns", "rke2-coredns-rke2-coredns", "dns-default")
_CACHE_UPSTREAM = "kube-dns-upstream"  # NodeLocal DNSCache's way to the real one; it carries the same label
_PLUGIN = re.compile(r"^\s*kubernetes\s+([^\n{]+)", re.MULTILINE)


@finding
def service(snapshot: Snapshot) -> Finding:
    """``{namespace, name, addresses, ports}`` of the Service that pods resolve by."""
    usable = [item for item in snapshot.listing("services") if _addresses(item) and _serves_dns(item)]
    ways = (
        ("label k8s-app=kube-dns", [i for i in usable if labels_of(i).get("k8s-app") == "kube-dns"]),
        ("its name", [i for i in usable if i["metadata"]["name"] in _NAMES]),
        ("port 53", usable),
    )
    for how, found in ways:
        found = [item for item in found if item["metadata"]["name"] != _CACHE_UPSTREAM] or found
        if len(found) == 1:
            return known(_describe(found[0]), how)
        if found:
            raise Unknown(f"several Services fit ({how}): {', '.join(name_of(item) for item in found)}")
    raise Unknown("no Service serves port 53 over UDP")


def _addresses(item: Mapping[str, Any]) -> list[str]:
    spec = item.get("spec") or {}
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [address for address in addresses if address and address != "None"]


def _serves_dns(item: Mapping[str, Any]) -> bool:
    ports = (item.get("spec") or {}).get("ports") or []
    return any(port["port"] == 53 and port.get("protocol") == "UDP" for port in ports)


def _describe(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "namespace": item["metadata"]["namespace"],
        "name": item["metadata"]["name"],
        "addresses": _addresses(item),
        "ports": [
            {"port": p["port"], "protocol": p.get("protocol", "TCP"), "target": p.get("targetPort")}
            for p in item["spec"]["ports"]
        ],
    }


@finding
def domain(snapshot: Snapshot, answers: Mapping[str, object], search: list[str] | None = None) -> Finding:
    """The cluster domain; ``search`` is a pod's search list where one was seen."""
    for suffix in search or []:
        if suffix.startswith("svc."):
            return known(suffix[len("svc.") :].rstrip("."), "search list of a pod")
    blocked = []
    for name in answers:
        if not name.startswith("corefile:"):
            continue
        place = name.partition(":")[2]
        try:
            config = snapshot.maybe(name)
        except Unknown as exc:
            blocked.append(str(exc))
            continue
        zone = zone_of(((config or {}).get("data") or {}).get("Corefile", ""))
        if zone:
            return known(zone, f"ConfigMap {place}")
    kubeadm = snapshot.maybe("kubeadm")
    value = kubeadm_value(kubeadm, "dnsDomain") if kubeadm else None
    if value:
        return known(value, "ConfigMap kube-system/kubeadm-config")
    raise Unknown("; ".join(blocked) or "no CoreDNS or kubeadm configuration names it (a probe pod would show it)")


def zone_of(corefile: str) -> str | None:
    """The first forward zone of CoreDNS's kubernetes plugin.

    >>> zone_of(".:53 {\\n  kubernetes in-addr.arpa cluster.local. {\\n  }\\n}")
    'cluster.local'
    """
    zones = [zone.rstrip(".") for match in _PLUGIN.findall(corefile) for zone in match.split()]
    return next((zone for zone in zones if not zone.endswith(".arpa")), None)


@finding
def node_local(snapshot: Snapshot) -> Finding:
    """Whether nodes run a DNS cache: pods may then ask a link-local address instead of the Service."""
    for item in snapshot.listing("daemonsets"):
        if labels_of(item).get("k8s-app") == "node-local-dns" or item["metadata"]["name"] in (
            "node-local-dns",
            "nodelocaldns",
        ):
            return yes_no(True, f"DaemonSet {name_of(item)}")
    return yes_no(False, "no DaemonSet of NodeLocal DNSCache")
