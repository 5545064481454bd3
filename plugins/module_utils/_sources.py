# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Source text of a package, as it lies on disk or in the archive a module runs from."""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Mapping
from types import ModuleType


@functools.cache
def read(package: ModuleType) -> Mapping[str, str]:
    """All files of ``package``: name -> text. Ansible packs into that archive only what it finds imported."""
    names = ["__init__", *(module.name for module in pkgutil.iter_modules(package.__path__))]
    texts = {f"{name}.py": pkgutil.get_data(package.__name__, f"{name}.py") for name in names}
    return {name: (text or b"").decode() for name, text in sorted(texts.items())}
