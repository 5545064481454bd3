# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _level

DOCUMENTATION = r"""
name: gateway_api_plan
short_description: Whether a level of the Gateway API may be installed, and its objects
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Judges version and channel of the Gateway API on a cluster, as found by M(bulkhead.mesh.ingress_info), and reads an
    installation file. It reads nothing else.
positional: _input
options:
  _input:
    description:
      - RV(bulkhead.mesh.ingress_info#module:ingress).
    type: dict
    required: true
  text:
    description:
      - The installation file.
      - When absent, nothing is to be installed, and what is there must reach the level that is needed.
    type: str
  source:
    description:
      - Where the file comes from, for messages.
    type: str
    default: the file
  version:
    description:
      - The version that is wanted.
    type: str
    default: ""
  channel:
    description:
      - The channel that is wanted.
    type: str
    choices: [standard, experimental]
    default: standard
  needed:
    description:
      - The lowest version that will do for what uses it.
      - When absent, that of this collection's own objects.
    type: str
    default: ""
  istio_version:
    description:
      - Version of the Istio that uses it. It ignores kinds of lower levels than its own.
      - When absent, no Istio is thought of.
    type: str
    default: ""
  forced:
    description:
      - Whether the user has allowed to take the policy safe-upgrades away.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Refuse a Gateway API that is older than Istio needs
  ansible.builtin.assert:
    that: plan.problems | length == 0
    fail_msg: "{{ plan.problems | map(attribute='msg') | join('\n') }}"
    quiet: true
  vars:
    plan: "{{ found.ingress | bulkhead.mesh.gateway_api_plan(istio_version='1.31.1') }}"
"""

RETURN = r"""
_value:
  description:
    - C(problems), each with C(rule) and C(msg); C(objects) of the file; and C(lift), whether the policy safe-upgrades is in
      the way.
  type: dict
"""


def gateway_api_plan(
    facts: Mapping[str, Any],
    text: str | None = None,
    source: str = "the file",
    version: str = "",
    channel: str = "standard",
    needed: str = "",
    istio_version: str = "",
    forced: bool = False,
) -> dict[str, Any]:
    """Checked input for the pure functions."""
    if not isinstance(facts, Mapping) or "gateway_api" not in facts:
        raise AnsibleFilterError("gateway_api_plan needs what ingress_info returns: pass result.ingress.")
    managed = text is not None
    objects: list[dict[str, Any]] = []
    try:
        lowest = max((needed or _level.LOWEST, _level.needed_by_istio(istio_version)), key=_level.level)
        if channel not in _level.CHANNELS:
            raise ValueError(f"bulkhead_gateway_api.channel is {channel!r}: use {' or '.join(_level.CHANNELS)}.")
        if managed:
            _level.level(version)
            objects = _level.bundle(_documents(text or "", source), version, channel, source)
    except ValueError as exc:
        return {"problems": [{"rule": "gateway-api-input", "msg": str(exc)}], "objects": [], "lift": False}
    seen = facts["gateway_api"]
    verdicts = _level.verdicts(seen, facts["server"], version, channel, lowest, managed=managed, forced=forced)
    lift = managed and _level.must_lift(seen, version, channel)
    return {"problems": [one.to_dict() for one in verdicts], "objects": objects, "lift": lift}


def _documents(text: str, source: str) -> list[Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster where it was built
    try:
        # As bytes: the fast loader takes no string that carries Ansible's tags.
        documents = list(yaml.load_all(text.encode(), Loader=loader))
    except yaml.YAMLError as exc:
        raise ValueError(f"{source} is no YAML: give the Gateway API's installation file.") from exc
    if not all(one is None or isinstance(one, Mapping) for one in documents):
        raise ValueError(f"{source} holds something else than objects: give the Gateway API's installation file.")
    return documents


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gateway_api_plan": gateway_api_plan}
