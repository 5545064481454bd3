# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: known_networks
short_description: Networks of a cluster, as far as they are known
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Takes one kind of network out of what M(bulkhead.mesh.cluster_info) found; what is unknown is an empty list.
positional: kind
options:
  _input:
    description:
      - RV(bulkhead.mesh.cluster_info#module:cluster).
    type: dict
    required: true
  kind:
    description:
      - Which networks, as a key of RV(bulkhead.mesh.cluster_info#module:cluster) networks.
    type: str
    choices: [pod_cidrs, service_cidrs, node_cidrs]
    required: true
"""

EXAMPLES = r"""
- name: Show the networks of pods
  ansible.builtin.debug:
    msg: "{{ result.cluster | bulkhead.mesh.known_networks('pod_cidrs') }}"
"""

RETURN = r"""
_value:
  description: CIDRs.
  type: list
  elements: str
"""


def known_networks(cluster: Mapping[str, Any], kind: str) -> list[str]:
    """CIDRs of one kind, or nothing where the fact is unknown."""
    networks = cluster.get("networks") if isinstance(cluster, Mapping) else None
    if not isinstance(networks, Mapping) or kind not in networks:
        raise AnsibleFilterError(f"known_networks finds no networks.{kind}: pass result.cluster and a documented kind.")
    value = networks[kind]["value"]
    return list(value) if isinstance(value, list) else []


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"known_networks": known_networks}
