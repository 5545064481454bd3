# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.plugin_utils import _remains

DOCUMENTATION = r"""
name: teardown_summary
short_description: What a teardown leaves on the cluster, and how to go on
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Turns what was torn down into a sentence for each thing that stays.
positional: _input, detach_to, namespaces, components, deletes_gateway_api
options:
  _input:
    description:
      - The clients, as in the variable C(bulkhead_vpn_clients).
    type: list
    elements: dict
    required: true
  detach_to:
    description:
      - What was made of them, V(sealed), V(stopped) or V(open).
    type: str
    required: true
  namespaces:
    description:
      - Names of the namespaces that were kept.
      - When absent, none.
    type: list
    elements: str
    default: []
  components:
    description:
      - State of each component, as P(bulkhead.mesh.component_states#filter) says it.
      - When absent, none was managed.
    type: dict
    default: {}
  deletes_gateway_api:
    description:
      - Whether the definitions of the Gateway API went.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Say what stays
  ansible.builtin.debug:
    msg: "{{ bulkhead_vpn_clients | bulkhead.mesh.teardown_summary('stopped', ['downloads']) }}"
"""

RETURN = r"""
_value:
  description: Sentences.
  type: list
  elements: str
"""


def teardown_summary(
    clients: Any,
    detach_to: str,
    namespaces: Sequence[str] = (),
    components: Mapping[str, str] | None = None,
    deletes_gateway_api: bool = False,
) -> list[str]:
    """Checked input for the pure function."""
    if isinstance(clients, (str, Mapping)) or not isinstance(clients, Sequence):
        raise AnsibleFilterError("teardown_summary needs a list of clients: pass bulkhead_vpn_clients.")
    return _remains.sentences(clients, detach_to, namespaces, components or {}, deletes_gateway_api)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"teardown_summary": teardown_summary}
