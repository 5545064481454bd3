# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Everything that a request asks for."""

from __future__ import annotations

import codecs
import hashlib
from typing import Any

from .facts import facts
from .place import MOUNT, STATE, agent
from .steps import step


def answer(request: Any) -> Any:
    """Everything that is asked for."""
    STATE.update(mount=request.get("mount", MOUNT), sent=hashed(request["sources"]))
    codecs.lookup("idna")  # sockets load it at first use, when another user may not read the library any more
    agent("probe")
    agent("wire")
    found = facts(request)
    mtu = found.get("mtu")
    steps = {}
    for entry in request.get("steps", ()):
        for tried in entry["attempts"]:
            if tried.pop("full_size", False) and isinstance(mtu, int):
                tried["size"] = mtu - 28  # headers of IPv4 and ICMP
        steps[entry["id"]] = step(entry, request.get("table", ""))
    return {"facts": found, "steps": steps}


def hashed(sources: Any) -> Any:
    digest = hashlib.sha256()
    for name in sorted(sources):
        data = sources[name].encode()
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:16]
