# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _operator

DOCUMENTATION = r"""
name: tailscale_credentials
short_description: The Secret with the credentials of the Tailscale operator
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Turns the content of a file into a Secret. What is wrong with it is said without showing any of it.
positional: _input, namespace, path
options:
  _input:
    description:
      - The content, C(client_id) and C(client_secret) as YAML or JSON.
    type: str
    required: true
  namespace:
    description:
      - Namespace of the Secret.
    type: str
    required: true
  path:
    description:
      - Where the content comes from, for an error.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Keep the credentials
  bulkhead.mesh.object_set:
    name: credentials
    namespace: tailscale
    objects:
      - "{{ lookup('ansible.builtin.file', 'oauth.yml') | bulkhead.mesh.tailscale_credentials('tailscale', 'oauth.yml') }}"
"""

RETURN = r"""
_value:
  description: The Secret.
  type: dict
"""

KEYS = ("client_id", "client_secret")


def tailscale_credentials(content: str, namespace: str, path: str) -> dict[str, Any]:
    """A Secret as the operator wants it."""
    remedy = "write client_id and client_secret, each with its value, as YAML or JSON."
    try:
        found = yaml.safe_load(str(content))
    except yaml.YAMLError:
        # The parser's own words would show a part of the file.
        raise AnsibleFilterError(f"bulkhead_tailscale.oauth_file: {path} is neither YAML nor JSON: {remedy}") from None
    for key in KEYS:
        value = found.get(key) if isinstance(found, Mapping) else None
        if not isinstance(value, str) or not value.strip():
            raise AnsibleFilterError(f"bulkhead_tailscale.oauth_file: {path} has no text {key}: {remedy}")
    data = {key: base64.b64encode(found[key].strip().encode()).decode() for key in KEYS}
    metadata = {"name": _operator.CHART_SECRET, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"tailscale_credentials": tailscale_credentials}
