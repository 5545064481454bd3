"""Debian packages that suites need on the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bulkhead_dev.errors import ToolError

ONE_AT_A_TIME = threading.Lock()  # suites that run side by side may both want packages, and apt-get does not wait


@dataclass(frozen=True)
class Package:
    """One line of dev/debian-packages.txt."""

    name: str
    program: str
    area: str


def parse(text: str) -> list[Package]:
    """The packages listed; a line is package, program, area."""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    try:
        return [Package(*words) for words in lines if words]
    except TypeError as exc:
        raise ToolError("Each line of dev/debian-packages.txt has three words: package, program, area.") from exc


def missing(packages: Sequence[Package], area: str) -> list[Package]:
    """Packages of ``area`` whose program is on no usual path."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return [package for package in packages if package.area == area and not shutil.which(package.program, path=path)]


def require(listing: Path, area: str) -> None:
    """Install what ``area`` misses; package lists are refreshed only when the first try fails."""
    wanted = missing(parse(listing.read_text(encoding="utf-8")), area)
    if not wanted:
        return
    names = [package.name for package in wanted]
    command = ["apt-get", "install", "-y", "--no-install-recommends", *names]
    sentence = f"Missing for {area}: {', '.join(names)}; install with: apt-get install {' '.join(names)}."
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ToolError(sentence)
    with ONE_AT_A_TIME:
        print(f"Installing Debian packages: {', '.join(names)} ...", flush=True)
        if _apt(command) or (_apt(["apt-get", "update"]) and _apt(command)):
            return
    raise ToolError(f"{sentence} (apt-get could not do it here.)")


def _apt(command: Sequence[str]) -> bool:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    return done.returncode == 0
