# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Wait until MetalLB and gateways serve, and say what was awaited, what was seen last and where to look."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _status
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._level import GROUP
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._status import Check
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _ready, _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import wait_until

PLURALS = {"Deployment": "deployments", "DaemonSet": "daemonsets"}
Wait = Callable[..., "tuple[bool, object]"]
_METALLB = "/apis/metallb.io/v1beta1"


class Looker:
    """Looks at workloads, at MetalLB's own judgement of its configuration, and at gateways."""

    def __init__(self, client: _client.Caller, target: Target) -> None:
        self._client, self._target = client, target

    def until(self, params: Mapping[str, Any], timeout: float, sleep: float, wait: Wait = wait_until) -> list[Check]:
        """The last checks: all passed, or ``timeout`` seconds are over."""

        def look() -> tuple[bool, object]:
            checks = self.look(params)
            return all(check.result == _status.PASS for check in checks), checks

        checks: Any = wait(look, timeout=timeout, sleep=sleep)[1]
        return checks

    def look(self, params: Mapping[str, Any]) -> list[Check]:
        """All checks now."""
        made = [self._workload(one) for one in params["workloads"]]
        if params["configuration"]:
            made += self._configuration(params["configuration"])
        for wanted in params["gateways"]:
            made += _status.checks(wanted, self._gateway(wanted))
        return made

    def _get(self, path: str, what: str) -> Mapping[str, Any] | None:
        """One object, None if it does not exist; what may not be read is an error."""
        request = Request(path, what)
        answer = self._client.call(request)
        return None if answer.status == 404 else _client.demand(answer, request, self._target)

    def _list(self, path: str, what: str, labels: str = "") -> list[Mapping[str, Any]] | None:
        """Objects of a kind, None where the cluster has no such kind."""
        request = Request(path, what, query={"labelSelector": labels} if labels else {})
        answer: Answer = _client.list_all(self._client, request)
        if answer.status == 404:
            return None
        return list(_client.demand(answer, request, self._target).get("items") or [])

    def _workload(self, wanted: Mapping[str, str]) -> Check:
        kind, namespace, name = wanted["kind"], wanted["namespace"], wanted["name"]
        place = f"{PLURALS[kind]}/{name}"
        live = self._get(f"/apis/apps/v1/namespaces/{namespace}/{place}", f"get {PLURALS[kind]}.apps {name}")
        ready, words = (False, "it does not exist") if live is None else _ready.ready("apps", kind, live)
        if ready and kind == "DaemonSet" and not (live or {})["status"].get("desiredNumberScheduled"):
            ready, words = False, "no node is to run it"
        if live is not None and not ready:
            words += self._blocked({**live, "kind": kind})
        result = _status.PASS if ready else _status.FAIL
        return Check("workload-ready", f"{kind} {namespace}/{name}", result, "all its pods available", words)

    def _blocked(self, workload: Mapping[str, Any]) -> str:
        """What the first pod that is not ready says, for the end of a sentence."""
        namespace = workload["metadata"]["namespace"]
        labels = ((workload["spec"].get("selector") or {}).get("matchLabels") or {}).items()
        selector = ",".join(f"{key}={value}" for key, value in labels)
        pods = self._list(f"/api/v1/namespaces/{namespace}/pods", f"list pods in {namespace}", selector) or []
        for pod in pods:
            if not _workload.is_ready(pod):
                container, state = _workload.blocked_container(pod)
                who = f"container {container} of pod" if container else "pod"
                return f"; {who} {pod['metadata']['name']} is {state}"
        warning = "" if pods else _workload.last_warning(self._client, workload)
        return f"; {warning}" if warning else ""

    def _configuration(self, namespace: str) -> list[Check]:
        """MetalLB says since 0.16 whether it took its configuration; older ones have no such kind."""
        what = f"list configurationstates.metallb.io in {namespace}"
        states = self._list(f"{_METALLB}/namespaces/{namespace}/configurationstates", what)
        return [] if states is None else _status.configuration(states)

    def _gateway(self, wanted: Mapping[str, Any]) -> _status.Found:
        namespace, name = wanted["namespace"], wanted["name"]
        base = f"/apis/{GROUP}/v1/namespaces"
        gateway = self._get(f"{base}/{namespace}/gateways/{name}", f"get gateways.{GROUP} {name} in {namespace}")
        if gateway is None:
            return _status.Found()
        label = f"{_status.OWNER_LABEL}={name}"
        services = self._list(f"/api/v1/namespaces/{namespace}/services", f"list services in {namespace}", label) or []
        deployments = self._list(
            f"/apis/apps/v1/namespaces/{namespace}/deployments", f"list deployments.apps in {namespace}", label
        )
        routes = {}
        for place in wanted["routes"]:
            home, dummy, route = place.partition("/")
            live = self._get(f"{base}/{home}/httproutes/{route}", f"get httproutes.{GROUP} {route} in {home}")
            if live is not None:
                routes[place] = live
        return _status.Found(
            gateway,
            services,
            [self._judged(one) for one in deployments or ()],
            routes,
            self._list(f"{_METALLB}/servicel2statuses", "list servicel2statuses.metallb.io")
            if wanted["announced"]
            else None,
            self._warning(services),
        )

    def _judged(self, deployment: Mapping[str, Any]) -> tuple[bool, str, str]:
        ready, words = _ready.ready("apps", "Deployment", deployment)
        if ready and not deployment["spec"].get("replicas", 1):
            ready, words = False, "it is scaled to 0"
        blocked = "" if ready else self._blocked({**deployment, "kind": "Deployment"})
        return ready, words + blocked, f"Deployment {deployment['metadata']['name']}"

    def _warning(self, services: Sequence[Mapping[str, Any]]) -> str:
        """Why a Service has no address, as MetalLB said last."""
        for one in services:
            if not ((one.get("status") or {}).get("loadBalancer") or {}).get("ingress"):
                return _workload.last_warning(self._client, one)
        return ""


def run(module: AnsibleModule, make: Callable[..., Any], **told: Callable[[Sequence[Check]], Any]) -> None:
    """A module that awaits: look until all passed or its time is over, and end the task.

    ``make`` makes what looks, such as a Looker; ``told`` are further results, made of the checks.
    """
    timeout, start = module.params["wait_timeout"], time.monotonic()
    try:
        client = _client.Client(module.params)
        checks = make(client, client.target).until(module.params, timeout, module.params["wait_sleep"])
    except KubeError as exc:
        module.fail_json(msg=exc.msg, failure=exc.failure, changed=False)
    failed = [one for one in checks if one.result != _status.PASS]
    result: dict[str, Any] = {"checks": [one.to_dict() for one in checks], "acceptable": not failed}
    result |= {name: of(checks) for name, of in told.items()}
    if failed and module.params["enforce"]:
        failure = {"code": None, "reason": "NotReady", "object": failed[0].object, "details": failed[0].observed}
        # A wait that had become no use is over before its time.
        taken = min(timeout, round(time.monotonic() - start))
        module.fail_json(msg=sentence(failed, taken), failure=failure, changed=False, **result)
    module.exit_json(changed=False, **result)


def sentence(failed: Sequence[Check], timeout: float) -> str:
    """What was awaited, what was seen last, and where to look."""
    said = [
        f"{one.object} is not ready after {timeout:g} s: awaited was {one.expected}; seen last: {one.observed}; look "
        f"with 'kubectl {_where(one.object)}'."
        for one in failed
    ]
    return " ".join(said)


def _where(object_: str) -> str:
    kind, dummy, place = object_.partition(" ")
    namespace, slash, name = place.rpartition("/")
    if not slash:
        return f"get {kind.lower()}s -A -o yaml"
    return f"-n {namespace} describe {kind.lower()} {name}"
