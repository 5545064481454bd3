"""Where the lab keeps its files: everything is below one cache folder outside the checkout."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT_LAB = Path(__file__).resolve().parent.parent  # the folder lab/ of the checkout

# Fixed places inside the lab's own root file system.
INSIDE = Path("/opt/lab")
INSIDE_STATE = INSIDE / "state"
INSIDE_BIN = INSIDE / "bin"
INSIDE_PY = INSIDE / "py"
INSIDE_IMAGES = INSIDE / "images"


@dataclass(frozen=True)
class Paths:
    """Folders below the lab's home.

    ``state`` exists only between ``up`` and ``down``; ``build`` and
    ``extra_images`` stay. The home is ``$BULKHEAD_LAB_HOME``, else ``lab``
    below ``$BULKHEAD_CACHE``, else below the user's cache folder.
    """

    home: Path

    @classmethod
    def from_environment(cls) -> Paths:
        """The paths for this process's environment and user."""
        named = os.environ.get("BULKHEAD_LAB_HOME")
        if named:
            return cls(Path(named).absolute())
        cache = os.environ.get("BULKHEAD_CACHE")
        if not cache:
            cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "bulkhead-mesh")
        return cls(Path(cache).absolute() / "lab")

    @property
    def build(self) -> Path:
        """Finished builds, one folder each, named by content."""
        return self.home / "build"

    @property
    def extra_images(self) -> Path:
        """OCI archives that a user dropped in; imported before our own."""
        return self.home / "extra-images"

    @property
    def state(self) -> Path:
        """All that a running lab writes."""
        return self.home / "state"

    @property
    def kubeconfig(self) -> Path:
        """The cluster administrator's kubeconfig, for the machine's loopback."""
        return self.state / "kubeconfig"

    @property
    def log(self) -> Path:
        """One log file per program."""
        return self.state / "log"

    @property
    def parts(self) -> Path:
        """Which build of each part the lab was started with: JSON, name to key."""
        return self.state / "parts.json"

    @property
    def control_socket(self) -> Path:
        """Where lab-init takes its commands."""
        return self.state / "control.sock"

    @property
    def pid_file(self) -> Path:
        """Process id and start time of the lab's root process, as the host sees it."""
        return self.state / "lab.pid"
