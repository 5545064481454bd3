# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Helpers for tests: snapshots from plain objects, and a fake API that allows exactly the calls named."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import Snapshot
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request

FORBIDDEN = Answer(403, {"reason": "Forbidden", "message": "forbidden"})


class FakeApi:
    """Answers by ``METHOD path``: a list is used up in order, any other answer once; what is left or extra fails."""

    def __init__(self, script: Mapping[str, Any]) -> None:
        self.left = {key: list(value) if isinstance(value, list) else [value] for key, value in script.items()}
        self.calls: list[Request] = []
        self.unexpected: list[str] = []
        self._lock = threading.Lock()

    def call(self, request: Request) -> Answer:
        """One call; an unexpected one is remembered, because the code under test may swallow the exception."""
        key = f"{request.method} {request.path}"
        with self._lock:
            self.calls.append(request)
            if not self.left.get(key):
                self.unexpected.append(key)
                raise AssertionError(f"unexpected call: {key}")
            answer = self.left[key].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def done(self) -> None:
        """Fail if a call was missing or extra."""
        assert not self.unexpected
        assert {key: len(value) for key, value in self.left.items() if value} == {}


@pytest.fixture
def fake_api() -> type[FakeApi]:
    """The class, to be made with a script."""
    return FakeApi


@pytest.fixture
def snapshot() -> Callable[..., Snapshot]:
    """Make a snapshot: a list is the objects of a LIST, a dict one object, None is 404, "403" is forbidden."""

    def make(**named: Any) -> Snapshot:
        answers = {}
        named.setdefault("discovery", discovery())
        for name, value in named.items():
            if value is None:
                answers[name] = Answer(404, {"message": "not found"})
            elif value == "403":
                answers[name] = FORBIDDEN
            elif isinstance(value, Answer):
                answers[name] = value
            else:
                answers[name] = Answer(200, {"items": value} if isinstance(value, list) else value)
        return Snapshot(answers, {name: f"read {name}" for name in answers})

    return make


def discovery(*resources: str) -> dict[str, Any]:
    """An answer of aggregated discovery for ``resource.group`` names, all v1."""
    groups: dict[str, list[dict[str, str]]] = {}
    for resource in resources:
        name, dummy, group = resource.partition(".")
        groups.setdefault(group, []).append({"resource": name})
    return {
        "kind": "APIGroupDiscoveryList",
        "items": [
            {"metadata": {"name": group}, "versions": [{"version": "v1", "resources": found}]}
            for group, found in groups.items()
        ],
    }


@pytest.fixture
def served() -> Callable[..., dict[str, Any]]:
    """The function above."""
    return discovery


@pytest.fixture
def obj() -> Callable[..., dict[str, Any]]:
    """Make an object: ``obj("ns/name", labels=..., annotations=..., spec=..., status=...)``."""

    def make(name: str, labels: Any = None, annotations: Any = None, **rest: Any) -> dict[str, Any]:
        namespace, dummy, short = name.rpartition("/")
        metadata: dict[str, Any] = {"name": short}
        if namespace:
            metadata["namespace"] = namespace
        if labels:
            metadata["labels"] = labels
        if annotations:
            metadata["annotations"] = annotations
        return {"metadata": metadata, **rest}

    return make
