# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.plugin_utils import _preflight

DOCUMENTATION = r"""
name: cluster_summary
short_description: A few lines about a cluster
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Turns what M(bulkhead.mesh.cluster_info) found into a few lines for the terminal.
positional: _input
options:
  _input:
    description:
      - RV(bulkhead.mesh.cluster_info#module:cluster).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the cluster
  ansible.builtin.debug:
    msg: "{{ result.cluster | bulkhead.mesh.cluster_summary }}"
"""

RETURN = r"""
_value:
  description: Lines of text.
  type: list
  elements: str
"""


def cluster_summary(cluster: Mapping[str, Any]) -> list[str]:
    """Checked input for the pure function."""
    if not isinstance(cluster, Mapping) or "version" not in cluster:
        raise AnsibleFilterError("cluster_summary needs what cluster_info returns as cluster: pass result.cluster.")
    return _preflight.summary(cluster)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"cluster_summary": cluster_summary}
