# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The requests of the object set engine, and a client that counts and repeats them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._client import Caller
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._discovery import Resource
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import APPLY_PATCH, Answer, Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import wait_until

DRY_RUN = {"dryRun": "All"}
PATIENCE = 15.0  # seconds
COUNTED = ("gets", "lists", "dry_runs", "applies", "deletes")
Wait = Callable[..., "tuple[bool, object]"]


def get(resource: Resource, namespace: str, name: str) -> Request:
    """Read one object."""
    return Request(resource.path(namespace, name), f"get {resource.full_name} {_place(namespace, name)}")


def listing(resource: Resource, namespace: str, labels: Mapping[str, str]) -> Request:
    """Read the objects with ``labels``, in one namespace or everywhere."""
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    where = f" in {namespace}" if namespace else ""
    return Request(resource.path(namespace), f"list {resource.full_name}{where}", query={"labelSelector": selector})


def apply(resource: Resource, manifest: Mapping[str, Any], manager: str, *, force: bool, dry: bool) -> Request:
    """Server-side apply; a field the server does not know is refused instead of dropped."""
    namespace, name = manifest["metadata"].get("namespace") or "", manifest["metadata"]["name"]
    return Request(
        resource.path(namespace, name),
        f"apply {resource.full_name} {_place(namespace, name)}",
        method="PATCH",
        body=manifest,
        query={
            "fieldManager": manager,
            "force": "true" if force else "false",
            "fieldValidation": "Strict",
            **(DRY_RUN if dry else {}),
        },
        content_type=APPLY_PATCH,
    )


def release(resource: Resource, live: Mapping[str, Any], manager: str, *, dry: bool) -> Request:
    """Give exactly this object back: what only ``manager`` has set goes, and nothing else.

    The uid keeps the API server from making an empty object where this one has gone.
    """
    metadata = {name: live["metadata"][name] for name in ("name", "namespace", "uid") if name in live["metadata"]}
    nothing = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
    return apply(resource, nothing, manager, force=False, dry=dry)


def delete(resource: Resource, live: Mapping[str, Any], *, dry: bool) -> Request:
    """Delete exactly this object: one of the same name made in between stays."""
    metadata = live["metadata"]
    namespace, name = metadata.get("namespace") or "", metadata["name"]
    return Request(
        resource.path(namespace, name),
        f"delete {resource.full_name} {_place(namespace, name)}",
        method="DELETE",
        body={
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": metadata["uid"]},
        },
        query=DRY_RUN if dry else {},
    )


def _place(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


class Session:
    """A client that counts what it is asked for, and asks again when the server wants it later.

    A server does so under load, and for a new kind while its storage is prepared.
    """

    def __init__(self, client: Caller, wait: Wait = wait_until) -> None:
        self._client = client
        self._wait = wait
        self._lock = threading.Lock()
        self.counts = dict.fromkeys(COUNTED, 0)

    def call(self, request: Request) -> Answer:
        """Count and pass on; the answer that still says "later" after ``PATIENCE`` is given back."""

        def look() -> tuple[bool, object]:
            with self._lock:
                self.counts[self._verb(request)] += 1
            answer = self._client.call(request)
            return answer.status != 429, answer

        answer: Any = self._wait(look, timeout=PATIENCE, sleep=0.2)[1]
        return answer

    @staticmethod
    def _verb(request: Request) -> str:
        if "dryRun" in request.query:
            return "dry_runs"
        if request.method == "GET":
            return "lists" if request.what.startswith("list ") else "gets"
        return {"PATCH": "applies", "DELETE": "deletes"}[request.method]
