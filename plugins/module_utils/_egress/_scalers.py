# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What starts a workload again that was scaled to 0: HorizontalPodAutoscalers, and ScaledObjects of KEDA. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

HPA, SCALED_OBJECT = "HorizontalPodAutoscaler", "ScaledObject"
KINDS = (HPA, SCALED_OBJECT)
KEDA = "keda.sh"
_PAUSED, _PAUSED_AT = "autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas"


def targeting(workload: Mapping[str, Any], scalers: Iterable[Mapping[str, Any]]) -> list[str]:
    """References of those that scale this workload, by its kind and name; a paused one scales nothing."""
    found = []
    for one in scalers:
        metadata, target = one["metadata"], (one.get("spec") or {}).get("scaleTargetRef") or {}
        # KEDA means a Deployment where no kind is given. The version may be any that names the same workload.
        kind = target.get("kind") or ("Deployment" if one["kind"] == SCALED_OBJECT else "")
        group = str(target.get("apiVersion") or "apps/v1").partition("/")[0]
        same = (kind, target.get("name"), group) == (workload["kind"], workload["metadata"]["name"], "apps")
        if same and metadata.get("namespace") == workload["metadata"]["namespace"] and not _paused(one):
            found.append(f"{one['kind']} {metadata['namespace']}/{metadata['name']}")
    return sorted(found)


def _paused(one: Mapping[str, Any]) -> bool:
    annotations = one["metadata"].get("annotations") or {}
    if one["kind"] != SCALED_OBJECT:
        return False
    return annotations.get(_PAUSED) == "true" or annotations.get(_PAUSED_AT) == "0"
