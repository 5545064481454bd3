"""Where the runner keeps things: tools in a cache outside the checkout, logs and results in build/."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
NAMESPACE, NAME = "bulkhead", "mesh"


@dataclass(frozen=True)
class Places:
    """All folders of one checkout and one user."""

    checkout: Path
    cache: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Places:
        """The cache is ``$BULKHEAD_CACHE``, else ``bulkhead-mesh`` below the user's cache folder."""
        named = environ.get("BULKHEAD_CACHE")
        home_cache = environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        return cls(CHECKOUT, Path(named or os.path.join(home_cache, "bulkhead-mesh")).absolute())

    @property
    def home(self) -> Path:
        """Home folder of ansible-test, molecule and ansible-lint: nothing of the user's own leaks in."""
        return self.cache / "home"

    @property
    def workspace(self) -> Path:
        """Parent of ``ansible_collections``; one per checkout, so that two checkouts do not mix."""
        key = hashlib.sha256(str(self.checkout).encode()).hexdigest()[:12]
        return self.cache / "workspaces" / key

    @property
    def collection(self) -> Path:
        """Copy of the checkout under the path that ansible-test insists on."""
        return self.workspace / "ansible_collections" / NAMESPACE / NAME

    @property
    def logs(self) -> Path:
        """One log file per suite of the last run; ignored by git."""
        return self.checkout / "build" / "logs"

    def pins(self) -> dict[str, Any]:
        """The content of dev/pins.toml."""
        return tomllib.loads((self.checkout / "dev" / "pins.toml").read_text(encoding="utf-8"))


@contextmanager
def locked(path: Path, waiting_for: str) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (made if absent); says what it waits for when another run has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another run that uses {waiting_for} ...", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def made_once(folder: Path) -> Iterator[Path | None]:
    """Make a folder that counts only when its making came to an end.

    Yields None when it is there already; else the empty folder to fill. A making
    that was interrupted or failed has no marker and is redone from nothing.
    The folder keeps its final name all the time: a venv cannot be moved.
    """
    marker = folder / ".complete"
    with locked(folder.parent / f".{folder.name}.lock", folder.name):
        if marker.exists():
            yield None
            return
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        yield folder
        marker.touch()
