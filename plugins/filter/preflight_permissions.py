# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.plugin_utils import _preflight

DOCUMENTATION = r"""
name: preflight_permissions
short_description: Permissions that wanted components need
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Turns the mapping of components into the list of permissions to ask for with option
    O(bulkhead.mesh.cluster_info#module:can_i).
positional: _input
options:
  _input:
    description:
      - Components and their states V(managed), V(external) or V(absent).
      - A component that is not named is V(absent).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Ask whether the caller may install MetalLB
  bulkhead.mesh.cluster_info:
    can_i: "{{ {'metallb': 'managed'} | bulkhead.mesh.preflight_permissions }}"
"""

RETURN = r"""
_value:
  description: Permissions, each once, those for reading first.
  type: list
  elements: dict
"""


def preflight_permissions(components: Mapping[str, str]) -> list[dict[str, Any]]:
    """Checked input for the pure function."""
    if not isinstance(components, Mapping):
        raise AnsibleFilterError("preflight_permissions needs a mapping of components: write name: managed.")
    return _preflight.permissions(components)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"preflight_permissions": preflight_permissions}
