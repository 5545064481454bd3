# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What a workload must not have to be attached: each rule names the container or field, and the way out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent.config import HEALTH_PORT
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _dangerous, _names, _selector
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import NOT_GIVEN, Problem

SUPPORTED_KINDS = ("StatefulSet", "Deployment")
_KIND_REMEDIES = {
    "DaemonSet": "its pods have no stable number; make it a StatefulSet",
    "Job": "its pods have no stable address; run the work in a StatefulSet",
    "CronJob": "its pods have no stable address; run the work in a StatefulSet",
    "Pod": "a bare Pod cannot be changed; make it a StatefulSet with one replica",
    "ReplicaSet": "name the Deployment that owns it",
}
_VPN_IMAGE = re.compile(
    r"(^|[/_-])(gluetun|pod-gateway|openvpn|wireguard(-go)?|nordvpn|mullvad\w*|tailscale)([-_:@]|$)"
)
# (where, key, values or None for any, what it does)
_INJECTORS = (
    ("labels", "sidecar.istio.io/inject", ("true",), "Istio's sidecar puts its own init container first"),
    ("annotations", "sidecar.istio.io/inject", ("true",), "Istio's sidecar puts its own init container first"),
    ("annotations", "linkerd.io/inject", ("enabled", "ingress"), "Linkerd puts its own init container first"),
    ("annotations", "vault.hashicorp.com/agent-init-first", ("true",), "Vault puts its own init container first"),
    ("annotations", "setGateway", None, "pod-gateway puts another VPN into the pod"),
    ("labels", "setGateway", None, "pod-gateway puts another VPN into the pod"),
)


def kind_remedy(kind: Any) -> str:
    """What to do instead of naming this kind."""
    default = "use a StatefulSet, or a Deployment with strategy Recreate and one replica"
    return _KIND_REMEDIES.get(kind, default) if isinstance(kind, str) else default


def refusals(
    workload: Mapping[str, Any], others: Iterable[Mapping[str, Any]] = (), port: int = _names.CARRIER_PORT
) -> list[Problem]:
    """Everything that forbids attaching ``workload``, which is given without our own edit (``own_view``).

    ``others`` are the workloads and pods of its namespace, ``port`` the UDP port of the overlay.
    """
    if workload["kind"] not in SUPPORTED_KINDS:
        reason = "this kind cannot be a VPN client"
        return [_problem(workload, "kind", workload["kind"], reason, kind_remedy(workload["kind"]))]
    return [
        *_controller(workload),
        *_selects(workload, others),
        *_system(workload),
        *_metadata(workload),
        *_names_taken(workload),
        *_containers(workload, port),
        *_dangers(workload),
    ]


def _problem(workload: Mapping[str, Any], path: str, value: Any, reason: str, remedy: str) -> Problem:
    return Problem(_selector.reference(workload), path, value, reason, remedy)


def _controller(workload: Mapping[str, Any]) -> list[Problem]:
    spec = workload["spec"]
    if workload["kind"] == "Deployment":
        return _deployment(workload, spec)
    strategy = spec.get("updateStrategy") or {}
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    problems = []
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        reason = "pods that run now would go on without the VPN"
        problems.append(
            _problem(workload, "spec.updateStrategy.type", strategy["type"], reason, "set it to RollingUpdate")
        )
    if partition:
        path = "spec.updateStrategy.rollingUpdate.partition"
        reason = "pods with a lower number would go on without the VPN"
        problems.append(_problem(workload, path, partition, reason, "set it to 0"))
    return problems


def _deployment(workload: Mapping[str, Any], spec: Mapping[str, Any]) -> list[Problem]:
    problems = []
    strategy = (spec.get("strategy") or {}).get("type", NOT_GIVEN)
    if strategy != "Recreate":
        reason = "two pods at once would share one inner address"
        remedy = "set it to Recreate, or make the workload a StatefulSet"
        problems.append(_problem(workload, "spec.strategy.type", strategy, reason, remedy))
    replicas = spec.get("replicas")
    if replicas is not None and replicas > 1:
        reason = "pods of a Deployment have no number to tell their inner addresses apart"
        remedy = "set it to 1, or make the workload a StatefulSet"
        problems.append(_problem(workload, "spec.replicas", replicas, reason, remedy))
    return problems


def _selects(workload: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> list[Problem]:
    selector = workload["spec"].get("selector")
    if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
        reason = "it selects every pod of the namespace"
        return [_problem(workload, "spec.selector", selector, reason, "select the workload's own labels")]
    strangers = _selector.strangers(workload, others)
    if not strangers:
        return []
    reason = f"it also selects the pods of {', '.join(strangers)}, which the client's policy would cut off"
    remedy = "give the workloads labels and selectors that differ"
    return [_problem(workload, "spec.selector", dict(selector), reason, remedy)]


def _system(workload: Mapping[str, Any]) -> list[Problem]:
    system = (workload["spec"]["template"]["spec"].get("os") or {}).get("name", "linux")
    if system == "linux":
        return []
    path = "spec.template.spec.os.name"
    return [_problem(workload, path, system, "the guard needs Linux", "run the workload on Linux")]


def _dangers(workload: Mapping[str, Any]) -> list[Problem]:
    """What is on the list that admission and verify judge by, but for what attaching mends."""
    found = [one for one in _dangerous.find(workload["spec"]["template"]) if not one.setting.mended]
    return [
        _problem(
            workload,
            f"spec.template.{one.path}" if one.setting in _dangerous.POD else one.path,
            one.value,
            one.setting.reason,
            one.setting.remedy,
        )
        for one in found
    ]


def _metadata(workload: Mapping[str, Any]) -> list[Problem]:
    metadata = workload["spec"]["template"].get("metadata") or {}
    problems = []
    for where, key, values, reason in _INJECTORS:
        held = (metadata.get(where) or {}).get(key)
        if held is not None and (values is None or str(held).lower() in values):
            path = f"spec.template.metadata.{where}.{key}"
            problems.append(_problem(workload, path, held, reason, "remove it; the guard has to start first and alone"))
    for key, held in (metadata.get("annotations") or {}).items():
        if key in _names.ENDPOINT_ANNOTATIONS:
            path = f"spec.template.metadata.annotations.{key}"
            reason = "only the endpoint controller writes it, on pods"
            problems.append(_problem(workload, path, held, reason, "remove it from the template"))
    return problems


def _all_containers(workload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    spec = workload["spec"]["template"]["spec"]
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def _names_taken(workload: Mapping[str, Any]) -> list[Problem]:
    volumes = workload["spec"]["template"]["spec"].get("volumes") or []
    taken = [("container", one["name"]) for one in _all_containers(workload) if one["name"] in _names.CONTAINERS]
    taken += [("volume", one["name"]) for one in volumes if one["name"] in _names.VOLUMES]
    return [
        _problem(workload, f"the name of a {what}", name, "this collection adds one of that name", "rename it")
        for what, name in taken
    ]


def _containers(workload: Mapping[str, Any], port: int) -> list[Problem]:
    problems = []
    for container in _all_containers(workload):
        where = f"container {container['name']}"
        for one in container.get("ports") or []:
            if one.get("containerPort") == port and one.get("protocol", "TCP") == "UDP":
                reason = "the overlay receives on this UDP port"
                remedy = "use another port, or give the gateway another one"
                problems.append(_problem(workload, f"{where}: ports.containerPort", port, reason, remedy))
            if one.get("containerPort") == HEALTH_PORT and one.get("protocol", "TCP") == "TCP":
                path, reason = f"{where}: ports.containerPort", "the overlay answers the kubelet on this TCP port"
                problems.append(_problem(workload, path, HEALTH_PORT, reason, "use another port"))
        if _VPN_IMAGE.search(_image_name(container.get("image", ""))):
            reason = "a VPN inside the pod and one around it get in each other's way"
            problems.append(_problem(workload, f"{where}: image", container["image"], reason, "remove that container"))
    return problems


def _image_name(image: str) -> str:
    # The registry and its port say nothing about what the image is.
    return image.split("/", 1)[1] if "/" in image and re.search(r"[.:]", image.split("/", 1)[0]) else image


def first_init_containers(
    pods: Sequence[Mapping[str, Any]], workload: Mapping[str, Any] | None = None
) -> list[Problem]:
    """Live client pods that did not start with the guard. ``workload`` is theirs, which says how they were meant."""
    problems = []
    meant = _init_names(((workload or {}).get("spec") or {}).get("template") or {})[:1] == [_names.GUARD]
    for pod in pods:
        names = _init_names(pod)
        if names[:1] == [_names.GUARD]:
            continue
        value = names[0] if names else NOT_GIVEN
        if _names.GUARD in names:
            reason = "something started before the guard"
            remedy = "find the mutating webhook that puts it there and leave this namespace out of it"
        elif meant:
            reason = "the pod has no guard, although the template of its workload has"
            remedy = "run it again; if it stays so, find the mutating webhook that changes the namespace's pods"
        else:
            reason = "neither the pod nor the template of its workload has a guard"
            remedy = "find out who changed the template during this run, then run it again"
        problems.append(_problem(pod, "spec.initContainers[0].name", value, reason, remedy))
    return problems


def _init_names(template: Mapping[str, Any]) -> list[str]:
    return [one["name"] for one in (template.get("spec") or {}).get("initContainers") or []]
