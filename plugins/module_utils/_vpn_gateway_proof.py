# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Prove that a gateway's new pod would run, before anything of the gateway is written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _controller,
    _gateway,
    _image_proof,
    _names,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import (
    _client,
    _disposable,
    _pod_outcome,
    _trials,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request

_Object = dict[str, Any]
_Live = Mapping[str, "Mapping[str, Any] | None"]
UNPROVEN = "Whether its nodes can run the new images was not proven: no pod is made in check mode."


class Run(Protocol):
    """The run that wants to know."""

    client: _client.Caller
    target: Target
    params: Mapping[str, Any]
    check: bool
    warnings: list[str]
    wait: Callable[..., tuple[bool, object]]


def unproven(run: Run, plans: Sequence[_gateway.Plan], live: _Live, shared: _gateway.Shared) -> dict[str, KubeError]:
    """Gateways by name of which a pod that is about to be made would not run; ``live`` are StatefulSets by gateway.

    What runs there already needs no proof, so that a run that changes nothing asks for nothing.
    """
    new: list[tuple[_gateway.Plan, _Object]] = []
    moved: set[str] = set()
    for plan in plans:
        template, held = _gateway.stateful_set(plan, shared)["spec"]["template"], live.get(plan.gateway.name)
        if held is not None and _image_proof.placement(held) != _image_proof.placement(
            {"spec": {"template": template}}
        ):
            moved.add(plan.gateway.name)
        if plan.gateway.name in moved or not _same(held, template):
            new.append((plan, template))
    if not new:
        return {}
    request = Request("/api/v1/pods", "list pods", query={"labelSelector": _names.ROLE_LABEL})
    pods = list(_client.demand(_client.list_all(run.client, request), request, run.target).get("items") or [])
    words = _refused(run, new, pods)
    words |= _tried(run, [one for one in new if one[0].gateway.name not in words], pods, shared, moved)
    failed = {}
    for plan, _template in new:
        gateway = plan.gateway
        if gateway.name not in words:
            continue
        stands = bool(_own(pods, gateway.namespace, _names.gateway_pod_labels(gateway.name)))
        said = f"{gateway.object} {'stays as it was' if stands else 'was not set up'}: {words[gateway.name]}."
        failed[gateway.name] = KubeError(said, reason="NotProven", object_=gateway.object, details=words[gateway.name])
    if run.check:
        run.warnings += [error.msg for error in failed.values()]
        return {}
    return failed


def _same(live: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    template = ((live or {}).get("spec") or {}).get("template") or {}
    held = (template.get("metadata") or {}).get("annotations") or {}
    notes = wanted["metadata"]["annotations"]
    return _pod_outcome.is_of(template, wanted) and all(held.get(key) == value for key, value in notes.items())


def _own(pods: Sequence[Mapping[str, Any]], namespace: str, labels: Mapping[str, str]) -> list[Mapping[str, Any]]:
    return [
        one
        for one in pods
        if one["metadata"].get("namespace") == namespace
        and labels.items() <= (one["metadata"].get("labels") or {}).items()
    ]


def _nodes(pods: Sequence[Mapping[str, Any]], namespace: str, labels: Mapping[str, str]) -> list[str]:
    """Where these pods run now."""
    found = {(one.get("spec") or {}).get("nodeName") for one in _own(pods, namespace, labels)}
    return sorted(one for one in found if one)


def _refused(
    run: Run, new: Sequence[tuple[_gateway.Plan, _Object]], pods: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """What the API server has against the pods themselves."""
    found = {}
    for plan, template in new:
        namespace, name = plan.gateway.namespace, plan.gateway.name
        metadata = {**template["metadata"], "generateName": f"{name}-", "namespace": namespace}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        words = _trials.refusal(run.client, pod, bool(_own(pods, namespace, _names.gateway_pod_labels(name))))
        if words:
            found[name] = f"the API server refuses its pod: {words}; allow it there"
    return found


def _tried(
    run: Run,
    new: Sequence[tuple[_gateway.Plan, _Object]],
    pods: Sequence[Mapping[str, Any]],
    shared: _gateway.Shared,
    moved: Collection[str],
) -> dict[str, str]:
    """What is wrong with images on the nodes where the pods run now, or where the scheduler would put them.

    ``moved`` are gateways that are to run elsewhere than now.
    """
    places: dict[tuple[str, str | None], tuple[list[str], list[_Object], Mapping[str, Any]]] = {}
    nodes = sorted({one["spec"]["nodeName"] for one in pods if (one.get("spec") or {}).get("nodeName")})
    usable: set[str] | None = None
    for plan, template in new:
        namespace, spec = plan.gateway.namespace, template["spec"]
        gateway = [*spec["initContainers"], *spec["containers"]]
        controller = _controller.deployment(
            namespace, shared.agent, shared.agent_files, shared.images.agent, shared.images.pull_policy
        )["spec"]["template"]["spec"]
        goes = plan.gateway.name in moved
        home = [] if goes else _nodes(pods, namespace, _names.gateway_pod_labels(plan.gateway.name))
        for ours, held in (
            (gateway, home),
            (controller["containers"], [] if goes else _nodes(pods, namespace, _controller.LABELS) or home),
        ):
            for node in held or [None]:
                if not goes and not _image_proof.unproven(ours, node, pods, shared.agent):
                    continue
                if node is not None and usable is None and not run.check:
                    usable = _trials.ready_nodes(run.client, nodes)
                # Of a node that is down the pod will have to go elsewhere.
                where = node if usable is None or node in usable else None
                names, boxes, _like = places.setdefault((namespace, where), ([], [], spec))
                names.append(plan.gateway.name)
                boxes.extend(ours)
    if places and run.check:
        run.warnings.append(UNPROVEN)
        return {}
    trials = {}
    for (namespace, where), (names, boxes, like) in places.items():
        name = _disposable.unique_name("bulkhead-trial")
        made = _image_proof.pod(name, namespace, like, _image_proof.containers(boxes), where)
        trials[name] = (names, where, made)
    failed = _trials.run(
        run.client,
        [made for _names_, _where, made in trials.values()],
        _image_proof.verdict,
        timeout=run.params["wait_timeout"],
        sleep=run.params["wait_sleep"],
        wait=run.wait,
    )
    found: dict[str, str] = {}
    for name, words in failed.items():
        names, where, _made = trials[name]
        for gateway in names:
            found.setdefault(gateway, f"on node {where}, {words}" if where else words)
    return found
