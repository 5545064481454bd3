# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Where and how the pods of a VPN gateway run: what a user may say of them beside what protects. Pure.

The inventory's key ``pod`` of a gateway has the names of Kubernetes in snake case; what stands behind ``affinity``,
``tolerations`` and ``resources`` goes to the API server as it is written.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names

if TYPE_CHECKING:
    from ansible_collections.bulkhead.mesh.plugins.module_utils._reader import Reader

KEYS = (
    "image_pull_secrets",
    "node_selector",
    "tolerations",
    "affinity",
    "priority_class_name",
    "resources",
    "labels",
    "annotations",
)
CONTAINERS = ("firewall", "engine", "gateway", "resolver")  # as the inventory calls them, in the order of the pod
_TOLERATION = ("key", "operator", "value", "effect", "tolerationSeconds")
_QUANTITIES = ("requests", "limits")
_RESERVED = re.compile(
    rf"^({re.escape(_names.PREFIX)}|istio\.io/|sidecar\.istio\.io/|ambient\.istio\.io/|linkerd\.io/|"
    r"k8s\.v1\.cni\.cncf\.io/|v1\.multus-cni\.io/)"
)


@dataclass(frozen=True)
class PodSettings:
    """The settings of one gateway; empty ones change nothing."""

    image_pull_secrets: tuple[str, ...] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    affinity: Mapping[str, Any] = field(default_factory=dict)
    priority_class_name: str = ""
    resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def parse(reader: Reader, value: Any, path: str) -> PodSettings:
    """The key ``pod`` of a gateway; what is wrong is remembered by ``reader``."""
    if value is None or not reader.keys(value, path, KEYS):
        return PodSettings()
    priority = value.get("priority_class_name")
    return PodSettings(
        image_pull_secrets=reader.list(
            value.get("image_pull_secrets"),
            f"{path}.image_pull_secrets",
            lambda inner, one, where: inner.name(one, where, 253, dots=True),
        ),
        node_selector=_texts(reader, value.get("node_selector"), f"{path}.node_selector"),
        tolerations=reader.list(value.get("tolerations"), f"{path}.tolerations", _toleration),
        affinity=_mapping(reader, value.get("affinity"), f"{path}.affinity", "write it as in a pod's spec.affinity"),
        priority_class_name=reader.name(priority, f"{path}.priority_class_name", 253, dots=True) if priority else "",
        resources=_resources(reader, value.get("resources"), f"{path}.resources"),
        labels=_free(reader, value.get("labels"), f"{path}.labels"),
        annotations=_free(reader, value.get("annotations"), f"{path}.annotations"),
    )


def _mapping(reader: Reader, value: Any, path: str, remedy: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        reader.wrong(path, value, "a mapping is needed", remedy)
        return {}
    return value


def _texts(reader: Reader, value: Any, path: str) -> Mapping[str, str]:
    given = _mapping(reader, value, path, "write it like {key: value}")
    for key, text in given.items():
        if not isinstance(text, str):
            reader.wrong(f"{path}.{key}", text, "a text is needed", f'write it in quotes, like "{text}"')
    return {str(key): str(text) for key, text in given.items()}


def _free(reader: Reader, value: Any, path: str) -> Mapping[str, str]:
    given = _texts(reader, value, path)
    for key in given:
        if _RESERVED.match(key):
            reason = "this collection decides it, because it decides how the pod's traffic goes"
            reader.wrong(f"{path}.{key}", given[key], reason, "remove it")
    return given


def _toleration(reader: Reader, value: Any, path: str) -> Mapping[str, Any] | None:
    return dict(value) if reader.keys(value, path, _TOLERATION) else None


def _resources(reader: Reader, value: Any, path: str) -> Mapping[str, Mapping[str, Any]]:
    if value is None or not reader.keys(value, path, CONTAINERS):
        return {}
    for name, one in value.items():
        if name in CONTAINERS:
            reader.keys(one, f"{path}.{name}", _QUANTITIES)
    return value


def applied(template: Mapping[str, Any], settings: PodSettings, containers: Mapping[str, str]) -> dict[str, Any]:
    """``template`` with the settings in it; ``containers`` are the pod's names of what the inventory calls otherwise.

    Labels and annotations that the template has already win: selectors and the agent depend on them.
    """
    made = copy.deepcopy(dict(template))
    metadata, spec = made["metadata"], made["spec"]
    for key, given in (("labels", settings.labels), ("annotations", settings.annotations)):
        if given:
            metadata[key] = {**given, **(metadata.get(key) or {})}
    _place(spec, settings)
    if settings.affinity:
        spec["affinity"] = copy.deepcopy(dict(settings.affinity))
    for name, resources in settings.resources.items():
        for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
            if container["name"] == containers[name]:
                container["resources"] = copy.deepcopy(dict(resources))
    return made


def for_controller(template: Mapping[str, Any], gateways: Iterable[PodSettings]) -> dict[str, Any]:
    """The template of a namespace's endpoint controller, with what its gateways have in common.

    It tolerates and may pull what any of them may; where it runs and how important it is counts only where all agree.
    """
    made, listed = copy.deepcopy(dict(template)), list(gateways)
    if not listed:
        return made
    first = listed[0]
    tolerations = [one for settings in listed for one in settings.tolerations]
    agreed = PodSettings(
        image_pull_secrets=tuple(dict.fromkeys(name for one in listed for name in one.image_pull_secrets)),
        tolerations=tuple(one for index, one in enumerate(tolerations) if one not in tolerations[:index]),
        node_selector=first.node_selector if all(one.node_selector == first.node_selector for one in listed) else {},
        affinity=first.affinity if all(one.affinity == first.affinity for one in listed) else {},
        priority_class_name=(
            first.priority_class_name
            if all(one.priority_class_name == first.priority_class_name for one in listed)
            else ""
        ),
    )
    return applied(made, agreed, {})


def _place(spec: dict[str, Any], settings: PodSettings) -> None:
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    if settings.node_selector:
        spec["nodeSelector"] = dict(settings.node_selector)
    if settings.tolerations:
        spec["tolerations"] = [dict(one) for one in settings.tolerations]
    if settings.priority_class_name:
        spec["priorityClassName"] = settings.priority_class_name
