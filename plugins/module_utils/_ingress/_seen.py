# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What a cluster is seen to have, as plain values; ``None`` where nobody looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Seen:
    """Facts of M(ingress_info), or parts of them. What is None was not looked at, and no rule judges it."""

    pools: Sequence[Mapping[str, Any]] | None = None  # {name, namespace, addresses, auto_assign, ours}
    nodes: Sequence[Mapping[str, Any]] | None = None  # {name, addresses, excluded}
    proxy: str | None = None  # the configuration of kube-proxy, where there is one to be read
    load_balancers: Sequence[Mapping[str, Any]] | None = None  # {namespace, name, addresses, gateway}
    namespaces: Mapping[str, Mapping[str, Any]] | None = None  # name -> {labels, ours}
    secrets: Mapping[str, bool] | None = None  # namespace/name -> whether it exists
    services: Mapping[str, Any] | None = None  # namespace/name -> its ports, None where it does not exist
    classes: Mapping[str, Any] | None = None  # name of a GatewayClass -> whether it is accepted
    exposed: Sequence[Mapping[str, Any]] | None = None  # Services on the tailnet: {namespace, name, gateway, hostname}
    operators: Sequence[Mapping[str, Any]] | None = None  # of Tailscale: {namespace, name, hostname}
    proxy_classes: Sequence[str] | None = None
    networks: Mapping[str, Sequence[str]] = field(default_factory=dict)  # what for -> CIDRs


def seen(facts: Mapping[str, Any] | None, networks: Mapping[str, Sequence[str]] | None = None) -> Seen:
    """The parts of ``facts`` that the rules read."""
    if not facts:
        return Seen(networks=networks or {})
    metallb, gateway_api, tailnet = facts.get("metallb"), facts.get("gateway_api"), facts.get("tailnet")
    return Seen(
        pools=metallb["pools"] if metallb else None,
        nodes=facts.get("nodes"),
        proxy=facts.get("proxy"),
        load_balancers=facts.get("load_balancers"),
        namespaces=facts.get("namespaces"),
        secrets=facts.get("secrets"),
        services=facts.get("services"),
        classes=gateway_api["classes"] if gateway_api else None,
        exposed=facts.get("exposed"),
        operators=tailnet["operators"] if tailnet else None,
        proxy_classes=tailnet["classes"] if tailnet else None,
        networks=networks or {},
    )


@dataclass(frozen=True)
class Verdict:
    """One thing that stands in the way. What is only ``missing`` yet is no more than a warning in check mode."""

    rule: str
    msg: str
    missing: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For a role."""
        return {"rule": self.rule, "msg": self.msg, "missing": self.missing}
