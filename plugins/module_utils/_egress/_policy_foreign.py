# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Policies of kinds whose rules this collection does not evaluate: where they are listed, and which may open something.

Pure. A policy is left out only where it is certain that it opens nothing for the pods in question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names

_Object = Mapping[str, Any]
_Pair = tuple[str, str]


@dataclass(frozen=True)
class Kind:
    """``name`` is ours, as several groups have a kind of one name. ``opens`` are the actions of a rule that may let
    something out; a rule without an action counts as well. Without any in ``opens`` every rule does."""

    name: str
    groups: tuple[str, ...]
    plural: str
    spaced: bool  # in namespaces
    opens: tuple[str, ...] = ()


_ADMIN, _ANTREA = ("policy.networking.k8s.io",), ("crd.antrea.io",)
_CALICO = ("crd.projectcalico.org", "projectcalico.org")
KINDS = (
    Kind("AdminNetworkPolicy", _ADMIN, "adminnetworkpolicies", False, ("Allow",)),
    Kind("BaselineAdminNetworkPolicy", _ADMIN, "baselineadminnetworkpolicies", False, ("Allow",)),
    Kind("ClusterNetworkPolicy", _ADMIN, "clusternetworkpolicies", False, ("Accept", "Allow")),
    Kind("CiliumNetworkPolicy", ("cilium.io",), "ciliumnetworkpolicies", True),
    Kind("CiliumClusterwideNetworkPolicy", ("cilium.io",), "ciliumclusterwidenetworkpolicies", False),
    # Pass skips the rest of a tier, and NetworkPolicies are in one.
    Kind("CalicoNetworkPolicy", _CALICO, "networkpolicies", True, ("Allow", "Pass")),
    Kind("CalicoGlobalNetworkPolicy", _CALICO, "globalnetworkpolicies", False, ("Allow", "Pass")),
    Kind("AntreaNetworkPolicy", _ANTREA, "networkpolicies", True, ("Allow",)),
    Kind("AntreaClusterNetworkPolicy", _ANTREA, "clusternetworkpolicies", False, ("Allow",)),
)
NAMES = tuple(one.name for one in KINDS)
_BY_NAME = {one.name: one for one in KINDS}
_EQUALS = re.compile(r"""^\s*([\w./-]+)\s*==\s*["']([^"']*)["']\s*$""")
# Labels that a network plugin gives a pod in its own view: that the pod does not carry them says nothing.
_GIVEN = ("io.cilium.", "io.kubernetes.", "projectcalico.org/", "pcns.", "pcsa.", "reserved:", "reserved.")


def unjudged(policies: Iterable[_Object], namespace: str, pods: Sequence[_Object]) -> list[str]:
    """Policies that may let something out of ``pods`` of this namespace, as sentences; ``kind`` is one of ``NAMES``."""
    found = []
    for one in policies:
        parts = [part for part in (one.get("spec"), *(one.get("specs") or [])) if part]
        home = one["metadata"].get("namespace")
        if home not in (None, "", namespace):
            continue
        if not any(_lets_out(one["kind"], part) and _may_select(one["kind"], part, namespace, pods) for part in parts):
            continue
        name = f"{home}/{one['metadata']['name']}" if home else one["metadata"]["name"]
        found.append(f"{one['kind']} {name} may select these pods and lets something out, which cannot be judged here")
    return found


def _lets_out(kind: str, spec: _Object) -> bool:
    opens = _BY_NAME[kind].opens
    return any(not opens or rule.get("action") in (None, *opens) for rule in spec.get("egress") or [])


def _may_select(kind: str, spec: _Object, namespace: str, pods: Iterable[_Object]) -> bool:
    """False only where a label that is asked for is seen to be missing on every pod or on its namespace."""
    home = {
        _names.NAMESPACE_LABEL: namespace,
        "io.kubernetes.pod.namespace": namespace,
        "projectcalico.org/namespace": namespace,
        "projectcalico.org/name": namespace,
    }
    carried = [{**(one["metadata"].get("labels") or {}), **home} for one in pods]
    for of_pods, of_namespaces in _selectors(kind, spec):
        # Of the namespace nothing is known but its name.
        wanted = [pair for pair in of_pods if pair[0] in home or not pair[0].startswith(_GIVEN)]
        wanted += [pair for pair in of_namespaces if pair[0] in home]
        if any(all(labels.get(key) == value for key, value in wanted) for labels in carried):
            return True
    return False


def _selectors(kind: str, spec: _Object) -> list[tuple[list[_Pair], list[_Pair]]]:
    """What a policy asks of labels of pods and of their namespace, one pair for each of the ways to be selected."""
    if kind.startswith("Cilium"):
        # Without it a policy is for nodes.
        return [(_equal(spec["endpointSelector"]), [])] if "endpointSelector" in spec else []
    if kind.startswith("Calico"):
        return [(_expression(spec.get("selector")), _expression(spec.get("namespaceSelector")))]
    if kind.startswith("Antrea"):
        applied = [*(spec.get("appliedTo") or [])]
        applied += [one for rule in spec.get("egress") or [] for one in rule.get("appliedTo") or []]
        return [(_equal(one.get("podSelector")), _equal(one.get("namespaceSelector"))) for one in applied or [{}]]
    subject = spec.get("subject") or {}
    pods = subject.get("pods") or {}
    return [
        (_equal(pods.get("podSelector")), _equal(subject.get("namespaces")) + _equal(pods.get("namespaceSelector")))
    ]


def _expression(text: Any) -> list[_Pair]:
    """The plain comparisons of Calico's language that all have to hold; anything else is left out."""
    words = str(text or "")
    matches = [_EQUALS.match(part) for part in ([] if "||" in words else words.split("&&"))]
    return [(one[1], one[2]) for one in matches if one]


def _equal(selector: _Object | None) -> list[_Pair]:
    # Cilium writes where a label comes from before it.
    labels = ((selector or {}).get("matchLabels") or {}).items()
    return [(key.removeprefix("k8s:").removeprefix("any:"), value) for key, value in labels]
