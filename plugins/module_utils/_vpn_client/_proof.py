# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Prove that pods with guard and overlay would run, before anything of their clients is written."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _flow, _image_proof, _names
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _disposable, _trials, _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request

Wait = Callable[..., "tuple[bool, object]"]
UNPROVEN = "Whether the nodes can run the agent's image was not proven: no pod is made in check mode."
_Object = Mapping[str, Any]


@dataclass(frozen=True)
class Prover:
    """``held`` is what the cluster held when the plans were made, ``agent`` the hash of the agent's files."""

    client: _client.Caller
    target: Target
    held: _flow.Held
    agent: str
    timeout: float
    sleep: float
    wait: Wait

    def failures(self, plans: Sequence[_flow.Plan]) -> dict[str, KubeError]:
        """By client what is in the way of its new pods; clients whose template stays as it is need no proof."""
        new = [one for one in plans if "attach.template" in one.steps and ours(one)]
        words = self._refused(new)
        words |= self._tried([one for one in new if one.client.id not in words])
        stays = "no pod of it was changed"
        return {
            plan.client.id: KubeError(
                f"{plan.client.object} stays as it was: {words[plan.client.id]}; {stays}.",
                reason="NotProven",
                object_=plan.client.object,
                details=words[plan.client.id],
            )
            for plan in new
            if plan.client.id in words
        }

    def _refused(self, plans: Sequence[_flow.Plan]) -> dict[str, str]:
        """What the API server has against guard and overlay, once for all clients of a namespace that have the same."""
        told: dict[str, str] = {}
        found = {}
        for plan in plans:
            pod = _pod(plan)
            key = json.dumps([pod["metadata"]["namespace"], *(_power(one) for one in ours(plan))], sort_keys=True)
            if key not in told:
                told[key] = _trials.refusal(self.client, pod)
            if told[key]:
                found[plan.client.id] = f"the API server refuses a pod with guard and overlay: {told[key]}"
        return found

    def _tried(self, plans: Sequence[_flow.Plan]) -> dict[str, str]:
        """What is wrong with the agent's image where the clients' pods run, once for each node."""
        wanted = self._wanted(plans)
        if not wanted:
            return {}
        nodes = sorted({node for dummy, node in wanted if node})
        usable = _trials.ready_nodes(self.client, nodes)
        trials: dict[tuple[str | None, str], str] = {}
        pods, found = {}, {}
        for plan, node in wanted:
            key = node if node in usable else None, _image(plan)
            if key not in trials:
                trials[key] = name = _disposable.unique_name("bulkhead-trial")
                spec = plan.target["spec"]["template"]["spec"]
                boxes = _image_proof.containers(ours(plan))
                pods[name] = _image_proof.pod(name, plan.client.namespace, spec, boxes, key[0])
        failed = _trials.run(
            self.client,
            list(pods.values()),
            _image_proof.verdict,
            timeout=self.timeout,
            sleep=self.sleep,
            wait=self.wait,
        )
        for plan, node in wanted:
            where = node if node in usable else None
            words = failed.get(trials[where, _image(plan)])
            if words:
                found[plan.client.id] = f"on node {where}, {words}" if where else words
        return found

    def unproven(self, plans: Sequence[_flow.Plan]) -> bool:
        """Whether a real run would have to try an image."""
        return bool(self._wanted([one for one in plans if "attach.template" in one.steps and ours(one)]))

    def _wanted(self, plans: Sequence[_flow.Plan]) -> list[tuple[_flow.Plan, str | None]]:
        """Clients and nodes for which no pod of ours shows that the image runs there."""
        places = [(plan, node) for plan in plans for node in self._nodes(plan)]
        known = self.held.all("Pod")
        if not any(self._unproven(plan, node, known) for plan, node in places):
            return []
        # Pods of gateways are in namespaces that were not read; they are asked for only if the others prove nothing.
        request = Request("/api/v1/pods", "list pods", query={"labelSelector": _names.GATEWAY_LABEL})
        listed = _client.demand(_client.list_all(self.client, request), request, self.target)
        known = [*known, *(listed.get("items") or [])]
        return [(plan, node) for plan, node in places if self._unproven(plan, node, known)]

    def _unproven(self, plan: _flow.Plan, node: str | None, known: Sequence[_Object]) -> bool:
        return _image_proof.unproven(ours(plan), node, known, self.agent)

    def _nodes(self, plan: _flow.Plan) -> list[str | None]:
        """Where the client's pods run now; None for a client without a pod, which may start anywhere."""
        sets = self.held.all("ReplicaSet", namespace=plan.client.namespace)
        pods = _workload.own_pods(plan.target, self.held.all("Pod", namespace=plan.client.namespace), sets)
        found = {(one.get("spec") or {}).get("nodeName") for one in pods} - {None}
        return [*sorted(found)] or [None]


def ours(plan: _flow.Plan) -> list[dict[str, Any]]:
    """Guard and overlay as the new template has them; none of a client that leaves."""
    spec = (_flow.patched(plan) or {"spec": {"template": {"spec": {}}}})["spec"]["template"]["spec"]
    return [one for one in spec.get("initContainers") or [] if one["name"] in _names.CONTAINERS]


def _image(plan: _flow.Plan) -> str:
    return str(ours(plan)[0]["image"])


def _power(container: _Object) -> list[Any]:
    return [container.get(key) for key in ("image", "imagePullPolicy", "resources", "securityContext")]


def _pod(plan: _flow.Plan) -> dict[str, Any]:
    """Guard and overlay alone in a pod without any label of the client; only ever sent as a dry run."""
    guard, overlay = (copy.deepcopy(one) for one in ours(plan))
    for key in ("restartPolicy", "startupProbe"):
        overlay.pop(key, None)
    template = (_flow.patched(plan) or {})["spec"]["template"]["spec"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "bulkhead-trial-",
            "namespace": plan.client.namespace,
            "labels": dict(_image_proof.LABELS),
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "initContainers": [guard],
            "containers": [overlay],
            "volumes": [copy.deepcopy(one) for one in template["volumes"] if one["name"] in _names.VOLUMES],
        },
    }
