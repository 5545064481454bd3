# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Label selectors, and which other pods one would take along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a Kubernetes label selector selects ``labels``; None selects nothing, an empty one everything."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression(expression, labels) for expression in selector.get("matchExpressions") or [])


def _expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
    if operator == "In":
        return key in labels and labels[key] in values
    if operator == "NotIn":
        return labels.get(key) not in values  # a missing key matches, as in Kubernetes
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    raise ValueError(f"label selector operator {operator} is not known")


def pod_template(workload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pod template of any workload, a Pod itself; ``{}`` if it has none."""
    if workload.get("kind") == "Pod":
        return workload
    spec = workload.get("spec") or {}
    if workload.get("kind") == "CronJob":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    return spec.get("template") or {}


def pod_labels(workload: Mapping[str, Any]) -> dict[str, str]:
    """Labels of the pods a workload makes."""
    return dict((pod_template(workload).get("metadata") or {}).get("labels") or {})


def reference(workload: Mapping[str, Any]) -> str:
    """Kind, namespace and name, in the words of messages."""
    metadata = workload["metadata"]
    return f"{workload['kind']} {metadata.get('namespace', 'default')}/{metadata['name']}"


def strangers(workload: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> list[str]:
    """References of workloads in the same namespace whose pods the selector of ``workload`` selects too.

    ``others`` may contain ``workload`` itself and what it owns: both are left out.
    """
    spec, metadata = workload["spec"], workload["metadata"]
    pool = [one for one in others if one["metadata"].get("namespace") == metadata["namespace"]]
    own = {(workload["kind"], metadata["name"])}
    for _generation in range(2):  # a Deployment owns ReplicaSets, those own Pods
        own |= {(one["kind"], one["metadata"]["name"]) for one in pool if _owners(one) & own}
    found = {
        reference(one)
        for one in pool
        if (one["kind"], one["metadata"]["name"]) not in own and matches(spec.get("selector"), pod_labels(one))
    }
    return sorted(found)


def _owners(workload: Mapping[str, Any]) -> set[tuple[str, str]]:
    owners = workload["metadata"].get("ownerReferences") or []
    return {(owner["kind"], owner["name"]) for owner in owners if owner.get("controller", True)}
