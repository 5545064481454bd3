# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Judge the manifests of an object set before anything is asked or written; names every problem at once."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _applyset, _objects
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._discovery import Kinds, Resource
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._objects import Desired, Key

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def names(options: Mapping[str, Any]) -> list[Problem]:
    """Problems of the set's own name and namespace."""
    found = []
    for option in ("name", "namespace"):
        value = options[option]
        if not LABEL.fullmatch(value):
            found.append(
                Problem(
                    option,
                    f"The {option} {value!r} of the set is no Kubernetes name: "
                    "use up to 63 lower case letters, digits and inner dashes.",
                )
            )
    return found


def read(
    objects: Sequence[Mapping[str, Any]], kinds: Kinds, owner: _applyset.ObjectSet, *, predict: bool
) -> tuple[list[Desired], list[Problem], list[str]]:
    """(objects in input order, problems, warnings).

    ``kinds`` includes those the input itself defines. With ``predict`` (check mode) a kind that the cluster does not
    have is a warning: something that runs before may bring it.
    """
    desired: list[Desired] = []
    problems: list[Problem] = []
    warnings: list[str] = []
    seen: dict[Key, int] = {}
    for index, manifest in enumerate(objects):
        where, sentence = _shape(index, manifest)
        if sentence:
            problems.append(Problem(where, sentence))
            continue
        api_version, kind = manifest["apiVersion"], manifest["kind"]
        resource = kinds.find(api_version, kind)
        if resource is None:
            unknown = f"{where}: the cluster has no kind {kind} of {api_version}"
            if not predict:
                remedy = "correct kind and apiVersion, or install what defines it first"
                problems.append(Problem(where, f"{unknown}: {remedy}.", "UnknownKind"))
                continue
            warnings.append(f"{unknown}: a real run needs it to be installed before.")
            resource = _guess(manifest)
        metadata = manifest["metadata"]
        key = Key(kind, resource.group, metadata.get("namespace") or "", metadata["name"])
        found = [*_rules(where, key, resource, manifest, owner)]
        if key in seen:
            found.append(f"{where}: {key} is given twice, first as objects[{seen[key]}]: remove one of them.")
        seen.setdefault(key, index)
        problems += [Problem(str(key), sentence) for sentence in found]
        if not found:
            desired.append(Desired(key, resource, _objects.prepare(manifest, resource, owner.labels)))
    return desired, problems, warnings


def _shape(index: int, manifest: Mapping[str, Any]) -> tuple[str, str]:
    """(the object in words, what is wrong with its outline or nothing)."""
    kind, metadata = manifest.get("kind"), manifest.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    where = f"objects[{index}]" + (f" ({kind} {name})" if kind and name else f" ({kind})" if kind else "")
    for field in ("apiVersion", "kind"):
        value = manifest.get(field)
        if not isinstance(value, str) or not value:
            return where, f"{where} has no {field}: give every object its apiVersion, kind and metadata.name."
    if str(kind).endswith("List") and isinstance(manifest.get("items"), list):
        return where, f"{where} is a list of objects: give its items one by one."
    if not isinstance(metadata, Mapping) or not isinstance(name, str) or not name:
        return where, f"{where} has no metadata.name: give it one (generateName cannot be applied twice)."
    if "/" in name or "%" in name or name in (".", ".."):
        return where, f"{where}: the name {name!r} is not allowed: Kubernetes names have no slash and no percent sign."
    for field in ("labels", "annotations"):
        value = metadata.get(field)
        if value is not None and not isinstance(value, Mapping):
            return where, f"{where}: metadata.{field} is not a mapping: write it as key: value."
    namespace = metadata.get("namespace")
    if namespace and not (isinstance(namespace, str) and LABEL.fullmatch(namespace)):
        return where, f"{where}: the namespace {namespace!r} is no Kubernetes name: correct metadata.namespace."
    return where, ""


def _rules(
    where: str, key: Key, resource: Resource, manifest: Mapping[str, Any], owner: _applyset.ObjectSet
) -> list[str]:
    found = []
    if not resource.writable:
        found.append(f"{where}: {resource.full_name} cannot be applied: remove it.")
    if resource.namespaced and not key.namespace:
        found.append(f"{where} has no namespace: add metadata.namespace.")
    if not resource.namespaced and key.namespace:
        found.append(
            f"{where} must not have a namespace, {key.kind} is cluster-wide: "
            f"remove metadata.namespace ({key.namespace})."
        )
    if _applyset.PART_OF in (manifest["metadata"].get("labels") or {}):
        found.append(f"{where} has the label {_applyset.PART_OF}, which object_set sets itself: remove it.")
    if _applyset.is_adopted(manifest):
        found.append(f"{where} has the annotation {_applyset.ADOPTED}, which object_set sets itself: remove it.")
    if (key.kind, key.group, key.namespace, key.name) == ("ConfigMap", "", owner.namespace, owner.name):
        found.append(f"{where} is where the set keeps its own record: choose another name for it or for the set.")
    if (key.kind, key.group) == ("Secret", ""):
        found += _secret(where, manifest)
    return found


def _secret(where: str, manifest: Mapping[str, Any]) -> list[str]:
    """Checked here, because the server's own words about a wrong value contain the value."""
    found = []
    for part in ("data", "stringData"):
        values = manifest.get(part)
        if values is not None and not isinstance(values, Mapping):
            found.append(f"{where}: {part} is not a mapping: write it as key: value.")
            continue
        for name, value in (values or {}).items():
            if not isinstance(value, str):
                found.append(f"{where}: {part}.{name} is not a string: put it in quotes.")
            elif part == "data" and not _is_base64(value):
                found.append(f"{where}: data.{name} is not base64: encode it, or give it as stringData.")
    return found


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return False
    return True


def _guess(manifest: Mapping[str, Any]) -> Resource:
    group, dummy, version = manifest["apiVersion"].rpartition("/")
    namespaced = bool(manifest["metadata"].get("namespace"))
    return Resource(group, version, manifest["kind"], manifest["kind"].lower(), namespaced, served=False)
