# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Where a Service leads: to the pods that its selector selects, and to nothing else. Pure.

The guard lets a client reach the address of a Service, and the cluster's proxy sends that on to whatever its
EndpointSlices name: pods, hosts of the home network, or the internet. Anybody who may write an EndpointSlice can add
one, whatever the selector says. So the addresses count, and not who wrote the slice.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _selector

SERVICE_LABEL = "kubernetes.io/service-name"
PROXY_LABEL = "service.kubernetes.io/service-proxy-name"
MANAGED_LABEL = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
_SHOWN = 3
_Object = Mapping[str, Any]


@dataclass(frozen=True)
class Lead:
    """Why a Service may lead elsewhere, and what to do."""

    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}"


@dataclass(frozen=True)
class Audit:
    """``leads`` are ways elsewhere. ``unsettled`` are endpoints of pods that had gone or ended when pods were
    listed: the cluster's own controller takes them away."""

    leads: tuple[Lead, ...] = ()
    unsettled: tuple[str, ...] = ()


def unfit(service: _Object, slices: Iterable[_Object], pool: Iterable[_Object]) -> Lead | None:
    """Why a Service is none whose address stands for pods of a selector, whatever its endpoints are."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return Lead(
            f"it is only another name for {spec.get('externalName')}",
            "name a Service with pods behind it; a host of the internet needs no rule, as the client reaches it through "
            "the VPN; for a host of your own network run a proxy in the cluster and name the proxy's Service",
        )
    if not spec.get("selector"):
        return _without_selector(service, slices, pool)
    if spec.get("clusterIP") == "None":
        return Lead(
            "it is headless, and the addresses of its pods change", "add a Service with a cluster IP and name that one"
        )
    return None


def audit(service: _Object, slices: Iterable[_Object], pool: Sequence[_Object]) -> Audit:
    """Everything by which a fit Service leads, or may lead, elsewhere than to the pods it selects.

    ``pool`` are pods and workloads; those of other namespaces do not count.
    """
    leads = [*_odd(service), *_on_the_node(service, pool)]
    unsettled = []
    for one in of_service(service, slices):
        found, gone = _outside(service, one, pool)
        leads += found
        unsettled += gone
    return Audit(tuple(leads), tuple(unsettled))


def behind(service: _Object, workload: _Object) -> bool:
    """Whether the Service selects this pod, or the pods of this workload."""
    if workload["metadata"].get("namespace") != service["metadata"]["namespace"]:
        return False
    return _selector.matches({"matchLabels": service["spec"]["selector"]}, _selector.pod_labels(workload))


def of_service(service: _Object, slices: Iterable[_Object]) -> list[_Object]:
    """The EndpointSlices that the cluster's proxy takes for this Service, whoever wrote them."""
    metadata = service["metadata"]
    return [
        one
        for one in slices
        if one["metadata"].get("namespace") == metadata["namespace"]
        and (one["metadata"].get("labels") or {}).get(SERVICE_LABEL) == metadata["name"]
    ]


def _without_selector(service: _Object, slices: Iterable[_Object], pool: Iterable[_Object]) -> Lead:
    addresses = sorted({address for one in of_service(service, slices) for address in _addresses(one)})
    pods = {address for pod in pool if pod.get("kind") == "Pod" for address in _pod_addresses(pod)}
    outside = [one for one in addresses if one not in pods]
    if not outside:
        return Lead(
            "it has no selector, so its endpoints may be anything", "give it the selector of the pods it is for"
        )
    reason = f"it has no selector and leads to {_listed(outside)}, which is no pod"
    if all(_public(one) for one in outside):
        return Lead(reason, "remove the rule; the client reaches hosts of the internet through the VPN")
    return Lead(
        reason,
        "run a proxy to it in the cluster and name the proxy's Service; a host of your own network is never reached "
        "through the VPN",
    )


def _odd(service: _Object) -> list[Lead]:
    spec, labels = service["spec"], service["metadata"].get("labels") or {}
    found = []
    if spec.get("externalIPs"):
        reason = f"it also takes what is sent to {_listed(spec['externalIPs'])} (externalIPs)"
        found.append(Lead(reason, "name a Service of the same pods without externalIPs"))
    if labels.get(PROXY_LABEL):
        reason = f"{labels[PROXY_LABEL]} and not the cluster's own proxy decides where it leads (label {PROXY_LABEL})"
        found.append(Lead(reason, "name a Service without that label"))
    return found


def _on_the_node(service: _Object, pool: Iterable[_Object]) -> list[Lead]:
    """Pods with the node's network cannot be selected by a policy: what it means for them is undefined."""
    using = [
        one
        for one in pool
        if (_selector.pod_template(one).get("spec") or {}).get("hostNetwork")
        and behind(service, one)
        and not _over(one)
    ]
    owners = [one for one in using if one.get("kind") != "Pod"] or using
    if not owners:
        return []
    names = _listed(sorted(_selector.reference(one) for one in owners))
    return [
        Lead(
            f"{names} behind it uses the node's network, which no policy by labels selects",
            "let it use a network of its own, or run a proxy to it in the cluster and name the proxy's Service",
        )
    ]


def _outside(service: _Object, endpoints: _Object, pool: Iterable[_Object]) -> tuple[list[Lead], list[str]]:
    """What one EndpointSlice names besides pods that the Service selects, and what is about to go."""
    namespace, name = service["metadata"]["namespace"], endpoints["metadata"]["name"]
    pods = [one for one in pool if one.get("kind") == "Pod" and one["metadata"].get("namespace") == namespace]
    selected = {address for pod in pods if behind(service, pod) and not _over(pod) for address in _pod_addresses(pod)}
    there = {pod["metadata"]["name"] for pod in pods if not _over(pod)}
    own = (endpoints["metadata"].get("labels") or {}).get(MANAGED_LABEL) == CONTROLLER
    strange, gone = [], []
    for endpoint in endpoints.get("endpoints") or []:
        target = endpoint.get("targetRef") or {}
        ended = own and target.get("kind") == "Pod" and target.get("name") not in there
        for address in endpoint.get("addresses") or []:
            if address not in selected:
                (gone if ended else strange).append(address)
    leads = []
    if strange:
        reason = f"EndpointSlice {namespace}/{name} leads it to {_listed(strange)}, which is no pod that it selects"
        leads.append(Lead(reason, "delete that EndpointSlice, or name a Service without it"))
    unsettled = f"EndpointSlice {namespace}/{name} still names {_listed(gone)} of a pod that is gone"
    return leads, [unsettled] if gone else []


def _addresses(endpoints: _Object) -> list[str]:
    return [address for one in endpoints.get("endpoints") or [] for address in one.get("addresses") or []]


def _pod_addresses(pod: _Object) -> set[str]:
    status = pod.get("status") or {}
    found = {one.get("ip") for one in status.get("podIPs") or []} | {status.get("podIP")}
    return {str(one) for one in found if one}


def _over(pod: _Object) -> bool:
    """Whether a pod has ended: its address may be another pod's by now."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False  # a name


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
