# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh import _charts, _plan

DOCUMENTATION = r"""
name: istio_plan
short_description: The charts of Istio to install or remove, and what stands against it
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Judges what is asked for against what M(bulkhead.mesh.istio_info) and M(bulkhead.mesh.cluster_info) found. It reads
    nothing itself.
positional: _input
options:
  _input:
    description:
      - Settings as in the role P(bulkhead.mesh.istio#role).
    type: dict
    required: true
  seen:
    description:
      - RV(bulkhead.mesh.istio_info#module:istio).
    type: dict
    required: true
  cluster:
    description:
      - RV(bulkhead.mesh.cluster_info#module:cluster), needed for O(state=present) where the platform is V(auto).
      - When absent, an empty mapping.
    type: dict
    default: {}
  state:
    description:
      - V(present) for an Istio of this collection, V(external) for one of somebody else, V(absent) for its removal.
      - When absent, V(present).
    type: str
    choices: [present, external, absent]
    default: present
  unenrolled:
    description:
      - Namespaces that are taken out of the mesh before the removal.
      - When absent, none.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Refuse what cannot work
  ansible.builtin.assert:
    that: plan.problems | length == 0
    fail_msg: "{{ plan.problems | join(' ') }}"
    quiet: true
  vars:
    plan: "{{ {'version': '1.31.1'} | bulkhead.mesh.istio_plan(seen=found.istio, cluster=looked.cluster) }}"
"""

RETURN = r"""
_value:
  description: >-
    C(settings) with all defaults, C(platform) for the charts, C(steps), one for each chart in the order in which it is
    installed or removed, and C(problems), sentences with the remedy.
  type: dict
"""


def istio_plan(
    settings: Mapping[str, Any],
    seen: Mapping[str, Any],
    cluster: Mapping[str, Any] | None = None,
    state: str = "present",
    unenrolled: Sequence[str] = (),
) -> dict[str, Any]:
    """Checked input for the pure functions."""
    if not isinstance(settings, Mapping):
        raise AnsibleFilterError("istio_plan needs a mapping of settings: write {version: 1.31.1}, or {} for defaults.")
    if not isinstance(seen, Mapping) or "parts" not in seen:
        raise AnsibleFilterError("istio_plan needs what istio_info returns as istio: pass result.istio as seen.")
    if state == "external":
        return {
            "settings": _charts.settings(settings),
            "platform": "",
            "steps": [],
            "problems": _plan.external(settings, seen),
        }
    if state == "absent":
        return {"platform": "", **_plan.removal(settings, seen, list(unenrolled))}
    if state != "present":
        raise AnsibleFilterError(f"istio_plan has no state {state!r}: use present, external or absent.")
    looked = isinstance(cluster, Mapping) and "platform" in cluster
    if not looked and _charts.settings(settings)["platform"] == "auto":
        raise AnsibleFilterError("istio_plan needs what cluster_info returns as cluster: pass result.cluster.")
    return _plan.plan(settings, cluster or {}, seen)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"istio_plan": istio_plan}
