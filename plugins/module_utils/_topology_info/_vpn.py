# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Objects of the cluster and the last proof -> VPN gateways and the clients behind them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _left_behind,
    _names,
    _orphans,
    _registry,
    _siblings,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._topology import _standing
from ansible_collections.bulkhead.mesh.plugins.module_utils._topology_info._read import Seen

KINDS = ("StatefulSet", "Deployment")
UNKNOWN = "unknown"
_EXIT = "gw-exit"  # the check that says where a gateway's traffic leaves
_Object = Mapping[str, Any]


def gateways(
    seen: Seen, declared: Sequence[_Object], proof: _standing.Proof, exits: Sequence[str], now: datetime
) -> list[dict[str, Any]]:
    """VPN gateways in the order of the inventory, then others by name; those that are wanted and not there as well."""
    wanted = {(one["namespace"], one["name"]): one for one in declared}
    live = {
        (one["metadata"]["namespace"], one["metadata"]["name"]): one
        for one in seen.all("StatefulSet")
        if _names.gateway_pod_labels(one["metadata"]["name"]).items() <= _template_labels(one).items()
    }
    numbers = _numbers(seen)
    order = [*wanted, *sorted(set(live) - set(wanted))]
    made = []
    for key in order:
        pods = _gateway_pods(seen, *key)
        made.append(
            {
                "namespace": key[0],
                "name": key[1],
                "declared": key in wanted,
                **_gateway_state(live.get(key), pods, seen),
                "network": numbers.get(key, {}).get("network", ""),
                "exit": _exit(key, pods, proof, exits, now),
            }
        )
    return made


def _template_labels(workload: _Object) -> Mapping[str, str]:
    return ((workload["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}


def _gateway_pods(seen: Seen, namespace: str, name: str) -> list[_Object]:
    labels = _names.gateway_pod_labels(name)
    return [
        one
        for one in seen.all("Pod")
        if one["metadata"]["namespace"] == namespace
        and labels.items() <= (one["metadata"].get("labels") or {}).items()
        and _runs(one)
    ]


def _runs(pod: _Object) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _gateway_state(live: _Object | None, pods: Sequence[_Object], seen: Seen) -> dict[str, str]:
    unread = seen.missing("StatefulSet", "Pod")
    if unread:
        return {"state": UNKNOWN, "reason": unread}
    if live is None:
        return {"state": "missing", "reason": "the inventory names it"}
    if not pods:
        return {"state": "not_ready", "reason": "no pod runs"}
    waiting = next((one for one in pods if not _workload.is_ready(one)), None)
    if waiting is not None:
        container, why = _workload.blocked_container(waiting)
        return {"state": "not_ready", "reason": f"{container}: {why}" if container else "its pod is not ready"}
    return {"state": "ready", "reason": ""}


def _numbers(seen: Seen) -> dict[tuple[str, str], Mapping[str, Any]]:
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for one in seen.all("ConfigMap"):
        namespace = one["metadata"]["namespace"]
        registry, dummy = _registry.parse(one, namespace)
        found |= {(namespace, name): link for name, link in registry["gateways"].items()}
    return found


def _exit(
    key: tuple[str, str], pods: Sequence[_Object], proof: _standing.Proof, exits: Sequence[str], now: datetime
) -> dict[str, Any]:
    """By which address the gateway leaves: the inventory's, confirmed or not by the last proof."""
    found = {"addresses": list(exits), "state": UNKNOWN}
    result = next((one for one in proof.checks if one["id"] == _EXIT and one["target"] == "/".join(key)), None)
    newest = _newest(pods)
    if result is None:
        return {**found, "reason": proof.reason or "the report does not name it"}
    if result["result"] == "fail":
        return {**found, "state": "wrong", "reason": str(result.get("reason") or "")}
    if result["result"] != "pass":
        return {**found, "reason": str(result.get("reason") or "the last proof could not say")}
    if proof.time is None or proof.age(now) is None or newest is None or newest > proof.time:
        return {**found, "reason": "its pod is newer than the last proof, or nothing says when that was made"}
    return {**found, "state": "confirmed", "reason": "" if exits else "not the node's; the inventory names no address"}


def _newest(pods: Sequence[_Object]) -> datetime | None:
    """When the newest of these pods was made; None where there is none or one does not say."""
    times = [_standing.moment(one["metadata"].get("creationTimestamp")) for one in pods]
    return None if None in times or not times else max(one for one in times if one)


def clients(
    seen: Seen,
    declared: Sequence[_Object],
    proof: _standing.Proof,
    now: datetime,
    stale_after: float,
    accept_open: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Clients in the order of the inventory, then workloads that are attached without being in it.

    ``accept_open`` names pods or workloads that may run without a guard although they use what is a client's.
    """
    wanted = {(one["kind"], one["namespace"], one["name"]): one for one in declared}
    live = {(one["kind"], one["metadata"]["namespace"], one["metadata"]["name"]): one for one in seen.all(*KINDS)}
    attached = {key for key, one in live.items() if _names.CLIENT_LABEL in _template_labels(one) and key not in wanted}
    made = []
    for key in [*wanted, *sorted(attached)]:
        workload = live.get(key)
        now_seen = _live(key, workload, seen, accept_open)
        standing = _standing.judge(key, now_seen, proof, now, stale_after)
        made.append(
            {
                "kind": key[0],
                "namespace": key[1],
                "name": key[2],
                "declared": key in wanted,
                "gateway": now_seen.gateway or wanted.get(key, {}).get("gateway", ""),
                "attached": now_seen.attached,
                "pods": len(now_seen.pods),
                "services": _services(workload, seen),
                "state": standing.state,
                "reason": standing.reason,
                "layers": dict(standing.layers),
                "stale": standing.stale,
                "as_required": standing.as_required,
            }
        )
    return made


def orphans(seen: Seen, declared: Sequence[_Object]) -> list[dict[str, Any]]:
    """Workloads that are attached without being in the inventory, each with a sentence that says what to do."""
    return _orphans.attached({(one["kind"], one["namespace"], one["name"]) for one in declared}, seen.all(*KINDS))


def left_behind(seen: Seen) -> list[dict[str, Any]]:
    """Pods of clients that no workload owns; none where owners were not read, which is told elsewhere."""
    if seen.missing("Pod", "ReplicaSet", *KINDS):
        return []
    return [one.to_dict() for one in _left_behind.find(seen.all("Pod"), seen.all(*KINDS), seen.all("ReplicaSet"))]


def _live(key: _standing.Key, workload: _Object | None, seen: Seen, accept_open: Collection[str]) -> _standing.Live:
    kind, namespace, dummy = key
    unread = seen.missing(kind, "Pod", *(["ReplicaSet"] if kind == "Deployment" else []))
    if unread:
        return _standing.Live(unread=unread)
    if workload is None:
        return _standing.Live(exists=False)
    labels = _template_labels(workload)
    gateway = labels.get(_names.GATEWAY_LABEL, "")
    pods = [one for one in _workload.own_pods(workload, seen.all("Pod"), seen.all("ReplicaSet")) if _runs(one)]
    behind = [
        one
        for one in seen.all("Pod")
        if gateway and _names.gateway_pod_labels(gateway).items() <= (one["metadata"].get("labels") or {}).items()
    ]
    open_ = [str(one) for one in _siblings.find(workload, pods, seen.all("Pod"), accept_open)]
    left = _left_behind_of(key, seen)
    return _standing.Live(
        open=open_ if _names.CLIENT_LABEL in labels else [],
        left=left,
        unseen=seen.missing(*KINDS, "ReplicaSet"),
        attached=_names.CLIENT_LABEL in labels and _guarded(workload["spec"].get("template") or {}),
        gateway=gateway,
        pods=[one["metadata"]["name"] for one in pods],
        unguarded=[one["metadata"]["name"] for one in pods if not _guarded(one)],
        newest=_newest([*pods, *(one for one in behind if _runs(one))]),
    )


def _left_behind_of(key: _standing.Key, seen: Seen) -> list[str]:
    """Pods of a client that its workload does not own; without a label of their own they may be any client's of the namespace."""
    if seen.missing(*KINDS, "ReplicaSet"):
        return []
    dummy, namespace, name = key
    pods = [one for one in seen.all("Pod") if one["metadata"].get("namespace") == namespace]
    found = _left_behind.find(pods, seen.all(*KINDS), seen.all("ReplicaSet"))
    return [str(one) for one in found if one.client in ("", _names.client_id(namespace, name))]


def _guarded(pod: _Object) -> bool:
    """Whether a pod, or a pod template, starts with the guard."""
    first = ((pod.get("spec") or {}).get("initContainers") or [{}])[0]
    return first.get("name") == _names.GUARD


def _services(workload: _Object | None, seen: Seen) -> list[str]:
    """Services that lead to the workload's pods, as namespace/name."""
    if workload is None:
        return []
    labels, namespace = _template_labels(workload), workload["metadata"]["namespace"]
    found = []
    for one in seen.all("Service"):
        selector = one["spec"].get("selector") or {}
        if one["metadata"]["namespace"] == namespace and selector and selector.items() <= labels.items():
            found.append(f"{namespace}/{one['metadata']['name']}")
    return sorted(found)
