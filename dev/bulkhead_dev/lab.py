"""The lab as the suites use it: through its command line only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bulkhead_dev.commands import run
from bulkhead_dev.errors import Unavailable

PORT = 16443  # of the lab's API server, where nobody says another one


class Lab:
    """The embedded cluster of one checkout."""

    def __init__(self, checkout: Path, cache: Path, settings: Mapping[str, str] | None = None) -> None:
        self._checkout, self._cache = checkout, cache
        self._program = checkout / "lab" / "lab"
        self._settings = dict(settings or {})
        self._kubeconfig: str | None = None

    def second(self) -> Lab:
        """Another lab beside this one, of the same builds, with the next port of the loopback."""
        home = Path(self.kubeconfig()).parents[1]
        other = home.with_name(f"{home.name}-second")
        other.mkdir(parents=True, exist_ok=True)
        for name in ("build", "extra-images"):
            if not os.path.lexists(other / name):
                (other / name).symlink_to(home / name)
        port = int(os.environ.get("BULKHEAD_LAB_PORT") or PORT) + 1
        return Lab(self._checkout, self._cache, {"BULKHEAD_LAB_HOME": str(other), "BULKHEAD_LAB_PORT": str(port)})

    def variables(self) -> dict[str, str]:
        """Environment variables by which programs find this lab; none for the one that they find anyway."""
        return dict(self._settings)

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
        return {**os.environ, "BULKHEAD_CACHE": str(self._cache), **self._settings, **more}
