# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _kubeconfig

DOCUMENTATION = r"""
name: kubeconfig_source
short_description: A kubeconfig in a form that every module understands
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - The modules of C(kubernetes.core) that run helm take one file and copy it to another folder. A path relative to the
    current folder, several paths joined by C(:), and certificates named relative to the kubeconfig are lost on them.
  - Returns the absolute path where that is enough, and else the content of the files as one kubeconfig with absolute
    paths in it. What is no path, or leads nowhere, is returned as it is, for the modules to complain about.
options:
  _input:
    description:
      - A path, several of them joined by C(:), or the content of a kubeconfig.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: List releases with a kubeconfig made of two files
  kubernetes.core.helm_info:
    name: metallb
    namespace: metallb-system
    kubeconfig: "{{ '~/.kube/homelab:~/.kube/work' | bulkhead.mesh.kubeconfig_source }}"
"""

RETURN = r"""
_value:
  description: A path or the content of a kubeconfig.
  type: raw
"""


def kubeconfig_source(kubeconfig: Any) -> Any:
    """An absolute path, or the content where a path is not enough."""
    if not isinstance(kubeconfig, str) or not kubeconfig.strip():
        return kubeconfig
    paths = _kubeconfig.paths_of(kubeconfig)
    try:
        if len(paths) == 1 and not _kubeconfig.names_relative_files(paths[0]):
            return paths[0]
        return _kubeconfig.read(paths) or kubeconfig
    except Exception:  # unreadable in one of many ways: the first module says which
        return kubeconfig


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"kubeconfig_source": kubeconfig_source}
