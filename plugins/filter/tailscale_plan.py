# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.utils.vars import merge_hash

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _chart, _operator

DOCUMENTATION = r"""
name: tailscale_plan
short_description: How the Tailscale operator's chart is installed, and what stands in the way
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Turns the settings of the operator into options of M(kubernetes.core.helm) and judges them against what
    M(bulkhead.mesh.ingress_info) found. It reads nothing itself, and credentials are no part of its input.
positional: _input
options:
  _input:
    description:
      - C(version), C(namespace), C(chart), C(chart_repo), C(oauth_secret), C(oauth_file), C(login_server), C(tags),
        C(proxy_class) and C(values), as in P(bulkhead.mesh.tailscale#role).
    type: dict
    required: true
  facts:
    description:
      - RV(bulkhead.mesh.ingress_info#module:ingress).
      - When absent, only the settings are judged.
    type: dict
    default: {}
  state:
    description:
      - What is to become of the operator.
    type: str
    choices: [present, external, absent]
    default: present
  check_mode:
    description:
      - Whether gateways that a real run would have removed by now are still there.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show which Secret holds the credentials
  ansible.builtin.debug:
    msg: "{{ ({'version': '1.98.10', 'oauth_secret': 'operator-oauth'} | bulkhead.mesh.tailscale_plan).secret }}"
"""

RETURN = r"""
_value:
  description:
    - C(problems), each with C(rule), C(msg) and whether something is only C(missing) yet; C(chart), options of
      M(kubernetes.core.helm) that say where the chart is; C(values) of the release; C(secret), the name of the one with the
      credentials; C(classes), our ProxyClass; C(leaving), Services on their way off the tailnet; and C(namespace) and C(name) of the operator's Deployment.
  type: dict
"""


def tailscale_plan(
    config: Mapping[str, Any],
    facts: Mapping[str, Any] | None = None,
    state: str = "present",
    check_mode: bool = False,
) -> dict[str, Any]:
    """Checked input for the pure functions."""
    if not isinstance(config, Mapping):
        raise AnsibleFilterError(
            "tailscale_plan needs a mapping: write {'version': '1.98.10', 'oauth_secret': 'NAME'}."
        )
    given = _operator.settings(config)
    problems = _operator.verdicts(given, facts or None, state, check_mode)
    broken = state == "present" and any(not one.missing for one in problems)
    versions = (facts or {}).get("secret_versions") or {}
    ours = {} if broken else _operator.values(given, str(versions.get(f"{given.namespace}/{given.secret}") or ""))
    return {
        "problems": [one.to_dict() for one in problems],
        "chart": _chart.place_of(given),
        "values": merge_hash(ours, given.values),
        "secret": given.secret,
        "leaving": [
            {"namespace": one["namespace"], "name": one["name"]}
            for one in (facts or {}).get("exposed") or ()
            if not one["wanted"]
        ],
        "classes": [] if broken else _operator.class_objects(given),
        **_operator.home(given, facts, state),
    }


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"tailscale_plan": tailscale_plan}
