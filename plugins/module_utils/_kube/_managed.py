# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""managedFields: which fields are ours, and whether the input says anything that is not there already.

A field stays ours only while nobody else changes its value. So an object is plainly the same when our fields are those
of the input and have its values. Everything here may answer "not plainly the same" too often (a dry run decides then),
never too rarely.

Shape of ``fieldsV1``: ``f:name`` a field, ``k:{...}`` an item of a list of objects by its key, ``v:...`` an item of a
list of values, ``.`` the field itself; a node without children is owned as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _applyset, _quantity
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._discovery import Resource

Fields = Mapping[str, Any]
_RBAC = {"apiGroup": "rbac.authorization.k8s.io"}
_MATCH = {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}, "scope": "*"}
_TEMPLATE = {
    "apiVersion": "v1",  # of a fieldRef and of a volume claim template
    "expirationSeconds": 3600,
    "kind": "PersistentVolumeClaim",
    "status": {"phase": "Pending"},
    "volumeMode": "Filesystem",
}
# What the server adds inside parts that are owned as a whole; these are the values it adds to such a part without them.
_DEFAULTS: dict[tuple[str, str], Mapping[str, Any]] = {
    ("networking.k8s.io", "NetworkPolicy"): {"protocol": "TCP"},
    ("rbac.authorization.k8s.io", "RoleBinding"): _RBAC,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _RBAC,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): _MATCH,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): _MATCH,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
}
_KEY_DEFAULTS = {"protocol": "TCP"}  # the only part of a built-in list key that has a default
_IDENTITY = ("apiVersion", "kind")
_NEVER_OWNED = {"name", "namespace"}


def ours(live: Mapping[str, Any], manager: str, api_version: str | None = None) -> Fields | None:
    """The fields that ``manager`` has applied, or None where it has applied nothing (in that ``api_version``)."""
    for entry in live["metadata"].get("managedFields") or []:
        if (entry.get("manager"), entry.get("operation"), entry.get("subresource") or "") == (manager, "Apply", ""):
            if api_version in (None, entry.get("apiVersion")):
                return entry.get("fieldsV1") or {}
    return None


def own_labels(live: Mapping[str, Any], manager: str) -> list[str]:
    """Labels that ``manager`` and nobody else has given: they go when it does not want them any more.

    The one by which its set knows its members is none of them.
    """
    mine: set[str] = set()
    others: set[str] = set()
    for entry in live["metadata"].get("managedFields") or ():
        fields = ((entry.get("fieldsV1") or {}).get("f:metadata") or {}).get("f:labels") or {}
        (mine if entry.get("manager") == manager else others).update(name[2:] for name in fields if name != ".")
    return sorted(mine - others - {_applyset.PART_OF})


def plainly_same(resource: Resource, manager: str, desired: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Whether applying ``desired`` would certainly change nothing."""
    fields = ours(live, manager, resource.api_version)
    if fields is None:
        return False
    metadata = {name: value for name, value in desired["metadata"].items() if name not in _NEVER_OWNED}
    wanted = {name: value for name, value in desired.items() if name not in _IDENTITY}
    wanted["metadata"] = metadata
    builtin = "." not in resource.group or resource.group.endswith(".k8s.io")
    compare = _Comparison(
        _DEFAULTS.get((resource.group, resource.kind), {}),
        quantities=builtin and resource.kind not in ("ConfigMap", "Secret"),
    )
    return compare.node(fields, wanted, live, "")


class _Comparison:
    """Walk fields, input and live object side by side; ``parent`` is the name of the field a value lies in."""

    def __init__(self, defaults: Mapping[str, Any], *, quantities: bool) -> None:
        self.defaults = defaults
        self.quantities = quantities

    def node(self, fields: Fields, wanted: object, live: object, parent: str) -> bool:
        """One node of the fields."""
        children = {name: child for name, child in fields.items() if name != "."}
        if not children:
            return self.whole(wanted, live, parent)
        kinds = {name[:2] for name in children}
        if kinds == {"f:"} and isinstance(wanted, Mapping) and isinstance(live, Mapping):
            return self.struct(children, wanted, live, parent)
        if kinds == {"k:"} and isinstance(wanted, list) and isinstance(live, list):
            return self.keyed(children, wanted, live, parent)
        if kinds == {"v:"} and isinstance(wanted, list) and isinstance(live, list):
            owned = [json.loads(name[2:]) for name in children]
            return len(owned) == len(wanted) and [item for item in live if item in owned] == wanted
        return False

    def struct(self, children: Fields, wanted: Mapping[str, Any], live: Mapping[str, Any], parent: str) -> bool:
        """A mapping of which we own some fields."""
        names = {name[2:] for name in children}
        if names != set(wanted) or not names <= set(live):
            return False
        # below limits, requests and the like every value is a quantity, whatever its name
        return all(
            self.node(child, wanted[name[2:]], live[name[2:]], parent if parent in _quantity.MAPS else name[2:])
            for name, child in children.items()
        )

    def keyed(self, children: Fields, wanted: list[Any], live: list[Any], parent: str) -> bool:
        """A list of objects merged by key; our items must also be in the order of the input."""
        if len(children) != len(wanted):
            return False
        places = []
        for item in wanted:
            matches = [name for name in children if _has_key(item, json.loads(name[2:]))]
            if len(matches) != 1:
                return False
            key = json.loads(matches[0][2:])
            found = [place for place, other in enumerate(live) if _has_key(other, key)]
            if len(found) != 1:
                return False
            there = live[found[0]]
            # a key that was left out and got its default is owned with the item
            full = {**{name: value for name, value in key.items() if name in _KEY_DEFAULTS}, **item}
            if not self.node(_with_keys(children[matches[0]], key, full), full, there, parent):
                return False
            places.append(found[0])
        return places == sorted(set(places))

    def whole(self, wanted: object, live: object, parent: str) -> bool:
        """A value owned as a whole; the server's additions count only where they are known defaults."""
        if isinstance(wanted, Mapping) and isinstance(live, Mapping):
            if not set(wanted) <= set(live):
                return False
            added = {name: value for name, value in live.items() if name not in wanted}
            if any(name not in self.defaults or self.defaults[name] != value for name, value in added.items()):
                return False
            inner = parent if parent in _quantity.MAPS else ""
            return all(self.whole(value, live[name], inner or name) for name, value in wanted.items())
        if isinstance(wanted, list) and isinstance(live, list):
            return len(wanted) == len(live) and all(self.whole(a, b, parent) for a, b in zip(wanted, live))
        if isinstance(wanted, bool) or isinstance(live, bool):
            return wanted is live
        if wanted is None or live is None:
            return False  # what null does depends on the schema
        if wanted == live:
            return True
        return self.quantities and parent in _quantity.NAMES and _quantity.equal(wanted, live)


def _has_key(item: object, key: Mapping[str, Any]) -> bool:
    if not isinstance(item, Mapping):
        return False
    return all(item.get(name, _KEY_DEFAULTS.get(name)) == value for name, value in key.items())


def _with_keys(fields: Fields, key: Mapping[str, Any], item: Mapping[str, Any]) -> Fields:
    """The item's fields, and its key fields where the input left them to their default."""
    return {**{f"f:{name}": {} for name in key if name in item and name in _KEY_DEFAULTS}, **fields}


def same_result(before: Mapping[str, Any], after: Mapping[str, Any], manager: str) -> bool:
    """Whether a dry run changed nothing: neither a value nor which fields are ours."""
    return _stable(before) == _stable(after) and ours(before, manager) == ours(after, manager)


def _stable(item: Mapping[str, Any]) -> dict[str, Any]:
    changing = ("managedFields", "resourceVersion", "generation")
    metadata = {name: value for name, value in item["metadata"].items() if name not in changing}
    return {**{name: value for name, value in item.items() if name not in ("status", *_IDENTITY)}, "metadata": metadata}


def union(one: Fields, other: Fields) -> dict[str, Any]:
    """The fields of both."""
    made = dict(one)
    for name, child in other.items():
        made[name] = union(made[name], child) if name in made else child
    return made


def project(item: object, fields: Fields) -> Any:
    """The part of ``item`` that ``fields`` name."""
    children = {name: child for name, child in fields.items() if name != "."}
    if not children:
        return item
    if isinstance(item, Mapping):
        return {
            name[2:]: project(item[name[2:]], child)
            for name, child in sorted(children.items())
            if name.startswith("f:") and name[2:] in item
        }
    if isinstance(item, list):
        return [
            project(entry, child)
            for entry in item
            for name, child in children.items()
            if (name.startswith("k:") and _has_key(entry, json.loads(name[2:])))
            or (name.startswith("v:") and json.loads(name[2:]) == entry)
        ]
    return item
