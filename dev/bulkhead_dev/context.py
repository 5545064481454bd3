"""What a suite may ask for: tools, workspace, lab; each is made when the first suite asks."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from bulkhead_dev import debian, environment, interpreters, workspace
from bulkhead_dev.errors import ToolError
from bulkhead_dev.lab import Lab
from bulkhead_dev.places import Places
from bulkhead_dev.process import run_logged


class Context:
    """Tools and state of one run of the runner.

    ``everything`` is true for ``make test-all``: suites then run their slow part too.
    """

    def __init__(self, places: Places, *, live: bool, everything: bool) -> None:
        self.places = places
        self.live = live
        self.everything = everything
        self.lab = Lab(places.checkout, places.cache)
        self.made_lab = False
        self.lab_disturbed = False  # a suite may have taken down a lab that was up before
        self.log = places.logs / "runner.log"
        self.timeout = 3600.0
        self.stop = threading.Event()  # set: what runs ends as if by Ctrl-C; copies share it

    # --- tools --------------------------------------------------------------

    @cached_property
    def _python(self) -> tuple[str, str]:
        return interpreters.find_python(self.places)

    @property
    def python_version(self) -> str:
        """Version of the environment's Python, like "3.12"."""
        return self._python[1]

    @cached_property
    def venv(self) -> Path:
        """The Python environment."""
        return environment.environment(self.places, *self._python)

    @cached_property
    def go(self) -> str:
        """The Go tool."""
        return interpreters.find_go(self.places)

    @cached_property
    def kubernetes_core(self) -> Path:
        """A collections folder with kubernetes.core."""
        return environment.kubernetes_core(self.places, self.venv)

    @cached_property
    def home(self) -> Path:
        """The ansible tools' home folder, filled."""
        return environment.tool_home(self.places, self.venv)

    @cached_property
    def collection(self) -> Path:
        """The workspace copy of the checkout, up to date as of the first suite that uses it."""
        workspace.prepare(self.places.checkout, self.places.collection, self.kubernetes_core)
        return self.places.collection

    def packages(self, area: str) -> None:
        """Make sure of the Debian packages of ``area``."""
        debian.require(self.places.checkout / "dev" / "debian-packages.txt", area)

    def program(self, name: str) -> str:
        """Path of a program of the Python environment."""
        return str(self.venv / "bin" / name)

    def copy(self) -> Context:
        """Another one for suites that run at the same time, with what was found of tools so far."""
        return copy.copy(self)

    def on_second_lab(self) -> Context:
        """A copy whose lab is another one."""
        made = self.copy()
        made.lab = self.lab.second()
        return made

    # --- environments -------------------------------------------------------

    def tool_env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """For Ansible tools in the workspace."""
        assert self.home
        return {**environment.tool_environment(self.places, self.venv, [self.places.workspace]), **(more or {})}

    def go_env(self) -> dict[str, str]:
        """For Go; the folder of the chosen Go comes first on PATH, for gofmt.

        The flags are those of the lab's builds, so that neither compiles what the other has compiled.
        """
        path = os.pathsep.join([str(Path(self.go).parent), os.environ.get("PATH", "")])
        return {**os.environ, "PATH": path, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -trimpath"}

    def lab_env(self) -> dict[str, str]:
        """For the lab's command line."""
        return self.lab.environment({"BULKHEAD_GO": self.go})

    # --- work ---------------------------------------------------------------

    def run(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        """One command of the suite that runs; ToolError when it fails."""
        run_logged(argv, self.log, cwd=cwd, env=env, live=self.live, timeout=self.timeout, stop=self.stop)

    def run_all(self, commands: Sequence[Sequence[str]], *, cwd: Path, env: Mapping[str, str]) -> None:
        """All commands, also after a failed one; one ToolError that names all that failed."""
        failures = []
        for argv in commands:
            try:
                self.run(argv, cwd=cwd, env=env)
            except ToolError as exc:
                failures.append(str(exc))
        if failures:
            raise ToolError("; ".join(failures))

    def need_lab(self) -> None:
        """Bring the lab up if it is not; remembers whether this run did it."""
        self.lab.check_possible()
        self.packages("lab")
        env = self.lab_env()
        if not self.lab.is_up():
            self.made_lab = True
        self.run(self.lab.argv("up"), cwd=self.places.checkout, env=env)
