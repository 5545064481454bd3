# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What the API server says no to, in one sentence with the remedy."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._objects import Key
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer

_OWNER = re.compile(r'conflict with "(?P<manager>(?:[^"\\]|\\.)*)"')
# what the sentence says already
_PREFIX = re.compile(r'failed to create typed patch object \([^)]*\): |[\w.]+ "[^"]*" is invalid: ')
_LIMIT = 5  # fields named in one sentence


def problem(key: Key, answer: Answer, verb: str = "apply") -> Problem:
    """The sentence for a failed ``verb`` (apply, delete or release) of ``key``."""
    causes = (answer.body.get("details") or {}).get("causes") or []
    owners = _owners(causes)
    if answer.status == 409 and owners:
        return Problem(str(key), _conflict(key, owners), "Conflict")
    missing = missing_namespace(answer)
    if missing:
        sentence = f"{key}: the namespace {missing} does not exist: add it to the objects, or create it first."
        return Problem(str(key), sentence, "NoNamespace")
    if answer.status == 403 and f"cannot {'delete' if verb == 'delete' else 'patch'}" in answer.message:
        sentence = f"{key}: not allowed to {verb} it: {_end(_words(key, answer))}: grant it by a Role or ClusterRole."
        return Problem(str(key), sentence, "Forbidden")
    reason = str(answer.body.get("reason") or "Failed")
    remedy = "correct the object" + (
        ", or delete it first where a field cannot be changed" if "immutable" in answer.message else ""
    )
    if verb == "delete":
        remedy = "remove what protects it"
    elif verb == "release":
        remedy = "it needs fields that only this set gives it, so let somebody else set them before, or delete it"
    sentence = f"{key}: the API server refused to {verb} it with status {answer.status}: "
    return Problem(str(key), f"{sentence}{_end(_words(key, answer))}: {remedy}.", reason)


def missing_namespace(answer: Answer) -> str:
    """The namespace whose absence made a call fail, or nothing."""
    details = answer.body.get("details") or {}
    if answer.status == 404 and details.get("kind") == "namespaces" and not details.get("group"):
        return str(details.get("name") or "")
    return ""


def _owners(causes: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Other managers and the fields they own, from the causes of a conflict."""
    found: dict[str, list[str]] = {}
    for cause in causes:
        match = _OWNER.search(cause.get("message") or "")
        if cause.get("reason") == "FieldManagerConflict" and match:
            found.setdefault(match.group("manager"), []).append(str(cause.get("field")))
    return found


def _conflict(key: Key, owners: dict[str, list[str]]) -> str:
    parts = []
    for manager, fields in owners.items():
        more = f" and {len(fields) - _LIMIT} more" if len(fields) > _LIMIT else ""
        parts.append(f"{', '.join(fields[:_LIMIT])}{more} of {manager}")
    return (
        f"{key} has fields that others manage with other values: {'; '.join(parts)}: "
        "remove them from the input, or take them over with force_conflicts=true."
    )


def _words(key: Key, answer: Answer) -> str:
    """The server's words; of a Secret only the fields, because the words may contain a value."""
    if (key.group, key.kind) != ("", "Secret") or answer.status == 403:
        return _PREFIX.sub("", answer.message)
    causes = (answer.body.get("details") or {}).get("causes") or []
    fields = ", ".join(str(cause["field"]) for cause in causes if cause.get("field"))
    return f"{answer.body.get('reason') or 'Failed'}{f' ({fields})' if fields else ''}, its words are not shown"


def _end(text: str) -> str:
    return text.rstrip(". ")
