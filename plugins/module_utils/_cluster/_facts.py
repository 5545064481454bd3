# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""All answers -> the ``cluster`` value that the module cluster_info returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import (
    _addons,
    _cni,
    _discovery,
    _dns,
    _networks,
    _version,
    _vpn,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import (
    Finding,
    Snapshot,
    finding,
    is_known,
    known,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer


def cluster(
    server: str,
    version: Mapping[str, Any],
    answers: Mapping[str, Answer],
    asked: Mapping[str, str],
    pod: Mapping[str, Any],
    wanted: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Every fact; ``pod`` are the findings of the probe, ``wanted`` the permissions asked about."""
    snapshot = Snapshot(answers, asked)
    resolver = pod["resolv_conf"]
    search = resolver["value"]["search"] if is_known(resolver) else None
    return {
        "server": server,
        "user": user(snapshot),
        "version": dict(version),
        "platform": _version.platform(version["git"], snapshot),
        "nodes": _version.nodes(snapshot),
        "networks": {
            "pod_cidrs": _networks.pods(snapshot),
            "service_cidrs": _networks.services(snapshot),
            "node_cidrs": _networks.nodes(snapshot),
        },
        "dns": {
            "service": _dns.service(snapshot),
            "domain": _dns.domain(snapshot, answers, search),
            "node_local": _dns.node_local(snapshot),
        },
        "cni": {
            "name": _cni.name(snapshot),
            "policy_support": _cni.policy_support(snapshot),
            "socket_lb": _cni.socket_lb(snapshot),
        },
        "policy_kinds": _discovery.policy_kinds(snapshot),
        "psa": _addons.psa(snapshot),
        "mesh": {"istio": _addons.istio(snapshot), "linkerd": _addons.linkerd(snapshot)},
        "gateway_api": _addons.gateway_api(snapshot),
        "metallb": _addons.metallb(snapshot),
        "tailscale": _addons.tailscale(snapshot),
        "servicelb": _addons.servicelb(snapshot),
        "traefik": _addons.traefik(snapshot),
        "vpn": _vpn.vpn(snapshot),
        "pod": dict(pod),
        "permissions": permissions(answers, wanted),
        "unreadable": snapshot.unreadable(),
    }


@finding
def user(snapshot: Snapshot) -> Finding:
    """Who the API server takes the caller for."""
    info = (snapshot.body("self").get("status") or {}).get("userInfo") or {}
    return known({"name": info.get("username"), "groups": list(info.get("groups") or [])}, "SelfSubjectReview")


def permissions(answers: Mapping[str, Answer], wanted: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each wanted permission with ``allowed`` yes, no or unknown, in the order asked."""
    judged = []
    for index, permission in enumerate(wanted):
        answer = answers[f"can_i:{index}"]
        status = answer.body.get("status") if answer.ok else None
        allowed = "unknown" if not isinstance(status, Mapping) else ("yes" if status.get("allowed") else "no")
        reason = answer.message if allowed == "unknown" else (status or {}).get("reason")
        judged.append({**permission, "allowed": allowed, "reason": reason or None})
    return judged
