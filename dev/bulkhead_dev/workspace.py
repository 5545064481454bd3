"""Copies of the checkout: the workspace under ansible_collections/, and whole exports."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from bulkhead_dev.commands import run

# Not part of the collection: ansible-test would judge and run it as if it were.
EXCLUDED = (".ci", ".workspace", "dev", "lab", "tests/lab", "tests/unit/lab")
# What tools write into the workspace and later runs still want.
KEPT = ("tests/output", "tests/integration/integration_config.yml", "tests/integration/inventory")


def below(path: str, folders: Iterable[str]) -> bool:
    """Whether ``path`` is one of ``folders`` or lies in one."""
    pure = PurePosixPath(path)
    return any(pure.is_relative_to(folder) for folder in folders)


def tracked(checkout: Path) -> list[str]:
    """Files that git knows or would take, deleted ones left out, relative to the checkout."""
    # The checkout may belong to another user than root, who runs the lab; git refuses that by default.
    listing = run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"],
        what="Listing the files of the checkout with git",
        cwd=checkout,
    )
    return sorted({name for name in listing.split("\0") if name and os.path.lexists(checkout / name)})


def synchronise(checkout: Path, target: Path, names: Iterable[str]) -> None:
    """Make ``target`` hold exactly the files ``names`` of ``checkout``, and KEPT; unchanged ones are not written."""
    wanted = list(names)
    for name in wanted:
        copy_if_changed(checkout / name, target / name)
    _remove_others(target, set(wanted))


def copy_if_changed(source: Path, target: Path) -> None:
    """Copy one file or link with its times and mode; the times tell tools what changed."""
    ours = source.lstat()
    if os.path.lexists(target):
        theirs = target.lstat()
        if _signature(ours) == _signature(theirs) and not stat.S_ISLNK(ours.st_mode):
            return
        shutil.rmtree(target) if stat.S_ISDIR(theirs.st_mode) else target.unlink()
    for parent in reversed(target.parents):
        if parent.is_symlink() or parent.is_file():  # a file became a folder
            parent.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_size, status.st_mtime_ns


def _remove_others(target: Path, wanted: set[str]) -> None:
    for folder, folders, files in os.walk(target, topdown=False):
        for name in (*files, *(entry for entry in folders if Path(folder, entry).is_symlink())):
            relative = Path(folder, name).relative_to(target).as_posix()
            if relative not in wanted and not below(relative, KEPT):
                Path(folder, name).unlink()
        if Path(folder) != target and not any(Path(folder).iterdir()):
            Path(folder).rmdir()


def prepare(checkout: Path, collection: Path, kubernetes_core: Path) -> None:
    """Bring the workspace up to date, with kubernetes.core beside our collection."""
    collection.mkdir(parents=True, exist_ok=True)
    names = [name for name in tracked(checkout) if not below(name, EXCLUDED)]
    synchronise(checkout, collection, names)
    # ansible-test sees only collections in the same root; a link is enough for a dependency.
    link = collection.parents[1] / "kubernetes" / "core"
    source = kubernetes_core / "ansible_collections" / "kubernetes" / "core"
    if not (link.is_symlink() and link.readlink() == source):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(source)
