"""The Python environment of the suites, kubernetes.core, and the home that ansible-test wants."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from bulkhead_dev.commands import run
from bulkhead_dev.errors import ToolError
from bulkhead_dev.places import Places, made_once

# ansible-test makes its first environment with a pip bootstrap script that it downloads from a file
# host unless it finds one under this name. This one runs the pip wheel that lies beside it.
BOOTSTRAP = """\
import glob
import os
import re
import runpy
import sys

here = os.path.dirname(os.path.abspath(__file__))
version = ".".join(re.search(r"get_pip_(\\d+)_(\\d+)", os.path.basename(__file__)).groups())
sys.path.insert(0, glob.glob(os.path.join(here, "pip-%s-*.whl" % version))[0])
arguments = [a for a in sys.argv[1:] if a not in ("--no-setuptools", "--no-wheel")]
sys.argv = ["pip", "install", "--upgrade"] + arguments
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def environment(places: Places, python: str, version: str) -> Path:
    """The virtual environment with everything of requirements-dev.txt; made when those or the Python changed."""
    requirements = places.checkout / "requirements-dev.txt"
    key = hashlib.sha256(requirements.read_bytes() + python.encode()).hexdigest()[:12]
    folder = places.cache / "venvs" / f"{version}-{key}"
    with made_once(folder) as empty:
        if empty is not None:
            print(f"Making the Python {version} environment (about 40 s) ...", flush=True)
            run([python, "-m", "venv", str(empty)], what="Making the Python environment")
            pip = [str(empty / "bin" / "python"), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
            run([*pip, "-r", str(requirements)], what="Installing requirements-dev.txt from PyPI")
    return folder


def kubernetes_core(places: Places, venv: Path) -> Path:
    """A folder that holds ``ansible_collections/kubernetes/core``, taken from the pinned bundle."""
    pins = places.pins()["kubernetes_core"]
    folder = places.cache / "collections" / f"kubernetes-core-{pins['version']}"
    with made_once(folder) as empty:
        if empty is not None:
            print(f"Taking kubernetes.core {pins['version']} out of {pins['bundle']} (50 MB) ...", flush=True)
            with tempfile.TemporaryDirectory(dir=places.cache) as download:
                _pip_download(venv, pins["bundle"], Path(download))
                unpack_part(next(Path(download).glob("*.whl")), "ansible_collections/kubernetes/core/", empty)
    return folder


def unpack_part(wheel: Path, prefix: str, target: Path) -> None:
    """Unpack what lies below ``prefix`` in ``wheel``."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(prefix)]
        if not names:
            raise ToolError(f"{wheel.name} holds nothing below {prefix}; correct the pin in dev/pins.toml.")
        archive.extractall(target, names)


def tool_home(places: Places, venv: Path) -> Path:
    """The home folder for ansible tools: pip settings and the bootstrap for ansible-test's environments."""
    version = places.pins()["ansible_test"]["pip"]
    bootstrap = places.cache / "tools" / f"pip-{version}"
    with made_once(bootstrap) as empty:
        if empty is not None:
            _pip_download(venv, f"pip=={version}", empty)
    cache = places.home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(BOOTSTRAP, encoding="utf-8")
    for wheel in bootstrap.glob("*.whl"):
        if not (cache / wheel.name).exists():
            shutil.copy2(wheel, cache / wheel.name)
    settings = run([str(venv / "bin" / "python"), "-m", "pip", "config", "list"], what="Reading pip's settings")
    _write_private(places.home / ".config" / "pip" / "pip.conf", pip_settings(settings))
    return places.home


def pip_settings(listing: str) -> str:
    """A pip.conf with the user's settings, from what ``pip config list`` prints.

    ansible-test passes no PIP_* variable on and has another home, so that both would be lost.
    Where a setting is given twice the later line wins: pip prints the environment first,
    and the environment is the stronger, hence it is applied last.
    """
    sections: dict[str, dict[str, str]] = {"global": {}}
    pairs = [line.partition("=") for line in listing.splitlines() if "=" in line]
    for key, _, value in sorted(pairs, key=lambda pair: pair[0].startswith(":env:")):
        section, _, option = key.strip().removeprefix(":env:.").rpartition(".")
        text = value.strip().strip("'\"").replace("\\n", "\n    ")
        sections.setdefault(section or "global", {})[option] = text
    blocks = []
    for section, options in sections.items():
        blocks.append("\n".join([f"[{section}]", *(f"{option} = {text}" for option, text in options.items())]))
    return "\n".join(blocks) + "\n"


def _write_private(path: Path, text: str) -> None:
    """Write a file that only the user reads: an index address may hold a password."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text, encoding="utf-8")


def _pip_download(venv: Path, requirement: str, target: Path) -> None:
    pip = [str(venv / "bin" / "python"), "-m", "pip", "download", "--no-input", "--disable-pip-version-check"]
    run([*pip, "--no-deps", "--only-binary=:all:", "-d", str(target), requirement], what=f"Downloading {requirement}")


def tool_environment(
    places: Places, venv: Path, collections: list[Path], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Environment variables for Python and Ansible tools.

    The user's own Ansible, Python and pyenv settings are left out; what makes the
    network usable (proxies, certificates) stays. PATH has no shims, which ansible-test would take for interpreters.
    """
    dropped = ("ANSIBLE_", "MOLECULE_", "PYTHON", "PYENV_", "VIRTUAL_ENV", "XDG_", "K8S_AUTH_", "PYTEST_")
    kept = {name: value for name, value in environ.items() if not name.startswith(dropped)}
    real_home = environ.get("HOME") or os.path.expanduser("~")
    # Go and the lab keep their caches where they are without us, although HOME changes.
    kept.setdefault("GOPATH", os.path.join(real_home, "go"))
    kept.setdefault("GOCACHE", os.path.join(environ.get("XDG_CACHE_HOME") or f"{real_home}/.cache", "go-build"))
    return {
        **kept,
        "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(str(folder) for folder in collections),
        "BULKHEAD_CACHE": str(places.cache),
        "BULKHEAD_CHECKOUT": str(places.checkout),
        "HOME": str(places.home),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "PATH": os.pathsep.join([str(venv / "bin"), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
