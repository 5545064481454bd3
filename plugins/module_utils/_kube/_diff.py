# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Before and after of an object: the fields we manage, and nothing of a Secret's content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _managed
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._plan import LEAVES, PRUNE, WRITES, Step
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._secrecy import Redactor


def diffs(steps: Iterable[Step], manager: str, redactor: Redactor) -> list[dict[str, Any]]:
    """One entry for each object that changes, in Ansible's shape."""
    return [one(step, manager, redactor) for step in steps if step.action in (*WRITES, *LEAVES)]


def one(step: Step, manager: str, redactor: Redactor) -> dict[str, Any]:
    """Before and after of one step."""
    old = (_managed.ours(step.live, manager) if step.live else None) or {}
    new = (_managed.ours(step.after, manager) if step.after else None) or {}
    before: Any = {}
    after: Any = {}
    if step.live and step.action == PRUNE:
        before = _managed.project(step.live, old)
    elif step.after:
        # also what was there before in fields that become ours
        fields = _managed.union(old, new)
        before = _managed.project(step.live, fields) if step.live else {}
        after = _managed.project(step.after, fields)
    else:
        # nobody could be asked: the input itself
        before = _managed.project(step.live, old) if step.live else {}
        after = _predicted(step.manifest or {})
    if (step.key.group, step.key.kind) == ("", "Secret"):
        before, after = redactor.secret(before), redactor.secret(after)
    name = f"{step.key} ({step.resource.api_version})"
    return {"before_header": name, "after_header": name, "before": before, "after": after}


def _predicted(manifest: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in manifest.items() if name not in ("apiVersion", "kind")}
    shown["metadata"] = {n: v for n, v in manifest["metadata"].items() if n not in ("name", "namespace")}
    return shown
