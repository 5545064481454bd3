# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Policies of kinds that are not evaluated: what may open something makes np-union unknown, wherever it is listed."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _policy_foreign

PODS = [{"metadata": {"name": "qbittorrent-0", "labels": {"app": "qbittorrent", "tier": "a"}}}]


def foreign(kind: str, spec: Any = None, **more: Any) -> Any:
    return {"kind": kind, "metadata": {"name": "x"}, "spec": spec, **more}


LETS_OUT = {"egress": [{"action": "Allow"}]}
HERE = {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "downloads", "any:app": "qbittorrent"}}
THERE = {"matchLabels": {"app": "radarr"}}
HOME = "kubernetes.io/metadata.name"
HERE_ONLY, TV = {"matchLabels": {HOME: "downloads"}}, {"matchLabels": {HOME: "tv"}}
ACCOUNT = {"matchLabels": {"io.cilium.k8s.policy.serviceaccount": "default"}}


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (foreign("CiliumNetworkPolicy", {"endpointSelector": {}, "egress": [{"toEntities": ["world"]}]}), True),
        (foreign("CiliumNetworkPolicy", {"endpointSelector": HERE, "egress": [{}]}), True),
        (foreign("CiliumNetworkPolicy", {"endpointSelector": THERE, "egress": [{}]}), False),
        (foreign("CiliumNetworkPolicy", {"endpointSelector": {}, "ingress": [{}]}), False),
        (foreign("CiliumNetworkPolicy", None, specs=[{"endpointSelector": {}, "egress": [{}]}]), True),
        (foreign("CiliumClusterwideNetworkPolicy", {"nodeSelector": {}, "egress": [{}]}), False),
        (foreign("CalicoNetworkPolicy", {**LETS_OUT, "selector": "all()"}), True),
        (foreign("CalicoNetworkPolicy", {**LETS_OUT, "selector": "app == 'qbittorrent' && tier == \"a\""}), True),
        (foreign("CalicoNetworkPolicy", {**LETS_OUT, "selector": "app == 'radarr' && has(x)"}), False),
        (foreign("CalicoNetworkPolicy", {**LETS_OUT, "selector": "app == 'radarr' || has(x)"}), True),
        (foreign("CalicoNetworkPolicy", {"egress": [{"action": "Deny"}]}), False),
        (
            foreign("CalicoGlobalNetworkPolicy", {**LETS_OUT, "namespaceSelector": "projectcalico.org/name == 'tv'"}),
            False,
        ),
        (foreign("AdminNetworkPolicy", {**LETS_OUT, "subject": {"namespaces": {}}}), True),
        (foreign("AdminNetworkPolicy", {"subject": {"namespaces": {}}, "egress": [{"action": "Pass"}]}), False),
        (foreign("AdminNetworkPolicy", {**LETS_OUT, "subject": {"pods": {"podSelector": THERE}}}), False),
        (foreign("ClusterNetworkPolicy", {"subject": {}, "egress": [{"action": "Accept"}]}), True),
        (
            foreign("AdminNetworkPolicy", {**LETS_OUT, "subject": {"namespaces": {"matchLabels": {"team": "media"}}}}),
            True,
        ),
        (foreign("AdminNetworkPolicy", {**LETS_OUT, "subject": {"namespaces": {"matchLabels": {HOME: "tv"}}}}), False),
        (foreign("BaselineAdminNetworkPolicy", {**LETS_OUT, "subject": {"namespaces": {}}}), True),
        (foreign("BaselineAdminNetworkPolicy", {"subject": {}, "egress": [{"action": "Deny"}]}), False),
        (foreign("ClusterNetworkPolicy", {"subject": {}, "egress": [{"action": "Pass"}]}), False),
        # Labels that the plugin gives in its own view are on no pod.
        (foreign("CalicoNetworkPolicy", {**LETS_OUT, "selector": "projectcalico.org/orchestrator == 'k8s'"}), True),
        (foreign("CalicoGlobalNetworkPolicy", {**LETS_OUT, "selector": "pcns.team == 'media'"}), True),
        (foreign("CalicoGlobalNetworkPolicy", {**LETS_OUT, "namespaceSelector": "team == 'media'"}), True),
        (foreign("CalicoNetworkPolicy", {"egress": [{"action": "Pass"}]}), True),
        (foreign("CiliumNetworkPolicy", {"endpointSelector": ACCOUNT, "egress": [{}]}), True),
        (foreign("AntreaNetworkPolicy", {**LETS_OUT, "appliedTo": [{"podSelector": {}}]}), True),
        (foreign("AntreaNetworkPolicy", {**LETS_OUT, "appliedTo": [{"podSelector": THERE}]}), False),
        (foreign("AntreaNetworkPolicy", {**LETS_OUT, "appliedTo": [{"podSelector": THERE}, {"group": "all"}]}), True),
        (foreign("AntreaNetworkPolicy", {"egress": [{"action": "Drop"}], "appliedTo": [{"podSelector": {}}]}), False),
        (
            foreign("AntreaNetworkPolicy", {"egress": [{"action": "Allow", "appliedTo": [{"podSelector": THERE}]}]}),
            False,
        ),
        (foreign("AntreaClusterNetworkPolicy", {"egress": [{}], "appliedTo": [{"namespaceSelector": {}}]}), True),
        (foreign("AntreaClusterNetworkPolicy", {**LETS_OUT, "appliedTo": [{"namespaceSelector": HERE_ONLY}]}), True),
        (foreign("AntreaClusterNetworkPolicy", {**LETS_OUT, "appliedTo": [{"namespaceSelector": TV}]}), False),
    ],
)
def test_unjudged(policy: Any, told: bool) -> None:
    assert bool(_policy_foreign.unjudged([policy], "downloads", PODS)) == told


def test_policies_of_other_namespaces_are_not_meant() -> None:
    one = foreign("CiliumNetworkPolicy", {"endpointSelector": {}, "egress": [{}]})
    one["metadata"]["namespace"] = "tv"
    assert _policy_foreign.unjudged([one], "downloads", PODS) == []
    assert _policy_foreign.unjudged([one], "tv", PODS) == [
        "CiliumNetworkPolicy tv/x may select these pods and lets something out, which cannot be judged here"
    ]
