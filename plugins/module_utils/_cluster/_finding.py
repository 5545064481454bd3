# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Findings: a value with how it was found, or ``unknown`` with the reason; never a guess."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer

Finding = dict[str, Any]
UNKNOWN = "unknown"


class Unknown(Exception):
    """A fact that cannot be known; its text is the reason."""


def known(value: object, found_by: str) -> Finding:
    """A fact and how it was found."""
    return {"value": value, "found_by": found_by, "reason": None}


def unknown(reason: str) -> Finding:
    """A fact that could not be found, and why."""
    return {"value": UNKNOWN, "found_by": None, "reason": reason}


def is_known(finding: Mapping[str, Any]) -> bool:
    """Whether ``finding`` holds a value."""
    return finding["value"] != UNKNOWN


def yes_no(condition: bool, found_by: str) -> Finding:
    """``yes`` or ``no``: words, because an unknown must not look like a boolean."""
    return known("yes" if condition else "no", found_by)


def finding(function: Callable[..., Finding]) -> Callable[..., Finding]:
    """Decorator: an Unknown raised inside becomes the unknown finding."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Finding:
        try:
            return function(*args, **kwargs)
        except Unknown as exc:
            return unknown(str(exc))

    return wrapper


class Snapshot:
    """The answers of one run by name; every way to read them says Unknown instead of pretending emptiness."""

    def __init__(self, answers: Mapping[str, Answer], asked: Mapping[str, str]) -> None:
        """``asked``: request name -> what it was ("list nodes")."""
        self._answers = answers
        self._asked = asked

    def __contains__(self, name: str) -> bool:
        return name in self._answers

    def answer(self, name: str) -> Answer:
        """The raw answer, whatever its status."""
        if name not in self._answers:
            raise Unknown(f"{self._asked.get(name, name)} was not asked")
        return self._answers[name]

    def body(self, name: str) -> Mapping[str, Any]:
        """The body of a good answer."""
        answer = self.answer(name)
        if not answer.ok:
            raise Unknown(self._why(name, answer))
        return answer.body

    def listing(self, name: str) -> list[dict[str, Any]]:
        """The objects of a LIST that was allowed and served."""
        return list(self.body(name).get("items") or [])

    def maybe(self, name: str) -> Mapping[str, Any] | None:
        """One object, or nothing where it does not exist or was not asked for."""
        if name not in self._answers or self._answers[name].status == 404:
            return None
        return self.body(name)

    def unreadable(self) -> list[dict[str, str]]:
        """What the caller may not read: ``[{request, reason}]`` in the order asked."""
        return [
            {"request": self._asked[name], "reason": self._why(name, answer)}
            for name, answer in self._answers.items()
            if answer.status == 403 and not name.startswith("can_i:")
        ]

    def _why(self, name: str, answer: Answer) -> str:
        asked = self._asked.get(name, name)
        if answer.status == 403:
            return f"not allowed to {asked}"
        if answer.status == 404:
            return f"the API server does not know how to {asked}"
        return f"{asked} answered {answer.status}: {answer.message}"


def name_of(item: Mapping[str, Any]) -> str:
    """``namespace/name``, or the name of a cluster-wide object."""
    metadata = item["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def labels_of(item: Mapping[str, Any]) -> dict[str, str]:
    """An object's labels, never None."""
    return item["metadata"].get("labels") or {}


def annotations_of(item: Mapping[str, Any]) -> dict[str, str]:
    """An object's annotations, never None."""
    return item["metadata"].get("annotations") or {}


def images_of(workload: Mapping[str, Any]) -> list[str]:
    """The images of a workload's containers, where the template was read."""
    template = (workload.get("spec") or {}).get("template") or {}
    return [container.get("image", "") for container in (template.get("spec") or {}).get("containers") or []]


def tag_of(image: str) -> str | None:
    """The tag of an image reference.

    >>> tag_of("registry:5000/istio/pilot:1.31.1-distroless@sha256:00")
    '1.31.1-distroless'
    """
    last = image.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[2] or None
