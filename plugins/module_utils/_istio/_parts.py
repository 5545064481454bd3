# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Wait until a part of Istio serves, and say what was awaited, what was seen last and where to look."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils._istio import _look
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _workload, _workload_pods
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._patience import Patience
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import wait_until
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._workload_pods import Standing

_LONGEST = 200  # characters of a line that are shown
Wait = Callable[..., "tuple[bool, object]"]
_Object = Mapping[str, Any]
_GROUPS = ("networking.istio.io/v1", "security.istio.io/v1", "telemetry.istio.io/v1", "extensions.istio.io/v1alpha1")
_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
_GATEWAY_API = "/apis/gateway.networking.k8s.io/v1"


@dataclass(frozen=True)
class Workload:
    """The workload of a part: kind, name and the labels of its pods."""

    kind: str
    name: str
    labels: Mapping[str, str]

    @property
    def selector(self) -> str:
        """The labels as kubectl takes them."""
        return ",".join(f"{key}={value}" for key, value in self.labels.items())


WORKLOADS = {
    "istiod": Workload("Deployment", "istiod", {"app": "istiod"}),
    "cni": Workload("DaemonSet", "istio-cni-node", {"k8s-app": "istio-cni-node"}),
    "ztunnel": Workload("DaemonSet", "ztunnel", {"app": "ztunnel"}),
}
_AWAITED = {
    "base": "the API server to serve Istio's kinds",
    "istiod": "its Deployment, its webhooks to refuse what is wrong, and the GatewayClass istio where there is the "
    "Gateway API",
    "cni": "its DaemonSet on every node",
    "ztunnel": "its DaemonSet on every node",
}


class Parts:
    """Looks at the parts of one installation."""

    def __init__(self, client: _client.Caller, target: Target, namespace: str, agents: str, name: str = "") -> None:
        """``namespace`` is istiod's, ``agents`` that of istio-cni and ztunnel, ``name`` another name of ztunnel."""
        self._client, self._target = client, target
        self._namespace, self._agents = namespace, agents
        self._ztunnel = name or "ztunnel"

    def wait(self, part: str, timeout: float, sleep: float, wait: Wait = wait_until) -> str:
        """The last evidence once the part serves; a KubeError after ``timeout`` seconds."""
        patience, begin = Patience(), time.monotonic()
        hopeless: list[str] = []

        def once() -> tuple[bool, object]:
            found = self._standing(part, patience)
            hopeless[:] = [found.words] if found.certain else []
            return found.ready or found.certain, found.words

        done, evidence = wait(once, timeout=timeout, sleep=sleep)
        if done and not hopeless:
            return str(evidence)
        # A wait that had become no use is over before its time.
        taken = min(timeout, round(time.monotonic() - begin)) if hopeless else timeout
        place = self._place(part)
        where = (
            f"'kubectl -n {place} describe pods -l {WORKLOADS[part].selector}'"
            if part in WORKLOADS
            else "'kubectl get customresourcedefinitions'"
        )
        raise KubeError(
            f"{'Istio' if part == 'base' else self._name(part)} is not ready after {taken:g} s: awaited was "
            f"{_AWAITED[part]}; seen last: {evidence}{self._last_word(part)}; look with {where}.",
            reason="NotReady",
            object_=self._what(part),
            details=str(evidence),
        )

    def look(self, part: str) -> tuple[bool, str]:
        """Whether the part serves now, and what was seen."""
        return self._standing(part, Patience())[:2]

    def _standing(self, part: str, patience: Patience) -> Standing:
        if part == "base":
            return Standing(*self._kinds())
        found = self._workload(part, patience)
        if not found.ready or part != "istiod":
            return found
        for judge in (self._webhooks, self._gateway_class):
            ready, other = judge()
            if not ready:
                return Standing(False, other)
        return found

    def _kinds(self) -> tuple[bool, str]:
        missing = [name for name in _GROUPS if not self._client.call(Request(f"/apis/{name}", f"read {name}")).ok]
        return not missing, f"not served: {', '.join(missing)}" if missing else "all kinds are served"

    def _workload(self, part: str, patience: Patience) -> Standing:
        what, kind = self._what(part), WORKLOADS[part].kind
        answer = self._client.call(Request(self._path(part), f"get {what}"))
        if not answer.ok:
            return Standing(False, f"{what} cannot be read: {answer.message}")
        ready, evidence = _look.judge(kind, answer.body)
        live = {**answer.body, "kind": kind}
        found = _workload_pods.by_pods(self._client, live, patience, ready, evidence)
        return Standing(found.ready, f"{what}: {found.words}", found.certain)

    def _webhooks(self) -> tuple[bool, str]:
        """istiod turns them from Ignore to Fail once it answers itself; a first object would be refused before."""
        seen = 0
        for name in (f"istio-validator-{self._namespace}", "istiod-default-validator"):
            answer = self._client.call(Request(f"{_WEBHOOKS}/{name}", f"get validatingwebhookconfigurations {name}"))
            if answer.status == 404:
                continue  # left out by values
            if not answer.ok:
                return False, f"ValidatingWebhookConfiguration {name} cannot be read: {answer.message}"
            seen += 1
            for hook in answer.body.get("webhooks") or []:
                if hook.get("failurePolicy") != "Fail":
                    return False, f"ValidatingWebhookConfiguration {name} still has failurePolicy Ignore"
        return True, f"{seen} webhooks refuse what is wrong"

    def _gateway_class(self) -> tuple[bool, str]:
        if not self._client.call(Request(_GATEWAY_API, "read gateway.networking.k8s.io/v1")).ok:
            return True, "there is no Gateway API"
        answer = self._client.call(Request(f"{_GATEWAY_API}/gatewayclasses/istio", "get gatewayclasses istio"))
        if not answer.ok:
            return False, f"GatewayClass istio cannot be read: {answer.message}"
        for one in (answer.body.get("status") or {}).get("conditions") or []:
            if one["type"] == "Accepted":
                return one["status"] == "True", f"GatewayClass istio: Accepted is {one['status']}"
        return False, "GatewayClass istio has no condition Accepted yet"

    def _last_word(self, part: str) -> str:
        """What a container said before it ended, for the end of a sentence."""
        if part not in WORKLOADS:
            return ""
        query = {"labelSelector": WORKLOADS[part].selector}
        where = f"/api/v1/namespaces/{self._place(part)}/pods"
        answer = self._client.call(Request(where, f"list pods in {self._place(part)}", query=query))
        for pod in answer.body.get("items") or [] if answer.ok else []:
            container, state = _workload.blocked_container(pod)
            if container and ("CrashLoop" in state or state.startswith("ended")):
                line = _workload.last_line(self._client, pod, container)
                return f", its last line is {line[:_LONGEST]!r}" if line else ""
        return ""

    def _place(self, part: str) -> str:
        return self._namespace if part in ("base", "istiod") else self._agents

    def _name(self, part: str) -> str:
        return self._ztunnel if part == "ztunnel" else WORKLOADS[part].name

    def _what(self, part: str) -> str:
        if part not in WORKLOADS:
            return "CustomResourceDefinitions of Istio"
        return f"{WORKLOADS[part].kind} {self._place(part)}/{self._name(part)}"

    def _path(self, part: str) -> str:
        plural = {"Deployment": "deployments", "DaemonSet": "daemonsets"}[WORKLOADS[part].kind]
        return f"/apis/apps/v1/namespaces/{self._place(part)}/{plural}/{self._name(part)}"
