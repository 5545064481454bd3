# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Modules that prove: how they refuse, and how they end when something is not as required."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils import _module
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError

_Entry = Mapping[str, Any]


class Refused(Exception):
    """The options cannot be used; nothing was tried."""


def run(
    module: AnsibleModule,
    execute: Callable[[AnsibleModule], dict[str, Any]],
    nothing: Mapping[str, Any],
    *,
    judged: str,
    reason: str,
    name: Callable[[_Entry], str],
    empty: str,
) -> None:
    """Prove, and end the task; it fails where the option ``enforce`` asks for that and something is not acceptable.

    ``nothing`` is the result where nothing was proven. ``judged`` is the key of the result's list whose entries have
    ``acceptable`` and ``reasons``; ``reason`` the word for programs, ``name`` an entry's, ``empty`` what is said without any. ``reasons`` of the result itself
    are about no entry.
    """
    _module.prepare(module, **nothing)
    _module.require(module, "websocket", "websocket-client", **nothing)
    try:
        result = execute(module)
    except Refused as exc:
        failure = {"code": None, "reason": "Refused", "object": None, "details": None}
        module.fail_json(msg=str(exc), failure=failure, **nothing)
    except KubeError as exc:
        module.fail_json(msg=exc.msg, failure=exc.failure, **nothing)
    if module.params["enforce"] and not result["acceptable"]:
        reasons = [*result.get("reasons", ()), *(one for entry in result[judged] for one in entry["reasons"])] or [
            empty
        ]
        more = f" (and {len(reasons) - 1} more, see reasons)" if len(reasons) > 1 else ""
        failing = next((name(one) for one in result[judged] if not one["acceptable"]), None)
        failure = {"code": None, "reason": reason, "object": failing, "details": None}
        module.fail_json(msg=f"{reasons[0]}{more}", failure=failure, changed=False, **result)
    module.exit_json(changed=False, **result)
