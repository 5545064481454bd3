# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Readiness of an object as (ready, evidence); a status that is older than the specification counts for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Verdict = tuple[bool, str]


def ready(group: str, kind: str, live: Mapping[str, Any]) -> Verdict:
    """Judge one object; kinds without a rule are ready when they exist."""
    judge = _JUDGES.get((group, kind))
    if judge is None:
        return True, "it exists"
    status, spec, metadata = live.get("status") or {}, live.get("spec") or {}, live["metadata"]
    if group == "apps":
        seen, written = status.get("observedGeneration") or 0, metadata.get("generation") or 0
        if seen < written:
            return False, f"its controller has seen generation {seen} of {written}"
    return judge(spec, status)


def _deployment(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Verdict:
    wanted = spec.get("replicas", 1)
    for condition in status.get("conditions") or []:
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return False, f"the rollout has stopped: {_words(condition)}"
    updated, available = status.get("updatedReplicas") or 0, status.get("availableReplicas") or 0
    total = status.get("replicas") or 0
    evidence = f"{updated} of {wanted} replicas updated, {available} available, {max(total - updated, 0)} old"
    return updated == wanted and available == wanted and total == wanted, evidence


def _stateful_set(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Verdict:
    wanted = spec.get("replicas", 1)
    strategy = spec.get("updateStrategy") or {}
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    updated, available = status.get("updatedReplicas") or 0, status.get("availableReplicas") or 0
    if strategy.get("type") == "OnDelete":
        return available == wanted, f"{available} of {wanted} replicas available (updated when they are deleted)"
    current = updated >= max(wanted - partition, 0)
    return current and available == wanted, f"{updated} of {wanted} replicas updated, {available} available"


def _daemon_set(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Verdict:
    wanted = status.get("desiredNumberScheduled") or 0
    updated, available = status.get("updatedNumberScheduled") or 0, status.get("numberAvailable") or 0
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        updated = wanted
    return updated == wanted and available == wanted, f"{updated} of {wanted} pods updated, {available} available"


def _definition(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Verdict:
    return _condition(status, "Established")


def _api_service(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Verdict:
    return _condition(status, "Available")


def _namespace(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Verdict:
    phase = status.get("phase") or "unknown"
    return phase == "Active", f"its phase is {phase}"


def _condition(status: Mapping[str, Any], wanted: str) -> Verdict:
    for condition in status.get("conditions") or []:
        if condition.get("type") == wanted:
            return condition.get("status") == "True", f"{wanted} is {condition.get('status')}: {_words(condition)}"
    return False, f"it has no condition {wanted} yet"


def _words(condition: Mapping[str, Any]) -> str:
    return " ".join(str(condition.get("message") or condition.get("reason") or "no explanation").split())


_JUDGES = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apiregistration.k8s.io", "APIService"): _api_service,
    ("", "Namespace"): _namespace,
}
