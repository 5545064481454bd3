# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""``python3 -m bulkhead_agent guard|overlay|firewall|gateway|engine|endpoints|probe``."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType

from . import config as conf
from .command import AgentError, log

# Imported when called: no command needs all of the others.
_CLIENT = ("guard", "overlay")
_GATEWAY = ("firewall", "gateway", "engine")


def _stop(_number: int, _frame: FrameType | None) -> None:
    # As process 1 of a container the default would be to ignore the signal until it is killed.
    # pylint: disable-next=ansible-bad-function  # runs in a pod: there is no AnsibleModule
    sys.exit(0)


def dispatch(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one command; the exit code is for the kubelet."""
    command = argv[0] if argv else ""
    if command == "endpoints":
        return importlib.import_module(".endpoints", __package__).main(environment)
    if command == "probe":
        config = conf.from_environment(environment) if argv[1:2] == ["overlay"] else None
        return importlib.import_module(".probe", __package__).main(config, argv[1:])
    if command in _CLIENT or command in _GATEWAY:
        config = conf.from_environment(environment)
        if isinstance(config, conf.Client if command in _CLIENT else conf.Gateway):
            return importlib.import_module(f".{command}", __package__).main(config, environment)
        raise conf.ConfigError(f"Command {command} does not fit a pod with the role {type(config).__name__.lower()}.")
    names = ", ".join([*_CLIENT, *_GATEWAY, "endpoints", "probe"])
    raise AgentError(f"{command or 'Nothing'} is not a command of the agent; it has {names}.")


def main() -> int:
    """Entry point: every expected failure is one sentence and exit code 1."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        return dispatch(sys.argv[1:], os.environ)
    except AgentError as exc:
        log("failed", detail=str(exc))
        return 1


if __name__ == "__main__":
    # pylint: disable-next=ansible-bad-function  # runs in a pod: there is no AnsibleModule
    sys.exit(main())
