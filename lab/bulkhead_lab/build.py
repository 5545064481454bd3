"""Builds cached by content: a part is built once per set of inputs, atomically.

A recipe's key is the hash of its inputs. The result lies in ``build/NAME-KEY``;
it is made in a temporary folder and renamed, so a build that was killed leaves
nothing that looks finished.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError
from .paths import Paths


@dataclass(frozen=True)
class Recipe:
    """One buildable part.

    ``make(target, parts)`` fills the empty folder ``target``; ``parts`` maps the
    names in ``needs`` to their finished folders. ``estimate`` is the cold time in seconds on two cores.
    """

    name: str
    inputs: tuple[str, ...]
    make: Callable[[Path, dict[str, Path]], None]
    needs: tuple[str, ...] = ()
    estimate: float = 10.0


def hash_files(paths: Iterable[Path], root: Path) -> str:
    """One hash over names (relative to ``root``) and contents of all files below ``paths``."""
    digest = hashlib.sha256()
    files: list[Path] = []
    for path in paths:
        files.extend(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else files.append(path)
    for file in sorted(files):
        digest.update(f"{file.relative_to(root)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def keys(recipes: Sequence[Recipe]) -> dict[str, str]:
    """Content key of each recipe: its inputs and the keys of what it needs, which must come before it."""
    result: dict[str, str] = {}
    for recipe in recipes:
        text = "\0".join((recipe.name, *recipe.inputs, *(result[need] for need in recipe.needs)))
        result[recipe.name] = hashlib.sha256(text.encode()).hexdigest()[:12]
    return result


class Store:
    """Finished parts on disk."""

    def __init__(self, paths: Paths, recipes: Sequence[Recipe]) -> None:
        self._paths = paths
        self._recipes = recipes
        self._keys = keys(recipes)

    @property
    def generation(self) -> dict[str, str]:
        """Name to key: what a lab started now would run."""
        return dict(self._keys)

    def folder(self, name: str) -> Path:
        """Where the finished part lies, or will lie."""
        return self._paths.build / f"{name}-{self._keys[name]}"

    def missing(self) -> list[Recipe]:
        """What has to be built, in order."""
        return [recipe for recipe in self._recipes if not self.folder(recipe.name).is_dir()]

    def build(self, recipe: Recipe) -> None:
        """Make one part whose needs are finished."""
        target = self.folder(recipe.name)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        remove_tree(temporary)
        temporary.mkdir(parents=True)
        try:
            recipe.make(temporary, {need: self.folder(need) for need in recipe.needs})
            temporary.rename(target)
        finally:
            remove_tree(temporary)

    def clean_up(self) -> None:
        """Remove what killed builds left, and older builds of the same parts."""
        if not self._paths.build.is_dir():
            return
        current = {self.folder(recipe.name).name for recipe in self._recipes}
        names = {recipe.name for recipe in self._recipes}
        for entry in self._paths.build.iterdir():
            old = entry.name.rpartition("-")[0] in names and entry.name not in current
            if entry.name.startswith(".") or old:
                remove_tree(entry)


def remove_tree(path: Path) -> None:
    """Remove a folder, whole root file systems included; never follows links out of it."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def run(argv: Sequence[str], *, what: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a build command; a failure is one sentence with the end of what the command said."""
    full_env = {**os.environ, **(env or {})}
    try:
        done = subprocess.run(
            argv, cwd=cwd, env=full_env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as exc:
        raise LabError(
            f"{what} needs the program {argv[0]!r}, which is not on PATH; install it and run this again."
        ) from exc
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise LabError(f"{what} failed: {argv[0]} ended with code {done.returncode}. It said last:\n{tail}")
    return done.stdout
