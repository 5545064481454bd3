# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Where the pod's agent is, and the modules of the one that was sent."""

from __future__ import annotations

import importlib
from typing import Any

PACKAGE = "bulkhead_agent"
MOUNT = "/opt/bulkhead/bulkhead_agent"
STATE = {"mount": MOUNT, "sent": ""}  # where the pod's agent is, and the hash of the one that was sent


def agent(name: Any) -> Any:
    """One module of the agent."""
    return importlib.import_module(f"{PACKAGE}.{name}" if name else PACKAGE)
