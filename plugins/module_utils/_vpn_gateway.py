# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Carry out what ``vpn_gateway`` is asked: read, plan, apply in the order that protects, wait.

Limits come before pods: admission and the network policy are there before the gateway is, and its registration is
there before the endpoint controller looks for it. Removal goes the other way.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils import _partly, _vpn_gateway_proof, _vpn_gateway_wait
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _admission,
    _agent_source,
    _gateway,
    _gateway_flow,
    _names,
    _registry,
    _workload_admission,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._gateway_flow import Seen, Work
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Gateway, Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import (
    _applyset,
    _client,
    _diff,
    _plan,
    _reconcile,
    _workload,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._apply import Report, Waiting
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._secrecy import Redactor
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import wait_until

SHARED_SET = ("bulkhead-vpn", "kube-system")  # what concerns all gateways of the cluster
_KEY = re.compile(r"=\s*([A-Za-z0-9+/]{43}=)")
_Object = dict[str, Any]


class Refused(Exception):
    """What is asked for cannot be; nothing was written."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)


def gateway_set(gateway: Gateway) -> tuple[str, str]:
    """Name and namespace of the set of one gateway's objects."""
    return _names.fit(f"bulkhead-vpn-gateway-{gateway.name}", 63), gateway.namespace


def namespace_set(namespace: str) -> tuple[str, str]:
    """Name and namespace of the set of what a namespace's gateways share."""
    return "bulkhead-vpn-namespace", namespace


class Run:
    """One run; ``changed``, ``warnings`` and ``diff`` tell about it, also when it fails."""

    def __init__(self, params: Mapping[str, Any], check: bool, hide: Callable[[str], None]) -> None:
        """``hide`` is told every secret that was read, so that no output shows it."""
        self.params, self.check, self._hide = params, check, hide
        self.changed = False
        self.warnings: list[str] = []
        self.diff: list[_Object] = []
        self.wait = wait_until
        self.failures: dict[str, KubeError] = {}  # by name of the gateway
        self.client: _client.Caller
        self.target: Target

    def go(self, client: _client.Caller, target: Target, gateways: Sequence[Gateway]) -> _Object:
        """Do it all; answers what the module returns, also what failed for some. Raises Refused or KubeError.

        A gateway that cannot be what is asked stays as it is, and no other one waits for it.
        """
        self.client, self.target = client, target
        images = self.params["images"]
        networks = {name: _listed(value) for name, value in self.params["cluster_networks"].items()}
        problems = _gateway_flow.bad_options(self.params["dns"], networks)
        if not images["engine"] and any(one.state == "present" for one in gateways):
            problems.append(_gateway_flow.no_engine_image())
        if problems:
            raise Refused(problems)
        seen = self._read(gateways)
        readable = [one for one in gateways if one.name not in self.failures]
        addresses = {host: lookup(host) for host in _gateway_flow.hosts(readable, seen)}
        work = _gateway_flow.plan(readable, seen, addresses, self.params["dns"], networks, self.check)
        for problem in [*work.unknown.values(), *work.before]:
            self.changed = True
            self.warnings.append(f"{problem} In a real run this has to be so before.")
        shared = _gateway.Shared(
            _agent_source.read(),
            _gateway.Images(images["agent"], images["engine"] or "", images["resolver"], images["pull_policy"]),
            self.params["cluster_domain"],
        )
        with self._for([plan.gateway for plan in work.plans]):
            self.failures |= _vpn_gateway_proof.unproven(self, work.plans, seen.live, shared)
        unproven = [plan for plan in work.plans if plan.gateway.name in self.failures]
        work.plans = [plan for plan in work.plans if plan not in unproven]
        # Where none of the list can be set up, nothing is written at all.
        if work.plans or work.removed or work.unknown or not gateways:
            # Of a namespace where nothing may be set up not even the registry is written.
            left = {plan.gateway.namespace for plan in unproven} - {plan.gateway.namespace for plan in work.plans}
            self._set_up(work, seen, shared, [one for one in gateways if one.state == "present"], left)
        self._tear_down(work, seen)
        if not self.check:
            _vpn_gateway_wait.until_ready(self, work.plans)
        bad = {problem.object for problem in work.problems}
        names = [one.object for one in gateways if one.object in bad or one.name in self.failures]
        return {
            "gateways": [_shown(plan, work) for plan in work.plans] + [_unknown(name, work) for name in work.unknown],
            "orphans": _gateway_flow.orphans(gateways, seen.registries),
            **_partly.told(work.problems, self.failures.values(), names, len(gateways), "gateway"),
        }

    def _for(self, gateways: Iterable[Gateway], otherwise: str = "") -> AbstractContextManager[None]:
        """What fails in here fails for these gateways and no others, unless nothing can go on."""
        return _partly.failing(self.failures, [one.name for one in gateways], otherwise)

    # --- reading ---------------------------------------------------------------------------------------

    def _read(self, gateways: Sequence[Gateway]) -> Seen:
        selector = ",".join(f"{key}={value}" for key, value in _registry.LABELS.items())
        requests = {
            "registries": Request("/api/v1/configmaps", "list configmaps", query={"labelSelector": selector}),
            **{f"namespace {one.namespace}": _namespace(one.namespace) for one in gateways},
            **{f"live {one.name}": _stateful_set(one) for one in gateways},
            **{f"secret {one.name}": _secret(one) for one in gateways if one.state == "present"},
        }
        answers = _client.read_all(self.client, requests)

        def body(name: str) -> Mapping[str, Any] | None:
            answer = answers[name]
            return None if answer.status == 404 else _client.demand(answer, requests[name], self.target)

        registries, problems = {}, []
        self._maps: dict[str, Mapping[str, Any]] = {}
        for item in (body("registries") or {}).get("items") or []:
            if item["metadata"]["name"] == _registry.NAME:
                namespace = item["metadata"]["namespace"]
                self._maps[namespace] = item
                registries[namespace], found = _registry.parse(item, namespace)
                problems += found
        if problems:
            raise Refused(problems)
        namespaces, secrets, live = set(), {}, {}
        for gateway in gateways:
            with self._for([gateway]):
                if body(f"namespace {gateway.namespace}") is not None:
                    namespaces.add(gateway.namespace)
                live[gateway.name] = body(f"live {gateway.name}")
                if gateway.state == "present":
                    secrets[gateway.name] = body(f"secret {gateway.name}")
            self._conceal(gateway, secrets.get(gateway.name))
        return Seen(frozenset(namespaces), registries, secrets, live)

    def _conceal(self, gateway: Gateway, secret: Mapping[str, Any] | None) -> None:
        for value in ((secret or {}).get("data") or {}).values():
            self._hide(value)
        found = _gateway_flow.configuration(gateway, secret)
        if not isinstance(found, Problem):
            for key in _KEY.findall(found[1]):
                self._hide(key)

    # --- writing ---------------------------------------------------------------------------------------

    def apply_objects(self, owner: tuple[str, str], objects: Sequence[Mapping[str, Any]]) -> None:
        """Make a set exactly these objects; none at all removes it. The one place where sets are written."""
        report = Report()
        job = _reconcile.Job(
            owner=_applyset.ObjectSet(*owner),
            objects=objects,
            present=bool(objects),
            options=_plan.Options(force=self.params["force_conflicts"], check=self.check),
            waiting=Waiting(self.params["wait_timeout"], self.params["wait_sleep"]),
        )
        try:
            _reconcile.reconcile(self.client, self.target, job, report)
        finally:
            self.changed = _reconcile.changed(report, check=self.check) or self.changed
            self.warnings += [one for one in report.warnings if one not in self.warnings]
        self.diff += _diff.diffs(report.steps, job.owner.manager, Redactor())

    def _set_up(
        self, work: Work, seen: Seen, shared: _gateway.Shared, wanted: Sequence[Gateway], left: Collection[str]
    ) -> None:
        """``left`` are namespaces that stay as they are."""
        writers = _gateway_flow.writers(work)
        if writers:
            shared_rules = [*_admission.endpoints_admission(writers), *_workload_admission.labels_admission()]
            self.apply_objects(SHARED_SET, shared_rules)
        # In check mode a namespace may not be there yet.
        for namespace in sorted((seen.namespaces | set(seen.registries)) & set(work.live_namespaces) - set(left)):
            with self._for(_of(work.plans, namespace), f"namespace {namespace}"):
                self._register(namespace, work.registries[namespace])
        for namespace in sorted({plan.gateway.namespace for plan in work.plans}):
            # Also those of gateways that are left out: they may be there, and the controller serves them.
            pods = [one.pod for one in wanted if one.namespace == namespace]
            with self._for(_of(work.plans, namespace)):
                self._create(_gateway.agent_objects(namespace, shared)[0])
                common = _gateway.namespace_objects(namespace, work.registries[namespace], shared, pods)
                self.apply_objects(namespace_set(namespace), common)
        for plan in work.plans:
            if plan.gateway.name not in self.failures:
                registry = work.registries[plan.gateway.namespace]
                with self._for([plan.gateway]):
                    self.apply_objects(gateway_set(plan.gateway), _gateway.gateway_objects(plan, registry, shared))

    def _tear_down(self, work: Work, seen: Seen) -> None:
        if not work.removed:
            return
        for gateway in work.removed:
            if gateway.namespace in seen.namespaces:
                with self._for([gateway]):
                    self.apply_objects(gateway_set(gateway), [])
        for namespace in sorted({gateway.namespace for gateway in work.removed} & seen.namespaces):
            going = [one for one in work.removed if one.namespace == namespace]
            if namespace not in work.live_namespaces and not any(one.name in self.failures for one in going):
                with self._for(going):
                    self.apply_objects(namespace_set(namespace), [])
                    self._unregister(namespace)
                    self._sweep_agents(namespace, {gateway.name for gateway in work.removed})
        if not work.live_namespaces and not self.failures:
            self.apply_objects(SHARED_SET, [])

    def _create(self, manifest: _Object) -> None:
        """An immutable object whose name says what is in it; others may have made it before."""
        metadata = manifest["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/configmaps"
        what = f"configmaps {metadata['name']} in {metadata['namespace']}"
        if self.client.call(Request(f"{path}/{metadata['name']}", f"get {what}")).ok:
            return
        answer = self._write(Request(path, f"create {what}", method="POST", body=manifest))
        if answer is not None and answer.status != 409:
            self.changed = True

    def _sweep_agents(self, namespace: str, removed: set[str]) -> None:
        """Delete agents that no workload refers to any more; attached clients of the namespace may still need one."""
        selector = {"labelSelector": f"{_names.ROLE_LABEL}={_gateway.AGENT_ROLE}"}
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        requests = {"agents": Request(path, f"list configmaps in {namespace}", query=selector)}
        for kind in ("statefulsets", "deployments"):
            requests[kind] = Request(f"/apis/apps/v1/namespaces/{namespace}/{kind}", f"list {kind} in {namespace}")
        answers = _client.read_all(self.client, requests)
        listed = {
            kind: _client.demand(answer, requests[kind], self.target).get("items") or []
            for kind, answer in answers.items()
        }
        # In check mode, and for a moment in a real run, what was deleted is still there.
        gone = {*removed, _names.ENDPOINTS_ACCOUNT}
        others = [
            one["spec"]
            for kind in ("statefulsets", "deployments")
            for one in listed[kind]
            if one["metadata"]["name"] not in gone
        ]
        referred = json.dumps(others)
        for agent in listed["agents"]:
            name = agent["metadata"]["name"]
            if f'"{name}"' not in referred:
                what = f"delete configmaps {name} in {namespace}"
                self._write(Request(f"{path}/{name}", what, method="DELETE"))
                self.changed = True

    def _register(self, namespace: str, registry: _registry.Registry) -> None:
        wanted = _registry.config_map(namespace, registry)
        live = self._maps.get(namespace)
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        what = f"ConfigMap {namespace}/{_registry.NAME}"
        before = (live or {}).get("data") or {}
        if before == wanted["data"]:
            return
        self.changed = True
        self.diff.append(
            {"before_header": what, "after_header": what, "before": {"data": before}, "after": {"data": wanted["data"]}}
        )
        if live is None:
            self._write(Request(path, f"create {what}", method="POST", body=wanted))
            return
        operations = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
            {"op": "add", "path": "/data", "value": wanted["data"]},
        ]
        where = f"{path}/{_registry.NAME}"
        _workload.patch_tested(self.client, self.target, where, what, operations, dry_run=self.check)

    def _unregister(self, namespace: str) -> None:
        live = self._maps.get(namespace)
        if live is None:
            return
        path = f"/api/v1/namespaces/{namespace}/configmaps/{_registry.NAME}"
        version = {"resourceVersion": live["metadata"]["resourceVersion"]}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": version}
        self._write(Request(path, f"delete configmaps {_registry.NAME} in {namespace}", method="DELETE", body=body))
        self.changed = True

    def _write(self, request: Request) -> Answer | None:
        query = {**request.query, **({"dryRun": "All"} if self.check else {})}
        if request.method == "POST":
            query["fieldManager"] = _workload.MANAGER
        answer = self.client.call(Request(request.path, request.what, request.method, request.body, query))
        if not answer.ok and answer.status != 409:
            _client.demand(answer, request, self.target)
        return answer


def _of(plans: Iterable[_gateway.Plan], namespace: str) -> list[Gateway]:
    return [plan.gateway for plan in plans if plan.gateway.namespace == namespace]


def lookup(host: str) -> list[str]:
    """IPv4 addresses of a name as this machine sees them, none if it has none."""
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_DGRAM)
    except OSError:
        return []
    return sorted({str(one[4][0]) for one in found}, key=ipaddress.IPv4Address)


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value or ()]


def _namespace(name: str) -> Request:
    return Request(f"/api/v1/namespaces/{name}", f"get namespaces {name}")


def _stateful_set(gateway: Gateway) -> Request:
    like = {"kind": "StatefulSet", "metadata": {"namespace": gateway.namespace, "name": gateway.name}}
    return Request(_workload.path(like), f"get statefulsets {gateway.name} in {gateway.namespace}")


def _secret(gateway: Gateway) -> Request:
    path = f"/api/v1/namespaces/{gateway.namespace}/secrets/{gateway.config_secret}"
    return Request(path, f"get secrets {gateway.config_secret} in {gateway.namespace}")


def _shown(plan: _gateway.Plan, work: Work) -> _Object:
    return {**_unknown(plan.gateway.name, work), "endpoint": f"{plan.endpoint.address}:{plan.endpoint.port}"}


def _unknown(name: str, work: Work) -> _Object:
    for namespace, registry in work.registries.items():
        link = registry["gateways"].get(name)
        if link is not None:
            numbers = {key: link[key] for key in _registry.LINK_KEYS}
            return {
                "name": name,
                "namespace": namespace,
                **numbers,
                "endpoint": None,
                "clients": sorted(link["clients"]),
            }
    raise KeyError(name)
