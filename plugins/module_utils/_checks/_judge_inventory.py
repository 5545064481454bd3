# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Judges of what the inventory does not show: attached workloads it does not name, pods beside a client's own. Pure."""

from __future__ import annotations

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import InventoryEvidence, WorkloadEvidence
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import (
    Finding,
    Missing,
    failed,
    passed,
    unknown,
)

ACCEPT = "bulkhead_verify_accept_open_pods"


def named(evidence: InventoryEvidence) -> Finding:
    """inv-named: every workload behind a VPN gateway is one that the inventory names."""
    if isinstance(evidence.unnamed, Missing):
        return unknown(str(evidence.unnamed))
    if evidence.unnamed:
        return failed(f"{len(evidence.unnamed)} not named", " ".join(evidence.unnamed))
    return passed("every attached workload is named")


def strays(evidence: WorkloadEvidence) -> Finding:
    """pod-stray: no pod without a guard uses the client's account, volumes or image."""
    if isinstance(evidence.open, Missing):
        return unknown(str(evidence.open))
    if evidence.open:
        remedy = f"attach its workload or delete it; if it may leave without the VPN, name it in {ACCEPT}"
        return failed(f"{len(evidence.open)} without a guard", f"{'; '.join(evidence.open)}: {remedy}")
    return passed("no pod without a guard uses what is the client's")


def left_behind(evidence: WorkloadEvidence) -> Finding:
    """pod-left-behind: every pod of the client belongs to its workload."""
    if isinstance(evidence.left, Missing):
        return unknown(str(evidence.left))
    if evidence.left:
        return failed(f"{len(evidence.left)} left behind", " ".join(evidence.left))
    return passed("every pod belongs to its workload")
