# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Objects as values: who they are, and manifests in the shape they are sent."""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._discovery import Resource

# Written by the server only; people leave them in when they copy an object.
SERVERS_OWN = (
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)


@dataclass(frozen=True, order=True)
class Key:
    """Which object; ``namespace`` is empty for a cluster-wide one."""

    kind: str
    group: str
    namespace: str
    name: str

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {place}"

    @property
    def path(self) -> str:
        """``Kind/namespace/name`` or ``Kind/name``, what patterns of options are matched with."""
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


@dataclass(frozen=True)
class Desired:
    """An object as the input wants it, ready to be sent."""

    key: Key
    resource: Resource
    manifest: Mapping[str, Any]


def key_of(resource: Resource, item: Mapping[str, Any]) -> Key:
    """The key of an object the server sent."""
    metadata = item["metadata"]
    return Key(resource.kind, resource.group, metadata.get("namespace") or "", metadata["name"])


def labels_of(item: Mapping[str, Any]) -> Mapping[str, str]:
    """An object's labels, never None."""
    return item["metadata"].get("labels") or {}


def is_dying(item: Mapping[str, Any]) -> bool:
    """Whether its deletion has begun."""
    return bool(item["metadata"].get("deletionTimestamp"))


def prepare(manifest: Mapping[str, Any], resource: Resource, labels: Mapping[str, str]) -> dict[str, Any]:
    """A copy to be sent: without what only the server writes, ``stringData`` as ``data``, with our ``labels``.

    A ``stringData`` cannot be compared with what the server has: it is never given back.
    """
    made = copy.deepcopy(dict(manifest))
    for name in SERVERS_OWN:
        made["metadata"].pop(name, None)
    if resource.has_status:
        made.pop("status", None)
    made["metadata"]["labels"] = {**(made["metadata"].get("labels") or {}), **labels}
    if (resource.group, resource.kind) == ("", "Secret"):
        plain = made.pop("stringData", None) or {}
        encoded = {name: base64.b64encode(text.encode()).decode() for name, text in plain.items()}
        if encoded:
            made["data"] = {**(made.get("data") or {}), **encoded}
    return made
