# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Whether the nodes can announce the addresses of pools on their network: labels of nodes, mode of kube-proxy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import POOLS, Pool
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._seen import Seen, Verdict

# MetalLB's speaker skips nodes that have it, with any value (metallb.io, "Exclude nodes from load balancers").
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
IGNORE = "ignoreExcludeLB"  # of the chart's value "speaker"
PROXY = "ConfigMap kube-system/kube-proxy"


def verdicts(pools: Sequence[Pool], values: Mapping[str, Any] | None, seen: Seen) -> list[Verdict]:
    """What keeps pools from being announced by ARP and NDP.

    ``values`` are those of MetalLB's chart; None where somebody else installed it, whose settings nobody knows.
    """
    announced = [pool for pool in pools if pool.state == "present" and pool.layer2 is not None]
    if not announced:
        return []
    return [*_excluded(values, seen), *_proxy(seen)]


def _excluded(values: Mapping[str, Any] | None, seen: Seen) -> list[Verdict]:
    if values is None or (values.get("speaker") or {}).get(IGNORE) or not seen.nodes:
        return []
    if not all(node.get("excluded") for node in seen.nodes):
        return []
    names = ", ".join(str(node["name"]) for node in seen.nodes)
    reason = "MetalLB announces nothing from nodes that have it, and every node has it"
    remedy = (
        f"take it off a node (kubectl label node NAME {EXCLUDED}-), or set "
        f"bulkhead_metallb.values to {{speaker: {{{IGNORE}: true}}}}"
    )
    return [Verdict("nodes-excluded", str(Problem(f"Node {names}", f"label {EXCLUDED}", "set", reason, remedy)))]


def _proxy(seen: Seen) -> list[Verdict]:
    if not ipvs_answers_everywhere(seen.proxy or ""):
        return []
    reason = (
        f"{POOLS} announces addresses by ARP, and with kube-proxy in IPVS mode every node answers for them, so that "
        "connections move between nodes"
    )
    remedy = "set it to true and restart kube-proxy (kubectl -n kube-system rollout restart daemonset kube-proxy)"
    return [Verdict("strict-arp", str(Problem(PROXY, "ipvs.strictARP", False, reason, remedy)))]


def ipvs_answers_everywhere(config: str) -> bool:
    """Whether a KubeProxyConfiguration (YAML) chooses IPVS without strictARP; one that cannot be read chooses nothing.

    >>> ipvs_answers_everywhere("mode: ipvs")
    True
    >>> ipvs_answers_everywhere("{mode: ipvs, ipvs: {strictARP: true}}")
    False
    """
    import yaml

    try:
        read = yaml.safe_load(config)
    except yaml.YAMLError:
        return False
    settings = read if isinstance(read, Mapping) else {}
    ipvs = settings.get("ipvs")
    return settings.get("mode") == "ipvs" and not (isinstance(ipvs, Mapping) and ipvs.get("strictARP") is True)
