# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The login program of a kubeconfig (``exec``): the kubernetes library only logs that it failed, and goes on without
credentials; here that failure is one sentence.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError

_EXIT = "exec: process returned "


class Complaints(logging.Handler):
    """Collects what the library logs as errors while it reads a kubeconfig: ``with Complaints() as found: ...``."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(" ".join(record.getMessage().split()))

    def __enter__(self) -> Complaints:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *dummy: object) -> None:
        logging.getLogger().removeHandler(self)


def failure(user: Mapping[str, Any], context: str, complaints: Complaints) -> KubeError | None:
    """Why the login program of ``user`` gave no credentials; None where there is none, or it gave some."""
    login = user.get("exec")
    if not isinstance(login, Mapping) or not complaints.lines:
        return None
    program, said = str(login.get("command")), complaints.lines[-1]
    if "No such file or directory" in said:
        why, remedy = "could not be run (not found)", "install it, or name its path in the kubeconfig"
    elif "Permission denied" in said:
        why, remedy = "could not be run (permission denied)", "make it executable"
    elif said.startswith(_EXIT):
        code, dummy, words = said[len(_EXIT) :].partition(".")
        why = f"ended with {code}" + (f" and said: {words.strip().rstrip('.')}" if words.strip() else "")
        remedy = "run it by hand and log in again"
    else:
        why, remedy = f"gave no credentials ({said.rstrip('.')})", "run it by hand to see what it prints"
    return KubeError(
        f"The login program {program} of {context} {why}: {remedy}.",
        reason="LoginFailed",
        object_=program,
        details=said,
    )
