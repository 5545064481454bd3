# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Pods of VPN clients that no workload owns any more, and that therefore no rollout, scaling or detaching reaches. Pure.

A pod whose labels somebody edits drops out of its controller's selector: the controller lets go of it and makes
another one. The old pod runs on, and out of the client's policy and admission too when it was their label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names

_Object = Mapping[str, Any]


@dataclass(frozen=True)
class LeftBehind:
    """One such pod. ``client`` is the id that its label gives, empty where it has lost that label as well."""

    namespace: str
    name: str
    client: str
    guarded: bool
    reason: str
    uid: str = ""

    def __str__(self) -> str:
        whose = f"of VPN client {self.client} " if self.client else "with the guard of a VPN client "
        guard = "" if self.guarded else ", and it has no guard"
        return (
            f"Pod {self.namespace}/{self.name} {whose}is left behind: {self.reason}{guard}. Nothing replaces or ends "
            f"it: look whether you still need it, then kubectl -n {self.namespace} delete pod {self.name}"
        )

    def to_dict(self) -> dict[str, Any]:
        """For a module's result."""
        return {
            "namespace": self.namespace,
            "name": self.name,
            "client": self.client or None,
            "guarded": self.guarded,
            "reason": self.reason,
            "msg": str(self),
        }


def find(pods: Iterable[_Object], workloads: Iterable[_Object], replica_sets: Iterable[_Object]) -> list[LeftBehind]:
    """Pods that carry the client label or the guard and that the client's own workload does not own, by name.

    ``workloads`` are StatefulSets and Deployments, each with its kind; of them and of ``replica_sets`` only the metadata
    are looked at. All three have to be complete for the namespaces of the pods: an owner that was not read is one
    that is gone. Pods that have ended are none.
    """
    owners = {(one["kind"], *_place(one)): one for one in workloads}
    owners |= {("ReplicaSet", *_place(one)): one for one in replica_sets}
    found = []
    for pod in pods:
        client, guarded = (pod["metadata"].get("labels") or {}).get(_names.CLIENT_LABEL, ""), is_guarded(pod)
        if not (client or guarded) or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            continue
        reason = _why(pod, client, owners)
        if reason:
            namespace, name = _place(pod)
            found.append(LeftBehind(namespace, name, client, guarded, reason, pod["metadata"].get("uid", "")))
    return sorted(set(found), key=lambda one: (one.namespace, one.name))


def is_guarded(pod: _Object) -> bool:
    """Whether the guard is among the pod's init containers, at whatever place."""
    return any(one["name"] == _names.GUARD for one in (pod.get("spec") or {}).get("initContainers") or [])


def _why(pod: _Object, client: str, owners: Mapping[tuple[str, str, str], _Object]) -> str:
    """Why the client's workload does not own this pod; empty if it does."""
    namespace, one = pod["metadata"].get("namespace", ""), pod
    for _hop in range(2):  # a Deployment's pod belongs to a ReplicaSet, which belongs to it
        reference = next((ref for ref in one["metadata"].get("ownerReferences") or [] if ref.get("controller")), None)
        if reference is None:
            return f"no workload owns {'it' if one is pod else 'its ReplicaSet ' + one['metadata']['name']}"
        kind, name = reference["kind"], reference["name"]
        owner = owners.get((kind, namespace, name))
        if kind not in ("StatefulSet", "Deployment", "ReplicaSet"):
            return f"{kind} {name} owns it, which cannot be a VPN client"
        # One of the same name that was made later is another one.
        if owner is None or reference.get("uid", owner["metadata"].get("uid")) != owner["metadata"].get("uid"):
            return f"its owner {kind} {name} does not exist any more"
        if kind != "ReplicaSet":
            other = client and _names.client_id(namespace, name) != client
            return f"{kind} {name} owns it, which is another workload" if other else ""
        one = owner
    return f"ReplicaSet {one['metadata']['name']} owns it, which no Deployment owns"


def _place(one: _Object) -> tuple[str, str]:
    return one["metadata"].get("namespace", ""), one["metadata"]["name"]
