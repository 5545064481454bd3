# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The mesh around VPN clients: what is read of it, the calls that are made through it, and its own record of them."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _gather, _twins
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import MeshView, Probe, Record
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import labels_of
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client
from ansible_collections.bulkhead.mesh.plugins.module_utils._istio import _look
from ansible_collections.bulkhead.mesh.plugins.module_utils._killswitch import _read
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _disposable, _pod_outcome
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh import _coexist

MODE = "istio.io/dataplane-mode"
# On the DaemonSet of whatever serves in ztunnel's place, so that results say which data plane they rest on.
DATAPLANE_ANNOTATION, REAL = "bulkhead.mesh/dataplane", "ztunnel"
# Where Istio's agent shows kubelet probes from unless it is told otherwise (1.31).
PROBE_VARIABLES = {
    "HOST_PROBE_SNAT_IP": "169.254.7.127",
    "HOST_PROBE_SNAT_IPV6": "fd16:9254:7127:1337:ffff:ffff:ffff:ffff",
}
_PODS = "app=ztunnel"  # label of ztunnel's pods
_FIELD = re.compile(r'([a-z_.]+)=(?:"([^"]*)"|(\S+))')
_SPIFFE = re.compile(r"spiffe://[^/]+/ns/([^/]+)/sa/([^/]+)")
# Connects, says something and tells its own port, by which the mesh's record of the call is found again.
_CALL = (
    "import json,socket,sys\n"
    "ports=[]\n"
    "for port in sys.argv[2:]:\n"
    "    with socket.create_connection((sys.argv[1],int(port)),5) as s:\n"
    "        ports.append(s.getsockname()[1]); s.settimeout(5)\n"
    "        s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
    "        try: s.recv(1)\n"
    "        except OSError: pass\n"
    "print(json.dumps(ports))\n"
)
LOG_WAIT = 10.0  # seconds until a call that has ended is in the log


@dataclass(frozen=True)
class Surroundings:
    """What was read of the mesh. ``modes`` are labels of namespaces, ``entries`` ServiceEntries as sentences judge them."""

    modes: Mapping[str, str] | Missing = Missing("the namespaces were not read")
    entries: Sequence[Mapping[str, Any]] | Missing = Missing("the mesh was not read")
    probe_addresses: tuple[str, ...] | Missing = Missing("the mesh's agent was not read")
    dataplane: str = ""
    home: str = ""  # namespace of ztunnel
    started: float = field(default_factory=time.time)


def look(api: _client.Caller) -> Surroundings:
    """Read it, one LIST each; what cannot be read is missing, and the rest still counts."""
    asked = {
        "namespaces": Request("/api/v1/namespaces", "list namespaces"),
        "entries": Request("/apis/networking.istio.io/v1/serviceentries", "list serviceentries.networking.istio.io"),
        "agents": Request("/apis/apps/v1/daemonsets", "list daemonsets.apps"),
    }
    answers = _client.read_all(api, asked)
    held: dict[str, list[dict[str, Any]] | Missing] = {}
    for name, request in asked.items():
        answer = answers[name]
        if answer.status == 404:
            held[name] = []
        elif answer.ok and isinstance(answer.body.get("items"), list):
            held[name] = answer.body["items"]
        else:
            held[name] = Missing(f"not able to {request.what} (status {answer.status}: {answer.message})")
    return _understood(held)


def _understood(held: Mapping[str, list[dict[str, Any]] | Missing]) -> Surroundings:
    """Pure: objects as values."""
    namespaces, entries, agents = (held[name] for name in ("namespaces", "entries", "agents"))
    planes = [] if isinstance(agents, Missing) else [one for one in agents if _look.is_ztunnel(one)]
    by_name: dict[str, dict[str, Any]] | Missing = namespaces
    if not isinstance(namespaces, Missing):
        by_name = {one["metadata"]["name"]: one for one in namespaces}
    return Surroundings(
        modes=by_name
        if isinstance(by_name, Missing)
        else {name: labels_of(one).get(MODE, "") for name, one in by_name.items()},
        entries=_entries(entries, by_name),
        probe_addresses=agents if isinstance(agents, Missing) else _probe_addresses(agents),
        dataplane=_dataplane(planes[0]) if planes else "",
        home=planes[0]["metadata"]["namespace"] if planes else "",
    )


def _entries(
    entries: list[dict[str, Any]] | Missing, by_name: Mapping[str, Mapping[str, Any]] | Missing
) -> Sequence[Mapping[str, Any]] | Missing:
    for value in (entries, by_name):
        if isinstance(value, Missing):
            return value
    return [_look.service_entry(one, by_name) for one in entries]  # type: ignore[arg-type]


def _probe_addresses(agents: Sequence[Mapping[str, Any]]) -> tuple[str, ...] | Missing:
    writers = [one for one in agents if _look.is_cni(one)]
    if not writers:
        return Missing("the mesh's agent istio-cni-node is not there")
    containers = writers[0]["spec"]["template"]["spec"]["containers"]
    told = {one["name"]: one.get("value", "") for container in containers for one in container.get("env") or []}
    return tuple(told.get(name) or address for name, address in PROBE_VARIABLES.items())


def _dataplane(plane: Mapping[str, Any]) -> str:
    for metadata in (plane["spec"]["template"].get("metadata") or {}, plane["metadata"]):
        told = (metadata.get("annotations") or {}).get(DATAPLANE_ANNOTATION)
        if told:
            return str(told)
    return REAL


# -- calls ----------------------------------------------------------------------


def outward(client: Client, ambient: Iterable[str], seen: _read.Seen) -> list[tuple[str, int]]:
    """(address, port) of the Services in the mesh that the client may call; TCP only."""
    found = []
    for rule in client.egress:
        service = seen.held.get("Service", rule.namespace, rule.service) if rule.namespace in ambient else None
        spec = (service or {}).get("spec") or {}
        offered = {one["port"] for one in spec.get("ports") or [] if one.get("protocol", "TCP") == "TCP"}
        wanted = offered & set(rule.ports) if rule.ports else offered
        if spec.get("clusterIP") not in (None, "", "None"):
            found += [(str(spec["clusterIP"]), int(port)) for port in sorted(wanted)[:1]]
    return found[:2]


def inward(client: Client, ambient: Iterable[str]) -> tuple[str, int] | None:
    """(namespace, port) of the first source in the mesh that may call the client."""
    for rule in client.ingress:
        if rule.namespace in ambient and rule.protocol == "TCP" and not rule.pods:
            return str(rule.namespace), rule.ports[0]
    return None


def call_in(runner: _gather.Runner, source: tuple[str, int], like: Mapping[str, Any], image: str) -> Any:
    """Local ports of a call from a disposable pod in the mesh to the client's pod ``like``, or why there is none."""
    namespace, port = source
    name = _disposable.unique_name("bulkhead-caller")
    pod = _twins.pod(name, name, "caller", like, image)
    pod["metadata"]["namespace"] = namespace
    del pod["metadata"]["labels"][_twins.OUTSIDE]
    pod["spec"].pop("imagePullSecrets", None)  # of the client's namespace
    address = like["status"]["podIP"]
    pod["spec"]["containers"][0]["command"] = ["python3", "-I", "-c", _CALL, address, str(port)]
    try:
        output, dummy = _disposable.run_pod(
            runner.api, pod, timeout=runner.timeout, sleep=0.5, stuck=_pod_outcome.disposable, wait=runner.wait
        )
    except (KubeError, _disposable.ProbeFailed) as exc:
        return Missing(str(exc))
    found = re.search(r"\[[0-9, ]+\]", output)
    return tuple(int(word) for word in re.findall(r"\d+", found[0])) if found else Missing("the caller said nothing")


# -- the mesh's own record ---------------------------------------------------------


def parse(text: str) -> list[Record]:
    """Connections in ztunnel's access log; other lines are skipped. Pure."""
    found = []
    for line in text.splitlines():
        fields = {key: quoted or bare for key, quoted, bare in _FIELD.findall(line)}
        port = fields.get("src.addr", "").rpartition(":")[2]
        if "dst.addr" in fields and port.isdigit():
            found.append(
                Record(
                    port=int(port),
                    source=_account(fields.get("src.identity", "")),
                    destination=_account(fields.get("dst.identity", "")),
                    direction=fields.get("direction", ""),
                )
            )
    return found


def _account(identity: str) -> str:
    """``namespace/service account`` of a SPIFFE id; the trust domain is the mesh's own affair."""
    match = _SPIFFE.fullmatch(identity)
    return f"{match[1]}/{match[2]}" if match else ""


def records(runner: _gather.Runner, around: Surroundings, ports: Iterable[int]) -> tuple[Record, ...] | Missing:
    """What ztunnel logged since ``around`` was read; waits until calls from these local ports are in it."""
    if not around.home:
        return Missing("there is no ztunnel")
    wanted = set(ports)
    pods = f"/api/v1/namespaces/{around.home}/pods"
    listed = runner.api.call(Request(pods, f"list pods in {around.home}", query={"labelSelector": _PODS}))
    if not listed.ok:
        return Missing(f"not able to list pods in {around.home} (status {listed.status}: {listed.message})")
    deadline = runner.clock() + LOG_WAIT
    while True:
        found: list[Record] = []
        for pod in listed.body.get("items") or []:
            name = pod["metadata"]["name"]
            query = {"sinceSeconds": str(int(time.time() - around.started) + 5)}
            request = Request(f"{pods}/{name}/log", f"read the log of pod {name}", query=query, accept="*/*")
            answer = runner.api.call(request)
            if not answer.ok:
                return Missing(f"not able to {request.what} (status {answer.status}: {answer.message})")
            found += parse(str(answer.body.get("text", "")))
        if wanted <= {one.port for one in found} or runner.clock() > deadline:
            return tuple(found)
        runner.pause(0.5)


def accounts(pods: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """``namespace/service account`` of each pod."""
    return frozenset(
        f"{one['metadata']['namespace']}/{one['spec'].get('serviceAccountName') or 'default'}" for one in pods
    )


@dataclass(frozen=True)
class Talks:
    """Calls that were made through the mesh, by pod: local ports, or why there are none; and what the mesh logged."""

    out: Mapping[str, tuple[int, ...] | Missing] = field(default_factory=dict)
    into: Mapping[str, tuple[int, ...] | Missing] = field(default_factory=dict)
    records: tuple[Record, ...] | Missing = ()


def talks(
    runner: _gather.Runner, around: Surroundings, probes: Mapping[str, Probe | Missing], calls: Mapping[str, Any]
) -> Talks:
    """The calls that the probes and the callers made, with the log read until they are in it."""
    out = {name: made_ports(one) for name, one in probes.items()}
    known = [port for one in (*out.values(), *calls.values()) if not isinstance(one, Missing) for port in one]
    return Talks(out, dict(calls), records(runner, around, known) if known else ())


def made_ports(probe: Probe | Missing) -> tuple[int, ...] | Missing:
    """Local ports of a probe's calls; missing if one could not be made. Pure."""
    step = probe if isinstance(probe, Missing) else probe.step("mesh-out")
    if isinstance(step, Missing):
        return step
    for one in step.attempts:
        if not one.detail.isdigit():
            return Missing(f"a call ended with {one.outcome} {one.detail}".rstrip())
    return tuple(int(one.detail) for one in step.attempts)


def mode(around: Surroundings, namespace: str) -> str | Missing:
    """The label of a namespace that says how its pods are in the mesh; empty where there is none."""
    return around.modes if isinstance(around.modes, Missing) else around.modes.get(namespace, "")


def view(
    around: Surroundings,
    talked: Talks,
    client: Client,
    pod: Mapping[str, Any],
    ambient: Collection[str],
    seen: _read.Seen,
) -> MeshView:
    """The evidence for one pod of a client."""
    name = f"{client.namespace}/{pod['metadata']['name']}"
    ports, peers = {}, {}
    own = accounts([pod])
    if outward(client, ambient, seen):
        ports["mesh-out"] = talked.out.get(name, Missing("nothing was tried in the pod"))
        servers = accounts(one for rule in client.egress for one in seen.held.all("Pod", namespace=rule.namespace))
        peers["mesh-out"] = frozenset((source, to) for source in own for to in servers)
    source = inward(client, ambient)
    if source is not None:
        ports["mesh-in"] = talked.into.get(name, Missing("no pod called it"))
        peers["mesh-in"] = frozenset((f"{source[0]}/default", to) for to in own)
    return MeshView(
        declared=client.namespace in ambient,
        dataplane=around.dataplane,
        audit=_audit(around, client),
        probe_addresses=around.probe_addresses,
        records=talked.records,
        ports=ports,
        peers=peers,
    )


def _audit(around: Surroundings, client: Client) -> tuple[str, ...] | Missing:
    if isinstance(around.entries, Missing):
        return around.entries
    return tuple(problem for entry in around.entries for problem in _coexist.service_entry(entry, [client.object]))
