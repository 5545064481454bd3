# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Judge of the Services that a client reaches without the VPN. Pure."""

from __future__ import annotations

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import PodEvidence
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import (
    Finding,
    Missing,
    failed,
    passed,
    unknown,
)


def audit(evidence: PodEvidence) -> Finding:
    """svc-audit: what the guard lets pass by a Service's address ends at the pods that it selects.

    The guard knows the address and no more; where that leads is the Service's doing, and then the policy stands alone.
    """
    view = evidence.services
    if isinstance(view, Missing):
        return unknown(str(view))
    if view.leads:
        return failed(f"{len(view.leads)} ways elsewhere", "; ".join(view.leads))
    if view.unsettled:
        return unknown("; ".join(view.unsettled))
    if not view.names:
        return passed("no Service is listed")
    return passed(f"{', '.join(view.names)}: pods of the selector and nothing else")
