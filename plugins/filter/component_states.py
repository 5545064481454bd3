# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.plugin_utils import _components

DOCUMENTATION = r"""
name: component_states
short_description: Who takes care of each component, also of those the inventory does not name
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - A component that is not named is V(managed) where another part of the inventory needs it, and V(absent) elsewhere.
    An inventory for VPN egress alone needs none.
positional: _input
options:
  _input:
    description:
      - Components the inventory names, each V(managed), V(external) or V(absent).
    type: dict
    required: true
  namespaces:
    description:
      - Namespaces with their C(mesh). Those in a mesh need Istio.
      - When absent, none.
    type: list
    elements: dict
    default: []
  gateways:
    description:
      - Ingress gateways. They need the Gateway API and Istio, and MetalLB where they have an address or a pool.
      - When absent, none.
    type: list
    elements: dict
    default: []
  pools:
    description:
      - Address pools. They need MetalLB.
      - When absent, none.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Show who takes care of what
  ansible.builtin.debug:
    msg: "{{ {'metallb': 'external'} | bulkhead.mesh.component_states(pools=bulkhead_address_pools) }}"
"""

RETURN = r"""
_value:
  description: The state of every component.
  type: dict
  sample: {gateway_api: absent, istio: absent, metallb: external, tailscale: absent}
"""


def component_states(
    named: Mapping[str, str],
    namespaces: Sequence[Mapping[str, Any]] = (),
    gateways: Sequence[Mapping[str, Any]] = (),
    pools: Sequence[Any] = (),
) -> dict[str, str]:
    """Checked input for the pure function."""
    if not isinstance(named, Mapping):
        raise AnsibleFilterError("bulkhead_components is no mapping: write {istio: managed, metallb: external}.")
    try:
        return _components.effective(named, _components.needs(namespaces, gateways, pools))
    except ValueError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"component_states": component_states}
