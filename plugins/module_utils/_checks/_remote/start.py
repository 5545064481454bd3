# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""First code of the probe: makes the agent and the probe's own files importable from the request that came with it."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import json
import sys
from typing import Any

AGENT, PROBE = "bulkhead_agent", "bulkhead_probe"


class _Memory(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports packages from text: ``{package: {file name: text}}``."""

    def __init__(self, packages: Any) -> None:
        self.packages = packages

    def find_spec(self, name: Any, path: Any = None, target: Any = None) -> Any:
        package, dot, module = name.partition(".")
        if f"{module or '__init__'}.py" not in self.packages.get(package, ()):
            return None
        return importlib.util.spec_from_loader(name, self, is_package=not dot)

    def create_module(self, spec: Any) -> Any:
        return None

    def exec_module(self, module: Any) -> None:
        package, dot, name = module.__name__.partition(".")
        file = f"{name or '__init__'}.py"
        exec(compile(self.packages[package][file], f"{package}/{file}", "exec"), module.__dict__)


def run(request: Any) -> Any:
    """The probe's answer to a request."""
    sys.dont_write_bytecode = True
    sys.meta_path.insert(0, _Memory({AGENT: request["sources"], PROBE: request["rooms"]}))
    return importlib.import_module(f"{PROBE}.answer").answer(request)


if __name__ == "bulkhead_remote":
    # pylint: disable-next=ansible-bad-function,undefined-variable  # runs in a pod, with the request put in front
    print(json.dumps(run(REQUEST)), flush=True)  # type: ignore[name-defined]  # noqa: F821
