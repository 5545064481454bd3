"""The lab as the suites use it: through its command line only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from bulkhead_dev.commands import run
from bulkhead_dev.errors import Unavailable


class Lab:
    """The embedded cluster of one checkout."""

    def __init__(self, checkout: Path, cache: Path) -> None:
        self._program = checkout / "lab" / "lab"
        self._cache = cache
        self._kubeconfig: str | None = None

    def argv(self, *words: str) -> list[str]:
        """Command line of the lab; run with our Python because a python3 on PATH may be a broken shim."""
        return [sys.executable, str(self._program), *words]

    def check_possible(self) -> None:
        """Raise Unavailable, with the reason, where the lab can never run."""
        if not self._program.is_file():
            raise Unavailable("lab/lab is not in this checkout")
        if not sys.platform.startswith("linux"):
            raise Unavailable("the lab runs on Linux only")
        if os.geteuid() != 0:
            raise Unavailable("the lab needs root; run it with sudo or as root")

    def is_up(self) -> bool:
        """Whether the lab says that it is up; a lab that cannot answer is not."""
        try:
            self.check_possible()
        except Unavailable:
            return False
        done = subprocess.run(
            self.argv("status", "--json"), env=self.environment({}), capture_output=True, text=True, check=False
        )
        try:
            return bool(json.loads(done.stdout)["state"] == "up")
        except (ValueError, KeyError, TypeError):
            return False

    def kubeconfig(self) -> str:
        """Path of the kubeconfig; it is the same whether the lab is up or not."""
        if self._kubeconfig is None:
            said = run(self.argv("kubeconfig"), what="Asking the lab for its kubeconfig", env=self.environment({}))
            self._kubeconfig = said.strip()
        return self._kubeconfig

    def path(self, base: str) -> str:
        """The search path ``base`` with the lab's helm and istioctl behind it: a user's own come first."""
        said = run(self.argv("programs"), what="Asking the lab for its programs", env=self.environment({}))
        return f"{base}{os.pathsep}{said.strip()}"

    def charts(self) -> str:
        """The folder of charts that the lab's build made; it is there once the lab was up."""
        return run(self.argv("charts"), what="Asking the lab for its charts", env=self.environment({})).strip()

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        """Environment variables for the lab's command line."""
        return {**os.environ, "BULKHEAD_CACHE": str(self._cache), **more}
