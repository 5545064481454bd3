# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""JSON Patch (RFC 6902): the operations between two documents, and a subset of their application."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

Operation = dict[str, Any]


class PatchError(ValueError):
    """An operation that does not fit the document."""


def pointer(*parts: Any) -> str:
    """A JSON pointer.

    >>> pointer("metadata", "annotations", "bulkhead.mesh/agent")
    '/metadata/annotations/bulkhead.mesh~1agent'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def diff(before: Any, after: Any, path: str = "") -> list[Operation]:
    """Operations that turn ``before`` into ``after``, in order; lists of named items are changed item by item."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        operations: list[Operation] = []
        for key in sorted(before.keys() | after.keys()):
            where = path + pointer(key)
            if key not in after:
                operations.append({"op": "remove", "path": where})
            elif key not in before:
                operations.append({"op": "add", "path": where, "value": copy.deepcopy(after[key])})
            else:
                operations += diff(before[key], after[key], where)
        return operations
    if _same(before, after):
        return []
    if _named(before) and _named(after):
        by_item = _diff_named(before, after, path)
        if by_item is not None:
            return by_item
    return [{"op": "replace", "path": path, "value": copy.deepcopy(after)}]


def _same(one: Any, other: Any) -> bool:
    # In Python 1 == True; in JSON they differ.
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _named(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    names = [item.get("name") if isinstance(item, Mapping) else None for item in value]
    return None not in names and len(set(names)) == len(names)


def _diff_named(before: Sequence[Any], after: Sequence[Any], path: str) -> list[Operation] | None:
    old = [item["name"] for item in before]
    new = [item["name"] for item in after]
    kept = [name for name in old if name in new]
    if not kept or kept != [name for name in new if name in old]:
        return None
    gone = [index for index, name in enumerate(old) if name not in new]
    operations: list[Operation] = [{"op": "remove", "path": f"{path}/{index}"} for index in reversed(gone)]
    by_name = {item["name"]: item for item in before}
    # Ascending, so that each index is already the final one.
    for index, item in enumerate(after):
        if item["name"] in by_name:
            operations += diff(by_name[item["name"]], item, f"{path}/{index}")
        else:
            operations.append({"op": "add", "path": f"{path}/{index}", "value": copy.deepcopy(item)})
    return operations


def apply_patch(document: Any, operations: Sequence[Operation]) -> Any:
    """A copy of ``document`` with add, remove, replace and test applied; PatchError if one does not fit."""
    holder = {"": copy.deepcopy(document)}
    for operation in operations:
        _apply(holder, operation)
    return holder[""]


def _apply(holder: dict[str, Any], operation: Operation) -> None:
    parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")]
    target: Any = holder
    for part in parts[:-1]:
        target = target[_key(target, part, operation)]
    name = operation["op"]
    key = _key(target, parts[-1], operation, adding=name == "add")
    if name == "add" and isinstance(target, list):
        target.insert(key, copy.deepcopy(operation["value"]))
    elif name in ("add", "replace"):
        target[key] = copy.deepcopy(operation["value"])
    elif name == "remove":
        del target[key]
    elif name != "test":
        raise PatchError(f"operation {name} is not known")
    elif not _same(target[key], operation["value"]):
        raise PatchError(f"{operation['path']} is {target[key]!r} instead of {operation['value']!r}")


def _key(target: Any, part: str, operation: Operation, adding: bool = False) -> Any:
    if isinstance(target, dict):
        if part in target or adding:
            return part
    elif isinstance(target, list):
        if part == "-" and adding:
            return len(target)
        if part.isdigit() and int(part) < len(target) + adding:
            return int(part)
    raise PatchError(f"{operation['op']}: the document has no {operation['path']}")
