# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An API server in memory: objects by path, merge patches, deletes, and a record of what was written."""

from __future__ import annotations

import copy
import itertools
from typing import Any
from urllib.parse import unquote

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request


class Api:
    """``served`` are collections that answer with a LIST although they hold nothing; others are 404."""

    target = Target("192.0.2.1:6443", "context test")
    served = (
        "/apis/apps/v1/deployments",
        "/apis/apps/v1/daemonsets",
        "/api/v1/namespaces",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "/api/v1/secrets",
        "/api/v1/configmaps",
    )

    def __init__(self, *objects: tuple[str, dict[str, Any]]) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.refuse: tuple[str, ...] = ()
        self.writes: list[str] = []
        self.asked: list[Request] = []
        self._uids = itertools.count()
        for path, one in objects:
            self.put(path, one)

    def put(self, path: str, one: dict[str, Any] | None = None) -> None:
        """Store an object at its collection's path plus name."""
        one = copy.deepcopy(one or {})
        collection, dummy, name = path.rpartition("/")
        metadata = one.setdefault("metadata", {})
        metadata.setdefault("name", name)
        metadata.setdefault("uid", str(next(self._uids)))
        before, dummy, after = collection.partition("/namespaces/")
        if after:
            metadata.setdefault("namespace", after.partition("/")[0])
        self.objects[path] = one

    def call(self, request: Request) -> Answer:
        """One call; a dry run is answered and changes nothing."""
        self.asked.append(request)
        if any(part in request.path for part in self.refuse):
            return Answer(403, {"message": "forbidden", "reason": "Forbidden"})
        if request.method == "GET":
            return self._read(request)
        if "dryRun" not in request.query:
            self.writes.append(f"{request.method} {request.path}")
            self._write(request)
        return Answer(200, {})

    def _read(self, request: Request) -> Answer:
        if request.path in self.objects:
            return Answer(200, self.objects[request.path])
        found = [one for path, one in self.objects.items() if self._in(path, request.path)]
        labels = dict(pair.split("=") for pair in request.query.get("labelSelector", "").split(",") if "=" in pair)
        found = [one for one in found if labels.items() <= (one["metadata"].get("labels") or {}).items()]
        if (
            found
            or request.path in self.served
            or request.what.startswith("list ")
            and "/v1/namespaces/" in request.path
        ):
            return Answer(200, {"items": found})
        return Answer(404, {"message": "not found"})

    @staticmethod
    def _in(path: str, collection: str) -> bool:
        if path.rpartition("/")[0] == collection:
            return True
        group, dummy, kind = collection.rpartition("/")
        parts = path.split("/namespaces/")
        return len(parts) == 2 and parts[0] == group and parts[1].split("/")[1:2] == [kind]

    def _write(self, request: Request) -> None:
        path = unquote(request.path)
        if request.method == "POST":
            assert request.body is not None
            self.put(f"{path}/{request.body['metadata']['name']}", dict(request.body))
        elif request.method == "PATCH":
            assert request.body is not None
            _merge(self.objects[path], request.body)
        elif request.method == "DELETE":
            assert request.body is not None
            assert request.body["preconditions"]["uid"] == self.objects[path]["metadata"]["uid"]
            del self.objects[path]


def _merge(live: dict[str, Any], patch: Any) -> None:
    for key, value in patch.items():
        if value is None:
            live.pop(key, None)
        elif isinstance(value, dict):
            _merge(live.setdefault(key, {}), value)
        else:
            live[key] = value


@pytest.fixture
def api() -> type[Api]:
    """The class, to be made with objects."""
    return Api
