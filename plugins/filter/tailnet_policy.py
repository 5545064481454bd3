# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _tailnet_policy

DOCUMENTATION = r"""
name: tailnet_policy
short_description: Who reaches which segment, as a part of a tailnet's policy file
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Turns groups of people and the gateways on the tailnet into owners of tags, grants, groups and tests. Nothing applies them.
positional: _input, gateways
options:
  _input:
    description:
      - C(file), where the text will be written.
      - C(groups), a mapping of each group to a list of segments, or to C(segments) and C(members).
      - C(operator_tags), which own the tags of gateways; when absent, V(tag:k8s-operator).
    type: dict
    required: true
  gateways:
    description:
      - Ingress gateways, as in P(bulkhead.mesh.ingress_gateways#role). Those on the tailnet need tags of their own.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the policy
  ansible.builtin.debug:
    msg: "{{ ({'file': 'policy.hujson', 'groups': {'family': ['arr']}} | bulkhead.mesh.tailnet_policy(bulkhead_ingress_gateways)).text }}"
"""

RETURN = r"""
_value:
  description: C(problems), each a sentence, and without any the C(text), HuJSON with comments.
  type: dict
"""


def tailnet_policy(config: Mapping[str, Any], gateways: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Checked input for the pure function."""
    if not isinstance(config, Mapping):
        raise AnsibleFilterError(
            "tailnet_policy needs a mapping: write {'file': 'policy.hujson', 'groups': {'family': ['arr']}}."
        )
    return _tailnet_policy.policy(config, gateways)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"tailnet_policy": tailnet_policy}
