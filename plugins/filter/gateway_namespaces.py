# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _gateways

DOCUMENTATION = r"""
name: gateway_namespaces
short_description: The namespace of each ingress gateway, also of those that name none
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - A gateway that names no namespace is in C(gateway-NAME). Gateways with C(state=absent) are left out.
positional: _input
options:
  _input:
    description:
      - Ingress gateways, as in P(bulkhead.mesh.ingress_gateways#role).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show where the gateways are
  ansible.builtin.debug:
    msg: "{{ [{'name': 'arr'}, {'name': 'media', 'namespace': 'films-gateway'}] | bulkhead.mesh.gateway_namespaces }}"
"""

RETURN = r"""
_value:
  description: Namespace of each gateway, by its name.
  type: dict
  sample: {arr: gateway-arr, media: films-gateway}
"""


def gateway_namespaces(gateways: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Checked input for the pure function."""
    found, problems = _gateways.parse_gateways(gateways)
    if problems:
        raise AnsibleFilterError("\n".join(str(one) for one in problems))
    return {one.name: one.namespace for one in found if one.present}


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gateway_namespaces": gateway_namespaces}
