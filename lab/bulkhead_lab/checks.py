"""What must hold on the machine before the lab is built: each failure is one sentence."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from pathlib import Path

from . import plan
from .errors import LabError
from .oci import ARCHITECTURES

GIB = 1 << 30
COLD_GIB = 20  # Go's caches (9.5 seen without Tailscale), parts (3.1), a running lab, and room to link
WARM_GIB = 6  # a running lab with a mesh on it (2.7 seen), everything built
PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "mount": "mount",
    "nsenter": "util-linux",
    "pivot_root": "util-linux",
    "unshare": "util-linux",
}


def machine(system: str, hardware: str, user_id: int) -> None:
    """Linux on a processor the lab knows, and root."""
    if system != "Linux":
        raise LabError(f"The lab runs on Linux only, and this system is {system}: use a Debian virtual machine.")
    if hardware not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise LabError(f"The lab runs on {known}, and this machine is {hardware}: use one of those.")
    if user_id != 0:
        raise LabError(
            f"The lab makes namespaces and mounts and needs root, and the user id is {user_id}: run it as root, for example with sudo."
        )


def disk(folder: Path, free: int, cold: bool) -> None:
    """Enough free bytes on the file system that holds ``folder``."""
    needed = COLD_GIB if cold else WARM_GIB
    if free < needed * GIB:
        work = "building the lab from source" if cold else "running the lab"
        raise LabError(
            f"The file system of {folder} has {free / GIB:.1f} GiB free and {work} takes {needed} GiB: "
            "free some space, or name a folder elsewhere in BULKHEAD_LAB_HOME."
        )


def programs() -> None:
    """Programs that come from Debian packages."""
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        raise LabError(
            f"The lab needs the Debian package(s) {', '.join(missing)}: run `apt-get install {' '.join(missing)}`."
        )


def loopback_port() -> None:
    """The API's port on the loopback is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", plan.API_LOOPBACK_PORT))
        except OSError as exc:
            raise LabError(
                f"The loopback port {plan.API_LOOPBACK_PORT} for the cluster's API is taken ({exc.strerror}): "
                "stop what listens there, perhaps a lab with another BULKHEAD_LAB_HOME."
            ) from exc


def existing_folder(path: Path) -> Path:
    """The nearest folder at or above ``path`` that exists."""
    while not path.is_dir():
        path = path.parent
    return path


def this_machine() -> None:
    """What no command that changes something can do without; asked before any file is touched."""
    machine(platform.system(), platform.machine(), os.geteuid())


def before_build(home: Path, cold: bool) -> None:
    """Room and programs for ``up``."""
    folder = existing_folder(home)
    disk(folder, shutil.disk_usage(folder).free, cold)
    programs()
