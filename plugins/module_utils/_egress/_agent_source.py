# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The agent's source text, as it lies beside this file or in the archive a module runs from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.bulkhead.mesh.plugins.module_utils import _agent, _sources

if TYPE_CHECKING:
    # Ansible packs into a module's archive what it finds imported, also here where nothing is run.
    from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import (  # noqa: F401
        __main__,
        command,
        config,
        endpoints,
        engine,
        firewall,
        gateway,
        guard,
        health,
        links,
        netlink,
        nft,
        nonce,
        overlay,
        peering,
        probe,
        rules,
        tables,
        wire,
        wireguard,
    )


def read() -> dict[str, str]:
    """All files of the agent: name -> text."""
    return dict(_sources.read(_agent))
