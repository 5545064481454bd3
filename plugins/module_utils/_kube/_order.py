# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""In which order objects are written: what others need or what protects comes first; deletion goes the other way."""

from __future__ import annotations

from typing import Any

_RANKS: tuple[tuple[str, ...], ...] = (
    ("Namespace",),
    ("CustomResourceDefinition", "PriorityClass", "StorageClass", "RuntimeClass"),
    ("ServiceAccount",),
    ("Role", "ClusterRole"),
    ("RoleBinding", "ClusterRoleBinding"),
    ("ConfigMap", "Secret", "LimitRange", "ResourceQuota"),
    ("ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"),
    ("ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicyBinding"),
    ("NetworkPolicy",),
    ("PersistentVolume", "PersistentVolumeClaim"),
    ("Service",),
    (),  # every other kind, such as those of CustomResourceDefinitions
    ("Pod", "ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"),
    ("HorizontalPodAutoscaler", "PodDisruptionBudget", "Ingress"),
    # last: from here on they may refuse what comes without them
    ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "APIService"),
)
_BY_KIND = {kind: rank for rank, group in enumerate(_RANKS) for kind in group}
_OTHERS = _RANKS.index(())
_BUILT_IN = (
    "",
    "apps",
    "autoscaling",
    "batch",
    "policy",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
)


def rank(group: str, kind: str) -> int:
    """Place of a kind; a small one is written early."""
    return _BY_KIND.get(kind, _OTHERS) if group in _BUILT_IN else _OTHERS


def in_ranks(entries: list[Any], *, last_first: bool = False) -> list[list[Any]]:
    """``entries`` with a ``key`` grouped by rank; inside a rank they keep their order."""
    groups: dict[int, list[Any]] = {}
    for entry in entries:
        groups.setdefault(rank(entry.key.group, entry.key.kind), []).append(entry)
    return [groups[number] for number in sorted(groups, reverse=last_first)]
