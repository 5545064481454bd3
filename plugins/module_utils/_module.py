# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What every module does before its own work, and how one ends that does several things."""

from __future__ import annotations

import importlib
import traceback
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _config


def prepare(module: AnsibleModule, **result: Any) -> None:
    """Keep the kubeconfig's secrets out of all output, and end the task, with ``result``, where a library is missing."""
    module.no_log_values.update(_config.secrets_of(module.params["kubeconfig"]))
    require(module, "kubernetes", **result)


def require(module: AnsibleModule, package: str, distribution: str = "", **result: Any) -> None:
    """End the task where ``package`` cannot be imported; ``distribution`` is what it is installed as, if not the same."""
    try:
        importlib.import_module(package)
    except ImportError:
        module.fail_json(msg=missing_required_lib(distribution or package), exception=traceback.format_exc(), **result)


def end(module: AnsibleModule, result: dict[str, Any], defer: bool) -> NoReturn:
    """End the task with a result of which some parts may have failed; with ``defer`` that is told and fails nothing."""
    if result.pop("failed", False):
        if not defer:
            module.fail_json(**result)
        module.warn(result["msg"])
    module.exit_json(**result)
    raise AssertionError("exit_json ends the task")
