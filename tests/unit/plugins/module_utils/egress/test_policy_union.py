# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Policies of others: which of them open more than ours, and which nobody here can judge."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _policy, _policy_union
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Gateway

OWN = _policy.client_policy(
    Client("StatefulSet", "downloads", "qbittorrent", "vpnarr"),
    {"matchLabels": {"app": "qbittorrent"}},
    Gateway("vpnarr", "vpn", "wg"),
)
PODS = [{"metadata": {"name": "qbittorrent-0", "labels": {"app": "qbittorrent", "tier": "a"}}}]
(CARRIER,) = OWN["spec"]["egress"]


def other(name: str = "other", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "downloads"}, "spec": {"podSelector": {}, **spec}}


def rule(**parts: Any) -> dict[str, Any]:
    return other(policyTypes=["Egress"], egress=[parts])


def opened(*policies: Any) -> list[str]:
    return _policy_union.openings(policies, OWN, PODS)


DNS = [{"protocol": "UDP", "port": 53}]


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (rule(), "opens every port of every address"),
        (rule(to=[{"ipBlock": {"cidr": "0.0.0.0/0"}}]), "opens every port of 0.0.0.0/0"),
        (
            rule(to=[{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}], ports=DNS),
            "opens UDP/53 of 0.0.0.0/0 without 10.0.0.0/8",
        ),
        (rule(ports=DNS), "opens UDP/53 of every address"),
        (rule(to=[{"podSelector": {}}], ports=DNS), "all pods of kubernetes.io/metadata.name=downloads namespaces"),
        (rule(to=[{"namespaceSelector": {}}], ports=DNS), "opens UDP/53 of all pods of all namespaces"),
        (
            rule(to=[{"podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "c"]}]}}]),
            "opens every port of a In b c pods",
        ),
        (rule(to=CARRIER["to"]), "opens every port of bulkhead.mesh/role=gateway"),
        (rule(to=CARRIER["to"], ports=[{"protocol": "UDP", "port": 14789, "endPort": 14790}]), "UDP/14789-14790"),
        (rule(to=CARRIER["to"], ports=[{"protocol": "UDP"}]), "opens UDP of"),
        (rule(to=CARRIER["to"], ports=[{"port": 14789}]), "opens TCP/14789 of"),
        (rule(to=CARRIER["to"], ports=[{"port": "carrier"}]), "opens TCP/carrier of"),
        (other(egress=[{}]), "opens every port"),  # no types: it has rules for egress
        (other(podSelector={"matchLabels": {"tier": "a"}}, policyTypes=["Ingress", "Egress"], egress=[{}]), "opens"),
    ],
)
def test_wider(policy: Any, words: str) -> None:
    (sentence,) = opened(policy)
    assert sentence.startswith("NetworkPolicy downloads/other also selects qbittorrent-0, and its egress[0] ")
    assert words in sentence
    assert sentence.endswith("let its podSelector leave these pods out")


@pytest.mark.parametrize(
    "policy",
    [
        rule(**CARRIER),
        other(policyTypes=["Egress"]),
        other(policyTypes=["Ingress"], egress=[{}]),
        other(policyTypes=["Ingress"], ingress=[{}]),
        other(ingress=[{}]),
        other(podSelector={"matchLabels": {"app": "radarr"}}, policyTypes=["Egress"], egress=[{}]),
        {**OWN, "spec": {**OWN["spec"], "egress": [{}]}},  # np-shape sees that
    ],
)
def test_not_wider(policy: Any) -> None:
    assert opened(policy) == []


def test_every_rule_of_every_policy_is_told_with_only_what_is_new() -> None:
    both = other(
        "a", policyTypes=["Egress"], egress=[CARRIER, {"to": CARRIER["to"], "ports": [*CARRIER["ports"], *DNS]}]
    )
    first, second = opened(both, rule())
    assert "downloads/a " in first and "egress[1] opens UDP/53 of" in first and "14789" not in first
    assert "downloads/other " in second
