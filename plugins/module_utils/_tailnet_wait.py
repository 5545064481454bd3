# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Look whether the operator is up and devices are there or gone, and whether that can still change."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils import _await
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _devices, _status
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._devices import Judgement
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._status import OWNER_LABEL, Check
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _ready, _workload, _workload_pods
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request

_Object = Mapping[str, Any]
_LOG_BYTES = "131072"  # from the beginning: what an operator says of its start comes first
_OWN_SERVER = "https://controlplane.tailscale.com"


class Looker(_await.Looker):
    """Looks at the operator, a ProxyClass, and the devices of gateways."""

    def __init__(self, client: _client.Caller, target: Target, now: Callable[[], float] = time.time) -> None:
        super().__init__(client, target)
        self._now = now

    def look(self, params: Mapping[str, Any]) -> tuple[list[Check], bool]:
        """All checks now, and whether waiting longer is no use."""
        made: list[Check] = []
        final = False
        self.certain.clear()
        if params["operator"]:
            place = f"{params['namespace']}/{params['operator']}"
            judged = self._operator(params["namespace"], params["operator"], params["login_timeout"])
            made.append(_devices.operator(place, judged))
            final = judged.final
        if params["proxy_class"]:
            name = params["proxy_class"]
            live = self._get(
                f"/apis/tailscale.com/v1alpha1/proxyclasses/{name}", f"get proxyclasses.tailscale.com {name}"
            )
            made.append(_devices.proxy_class(name, live))
        states = self._states(params["namespace"]) if params["devices"] or params["gone"] else []
        for wanted in params["devices"]:
            made += self._device(params["namespace"], wanted, states)
        for one in params["gone"]:
            namespace, name = one["namespace"], one["name"]
            service = self._get(
                f"/api/v1/namespaces/{namespace}/services/{name}", f"get services {name} in {namespace}"
            )
            made.append(_devices.gone(f"{namespace}/{name}", service, _of(states, namespace, name)))
        return made, final or bool(self.certain)

    def _operator(self, namespace: str, name: str, patience: float) -> Judgement:
        where, what = f"/apis/apps/v1/namespaces/{namespace}", f"in {namespace}"
        live = self._get(f"{where}/deployments/{name}", f"get deployments.apps {name} {what}")
        if live is None:
            return Judgement(False, "it does not exist")
        live = {**live, "kind": "Deployment"}
        pods = self._list(f"/api/v1/namespaces/{namespace}/pods", f"list pods {what}")
        sets = self._list(f"{where}/replicasets", f"list replicasets.apps {what}")
        rollout = _workload.rollout(live, _workload.own_pods(live, pods, sets), sets)
        if not rollout.current:
            warning = _workload.last_warning(self._client, live, _workload.own_replica_sets(live, sets))
            return Judgement(False, (rollout.waiting or "it has no pod") + (f"; {warning}" if warning else ""))
        over = self.patience.over(rollout.current)
        # What it said before it ended is a better reason than that it ends again and again.
        if over is not None and not over[1].failures:
            return Judgement(False, f"its {over[1].sentence()}", True)
        pod = rollout.current[0]
        status = _container_status(pod)
        if status is None or (not status.get("restartCount") and "waiting" in (status.get("state") or {})):
            return Judgement(False, " ".join(("its container is", _workload.blocked_container(pod)[1])))
        return _devices.judge(self._said(pod, status), _server(live), patience)

    def _said(self, pod: _Object, status: _Object) -> _devices.Said:
        running = (status.get("state") or {}).get("running")
        started = _seconds(str((running or {}).get("startedAt") or ""))
        since = self._now() - started if started is not None else 0.0
        # In the pauses between two starts only the last container has a log.
        log = self._log(pod, status["name"], previous=False)
        if not log and status.get("restartCount"):
            log = self._log(pod, status["name"], previous=True)
        return _devices.Said(log, running is not None, since, int(status.get("restartCount") or 0))

    def _log(self, pod: _Object, container: str, *, previous: bool) -> str:
        metadata = pod["metadata"]
        where = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log"
        query = {"container": container, "limitBytes": _LOG_BYTES, **({"previous": "true"} if previous else {})}
        what = f"read the log of pod {metadata['name']} in {metadata['namespace']}"
        request = Request(where, what, query=query, accept="*/*")
        answer = self._client.call(request)
        if answer.status in (400, 404):  # no log yet, or not any more
            return ""
        body = _client.demand(answer, request, self._target)
        # A single line that is a JSON object comes decoded.
        return str(body["text"]) if "text" in body else json.dumps(dict(body)) if body else ""

    def _states(self, namespace: str) -> list[_Object]:
        """The states of proxies with nothing in them but who they are."""
        what = f"list secrets in {namespace} with label {_devices.MANAGED}"
        found = self._list(f"/api/v1/namespaces/{namespace}/secrets", what, f"{_devices.MANAGED}=true")
        return [{"metadata": one["metadata"], "device": _devices.decoded(one.get("data") or {})} for one in found]

    def _device(self, home: str, wanted: Mapping[str, Any], states: Sequence[_Object]) -> list[Check]:
        namespace = wanted["namespace"]
        labels = f"{OWNER_LABEL}={wanted['gateway']}"
        services = self._list(f"/api/v1/namespaces/{namespace}/services", f"list services in {namespace}", labels)
        service = services[0] if services else None
        mine = _of(states, namespace, service["metadata"]["name"]) if service else []
        pods = self._proxy(home, namespace, service["metadata"]["name"]) if service else Judgement(False, "")
        if pods.final:
            self.certain.add(f"Gateway {namespace}/{wanted['gateway']}")
        return _devices.device(wanted, service, mine[0] if mine else None, pods)

    def _proxy(self, home: str, namespace: str, name: str) -> Judgement:
        labels = f"{_devices.PARENT}={name},{_devices.PARENT_NAMESPACE}={namespace},{_devices.PARENT_TYPE}=svc"
        found = self._list(f"/apis/apps/v1/namespaces/{home}/statefulsets", f"list statefulsets.apps in {home}", labels)
        if not found:
            return Judgement(False, "it has no proxy")
        proxy = {**found[0], "kind": "StatefulSet"}
        ready, words = _ready.ready("apps", "StatefulSet", proxy)
        standing = _workload_pods.by_pods(self._client, proxy, self.patience, ready, words)
        return Judgement(standing.ready, standing.words, standing.certain)


def devices(states: Sequence[Check]) -> list[dict[str, Any]]:
    """Gateways that are on the tailnet with name and addresses, for a module's result."""
    found = []
    for one in states:
        if one.id == "device-joined" and one.result == _status.PASS:
            fqdn, dummy, addresses = one.observed.partition(" ")
            found.append({"gateway": one.object.partition(" ")[2], "name": fqdn, "addresses": addresses.split(", ")})
    return found


def _of(states: Sequence[_Object], namespace: str, name: str) -> list[_Object]:
    wanted = (namespace, name, "svc")
    keys = (_devices.PARENT_NAMESPACE, _devices.PARENT, _devices.PARENT_TYPE)
    return [one for one in states if tuple((one["metadata"].get("labels") or {}).get(key) for key in keys) == wanted]


def _container_status(pod: _Object) -> _Object | None:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return next(iter(statuses), None)


def _server(deployment: _Object) -> str:
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        for one in container.get("env") or []:
            if one["name"] == "OPERATOR_LOGIN_SERVER" and one.get("value"):
                return str(one["value"])
    return _OWN_SERVER


def _seconds(stamp: str) -> float | None:
    """A time of the API server, in seconds since 1970."""
    try:
        return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
