# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What policies of others let a pod reach beyond its own: policies are a union, and any of them may open the rest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names, _selector

EVERYWHERE, EVERY_PORT = "every address", "every port"


def openings(
    policies: Iterable[Mapping[str, Any]], own: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What ``policies`` of the pods' namespace allow out of ``pods`` beyond ``own``: a sentence for each rule."""
    metadata = own["metadata"]
    allowed = {pair for rule in own["spec"].get("egress") or [] for pair in _pairs(rule, metadata["namespace"])}
    found = []
    for one in policies:
        name, spec = one["metadata"]["name"], one["spec"]
        chosen = _chosen(spec.get("podSelector") or {}, pods)
        if name == metadata["name"] or not chosen or not _limits_egress(spec):
            continue
        for index, rule in enumerate(spec.get("egress") or []):
            wider = [pair for pair in _pairs(rule, metadata["namespace"]) if pair not in allowed]
            if wider:
                peers = ", ".join(dict.fromkeys(_said(peer, EVERYWHERE) for peer, dummy in wider))
                ports = ", ".join(dict.fromkeys(_port(port) for dummy, port in wider))
                found.append(
                    f"NetworkPolicy {metadata['namespace']}/{name} also selects {', '.join(chosen)}, and its egress[{index}] "
                    f"opens {ports} of {peers}; let its podSelector leave these pods out"
                )
    return found


def limits(policy: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether a policy says what this pod of its namespace may send."""
    spec = policy["spec"]
    return bool(_chosen(spec.get("podSelector") or {}, [pod])) and _limits_egress(spec)


def _chosen(selector: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> list[str]:
    taken = [one["metadata"] for one in pods if _selector.matches(selector, one["metadata"].get("labels") or {})]
    return [one["name"] for one in taken]


def _limits_egress(spec: Mapping[str, Any]) -> bool:
    """Whether the policy has anything to say about egress; without types it has where it has rules."""
    types = spec.get("policyTypes")
    return "Egress" in types if types else "egress" in spec


def _pairs(rule: Mapping[str, Any], namespace: str) -> list[tuple[str, str]]:
    """Every peer with every port that a rule allows, comparable; no peers or ports mean all of them."""
    peers = [_key(_peer(one, namespace)) for one in rule.get("to") or []] or [""]
    ports = [_key({"protocol": "TCP", **one}) for one in rule.get("ports") or []] or [""]
    return [(peer, port) for peer in peers for port in ports]


def _peer(peer: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    if "ipBlock" in peer or "namespaceSelector" in peer:
        return dict(peer)
    return {**peer, "namespaceSelector": {"matchLabels": {_names.NAMESPACE_LABEL: namespace}}}


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _said(peer: str, otherwise: str) -> str:
    if not peer:
        return otherwise
    read = json.loads(peer)
    if "ipBlock" in read:
        without = read["ipBlock"].get("except")
        return str(read["ipBlock"]["cidr"]) + (f" without {', '.join(without)}" if without else "")
    pods, spaces = (_labels(read.get(key)) for key in ("podSelector", "namespaceSelector"))
    return f"{pods or 'all'} pods of {spaces or 'all'} namespaces"


def _labels(selector: Mapping[str, Any] | None) -> str:
    plain = selector or {}
    parts = [f"{key}={value}" for key, value in (plain.get("matchLabels") or {}).items()]
    for one in plain.get("matchExpressions") or []:
        parts.append(" ".join([one["key"], one["operator"], *(one.get("values") or [])]))
    return ",".join(parts)


def _port(port: str) -> str:
    if not port:
        return EVERY_PORT
    read = json.loads(port)
    number = f"/{read['port']}" if "port" in read else ""
    return f"{read['protocol']}{number}" + (f"-{read['endPort']}" if "endPort" in read else "")
