# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.plugin_utils import _preflight

DOCUMENTATION = r"""
name: preflight_problems
short_description: What of a cluster stands against what is wanted
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Judges what M(bulkhead.mesh.cluster_info) found. It reads nothing itself.
positional: _input
options:
  _input:
    description:
      - RV(bulkhead.mesh.cluster_info#module:cluster).
    type: dict
    required: true
  components:
    description:
      - Components and their states V(managed), V(external) or V(absent).
      - When absent, no component is wanted.
    type: dict
    default: {}
  minimum:
    description:
      - Oldest Kubernetes accepted, as C(major.minor).
      - When absent, V(1.30).
    type: str
    default: "1.30"
  privileged:
    description:
      - Namespaces whose pods need the Pod Security level V(privileged).
      - When absent, only those of managed components.
    type: list
    elements: str
    default: []
  vpn:
    description:
      - Whether VPN gateways are wanted, which need IPv4 between pods.
      - When absent, none.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Refuse what cannot work
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | map(attribute='msg') | join(' ') }}"
    quiet: true
  vars:
    problems: "{{ result.cluster | bulkhead.mesh.preflight_problems(components={'istio': 'managed'}) }}"
"""

RETURN = r"""
_value:
  description: Problems with C(rule), a short name, and C(msg), a sentence with the remedy; empty where all is well.
  type: list
  elements: dict
"""


def preflight_problems(
    cluster: Mapping[str, Any],
    components: Mapping[str, str] | None = None,
    minimum: str = "1.30",
    privileged: Sequence[str] = (),
    vpn: bool = False,
) -> list[dict[str, str]]:
    """Checked input for the pure function."""
    if not isinstance(cluster, Mapping) or "version" not in cluster:
        raise AnsibleFilterError("preflight_problems needs what cluster_info returns as cluster: pass result.cluster.")
    try:
        return _preflight.problems(cluster, components or {}, minimum, privileged, vpn)
    except ValueError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"preflight_problems": preflight_problems}
