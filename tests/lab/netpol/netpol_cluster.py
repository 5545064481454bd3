"""The cast of the NetworkPolicy cases in the lab's cluster, and how its agents are asked.

Agents are reached through the API server's pod proxy. The API server runs on the
node, and traffic between a pod and its own node is never judged by policies.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from netpol_cases import HOST_PORT, Case, CaseFile, Probe, flow_verdict, policy_objects, verdict

LAB = Path(__file__).resolve().parents[3] / "lab" / "lab"
IMAGE = "lab.local/toolbox:1"
TARGETS = {"target4": "203.0.113.10", "target6": "2001:db8:113::10"}
CONTROL, HOST_CONTROL = 9900, 19900
DENIED_TIMEOUT, ALLOWED_TIMEOUT = 1.0, 4.0  # seconds a probe waits for its answer


class Lab:
    """A running lab with the cast in it."""

    def __init__(self, cases: CaseFile) -> None:
        """Connect by the lab's own kubeconfig."""
        self.cases = cases
        kubeconfig = run_lab("kubeconfig").strip()
        settings = client.Configuration()
        config.load_kube_config(kubeconfig, client_configuration=settings)
        self.host = settings.host
        self.tls = ssl.create_default_context(cafile=settings.ssl_ca_cert)
        self.tls.load_cert_chain(settings.cert_file, settings.key_file)
        api = client.ApiClient(settings)
        self.core, self.networking = client.CoreV1Api(api), client.NetworkingV1Api(api)
        self.addresses: dict[str, dict[int, str]] = {}
        self.applied: list[dict[str, Any]] = []

    # --- the enforcer -------------------------------------------------------

    def netpol(self, *words: str) -> str:
        """Run the enforcer's command line on the node."""
        return run_lab("node-exec", "--", "/opt/lab/bin/netpol", *words)

    def settle(self) -> None:
        """Return when all that was written so far is enforced."""
        self.netpol("wait", "--settled", "--timeout", "20s")

    # --- the cast -----------------------------------------------------------

    def raise_cast(self) -> None:
        """Create namespaces, pods and services, wait until each agent answers."""
        self.remove_cast()
        agent = (Path(__file__).resolve().parent / "agent.py").read_text(encoding="utf-8")
        for name, labels in self.cases.namespaces.items():
            self.core.create_namespace({"metadata": {"name": name, "labels": labels}})
            self.core.create_namespaced_config_map(name, {"metadata": {"name": "agent"}, "data": {"agent.py": agent}})
        for name, pod in self.cases.pods.items():
            # The pod can be refused until its namespace has the default service account.
            retry(
                30, lambda name=name, pod=pod: self.core.create_namespaced_pod(pod["namespace"], self._pod(name, pod))
            )
        for name, service in self.cases.services.items():
            self._create_service(name, service)
        for name, pod in self.cases.pods.items():
            self._learn_addresses(name, pod["namespace"])
        for name in self.cases.pods:
            retry(60, lambda name=name: self.order(name, "seen"))
        self.settle()

    def remove_cast(self) -> None:
        """Delete the cast's namespaces and wait until they are gone."""
        names = set(self.cases.namespaces)
        for name in names:
            try:
                self.core.delete_namespace(name)
            except ApiException as error:
                if error.status != 404:
                    raise
        end = time.monotonic() + 120
        while names & {item.metadata.name for item in self.core.list_namespace().items}:
            if time.monotonic() > end:
                raise TimeoutError(f"namespaces {sorted(names)} are still there after 120 s; look at their finalizers")
            time.sleep(0.5)

    def _pod(self, name: str, pod: dict[str, Any]) -> dict[str, Any]:
        host = pod.get("host_network", False)
        listen = [HOST_PORT] if host else self.cases.listen
        agent = {
            "name": "agent",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "/agent/agent.py"],
            "env": [
                {"name": "AGENT_PORTS", "value": ",".join(map(str, listen))},
                {"name": "AGENT_CONTROL", "value": str(HOST_CONTROL if host else CONTROL)},
            ],
            "ports": container_ports(pod.get("ports", {})),
            "volumeMounts": [{"name": "agent", "mountPath": "/agent"}],
        }
        spec = {
            "containers": [agent],
            "volumes": [{"name": "agent", "configMap": {"name": "agent"}}],
            "hostNetwork": host,
            "terminationGracePeriodSeconds": 0,
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
        }
        if "sidecar_ports" in pod:
            spec["initContainers"] = [
                {
                    "name": "sidecar",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "infinity"],
                    "restartPolicy": "Always",
                    "ports": container_ports(pod["sidecar_ports"]),
                }
            ]
        return {"metadata": {"name": name, "labels": {"pod": name, **pod["labels"]}}, "spec": spec}

    def _create_service(self, name: str, service: dict[str, Any]) -> None:
        created = self.core.create_namespaced_service(
            service["namespace"],
            {
                "metadata": {"name": name},
                "spec": {
                    "selector": service["selector"],
                    "ipFamilyPolicy": "RequireDualStack",
                    "ports": [{"port": service["port"], "targetPort": service["target"]}],
                },
            },
        )
        self.addresses[name] = by_family(created.spec.cluster_ips)

    def _learn_addresses(self, name: str, namespace: str) -> None:
        def look() -> None:
            status = self.core.read_namespaced_pod(name, namespace).status
            found = by_family([item.ip for item in status.pod_ips or []])
            if set(found) != {4, 6}:
                raise LookupError(f"pod {namespace}/{name} has the addresses {found}, both families are needed")
            self.addresses[name] = found

        retry(90, look)

    # --- agents -------------------------------------------------------------

    def order(self, pod: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask a pod's agent; see agent.py for the orders."""
        cast = self.cases.pods[pod]
        port = HOST_CONTROL if cast.get("host_network") else CONTROL
        request = urllib.request.Request(
            f"{self.host}/api/v1/namespaces/{cast['namespace']}/pods/{pod}:{port}/proxy/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30, context=self.tls) as response:
            return json.load(response)

    def order_all(self, orders: dict[str, tuple[str, dict[str, Any] | None]]) -> dict[str, Any]:
        """Ask several agents at once."""
        with ThreadPoolExecutor(max_workers=max(1, len(orders))) as pool:
            futures = {pod: pool.submit(self.order, pod, *order) for pod, order in orders.items()}
            return {pod: future.result() for pod, future in futures.items()}

    def _probe_order(self, probe: Probe, nonce: str) -> dict[str, Any]:
        address = TARGETS.get(probe.target) or self.addresses[probe.target][probe.family]
        timeout = ALLOWED_TIMEOUT if probe.allowed else DENIED_TIMEOUT
        return {
            "id": nonce,
            "address": address,
            "port": probe.port or 0,
            "protocol": probe.protocol,
            "timeout": timeout,
        }

    # --- cases --------------------------------------------------------------

    def apply(self, policies: list[dict[str, Any]]) -> None:
        """Replace the policies of the last case by these; returns when they are enforced."""
        for policy in self.applied:
            meta = policy["metadata"]
            self.networking.delete_namespaced_network_policy(meta["name"], meta["namespace"])
        self.applied = []
        for policy in policies:
            self.networking.create_namespaced_network_policy(policy["metadata"]["namespace"], policy)
            self.applied.append(policy)
        self.settle()

    def run(self, case: Case) -> list[str]:
        """Try one case; returns what is wrong, empty if all holds."""
        flows = self._start_flows(case)
        self.apply(policy_objects(case, self.addresses))
        problems = self._judge_flows(flows)
        return problems + self._judge_probes(case.probes)

    def _start_flows(self, case: Case) -> dict[str, Probe]:
        flows = {uuid.uuid4().hex: flow for flow in case.flows}
        if flows:
            self.apply([])
            for nonce, flow in flows.items():
                self.order(flow.source, "flow", self._probe_order(flow, nonce))
            time.sleep(1.0)
        return flows

    def _judge_flows(self, flows: dict[str, Probe]) -> list[str]:
        if not flows:
            return []
        sources = {flow.source for flow in flows.values()}
        time.sleep(0.3)  # what arrived before the policy is counted with a delay
        before = self.order_all(dict.fromkeys(sources, ("flows", None)))
        time.sleep(1.0)
        after = self.order_all(dict.fromkeys(sources, ("flows", None)))
        self.order_all({pod: ("reset", {}) for pod in sources})
        verdicts = [
            flow_verdict(flow, before[flow.source][nonce], after[flow.source][nonce] - before[flow.source][nonce])
            for nonce, flow in flows.items()
        ]
        return [text for text in verdicts if text]

    def _judge_probes(self, probes: tuple[Probe, ...]) -> list[str]:
        nonces = {uuid.uuid4().hex: probe for probe in probes}
        orders: dict[str, list[dict[str, Any]]] = {}
        for nonce, probe in nonces.items():
            orders.setdefault(probe.source, []).append(self._probe_order(probe, nonce))
        answers = self.order_all({pod: ("probe", {"probes": items}) for pod, items in orders.items()})
        receivers = {p.target for p in probes if p.target in self.cases.pods and p.protocol != "ICMP"}
        seen = {pod: set(lines) for pod, lines in self.order_all(dict.fromkeys(receivers, ("seen", None))).items()}
        verdicts = []
        for nonce, probe in nonces.items():
            asked = probe.target in seen and probe.protocol != "ICMP"
            received = nonce in seen[probe.target] if asked else None
            verdicts.append(verdict(probe, answers[probe.source]["results"][nonce], received))
        return [text for text in verdicts if text]


def run_lab(*words: str) -> str:
    """Run the lab's command line; RuntimeError carries its message."""
    done = subprocess.run([sys.executable, str(LAB), *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"lab {' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def retry(seconds: float, action: Callable[[], Any]) -> Any:
    """Repeat an action until it raises nothing; its last error after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        try:
            return action()
        except (ApiException, LookupError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def by_family(addresses: list[str]) -> dict[int, str]:
    """Addresses by 4 and 6."""
    return {6 if ":" in address else 4: address for address in addresses}


def container_ports(named: dict[str, str]) -> list[dict[str, Any]]:
    """Container ports from {name: "number/protocol"}."""
    ports = []
    for name, text in named.items():
        number, protocol = text.split("/")
        ports.append({"name": name, "containerPort": int(number), "protocol": protocol})
    return ports
