# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The table of all variables of the inventory. Pure."""

from __future__ import annotations

from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory import _cluster, _ingress, _proof, _vpn
from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory._field import Variable

PREFIX = "bulkhead_"
VARIABLES: dict[str, Variable] = {
    **_cluster.VARIABLES,
    **_ingress.VARIABLES,
    **_vpn.VARIABLES,
    **_proof.VARIABLES,
}
