# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Nodes: which twins are needed where, and whether the real addresses of a node are known. Pure.

What was seen on one node counts for pods on that node only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _twin_run, _twins
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import Twins
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _policy_union
from ansible_collections.bulkhead.mesh.plugins.module_utils._killswitch import _read

_Object = Mapping[str, Any]
Key = tuple[str, str]  # what the policy is of, node
Shown = Mapping[Key, Union[Twins, Missing]]


@dataclass(frozen=True)
class Need:
    """A policy whose copy is to be tried on every node where one of these pods is. ``key`` is what it is of."""

    key: str
    pods: Sequence[_Object]
    policy: _Object
    image: str | None


def node_of(pod: _Object) -> str:
    """The node of a pod; empty as long as it has none."""
    return str(pod["spec"].get("nodeName") or "")


def groups(needs: Iterable[Need], policies: Iterable[_Object]) -> list[_twin_run.Group]:
    """One group for each namespace and node; ``policies`` are the NetworkPolicies of these namespaces."""
    held = list(policies)
    found: dict[tuple[str, str], tuple[_Object, str, dict[str, _Object]]] = {}
    for need in needs:
        for pod in need.pods:
            place = pod["metadata"]["namespace"], node_of(pod)
            if place[1] and need.image:
                found.setdefault(place, (pod, need.image, {}))[2].setdefault(need.key, need.policy)
    return [
        _twin_run.Group(pod, image, copies, is_limited(place[0], held)) for place, (pod, image, copies) in found.items()
    ]


def is_limited(namespace: str, policies: Iterable[_Object]) -> bool:
    """Whether a policy of the namespace says what an ordinary pod may send: the control of twins is one."""
    ordinary = {"metadata": {"name": "twin", "labels": _twins.labels("", _twins.CONTROL)}}
    return any(_policy_union.limits(one, ordinary) for one in policies if one["metadata"].get("namespace") == namespace)


def twins_for(key: str, pod: _Object, shown: Shown, asked: bool) -> Twins | Missing:
    """Twins beside this pod: of its own node."""
    node = node_of(pod)
    if not node:
        return Missing("the pod is on no node yet")
    return shown.get((key, node), Missing(f"no twins were made on node {node}" if asked else "no twins were asked for"))


def gaps(pods: Iterable[_Object], seen: _read.Seen, shown: Shown, asked: bool) -> tuple[str, ...]:
    """Why real addresses of the nodes of these pods may be unknown; ``asked``: twins were to be made."""
    reason = seen.missing("Node")
    if reason:
        return (f"{reason}: the addresses of nodes are not known",)
    found: dict[str, None] = {}
    nodes = {one["metadata"]["name"]: one for one in seen.held.all("Node")}
    for node in dict.fromkeys(node_of(one) for one in pods):
        if not node:
            continue
        if not addresses([nodes[node]] if node in nodes else []):
            found[f"the addresses of node {node} cannot be read"] = None
        if asked:
            why = _no_vantage(node, shown)
            found.update({why: None} if why else {})
    return tuple(found)


def _no_vantage(node: str, shown: Shown) -> str:
    """Why nobody unprotected saw an address from this node; empty if somebody did."""
    here = [twins for (dummy, where), twins in shown.items() if where == node]
    whole = [one for one in here if not isinstance(one, Missing)]
    if any(observed(one) for one in whole):
        return ""
    why = next((str(one) for one in here if isinstance(one, Missing)), "it got no answer" if whole else "there is none")
    return f"no unprotected twin on node {node} saw an address: {why}"


def observed(twins: Twins) -> set[str]:
    """Addresses that an unprotected twin was seen under."""
    if isinstance(twins.control, Missing):
        return set()
    steps = twins.control.steps.values()
    return {one.seen for step in steps for one in step.attempts if one.outcome == "answered" and one.seen}


def addresses(nodes: Iterable[_Object]) -> set[str]:
    """Addresses of nodes: real ones, but behind a home router not those that the world sees."""
    return {
        address["address"]
        for node in nodes
        for address in (node.get("status") or {}).get("addresses") or []
        if address.get("type") in ("InternalIP", "ExternalIP")
    }
