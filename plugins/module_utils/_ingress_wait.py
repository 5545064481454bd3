# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Look whether MetalLB and gateways serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils import _await
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _status
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._judge_announcement import EXCLUDED
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._level import GROUP
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._status import Check
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _ready, _workload, _workload_pods

PLURALS = {"Deployment": "deployments", "DaemonSet": "daemonsets"}
_METALLB = "/apis/metallb.io/v1beta1"


class Looker(_await.Looker):
    """Looks at workloads, at MetalLB's own judgement of its configuration, and at gateways."""

    def look(self, params: Mapping[str, Any]) -> tuple[list[Check], bool]:
        """All checks now, and whether waiting longer is no use: pods that will not run."""
        self.certain.clear()
        made = [self._workload(one) for one in params["workloads"]]
        if params["configuration"]:
            made += self._configuration(params["configuration"])
        for wanted in params["gateways"]:
            made += _status.checks(wanted, self._gateway(wanted))
        return made, bool(self.certain)

    def _workload(self, wanted: Mapping[str, str]) -> Check:
        kind, namespace, name = wanted["kind"], wanted["namespace"], wanted["name"]
        place = f"{PLURALS[kind]}/{name}"
        live = self._get(f"/apis/apps/v1/namespaces/{namespace}/{place}", f"get {PLURALS[kind]}.apps {name}")
        what = f"{kind} {namespace}/{name}"
        ready, words = False, "it does not exist"
        if live is not None:
            ready, words = _ready.ready("apps", kind, live)
            if ready and kind == "DaemonSet" and not live["status"].get("desiredNumberScheduled"):
                ready, words = False, "no node is to run it"
            ready, words = self._standing({**live, "kind": kind}, what, ready, words)
        result = _status.PASS if ready else _status.FAIL
        return Check("workload-ready", what, result, "all its pods available", words)

    def _standing(self, workload: Mapping[str, Any], what: str, ready: bool, words: str) -> tuple[bool, str]:
        """The same with what the pods say; ``what`` is the object of the check that they decide."""
        found = _workload_pods.by_pods(self._client, workload, self.patience, ready, words)
        if found.certain:
            self.certain.add(what)
        return found.ready, found.words

    def _configuration(self, namespace: str) -> list[Check]:
        """MetalLB says since 0.16 whether it took its configuration; older ones have no such kind."""
        what = f"list configurationstates.metallb.io in {namespace}"
        states = self._list_known(f"{_METALLB}/namespaces/{namespace}/configurationstates", what)
        return [] if states is None else _status.configuration(states)

    def _gateway(self, wanted: Mapping[str, Any]) -> _status.Found:
        namespace, name = wanted["namespace"], wanted["name"]
        base = f"/apis/{GROUP}/v1/namespaces"
        gateway = self._get(f"{base}/{namespace}/gateways/{name}", f"get gateways.{GROUP} {name} in {namespace}")
        if gateway is None:
            return _status.Found()
        label = f"{_status.OWNER_LABEL}={name}"
        services = self._list(f"/api/v1/namespaces/{namespace}/services", f"list services in {namespace}", label)
        deployments = self._list(
            f"/apis/apps/v1/namespaces/{namespace}/deployments", f"list deployments.apps in {namespace}", label
        )
        routes = {}
        for place in wanted["routes"]:
            home, dummy, route = place.partition("/")
            live = self._get(f"{base}/{home}/httproutes/{route}", f"get httproutes.{GROUP} {route} in {home}")
            if live is not None:
                routes[place] = live
        announcements = (
            self._list_known(f"{_METALLB}/servicel2statuses", "list servicel2statuses.metallb.io")
            if wanted["announced"]
            else None
        )
        return _status.Found(
            gateway,
            services,
            [self._judged(one, f"Gateway {namespace}/{name}") for one in deployments],
            routes,
            announcements,
            self._warning(services),
            # Asked for only where it may be the reason.
            [] if announcements is None or _status.announcing(services, announcements) else self._excluded(),
        )

    def _excluded(self) -> list[str]:
        """Nodes that have the label by which MetalLB's speaker leaves them out."""
        nodes = self._list("/api/v1/nodes", "list nodes", EXCLUDED)
        return [one["metadata"]["name"] for one in nodes]

    def _judged(self, deployment: Mapping[str, Any], gateway: str) -> tuple[bool, str, str]:
        ready, words = _ready.ready("apps", "Deployment", deployment)
        if ready and not deployment["spec"].get("replicas", 1):
            ready, words = False, "it is scaled to 0"
        ready, words = self._standing({**deployment, "kind": "Deployment"}, gateway, ready, words)
        return ready, words, f"Deployment {deployment['metadata']['name']}"

    def _warning(self, services: Sequence[Mapping[str, Any]]) -> str:
        """Why a Service has no address, as MetalLB said last."""
        for one in services:
            if not ((one.get("status") or {}).get("loadBalancer") or {}).get("ingress"):
                return _workload.last_warning(self._client, one)
        return ""
