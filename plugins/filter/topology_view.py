# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.module_utils._topology import _text

DOCUMENTATION = r"""
name: topology_view
short_description: Who reaches what as tables, JSON or an HTML page with a graph
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Turns RV(bulkhead.mesh.topology_info#module:topology) into text for people or programs.
positional: _input, view
options:
  _input:
    description:
      - What M(bulkhead.mesh.topology_info) returned as C(topology).
    type: dict
    required: true
  view:
    description:
      - V(text) for terminals, V(json), or V(html), one page by itself without scripts, light and dark, for screens of any size.
      - When absent, V(text).
    type: str
    choices: [text, json, html]
    default: text
seealso:
  - module: bulkhead.mesh.topology_info
"""

EXAMPLES = r"""
- name: Write the picture
  ansible.builtin.copy:
    content: "{{ result.topology | bulkhead.mesh.topology_view('html') }}"
    dest: build/status.html
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""


def topology_view(topology: Mapping[str, Any], view: str = "text") -> str:
    """Checked input for the pure functions."""
    if view not in _text.VIEWS:
        raise AnsibleFilterError(f"topology_view has no view {view!r}: use {', '.join(_text.VIEWS)}.")
    if not isinstance(topology, Mapping) or not {"proof", "vpn_clients", "orphans", "left_behind", "unreadable"} <= set(
        topology
    ):
        raise AnsibleFilterError("topology_view needs what topology_info returns: pass its key topology.")
    return _text.VIEWS[view](topology)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"topology_view": topology_view}
