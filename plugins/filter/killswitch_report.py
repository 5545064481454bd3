# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _report

DOCUMENTATION = r"""
name: killswitch_report
short_description: A result of killswitch_check or path_check as a table, JSON, JUnit or HTML
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Turns the result of M(bulkhead.mesh.killswitch_check) or M(bulkhead.mesh.path_check) into text for people or programs.
positional: _input, format
options:
  _input:
    description:
      - The whole result of M(bulkhead.mesh.killswitch_check) or M(bulkhead.mesh.path_check).
    type: dict
    required: true
  format:
    description:
      - V(table) for terminals, V(json), V(junit) (unknown results are errors there), or V(html), one file by itself.
      - When absent, V(table).
    type: str
    choices: [table, json, junit, html]
    default: table
"""

EXAMPLES = r"""
- name: Write what a CI system reads
  ansible.builtin.copy:
    content: "{{ result | bulkhead.mesh.killswitch_report('junit') }}"
    dest: build/killswitch.xml
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""


SUBJECTS = ("clients", "vantages")  # what has a verdict, in the one and in the other


def killswitch_report(result: Mapping[str, Any], format: str = "table") -> str:
    """Checked input for the pure function."""
    if format not in _report.FORMATS:
        raise AnsibleFilterError(f"killswitch_report has no format {format!r}: use {', '.join(_report.FORMATS)}.")
    if not isinstance(result, Mapping) or not any({"verdict", "checks", key} <= set(result) for key in SUBJECTS):
        raise AnsibleFilterError(
            "killswitch_report needs what killswitch_check or path_check returns: pass the registered result."
        )
    return _report.FORMATS[format](result)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"killswitch_report": killswitch_report}
