# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The edit of a workload's pod template that attaches it to a VPN gateway, and the inverse edit.

``attach`` always starts from what ``detach`` would leave: attaching again with other settings, or after the user
changed the template, is the same computation as attaching for the first time.

The annotation ``bulkhead.mesh/original`` holds what the inverse needs and cannot know otherwise::

    {"v": 1,
     "dns": {"policy": "ClusterFirst", "config": null, "set": {...}},   before, and what we set
     "capture": null,                   the annotation ambient.istio.io/dns-capture before
     "drop": {"app": 0},                per container whose NET_RAW we drop: how much was there already
     "ours": {"bulkhead-guard": "..."}, fingerprints of our items
     "sum": "..."}                      of all that

Empty lists and maps of strings count as not given, because the API server does not keep them.

Limit: a container that the user renames after attaching keeps its dropped NET_RAW.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names, _patch, _pieces
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import NOT_GIVEN, Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._pieces import Settings

VERSION = 1
NET_RAW = "NET_RAW"
_REPAIR = "run site.yml with the client present, which repairs it, then detach"
_BY_HAND = "apply the workload's own manifest again in place of the live one (kubectl replace), then run site.yml"
_Template = dict[str, Any]


class Tampered(ValueError):
    """The edit cannot be undone; ``problems`` say why."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(" ".join(str(problem) for problem in problems))
        self.problems = list(problems)


def attach(workload: Mapping[str, Any], settings: Settings) -> list[_patch.Operation]:
    """Operations that attach ``workload``, or bring an attached one up to date; none if it is.

    Raises Tampered if it is attached and its original cannot be known.
    """
    template = workload["spec"]["template"]
    base = _stripped(workload)
    wanted = _attached(base, settings, workload["metadata"]["namespace"])
    _keep_held(wanted["spec"], template["spec"])
    return _operations(workload, wanted)


def detach(workload: Mapping[str, Any]) -> list[_patch.Operation]:
    """Operations that take our edit back and leave the user's; none if the workload is not attached.

    Raises Tampered for everything that ``find_tampering`` finds.
    """
    problems = find_tampering(workload)
    if problems:
        raise Tampered(problems)
    return _operations(workload, _stripped(workload))


def own_view(workload: Mapping[str, Any]) -> dict[str, Any]:
    """The workload without our edit, for judging what the user wrote; raises Tampered like ``attach``."""
    view = copy.deepcopy(dict(workload))
    view["spec"]["template"] = _stripped(workload)
    return view


def is_attached(workload: Mapping[str, Any]) -> bool:
    """Whether the pod template has our edit or rests of it."""
    template = workload["spec"]["template"]
    return _original_text(template) is not None or bool(_our_containers(template))


def find_tampering(workload: Mapping[str, Any]) -> list[Problem]:
    """What somebody did to our edit; every problem is one that attaching again repairs, but a lost original."""
    template = workload["spec"]["template"]
    if not is_attached(workload):
        return []
    lost = _lost_original(workload)
    if lost:
        return [lost]
    original = _read_original(template) or {}
    return [
        *_displaced(workload),
        *_edited(workload, original["ours"]),
        *_relabelled(workload),
    ]


def _operations(workload: Mapping[str, Any], template: _Template) -> list[_patch.Operation]:
    operations = _patch.diff(workload["spec"]["template"], template, "/spec/template")
    if not operations:
        return []
    version = workload["metadata"].get("resourceVersion")
    return [{"op": "test", "path": "/metadata/resourceVersion", "value": version}, *operations]


def _our_containers(template: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Our containers, by name and by the variable that no other container has: a mere name clash is none of ours."""
    return [
        container
        for container in template["spec"].get("initContainers") or []
        if container["name"] in _names.CONTAINERS
        and any(variable["name"] == "BULKHEAD_CONFIG" for variable in container.get("env") or [])
    ]


def _attached(base: _Template, settings: Settings, namespace: str) -> _Template:
    """``base``, which has nothing of ours, with our edit; ``base`` itself is changed."""
    spec = base["spec"]
    metadata = base.setdefault("metadata", {})
    drop = {container["name"]: level for container in _containers(spec) for level in [_drop(container)] if level >= 0}
    ours = _pieces.init_containers(settings, _pieces.guaranteed(spec))
    volumes = _pieces.volumes(settings)
    dns = _pieces.dns_config(settings, namespace)
    annotations = metadata.setdefault("annotations", {})
    original = {
        "v": VERSION,
        "dns": {"policy": spec.get("dnsPolicy"), "config": spec.get("dnsConfig"), "set": dns},
        "capture": annotations.get(_names.DNS_CAPTURE_ANNOTATION),
        "drop": drop,
        "ours": {item["name"]: _pieces.fingerprint(item) for item in (*ours, *volumes)},
    }
    spec["initContainers"] = ours + (spec.get("initContainers") or [])
    spec["volumes"] = (spec.get("volumes") or []) + volumes
    spec["dnsPolicy"] = "None"
    spec["dnsConfig"] = copy.deepcopy(dns)
    annotations.update(_pieces.annotations(settings))
    annotations[_names.ORIGINAL_ANNOTATION] = _dump({**original, "sum": _sum(original)})
    metadata.setdefault("labels", {}).update(_pieces.labels(settings))
    return base


def _containers(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def _drop(container: dict[str, Any]) -> int:
    """Drop NET_RAW; how many of securityContext, capabilities and drop were there, -1 if it was dropped already."""
    level = 0
    target: dict[str, Any] = container
    for key in ("securityContext", "capabilities"):
        level += target.get(key) is not None
        if target.get(key) is None:
            target[key] = {}
        target = target[key]
    dropped = target.get("drop")
    if dropped and ("ALL" in dropped or NET_RAW in dropped):
        return -1
    target["drop"] = [*(dropped or []), NET_RAW]
    return level + bool(dropped)


def _undrop(container: dict[str, Any], level: int) -> None:
    """Undo ``_drop``; nothing happens if NET_RAW is no longer among what is dropped."""
    chain = [container]
    for key in ("securityContext", "capabilities"):
        chain.append(chain[-1].get(key) or {})
    dropped = chain[2].get("drop") or []
    if NET_RAW not in dropped:
        return
    dropped.remove(NET_RAW)
    for depth, key in ((2, "drop"), (1, "capabilities"), (0, "securityContext")):
        if chain[depth][key] or level > depth:
            return
        del chain[depth][key]


def _keep_held(wanted: dict[str, Any], held: Mapping[str, Any]) -> None:
    for key in ("initContainers", "volumes"):
        by_name = {item["name"]: item for item in held.get(key) or []}
        ours = (*_names.CONTAINERS, *_names.VOLUMES)
        wanted[key] = [
            copy.deepcopy(_pieces.as_held(item, by_name.get(item["name"]))) if item["name"] in ours else item
            for item in wanted[key]
        ]
        # The place of our volumes means nothing; where they are they stay.
        if key == "volumes" and [item["name"] for item in wanted[key]] != list(by_name):
            order = {name: index for index, name in enumerate(by_name)}
            if order.keys() == {item["name"] for item in wanted[key]}:
                wanted[key].sort(key=lambda item: order[item["name"]])


def _stripped(workload: Mapping[str, Any]) -> _Template:
    """A copy of the pod template without our edit; Tampered if what it needs is lost."""
    template: _Template = copy.deepcopy(workload["spec"]["template"])
    if not is_attached(workload):
        return template
    lost = _lost_original(workload)
    if lost:
        raise Tampered([lost])
    original = _read_original(template) or {}
    spec, metadata = template["spec"], template["metadata"]
    for key, names in (("initContainers", _names.CONTAINERS), ("volumes", _names.VOLUMES)):
        spec[key] = [item for item in spec.get(key) or [] if item["name"] not in names]
        if not spec[key]:
            del spec[key]
    for container in _containers(spec):
        if container["name"] in original["drop"]:
            _undrop(container, original["drop"][container["name"]])
    _restore_dns(spec, original["dns"])
    annotations, labels = metadata["annotations"], metadata.get("labels") or {}
    if annotations.get(_names.DNS_CAPTURE_ANNOTATION) == "false":
        _put(annotations, _names.DNS_CAPTURE_ANNOTATION, original["capture"])
    for key in (_names.AGENT_ANNOTATION, _names.ORIGINAL_ANNOTATION):
        annotations.pop(key, None)
    for key in (_names.CLIENT_LABEL, _names.GATEWAY_LABEL):
        labels.pop(key, None)
    for key in ("annotations", "labels"):
        if not metadata.get(key):
            metadata.pop(key, None)
    return template


def _put(target: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        target.pop(key, None)
    else:
        target[key] = copy.deepcopy(value)


def _restore_dns(spec: dict[str, Any], dns: Mapping[str, Any]) -> None:
    """Put back what the user did not change since; whoever changed the nameservers wrote all of dnsConfig anew."""
    if spec.get("dnsPolicy") == "None":
        _put(spec, "dnsPolicy", dns["policy"])
    ours, held, was = dns["set"], spec.get("dnsConfig") or {}, dns["config"] or {}
    if held.get("nameservers") != ours["nameservers"]:
        return
    for key in ours:
        if held.get(key) == ours[key]:
            _put(held, key, was.get(key))
    if not held and dns["config"] is None:
        del spec["dnsConfig"]


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _sum(original: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in original.items() if key != "sum"}
    return hashlib.sha256(_dump(rest).encode()).hexdigest()[:8]


def _original_text(template: Mapping[str, Any]) -> str | None:
    metadata = template.get("metadata") or {}
    return (metadata.get("annotations") or {}).get(_names.ORIGINAL_ANNOTATION)


def _read_original(template: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the annotation says, None if it is missing or not what we wrote."""
    try:
        original = json.loads(_original_text(template) or "")
    except ValueError:
        return None
    if not isinstance(original, dict) or original.get("v") != VERSION or original.get("sum") != _sum(original):
        return None
    return original


def _object(workload: Mapping[str, Any]) -> str:
    return f"{workload['kind']} {workload['metadata']['namespace']}/{workload['metadata']['name']}"


def _lost_original(workload: Mapping[str, Any]) -> Problem | None:
    template = workload["spec"]["template"]
    if _read_original(template) is not None:
        return None
    text = _original_text(template)
    return Problem(
        _object(workload),
        f"spec.template.metadata.annotations.{_names.ORIGINAL_ANNOTATION}",
        NOT_GIVEN if text is None else text,
        "without it nobody knows what the pod template was before it was attached",
        _BY_HAND,
    )


def _displaced(workload: Mapping[str, Any]) -> list[Problem]:
    names = [container["name"] for container in workload["spec"]["template"]["spec"].get("initContainers") or []]
    problems = []
    for index, name in enumerate(_names.CONTAINERS):
        if names[index : index + 1] != [name]:
            value = names[index] if index < len(names) else NOT_GIVEN
            path = f"spec.template.spec.initContainers[{index}].name"
            problems.append(Problem(_object(workload), path, value, f"{name} has to stand here", _REPAIR))
    return problems


def _edited(workload: Mapping[str, Any], fingerprints: Mapping[str, str]) -> list[Problem]:
    spec = workload["spec"]["template"]["spec"]
    problems = []
    for key, names in (("initContainers", _names.CONTAINERS), ("volumes", _names.VOLUMES)):
        items = {item["name"]: item for item in spec.get(key) or [] if item["name"] in names}
        for name in names:
            if name not in items and key == "volumes":
                reason = "our containers need this volume"
                problems.append(Problem(_object(workload), f"volume {name}", NOT_GIVEN, reason, _REPAIR))
            elif name in items and _pieces.fingerprint(items[name]) != fingerprints.get(name):
                what = f"an edited {'volume' if key == 'volumes' else 'container'}"
                reason = "somebody changed it after it was attached"
                problems.append(Problem(_object(workload), what, name, reason, _REPAIR))
    return problems


def _relabelled(workload: Mapping[str, Any]) -> list[Problem]:
    metadata = workload["spec"]["template"].get("metadata") or {}
    problems = []
    for key, names in (
        ("labels", (_names.CLIENT_LABEL, _names.GATEWAY_LABEL)),
        ("annotations", (_names.AGENT_ANNOTATION,)),
    ):
        for name in names:
            if name not in (metadata.get(key) or {}):
                path = f"spec.template.metadata.{key}.{name}"
                reason = "the endpoint controller and admission know the pods by it"
                problems.append(Problem(_object(workload), path, NOT_GIVEN, reason, _REPAIR))
    return problems
