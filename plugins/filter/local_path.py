# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.plugin_utils import _places

DOCUMENTATION = r"""
name: local_path
short_description: Where a path leads on the machine that runs Ansible
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Makes a path absolute. A relative one begins at the folder in which C(ansible-playbook) was started; C(~) and environment
    variables are filled in.
  - Modules alone would begin at the playbook's folder, which is inside the installed collection.
  - URLs and empty texts are left as they are.
positional: _input, marked
options:
  _input:
    description:
      - A path, a URL, or nothing.
    type: str
    required: true
  marked:
    description:
      - Whether the text may be a name as well, as a chart's. Then only what begins with V(.), V(/) or V(~) is a path.
      - When absent, V(false).
    type: bool
    default: false
seealso:
  - plugin: bulkhead.mesh.report_files
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show where it is
  ansible.builtin.debug:
    msg: "{{ 'reports/verify.json' | bulkhead.mesh.local_path }}"
"""

RETURN = r"""
_value:
  description: The absolute path.
  type: str
"""


def local_path(value: Any, marked: bool = False) -> str:
    """Checked input for the pure function."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise AnsibleFilterError(f"local_path needs a path, and got {value!r}: pass a text.")
    if marked and not _places.marked(value):
        return value
    return _places.resolve(value, os.getcwd())


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"local_path": local_path}
