# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of modules; the variant ``INFO_MODULE`` is for those that only read."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Runs in C(check_mode) without changing anything, and predicts what it would change.
  diff_mode:
    description: Shows in diff mode what has changed, or would change in C(check_mode).
  idempotent:
    description:
      - A second run with the same arguments reports no change, as long as nobody else changed the cluster in between.
"""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This action does not modify state.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
  idempotent:
    support: full
    details:
      - This action does not modify state.
"""

    BULKHEAD = r"""
options: {}
attributes:
  action_group:
    description: >-
      Use C(group/bulkhead.mesh.bulkhead) in C(module_defaults) to set the connection options once for all modules.
    support: full
    membership:
      - bulkhead.mesh.bulkhead
"""
