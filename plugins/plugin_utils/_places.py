# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Files on the machine that runs Ansible: where a path leads, and where no report may be written.

A relative path begins at the folder in which ansible-playbook was started. Modules start elsewhere: in the playbook's folder,
which is inside the installed collection.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# What each variable has when it does not say otherwise, below the folder of reports.
NAMES: Mapping[str, Mapping[str, str]] = {
    "bulkhead_verify_reports": {"json": "verify.json", "html": "verify.html"},
    "bulkhead_paths_reports": {"json": "paths.json", "html": "paths.html"},
    "bulkhead_status": {"html": "status.html"},
}
KINDS = ("json", "junit", "html", "file")  # keys that name a file to write
FOLDER = "reports"
_READ = ("group_vars", "host_vars")  # Ansible takes every file in folders of these names for variables
_MARKS = (".", "/", "~")

Files = dict[str, dict[str, str]]
Sources = Sequence[tuple[str, bool]]  # absolute path, whether it is a folder


def resolve(path: str, here: str) -> str:
    """An absolute path, with ``~`` and environment variables filled in; a URL and an empty text stay as they are.

    >>> resolve("reports/verify.json", "/home/ada/lab")
    '/home/ada/lab/reports/verify.json'
    """
    if not path or "://" in path:
        return path
    return os.path.normpath(os.path.join(here, os.path.expandvars(os.path.expanduser(path))))


def marked(path: str) -> bool:
    """Whether a word that may be a name as well, such as a chart's, is written as a path.

    >>> marked("./charts/metallb"), marked("metallb"), marked("istio/base")
    (True, False, False)
    """
    return path.startswith(_MARKS)


def home_of_reports(folder: str, here: str, sources: Sources) -> str:
    """The folder of reports that nobody named a path for. In a folder that is read as inventory it is hidden: then it is not."""
    full = resolve(folder, here)
    if full and _inventory_of(full, sources):
        head, tail = os.path.split(full)
        full = os.path.join(head, f".{tail}")
    return full


def files(given: Mapping[str, Mapping[str, Any]], folder: str, here: str) -> Files:
    """Variable -> kind -> absolute path. What is not named has its place in ``folder``; an empty path is not written."""
    found: Files = {}
    for variable, paths in given.items():
        wanted = {kind: os.path.join(folder, name) for kind, name in NAMES.get(variable, {}).items()} if folder else {}
        wanted.update({kind: paths[kind] or "" for kind in KINDS if kind in paths})
        found[variable] = {kind: resolve(str(path), here) for kind, path in wanted.items() if path}
    return found


def problems(
    found: Files, sources: Sources, is_folder: Callable[[str], bool], is_file: Callable[[str], bool]
) -> list[str]:
    """A sentence for each file that must not be written where it is to be."""
    said: list[str] = []
    owner: dict[str, str] = {}
    for variable, paths in found.items():
        for kind, path in paths.items():
            name = f"{variable}.{kind}"
            said += [f"{name} is {path}, {why}" for why in [_problem(path, sources, is_folder, is_file)] if why]
            if path in owner:
                said.append(f"{name} and {owner[path]} are both {path}: give each a file of its own.")
            owner.setdefault(path, name)
    return said


def _problem(path: str, sources: Sources, is_folder: Callable[[str], bool], is_file: Callable[[str], bool]) -> str:
    inventory = _inventory_of(path, sources)
    if inventory == path:
        return "which is the inventory itself: name another file."
    if inventory:
        return (
            f"and Ansible reads every file in {inventory} as inventory: name a file outside of it, or leave it out, "
            "then it has a place of its own."
        )
    read = [part for part in os.path.dirname(path).split(os.sep) if part in _READ]
    if read:
        return f"and Ansible reads every file in {read[0]} as variables: name a file outside of it."
    if is_folder(path):
        return "which is a folder: name a file in it."
    parents = [parent for parent in _parents(path) if is_file(parent)]
    return f"and {parents[0]} is a file and no folder: name another one." if parents else ""


def _inventory_of(path: str, sources: Sources) -> str:
    """The inventory source that a path is, or is read as a part of; hidden files and folders are passed over there."""
    for source, folder in sources:
        if path == source:
            return source
        below = os.path.relpath(path, source).split(os.sep) if folder else [os.pardir]
        if below[0] != os.pardir and not any(part.startswith(".") for part in below):
            return source
    return ""


def _parents(path: str) -> list[str]:
    found = []
    while (parent := os.path.dirname(path)) != path:
        found.append(parent)
        path = parent
    return found
