# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: inventory_problems
short_description: Everything that is wrong with the variables of this collection
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Judges all variables that begin with C(bulkhead_), before anything is asked or changed - names that no playbook reads,
    unknown keys, types, choices, and what lists say together. It reads nothing but variables.
  - Values that come from a vault are shown in no sentence, and neither are values of unknown names.
options:
  _terms:
    description:
      - The playbook for which they are judged, V(site), V(verify), V(status) or V(teardown).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Judge the inventory
  ansible.builtin.assert:
    that: query('bulkhead.mesh.inventory_problems', 'site') | length == 0
    fail_msg: "{{ query('bulkhead.mesh.inventory_problems', 'site') | join('\n') }}"
    quiet: true
"""

RETURN = r"""
_list:
  description: Sentences with variable, value and remedy; empty where all is well.
  type: list
  elements: str
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultHelper
from ansible.plugins.lookup import LookupBase

from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory import _field, _judge, _table

HIDDEN = "(hidden)"
LENGTH = 200  # characters of somebody else's words about a template


class LookupModule(LookupBase):
    """The lookup of this file."""

    def run(self, terms: Any, variables: Any = None, **kwargs: Any) -> list[str]:
        """Work out every variable by itself, and judge them together."""
        playbooks = list(terms)
        if len(playbooks) != 1 or playbooks[0] not in _field.PLAYBOOKS:
            raise AnsibleError(f"inventory_problems needs one playbook: use one of {', '.join(_field.PLAYBOOKS)}.")
        values, sentences = {}, []
        for name in sorted(str(one) for one in variables or {} if str(one).startswith(_table.PREFIX)):
            if name not in _table.VARIABLES:
                values[name] = None  # what nobody reads is not worked out
                continue
            try:
                values[name] = self._templar.template(variables[name])
            except AnsibleError as exc:
                words = str(exc).splitlines()[0].rstrip(".")[:LENGTH]
                sentences.append(f"{name} cannot be worked out: {words}; correct its template.")
        secrets = vaulted(values)
        sentences += _judge.problems(str(playbooks[0]), values)
        for secret in sorted(secrets, key=len, reverse=True):
            sentences = [one.replace(secret, HIDDEN) for one in sentences]
        return sentences


def vaulted(value: Any) -> set[str]:
    """Every text in a value that comes from a vault."""
    if isinstance(value, Mapping):
        return set().union(*(vaulted(one) for one in value.values()))
    if isinstance(value, str):
        return {str(value)} if value and VaultHelper.get_ciphertext(value, with_tags=False) else set()
    if isinstance(value, Sequence):
        return set().union(*(vaulted(one) for one in value))
    return set()
