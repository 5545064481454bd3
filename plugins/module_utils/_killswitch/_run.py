# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""One run of ``killswitch_check``: read, probe everything at once, judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import (
    _gather,
    _judge_pod,
    _plan,
    _registry,
    _twin_run,
    _verdict,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import (
    GatewayEvidence,
    Inside,
    PodEvidence,
    Probe,
    Site,
    Twins,
    WorkloadEvidence,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing, Result
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._killswitch import (
    _inventory,
    _mesh,
    _places,
    _pods,
    _read,
    _services,
    _wanted,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._exec import Place

PARALLEL = 8
FIREWALL, KEEPER = "bulkhead-firewall", "bulkhead-gateway"


@dataclass(frozen=True)
class Options:
    """How to check. ``real`` and ``exits`` are addresses as declared, ``accept_open`` pods that may run without a guard;
    ``image`` is for twins."""

    classes: Sequence[str] = ("P", "A")
    targets: Sequence[_plan.Target] = ()
    real: Sequence[str] = ()
    exits: Sequence[str] = ()
    require: str = _verdict.PROTECTED
    accept_unknown: Sequence[str] = ()
    accept_open: Sequence[str] = ()
    image: str | None = None
    attempt_timeout: float = 2.0
    mesh: _wanted.Mesh = field(default_factory=_wanted.Mesh)


@dataclass
class _Pending:
    """Work that runs while other work is started."""

    probes: dict[str, Future[Any]] = field(default_factory=dict)
    looks: dict[tuple[str, str], Future[Any]] = field(default_factory=dict)
    twins: list[tuple[_twin_run.Group, Future[Any]]] = field(default_factory=list)
    calls: dict[str, Future[Any]] = field(default_factory=dict)  # into clients, through the mesh


class Run:
    """Checks of these clients and the gateways they are behind."""

    def __init__(
        self, runner: _gather.Runner, clients: Sequence[Client], gateways: Sequence[Gateway], options: Options
    ) -> None:
        self.runner, self.options, self.listed = runner, options, tuple(clients)
        self.clients = [one for one in clients if one.state == "present"]
        used = {one.gateway for one in self.clients}
        self.gateways = {
            one.name: one for one in gateways if one.state == "present" and (one.name in used or not self.clients)
        }
        self.time = datetime.now(timezone.utc)  # the proof is not about what is made later
        self.seen = _read.Seen((), {})
        self.pods: dict[str, list[dict[str, Any]] | Missing] = {}  # also those that their workload does not own
        self.beside: dict[str, WorkloadEvidence] = {}
        self.configs: dict[str, Mapping[str, Any] | Missing] = {}
        self.gateway_pods: dict[str, tuple[dict[str, Any], ...] | Missing] = {}
        self.around, self.talks = _mesh.Surroundings(), _mesh.Talks()

    def go(self) -> dict[str, Any]:
        """The result: ``{"clients": [...], "gateways": [...], "checks": [...], "verdict": worst}``."""
        self.seen = _read.read(self.runner.api, self.clients, list(self.gateways.values()))
        self.around = _mesh.look(self.runner.api)
        for client in self.clients:
            own, left = _read.pods_of(client, self.seen), _inventory.left_behind(client, self.seen)
            self.beside[client.id] = _inventory.workload(client, own, left, self.seen, self.options.accept_open)
            self.pods[client.id] = _inventory.with_left(client, own, left, self.seen)
        for gateway in self.gateways.values():
            self.gateway_pods[gateway.name] = _read.gateway_pods(gateway, self.seen)
            self.configs[gateway.name] = self._gateway_config(gateway)
        with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
            pending = self._start(pool)
        return self._judge(pending)

    def _gateway_config(self, gateway: Gateway) -> Mapping[str, Any] | Missing:
        pods = self.gateway_pods[gateway.name]
        if isinstance(pods, Missing):
            return pods
        return _wanted.config_of(pods[0], FIREWALL) if pods else Missing(f"{gateway.object} has no pod")

    # -- starting --------------------------------------------------------------

    def _start(self, pool: ThreadPoolExecutor) -> _Pending:
        pending = _Pending()
        active = _registry.ACTIVE in self.options.classes
        if self._makes_twins:
            homes = {one.namespace for one in (*self.clients, *self.gateways.values())}
            for namespace in sorted(homes):
                _gather.sweep(self.runner.api, namespace, datetime.now(timezone.utc))
            self._start_twins(pool, pending)
            self._start_calls(pool, pending)
        for client in self.clients:
            for pod in self._pods(client):
                pending.probes[_pods.name(pod)] = pool.submit(self._probe_client, client, pod, active)
                for container in _judge_pod.own_containers(pod):
                    if container["name"] in _pods.running(pod):
                        place = Place(pod["metadata"]["namespace"], pod["metadata"]["name"], container["name"])
                        pending.looks[_pods.name(pod), container["name"]] = pool.submit(
                            _gather.look, self.runner, place
                        )
        for name in self.gateways:
            pods = self.gateway_pods[name]
            if not isinstance(pods, Missing) and len(pods) == 1:
                pending.probes[f"gateway/{name}"] = pool.submit(self._probe_gateway, name, pods[0], active)
        return pending

    def _start_calls(self, pool: ThreadPoolExecutor, pending: _Pending) -> None:
        for client in self.clients:
            source = _mesh.inward(client, self.options.mesh.ambient)
            if source is None or client.namespace not in self.options.mesh.ambient:
                continue
            for pod in self._pods(client):
                image = self.options.image or _wanted.image_of(pod, _judge_pod.GUARD)
                if image and (pod.get("status") or {}).get("podIP"):
                    pending.calls[_pods.name(pod)] = pool.submit(_mesh.call_in, self.runner, source, pod, image)

    def _start_twins(self, pool: ThreadPoolExecutor, pending: _Pending) -> None:
        needs = []
        for client in self.clients:
            wanted, pods = self._wanted(client), self._pods(client)
            if pods and not isinstance(wanted, Missing):
                image = self.options.image or _wanted.image_of(pods[0], _judge_pod.GUARD)
                needs.append(_places.Need(client.id, pods, wanted.policy, image))
        for name, gateway in self.gateways.items():
            policy = _wanted.gateway_policy(gateway, self.configs[name], self.seen)
            found = self.gateway_pods[name]
            if found and not isinstance(policy, Missing) and not isinstance(found, Missing):
                image = self.options.image or _wanted.image_of(found[0], FIREWALL)
                needs.append(_places.Need(f"gateway/{name}", found, policy, image))
        for group in _places.groups(needs, self.seen.held.all("NetworkPolicy")):
            pending.twins.append((group, pool.submit(_twin_run.run, self.runner, group, self.options.targets)))

    def _wanted(self, client: Client) -> _wanted.Wanted | Missing:
        gateway = self.gateways.get(client.gateway)
        if gateway is None:
            return Missing(f"gateway {client.gateway} is not known")
        return _wanted.client(client, gateway, self.seen, self.options.mesh)

    def _pods(self, client: Client) -> list[dict[str, Any]]:
        pods = self.pods[client.id]
        return [] if isinstance(pods, Missing) else pods

    def _probe_client(self, client: Client, pod: Mapping[str, Any], active: bool) -> Probe | Missing:
        config = _wanted.config_of(pod, _judge_pod.GUARD)
        if isinstance(config, Missing):
            return config
        if _judge_pod.OVERLAY not in _pods.running(pod):
            return Missing(f"{_judge_pod.OVERLAY} does not run")
        status = pod.get("status") or {}
        request = {
            "facts": list(_plan.CLIENT_FACTS),
            "table": _plan.CLIENT_TABLE,
            "config": config,
            "routes": _plan.looked_up(self.options.targets, status.get("hostIP", "")),
        }
        steps = _plan.client_steps(
            self.options.targets,
            self.options.attempt_timeout,
            status.get("podIP", ""),
            str(config.get("resolver", "")),
            _mesh.outward(client, self.options.mesh.ambient, self.seen),
        )
        place = Place(pod["metadata"]["namespace"], pod["metadata"]["name"], _judge_pod.OVERLAY)
        return _gather.probe(self.runner, place, request, steps if active else [])

    def _probe_gateway(self, name: str, pod: Mapping[str, Any], active: bool) -> Probe | Missing:
        config = self.configs[name]
        if isinstance(config, Missing):
            return config
        if KEEPER not in _pods.running(pod):
            return Missing(f"{KEEPER} does not run")
        request = {"facts": list(_plan.GATEWAY_FACTS), "table": _plan.GATEWAY_TABLE, "config": config}
        tunnel = str(config.get("tunnel_device", "tun0"))
        steps = _plan.gateway_steps(self.options.targets, self.options.attempt_timeout, tunnel)
        place = Place(pod["metadata"]["namespace"], pod["metadata"]["name"], KEEPER)
        return _gather.probe(self.runner, place, request, steps if active else [])

    # -- judging ---------------------------------------------------------------

    def site(self, shown: _places.Shown, pods: Sequence[Mapping[str, Any]]) -> Site:
        """Real addresses: declared, those of the nodes, and those that unprotected twins were seen under. ``pods`` are those
        that this is about, with the gateway between them and the world."""
        learnt = ["declared"] if self.options.real else []
        observed = {seen for one in shown.values() if not isinstance(one, Missing) for seen in _places.observed(one)}
        if observed:
            learnt.append("seen by an unprotected twin")
        real = {*self.options.real, *_places.addresses(self.seen.held.all("Node")), *observed}
        gaps = _places.gaps(pods, self.seen, shown, self._makes_twins)
        return Site(frozenset(real), tuple(learnt), frozenset(self.options.exits), gaps)

    @property
    def _makes_twins(self) -> bool:
        return _registry.DISPOSABLE in self.options.classes

    def _behind(self, name: str) -> tuple[Mapping[str, Any], ...]:
        """The pods of a gateway, as far as they are known."""
        pods = self.gateway_pods.get(name, ())
        return () if isinstance(pods, Missing) else pods

    def _judge(self, pending: _Pending) -> dict[str, Any]:
        twins = _shown(pending.twins)
        probes = {name: _outcome(one) for name, one in pending.probes.items()}
        self.talks = _mesh.talks(
            self.runner, self.around, probes, {k: _outcome(one) for k, one in pending.calls.items()}
        )
        evidence = {name: self._gateway_evidence(name, pending, twins) for name in self.gateways}
        gateways = {name: _registry.run(one, _registry.GATEWAY, self.options.classes) for name, one in evidence.items()}
        inventory = _registry.run(_inventory.unnamed(self.listed, self.seen), _registry.INVENTORY, self.options.classes)
        checks = [*inventory, *(result for results in gateways.values() for result in results)]
        clients, worst = [], _verdict.PROTECTED
        for client in self.clients:
            pods = {}
            for one in self._client_evidence(client, pending, twins, evidence):
                pods[one.target] = _registry.run(one, _registry.CLIENT, self.options.classes)
            behind = {name: results for name, results in gateways.items() if name == client.gateway}
            beside = _registry.run(self.beside[client.id], _registry.WORKLOAD, self.options.classes)
            verdict = _verdict.judge(pods, behind, beside)
            own = [*beside, *(result for results in pods.values() for result in results)]
            clients.append(self._client(client, verdict, own, behind))
            checks += own
            worst = max(worst, verdict.verdict, key=_verdict.VERDICTS.index)
        overlooked = _verdict.unlike_pass(inventory, self.options.accept_unknown)
        if overlooked or not clients:
            worst = max(worst, _verdict.UNKNOWN, key=_verdict.VERDICTS.index)
        return {
            "time": self.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "verdict": worst,
            "acceptable": bool(clients) and not overlooked and not any(one["reasons"] for one in clients),
            "reasons": overlooked,
            "require": self.options.require,
            "clients": clients,
            "checks": [one.to_dict() for one in checks],
        }

    def _client(
        self,
        client: Client,
        verdict: _verdict.Verdict,
        own: Sequence[Result],
        behind: Mapping[str, Sequence[Result]],
    ) -> dict[str, Any]:
        every = [*own, *(result for results in behind.values() for result in results)]
        reasons = _verdict.acceptable(verdict, self.options.require, every, self.options.accept_unknown)
        pods = self.pods[client.id]
        if isinstance(pods, Missing) or not pods:
            seen = str(pods) if isinstance(pods, Missing) else "no pod runs"
            reasons = [f"nothing is known of it: {seen}", *reasons]
        return {
            "kind": client.kind,
            "namespace": client.namespace,
            "name": client.name,
            "gateway": client.gateway,
            "acceptable": not reasons,
            "reasons": [f"{client.object}: {reason}" for reason in reasons],
            **verdict.to_dict(),
        }

    def _client_evidence(
        self,
        client: Client,
        pending: _Pending,
        twins: _places.Shown,
        gateways: Mapping[str, GatewayEvidence],
    ) -> list[PodEvidence]:
        wanted = self._wanted(client)
        pods = self._pods(client)
        view = _wanted.view(
            _read.policy_of("NetworkPolicy", client, self.seen),
            wanted if isinstance(wanted, Missing) else wanted.policy,
            self.seen.held.all("Pod", namespace=client.namespace),
            pods,
            self.seen,
        )
        return [
            PodEvidence(
                target=_pods.name(pod),
                site=self.site(twins, [pod, *self._behind(client.gateway)]),
                pod=pod,
                config=_wanted.config_of(pod, _judge_pod.GUARD),
                direct=wanted if isinstance(wanted, Missing) else wanted.direct,
                services=_services.view(client, self.gateways.get(client.gateway), self.seen),
                dns={} if isinstance(wanted, Missing) else wanted.dns,
                probe=_outcome(pending.probes.get(_pods.name(pod)), "nothing was tried in the pod"),
                inside=self._inside(pod, pending),
                policy=view,
                twins=_places.twins_for(client.id, pod, twins, self._makes_twins),
                gateway=gateways.get(client.gateway, Missing("the gateway was not looked at")),
                mesh=_mesh.view(self.around, self.talks, client, pod, self.options.mesh.ambient, self.seen),
            )
            for pod in pods
        ]

    def _inside(self, pod: Mapping[str, Any], pending: _Pending) -> dict[str, Inside | Missing]:
        return {
            one["name"]: _outcome(pending.looks.get((_pods.name(pod), one["name"])), "the container does not run")
            for one in _judge_pod.own_containers(pod)
            if one["name"] not in _pods.ended(pod)
        }

    def _gateway_evidence(self, name: str, pending: _Pending, twins: _places.Shown) -> GatewayEvidence:
        gateway = self.gateways[name]
        pods, config = self.gateway_pods[name], self.configs[name]
        workload = self.seen.missing("StatefulSet", gateway.namespace)
        view = _wanted.view(
            _read.policy_of("NetworkPolicy", gateway, self.seen),
            _wanted.gateway_policy(gateway, config, self.seen),
            self.seen.held.all("Pod", namespace=gateway.namespace),
            _read.own_gateway_pods(gateway, self.seen),
            self.seen,
        )
        evidence = GatewayEvidence(
            target=f"{gateway.namespace}/{name}",
            site=self.site(twins, self._behind(name)),
            pods=pods,
            workload=workload or self.seen.held.get("StatefulSet", gateway.namespace, gateway.name),
            config=config,
            probe=_outcome(pending.probes.get(f"gateway/{name}"), "nothing was tried in the gateway"),
            policy=view,
            namespace_mode=_mesh.mode(self.around, gateway.namespace),
            dataplane=self.around.dataplane,
        )
        pod = evidence.pod
        beside = (
            pod if isinstance(pod, Missing) else _places.twins_for(f"gateway/{name}", pod, twins, self._makes_twins)
        )
        live = {
            _pods.name(pod): (pod.get("status") or {}).get("podIP", "")
            for pod in self.seen.held.all("Pod")
            if _names.CLIENT_LABEL in (pod["metadata"].get("labels") or {})
        }
        return replace(evidence, twins=beside, clients=live, all_clients=self.seen.missing("Pod") is None)


def _shown(pending: Sequence[tuple[_twin_run.Group, Future[Any]]]) -> _places.Shown:
    """What twins showed, by what the policy is of and node."""
    found: dict[_places.Key, Twins | Missing] = {}
    for group, future in pending:
        told = _outcome(future)
        for key in group.policies:
            found[key, group.node] = told if isinstance(told, Missing) else told[key]
    return found


def _outcome(future: Future[Any] | None, otherwise: str = "it was not made") -> Any:
    """A future's result; whatever went wrong in it is missing evidence, not the end of the run."""
    if future is None:
        return Missing(otherwise)
    try:
        return future.result()
    except Exception as exc:  # a bug in one probe must not hide the evidence of the others
        return Missing(f"{type(exc).__name__}: {exc}")
