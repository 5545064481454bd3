# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real network namespaces: needs root and the tools. Nothing of it is left on the machine."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from world import World

_CLONE_NEWNS = 0x00020000
_TOOLS = ("ip", "bridge", "nft", "wg", "wireguard-go", "nsenter", "unshare", "setpriv", "sysctl", "mount")


@pytest.fixture(scope="session")
def private_mounts() -> None:
    """Names of network namespaces and sockets live in a /run that only this process and its children see."""
    missing = [tool for tool in _TOOLS if not shutil.which(tool)]
    if os.geteuid() != 0 or missing or not os.path.exists("/dev/net/tun"):
        pytest.skip(f"needs root, /dev/net/tun and tools (missing: {', '.join(missing) or 'none'})")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        pytest.skip("mount namespaces are not allowed here")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)


@pytest.fixture
def world(private_mounts: None, tmp_path: Path) -> Iterator[World]:
    """A topology for one test."""
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def attached(private_mounts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A working client and gateway for the tests of one file that leave them as they were."""
    made = World(tmp_path_factory.mktemp("attached"))
    try:
        yield made.attached()
    finally:
        made.close()
