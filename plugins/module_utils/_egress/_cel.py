# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Parts of CEL expressions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def literal(value: Any) -> str:
    """A CEL literal of a string, number, list or map; JSON is one but for characters outside ASCII.

    >>> literal({"a": ["b"]})
    '{"a": ["b"]}'
    """
    return json.dumps(value)


def mixed(value: Any) -> str:
    """A CEL literal whose lists and maps may hold values of several types, which CEL else refuses.

    >>> mixed([{"name": "a", "readOnly": True}])
    'dyn([dyn({"name": dyn("a"), "readOnly": dyn(true)})])'
    """
    if isinstance(value, Mapping):
        text = "{" + ", ".join(f"{literal(key)}: {mixed(one)}" for key, one in value.items()) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(map(mixed, value)) + "]"
    else:
        text = literal(value)
    return f"dyn({text})"


def any_of(expressions: Sequence[str]) -> str:
    return expressions[0] if len(expressions) == 1 else "(" + " || ".join(expressions) + ")"


def selects(selector: Mapping[str, Any], labels: str) -> str:
    """CEL: a label selector selects these labels; as ``_selector.matches`` does.

    >>> selects({"matchLabels": {"app": "a"}}, "labels")
    '("app" in labels && labels["app"] in ["a"])'
    """
    wanted = [{"key": key, "operator": "In", "values": [value]} for key, value in _labels(selector)]
    return " && ".join(_expression(one, labels) for one in [*wanted, *_expressions(selector)]) or "true"


def _labels(selector: Mapping[str, Any]) -> list[tuple[str, str]]:
    return sorted((selector.get("matchLabels") or {}).items())


def _expressions(selector: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(selector.get("matchExpressions") or [])


def _expression(one: Mapping[str, Any], labels: str) -> str:
    key = literal(one["key"])
    among = f"({key} in {labels} && {labels}[{key}] in {literal(one.get('values') or [])})"
    forms = {
        "In": among,
        "NotIn": f"!{among}",
        "Exists": f"({key} in {labels})",
        "DoesNotExist": f"!({key} in {labels})",
    }
    return forms[one["operator"]]
