# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What was read -> what the inventory does not show: attached workloads without an entry, pods beside a client's own. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import InventoryEvidence, WorkloadEvidence
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _left_behind, _names, _orphans, _siblings
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client
from ansible_collections.bulkhead.mesh.plugins.module_utils._killswitch import _read

KINDS = ("StatefulSet", "Deployment")


def unnamed(clients: Iterable[Client], seen: _read.Seen) -> InventoryEvidence:
    """Attached workloads of the whole cluster, and pods with a client's label, that no entry of ``clients`` is about.

    ``clients`` are all entries of the inventory, also those that are to be absent.
    """
    for kind in (*KINDS, "Pod"):
        reason = seen.missing(kind)
        if reason:
            return InventoryEvidence(unnamed=reason)
    listed = list(clients)
    found = _orphans.attached({(one.kind, one.namespace, one.name) for one in listed}, seen.held.all(*KINDS))
    told = [str(one["msg"]) for one in found]
    known = {one.id for one in listed} | {one["client"] for one in found}
    for pod in seen.held.all("Pod"):
        client = (pod["metadata"].get("labels") or {}).get(_names.CLIENT_LABEL)
        if client and client not in known and _runs(pod):
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            told.append(f"Pod {name} is of VPN client {client}, which {_orphans.LIST} does not name.")
    return InventoryEvidence(unnamed=tuple(told))


def _runs(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def left_behind(client: Client, seen: _read.Seen) -> list[_left_behind.LeftBehind] | Missing:
    """Pods of this client that its workload does not own; those that lost their label as well belong to nobody for sure,
    and so to every client of their namespace."""
    for kind in (*KINDS, "ReplicaSet", "Pod"):
        reason = seen.missing(kind, client.namespace)
        if reason:
            return reason
    pods, owners = (seen.held.all(*kinds, namespace=client.namespace) for kinds in (("Pod",), KINDS))
    found = _left_behind.find(pods, owners, seen.held.all("ReplicaSet", namespace=client.namespace))
    return [one for one in found if one.client in ("", client.id)]


def workload(
    client: Client,
    own: list[dict[str, Any]] | Missing,
    left: list[_left_behind.LeftBehind] | Missing,
    seen: _read.Seen,
    accepted: Collection[str],
) -> WorkloadEvidence:
    """What there is beside a client's own pods."""
    target = f"{client.namespace}/{client.name}"
    told = left if isinstance(left, Missing) else tuple(str(one) for one in left)
    if isinstance(own, Missing):
        return WorkloadEvidence(target, own, told)
    live = seen.held.get(client.kind, client.namespace, client.name)
    if live is None:
        return WorkloadEvidence(target, Missing(f"there is no {client.object}"), told)
    found = _siblings.find(live, own, seen.held.all("Pod", namespace=client.namespace), accepted)
    return WorkloadEvidence(target, tuple(str(one) for one in found), told)


def with_left(
    client: Client, own: list[dict[str, Any]] | Missing, left: list[_left_behind.LeftBehind] | Missing, seen: _read.Seen
) -> list[dict[str, Any]] | Missing:
    """All pods to check for a client: its own, and those that are left behind like any other of them."""
    if isinstance(own, Missing) or isinstance(left, Missing):
        return own
    names = {one["metadata"]["name"] for one in own}
    rest = [seen.held.get("Pod", client.namespace, one.name) for one in left if one.name not in names]
    return [*own, *(one for one in rest if one is not None)]
