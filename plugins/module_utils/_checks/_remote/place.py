# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Where the pod's agent is, and the modules of the one that was sent."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

PACKAGE = "bulkhead_agent"
MOUNTED = "bulkhead_mounted"  # the same of the pod, beside it
MOUNT = "/opt/bulkhead/bulkhead_agent"
STATE = {"mount": MOUNT, "sent": ""}  # where the pod's agent is, and the hash of the one that was sent


def agent(name: Any) -> Any:
    """One module of the agent."""
    return importlib.import_module(f"{PACKAGE}.{name}" if name else PACKAGE)


def mounted(name: Any) -> Any:
    """One module of the pod's own agent, which may be of another version than the one that was sent."""
    if MOUNTED not in sys.modules:
        files = STATE["mount"]
        found = importlib.util.spec_from_file_location(
            MOUNTED, os.path.join(files, "__init__.py"), submodule_search_locations=[files]
        )
        package = importlib.util.module_from_spec(found)  # type: ignore[arg-type]  # the file is there or this raises
        sys.modules[MOUNTED] = package
        found.loader.exec_module(package)  # type: ignore[union-attr]
    return importlib.import_module(f"{MOUNTED}.{name}")
