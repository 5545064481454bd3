# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _plan

DOCUMENTATION = r"""
name: ingress_plan
short_description: What of pools and gateways is wrong, and the objects they come to
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Judges address pools, BGP peers, ingress gateways and their routes, against each other and against what
    M(bulkhead.mesh.ingress_info) found, and turns them into objects. It reads nothing itself.
positional: _input
options:
  _input:
    description:
      - Lists C(pools), C(peers), C(gateways) and C(namespaces) of the inventory, C(frr), C(metallb_namespace), and
        C(metallb_values) where this collection installs MetalLB. What is left out is empty.
    type: dict
    required: true
  facts:
    description:
      - RV(bulkhead.mesh.ingress_info#module:ingress).
      - When absent, only the inventory is judged.
    type: dict
    default: {}
  networks:
    description:
      - Networks of the cluster, C(pods) and C(services), each a list of CIDRs, that no pool may overlap.
      - When absent, such overlaps are not noticed.
    type: dict
    default: {}
  parts:
    description:
      - Which lists are judged, V(pools) or V(gateways). Entries that cannot be read are always told.
      - When absent, both.
    type: list
    elements: str
    default: [pools, gateways]
"""

EXAMPLES = r"""
- name: Refuse what cannot work
  ansible.builtin.assert:
    that: plan.problems | length == 0
    fail_msg: "{{ plan.problems | map(attribute='msg') | join('\n') }}"
    quiet: true
  vars:
    plan: "{{ {'gateways': bulkhead_ingress_gateways} | bulkhead.mesh.ingress_plan }}"
"""

RETURN = r"""
_value:
  description:
    - C(problems), each with C(rule), C(msg) and whether something is only C(missing) yet; C(secrets) and C(services) to be
      looked for; the objects C(addresses), C(namespaces) and C(objects); C(former) namespaces of gateways and, of those whose
      contents were looked at, the ones that are C(staying); and C(expected) for M(bulkhead.mesh.ingress_check).
  type: dict
"""


def ingress_plan(
    config: Mapping[str, Any],
    facts: Mapping[str, Any] | None = None,
    networks: Mapping[str, Sequence[str]] | None = None,
    parts: Sequence[str] = _plan.PARTS,
) -> dict[str, Any]:
    """Checked input for the pure function."""
    if not isinstance(config, Mapping):
        raise AnsibleFilterError("ingress_plan needs a mapping: write {'gateways': bulkhead_ingress_gateways}.")
    return _plan.plan(config, facts, networks, parts)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ingress_plan": ingress_plan}
