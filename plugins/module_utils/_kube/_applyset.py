# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Who belongs to a set: labels and annotations of Kubernetes ApplySets, with a ConfigMap as parent.

The parent names the kinds and namespaces of all members, so what left the input is found without looking everywhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._discovery import Resource
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError

PART_OF = "applyset.kubernetes.io/part-of"
ID = "applyset.kubernetes.io/id"
TOOLING = "applyset.kubernetes.io/tooling"
GROUP_KINDS = "applyset.kubernetes.io/contains-group-kinds"
NAMESPACES = "applyset.kubernetes.io/additional-namespaces"
TOOL = "bulkhead.mesh/v1"
ADOPTED = "bulkhead.mesh/adopted"  # an annotation of members that were there before
CONFIG_MAP = Resource("", "v1", "ConfigMap", "configmaps", True)


@dataclass(frozen=True)
class ObjectSet:
    """A set's name and the namespace its parent lies in."""

    name: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def id(self) -> str:
        """The identity that the specification derives from the parent's name, namespace, kind and group."""
        digest = hashlib.sha256(f"{self.name}.{self.namespace}.ConfigMap.".encode()).digest()
        return f"applyset-{base64.urlsafe_b64encode(digest).decode().rstrip('=')}-v1"

    @property
    def labels(self) -> dict[str, str]:
        """What every member carries."""
        return {PART_OF: self.id}

    @property
    def manager(self) -> str:
        """Our name in the members' managedFields."""
        return f"bulkhead.mesh/{self.name}"


@dataclass(frozen=True)
class Members:
    """Where members may be: ``Kind.group`` names and namespaces."""

    group_kinds: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    exists: bool = field(default=False, compare=False)  # whether the parent does

    def plus(self, other: Members) -> Members:
        """Both together."""
        return Members(self.group_kinds | other.group_kinds, self.namespaces | other.namespaces, self.exists)


def members(places: Iterable[tuple[Resource, str]]) -> Members:
    """Where objects of these (resource, namespace) are."""
    found = list(places)
    return Members(
        frozenset(resource.group_kind for resource, dummy in found),
        frozenset(namespace for dummy, namespace in found if namespace),
    )


def recorded(owner: ObjectSet, parent: Mapping[str, Any] | None) -> Members:
    """What the parent says; refuses a ConfigMap that is not this set's parent."""
    if parent is None:
        return Members()
    metadata = parent["metadata"]
    annotations = metadata.get("annotations") or {}
    tool = (annotations.get(TOOLING) or "").partition("/")[0]
    if (metadata.get("labels") or {}).get(ID) != owner.id or tool != TOOL.partition("/")[0]:
        raise KubeError(
            f"The ConfigMap {owner} exists and is not the record of a set of bulkhead.mesh: "
            "choose another name for the set, or remove that ConfigMap.",
            reason="NotOurs",
            object_=f"ConfigMap {owner}",
        )
    return Members(_split(annotations.get(GROUP_KINDS)), _split(annotations.get(NAMESPACES)) | {owner.namespace}, True)


def manifest(owner: ObjectSet, where: Members) -> dict[str, Any]:
    """The parent for members in these places."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": owner.name,
            "namespace": owner.namespace,
            "labels": {ID: owner.id},
            "annotations": {
                TOOLING: TOOL,
                GROUP_KINDS: ",".join(sorted(where.group_kinds)),
                NAMESPACES: ",".join(sorted(where.namespaces - {owner.namespace})),
            },
        },
    }


def same_record(owner: ObjectSet, ours: Members, theirs: Members) -> bool:
    """Whether the parent need not be written."""
    own = {owner.namespace}
    return theirs.exists and ours.group_kinds == theirs.group_kinds and ours.namespaces | own == theirs.namespaces | own


def is_adopted(live: Mapping[str, Any]) -> bool:
    """Whether a member was there before the set: it is given back, never deleted."""
    return ADOPTED in (live["metadata"].get("annotations") or {})


def as_adopted(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with the annotation; written together with the label, so that no killed run forgets it."""
    metadata = wanted["metadata"]
    return {**wanted, "metadata": {**metadata, "annotations": {**(metadata.get("annotations") or {}), ADOPTED: "true"}}}


def _split(text: str | None) -> frozenset[str]:
    return frozenset(part for part in (text or "").split(",") if part)
