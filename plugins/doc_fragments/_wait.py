# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    """Options of ``module_utils/_argspec.wait``."""

    DOCUMENTATION = r"""
options:
  wait_timeout:
    description:
      - How many seconds to wait at most; V(0) means one look.
      - When absent, V(120).
    type: int
    default: 120
  wait_sleep:
    description:
      - Seconds between the first two looks; the pauses grow to at most five seconds.
      - When absent, V(1.0).
    type: float
    default: 1.0
"""
