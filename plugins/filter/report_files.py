# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.plugin_utils import _places

DOCUMENTATION = r"""
name: report_files
short_description: Where reports are written, and what speaks against it
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Says for each report where it is written. What is not named has its place in the folder of reports.
  - A relative path begins at the folder in which C(ansible-playbook) was started.
  - A place that the next run would read as inventory or as variables is a problem.
positional: _input, folder, sources
options:
  _input:
    description:
      - The variables C(bulkhead_verify_reports), C(bulkhead_paths_reports), C(bulkhead_status) or others, each with its value.
      - The keys C(json), C(junit), C(html) and C(file) of a value name files; an empty path means that it is not written.
    type: dict
    required: true
  folder:
    description:
      - The folder of reports. If it were read as inventory, a hidden one of the same name is taken.
      - When absent or empty, only what is named is written.
    type: str
    default: ""
  sources:
    description:
      - Where the inventory comes from, as the variable C(ansible_inventory_sources) has it.
      - When absent, no path is refused for it.
    type: list
    elements: str
    default: []
seealso:
  - plugin: bulkhead.mesh.local_path
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Decide where the reports go
  ansible.builtin.set_fact:
    places: >-
      {{ {'bulkhead_verify_reports': {'junit': 'verify.xml'}}
         | bulkhead.mesh.report_files('reports', ansible_inventory_sources) }}
"""

RETURN = r"""
_value:
  description:
    - C(files), an absolute path for each variable and kind; C(folders), those that have to exist for that; and C(problems),
      sentences.
  type: dict
"""


def report_files(given: Mapping[str, Any], folder: str = "", sources: Sequence[str] = ()) -> dict[str, Any]:
    """Checked input for the pure functions, which know no file system."""
    if not isinstance(given, Mapping) or not all(isinstance(one, Mapping) for one in given.values()):
        raise AnsibleFilterError("report_files needs variables, each with kinds and paths: pass a dict of dicts.")
    here = os.path.realpath(os.getcwd())
    known = [os.path.realpath(os.path.join(here, str(one))) for one in sources]
    there = [(one, os.path.isdir(one)) for one in known if os.path.exists(one)]
    found = _places.files(given, _places.home_of_reports(str(folder or ""), here, there), here)
    return {
        "files": found,
        "folders": sorted({os.path.dirname(path) for paths in found.values() for path in paths.values()}),
        "problems": _places.problems(found, there, os.path.isdir, os.path.isfile),
    }


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"report_files": report_files}
