"""From the machine into the lab: the root process's own mounts, process ids and root file system.

Runs as its own program in two stages, so that a lab whose ``up`` was killed at
any moment is still found by its pid file:

1. ``enter HOME`` writes the pid file, then *becomes* ``unshare`` (the pid stays);
2. ``enter HOME --inside`` runs as process 1 of the new namespaces, lays the lab's
   root file system over the finished build, pivots into it and becomes tini.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from . import plan
from .build import run
from .paths import INSIDE, INSIDE_PY, Paths
from .procs import start_time


def _mount(*arguments: str) -> None:
    run(["mount", *arguments], what=f"Mounting {arguments[-1]}")


def outside(paths: Paths) -> None:
    """Stage 1."""
    pid = os.getpid()
    temporary = paths.pid_file.with_suffix(".new")
    temporary.write_text(f"{pid} {start_time(pid)}\n")
    temporary.rename(paths.pid_file)
    namespaces = [
        "--mount",
        "--pid",
        "--uts",
        "--ipc",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "private",
    ]
    again = [sys.executable, "-m", "bulkhead_lab.enter", str(paths.home), "--inside"]
    os.execvp("unshare", ["unshare", *namespaces, *again])


def inside(paths: Paths) -> None:
    """Stage 2."""
    lower = (paths.state / "rootfs").resolve()
    root = paths.state / "root"
    overlay = paths.state / "overlay"
    for folder in (root, overlay / "upper", overlay / "work"):
        folder.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={lower},upperdir={overlay}/upper,workdir={overlay}/work"
    _mount("-t", "overlay", "-o", options, "overlay", str(root))
    _mount("-t", "proc", "proc", f"{root}/proc")
    _mount("--rbind", "/sys", f"{root}/sys")
    _mount("--rbind", "/dev", f"{root}/dev")
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{root}/run")
    _mount("-t", "tmpfs", "tmpfs", f"{root}/tmp")
    paths.extra_images.mkdir(parents=True, exist_ok=True)
    below = root / str(INSIDE).lstrip("/")
    for source, name in ((paths.state, "state"), (paths.build, "build"), (paths.extra_images, "extra-images")):
        target = below / name
        target.mkdir(parents=True, exist_ok=True)
        _mount("--bind", str(source), str(target))
    for name in ("bin", "py"):
        link = below / name
        if not link.is_symlink():
            link.symlink_to(f"state/{name}")
    old = root / "old"
    old.mkdir(exist_ok=True)
    os.chdir(root)
    run(["pivot_root", ".", "old"], what="Changing to the lab's root file system")
    os.chroot(".")
    run(["umount", "--lazy", "/old"], what="Leaving the machine's file system")
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(INSIDE_PY),
        "BULKHEAD_LAB_PORT": str(plan.API_LOOPBACK_PORT),
    }
    os.execve("/usr/bin/tini", ["tini", "--", "/usr/bin/python3", "-m", "bulkhead_lab.labinit"], environment)


if __name__ == "__main__":
    (inside if "--inside" in sys.argv else outside)(Paths(Path(sys.argv[1])))
