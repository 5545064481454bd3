# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.utils.vars import merge_hash

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _chart

DOCUMENTATION = r"""
name: metallb_plan
short_description: How MetalLB's chart is installed, and what stands in the way
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Turns the settings of MetalLB into options of M(kubernetes.core.helm) and judges them against what
    M(bulkhead.mesh.ingress_info) found. It reads nothing itself.
positional: _input
options:
  _input:
    description:
      - C(version), C(namespace), C(chart), C(chart_repo), C(values), C(frr) and C(load_balancer_class).
    type: dict
    required: true
  facts:
    description:
      - RV(bulkhead.mesh.ingress_info#module:ingress).
      - When absent, only the settings are judged.
    type: dict
    default: {}
  state:
    description:
      - What is to become of MetalLB.
    type: str
    choices: [present, external, absent]
    default: present
"""

EXAMPLES = r"""
- name: Show where the chart comes from
  ansible.builtin.debug:
    msg: "{{ ({'version': '0.16.1', 'chart': 'metallb'} | bulkhead.mesh.metallb_plan).chart }}"
"""

RETURN = r"""
_value:
  description:
    - C(problems), each with C(rule) and C(msg); C(chart), options of M(kubernetes.core.helm) that say where the chart is;
      C(values) of the release; C(workloads) that must be ready; and C(namespace) where MetalLB is or will be.
  type: dict
"""


def metallb_plan(
    config: Mapping[str, Any], facts: Mapping[str, Any] | None = None, state: str = "present"
) -> dict[str, Any]:
    """Checked input for the pure functions."""
    if not isinstance(config, Mapping):
        raise AnsibleFilterError("metallb_plan needs a mapping: write {'version': '0.16.1', 'chart': 'metallb'}.")
    given = _chart.settings(config)
    values = merge_hash(_chart.values(given.frr, given.load_balancer_class), given.values)
    return {
        "problems": [one.to_dict() for one in _chart.verdicts(given, facts, state)],
        "chart": _chart.place_of(given),
        "values": values,
        "workloads": _chart.workloads(given.namespace, values),
        "namespace": _chart.home(given, facts, state),
    }


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"metallb_plan": metallb_plan}
