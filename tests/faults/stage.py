"""Workloads of any shape behind this suite's gateway, each run of ``vpn_client`` one call of the module itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import attached
import standing
from running_lab import apply, kubectl, until

from bulkhead_lab import capture, plan, senders
from bulkhead_lab.client import lab_call
from bulkhead_lab.paths import Paths

NAMESPACE = "fault-shapes"
MODULES = "ansible_collections.bulkhead.mesh.plugins.modules"
GUARD = "bulkhead-guard"
BURST = 2  # seconds of one run of the sender
SENDING = f'while :; do python3 -c "$SENDER" {plan.TARGET4} {plan.ECHO_PORT} {BURST} {senders.RATE}; done'
Object = dict[str, Any]


def sender(name: str = "app") -> Object:
    """A container that sends to the internet target for ever, by ordinary sockets and by ones bound to eth0."""
    environment = [{"name": "SENDER", "value": senders.SCRIPT}]
    return {"name": name, "image": attached.TOOLBOX, "command": ["sh", "-c", SENDING], "env": environment}


def stateful_set(name: str, containers: Sequence[Object] = (), replicas: int = 1, **pod: Any) -> Object:
    """A user's StatefulSet; ``pod`` are further fields of its pods. Without containers it has one sender."""
    spec = {"terminationGracePeriodSeconds": 1, "containers": list(containers) or [sender()], **pod}
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def client(name: str, **more: Any) -> Object:
    """The entry in the list of VPN clients."""
    given = {"kind": "StatefulSet", "namespace": NAMESPACE, "name": name, **more}
    return given if given.get("state") == "absent" else {**given, "gateway": attached.GATEWAY}


def leaving(name: str, to: str) -> Object:
    """The entry of a client that is given back: ``sealed``, ``stopped`` or ``open``."""
    return client(name, state="absent", detach_to=to)


def vpn_client(*clients: Object, stop: str | None = None, fails: bool = False, **more: Any) -> Object:
    """Run the module; with ``stop`` it ends after that step as if it had been killed."""
    arguments = {
        "kubeconfig": os.environ["KUBECONFIG"],
        "clients": list(clients),
        "gateways": attached.VARIABLES["bulkhead_vpn_gateways"],
        "agent_image": attached.TOOLBOX,
        "wait_timeout": 60,
        **more,
    }
    return _run("vpn_client", arguments, stop, fails)


def vpn_gateway(fails: bool = False, **images: str) -> Object:
    """Run the module for this suite's gateway, with other images than it has."""
    arguments = {
        "kubeconfig": os.environ["KUBECONFIG"],
        "gateways": attached.VARIABLES["bulkhead_vpn_gateways"],
        "images": {**attached.VARIABLES["bulkhead_vpn_images"], **images},
        "wait_timeout": 60,
    }
    return _run("vpn_gateway", arguments, None, fails)


def _run(module: str, arguments: Object, stop: str | None, fails: bool) -> Object:
    environment = {**os.environ, "PYTHONPATH": f"{attached.ROOT / '.workspace'}:{os.environ.get('PYTHONPATH', '')}"}
    environment |= {"BULKHEAD_STOP_AFTER": stop} if stop else {}
    done = subprocess.run(
        [sys.executable, "-m", f"{MODULES}.{module}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout, done.stderr[-2000:]
    told: Object = json.loads(done.stdout)
    if stop:
        assert (told.get("failure") or {}).get("reason") == "Stopped", told
    else:
        assert bool(told.get("failed")) == fails, told.get("msg", told)
    return told


def get(kind: str, name: str = "", *words: str) -> Object:
    """An object, or a list of them, of this suite's namespace."""
    return dict(json.loads(kubectl("-n", NAMESPACE, "get", kind, *([name] if name else []), *words, "-o", "json")))


def pods(name: str) -> list[Object]:
    """Pods of a workload, also those that are about to end: they still send."""
    return list(get("pods", "", "-l", f"app={name}")["items"])


def guarded(pod: Mapping[str, Any]) -> bool:
    """Whether the guard is the first thing that runs in a pod or template."""
    inits = pod["spec"].get("initContainers") or [{}]
    return bool(inits[0].get("name") == GUARD)


def state(name: str) -> str:
    """One word for a workload: plain or guarded (its pods), mixed, stopped (none wanted), or refused (none made)."""
    found, wanted = pods(name), get("statefulset", name)["spec"]["replicas"]
    if found:
        kinds = {guarded(one) for one in found}
        return "mixed" if len(kinds) > 1 else "guarded" if kinds.pop() else "plain"
    return "refused" if wanted else "stopped"


def ready(name: str) -> None:
    """Wait until every wanted pod of the newest template is Ready."""
    kubectl("-n", NAMESPACE, "rollout", "status", f"statefulset/{name}", "--timeout=60s")


def put(*objects: Object) -> None:
    """Apply a user's workloads, as the user did before the collection came, and wait for their pods."""
    apply(*objects)
    for one in objects:
        ready(one["metadata"]["name"])


def tries(pod: str, seconds: float, container: str = "app") -> dict[str, int]:
    """How often each kind of sender tried in the last ``seconds``, from the log of a container that sends."""
    lines = kubectl("-n", NAMESPACE, "logs", pod, "-c", container, f"--since={max(1, round(seconds))}s").splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    return {kind: sum(one[kind]["tried"] for one in told) for kind in ("ordinary", "bound to eth0")}


def from_within(pod: str, seconds: float) -> dict[str, int]:
    """Send from the overlay's container, which a sealed pod has already; how often each kind of sender tried."""
    process = senders.start(Paths.from_environment(), NAMESPACE, pod, "bulkhead-overlay", plan.TARGET4, seconds)
    return {kind: count["tried"] for kind, count in senders.finish(process, seconds).items()}


@contextmanager
def no_admission(name: str) -> Iterator[None]:
    """The API server only notes what the rules for a client's workload and pods refuse; the control of a refusal."""
    _enforced(name, "Audit")
    yield
    _enforced(name, "Deny")


def _enforced(name: str, action: str) -> None:
    patch = json.dumps({"spec": {"validationActions": [action]}})
    # The last one is the one that is tried; the API server follows in the order in which they are changed.
    for what in ("workload", "client"):
        binding = f"bulkhead-vpn-{what}.{NAMESPACE}.{name}"
        kubectl("patch", "validatingadmissionpolicybinding", binding, "--type=merge", "-p", patch)
    template = stateful_set(name)["spec"]["template"]
    metadata = {"name": "tried", "namespace": NAMESPACE, **template["metadata"]}
    pod = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    words = ("create", "--dry-run=server", "-o", "name", "-f", "-")
    until(lambda: bool(kubectl(*words, check=False, stdin=pod)) == (action == "Audit"), f"admission is {action}")


@dataclass
class Leaks:
    """Packets of a window from the node to the target, and those of the unattached twin to the peer."""

    leaked: int = -1
    twin: int = -1

    def none(self) -> None:
        """Insist that nothing leaked while the capture saw what was not attached."""
        assert self.twin > 0, "the twin's packets were not seen, so the zero proves nothing"
        assert self.leaked == 0, f"{self.leaked} packets left the node past the VPN"


@contextmanager
def watching(paths: Paths, twin: bool = True) -> Iterator[Leaks]:
    """Count for as long as the block runs; a twin outside sends in its last second, as the control."""
    seen = Leaks()
    before = lab_call(paths, "capture")
    yield seen
    if twin:
        senders.finish(senders.start(paths, attached.CLIENTS, senders.TWIN, "app", plan.PEER4, 1), 1)
    window = capture.difference(before, lab_call(paths, "capture"))
    assert window["complete"], window["reason"]
    seen.leaked, seen.twin = senders.packets(window, plan.TARGET4), senders.packets(window, plan.PEER4)


def seen_address(pod: str, container: str = "app") -> str:
    """The address under which the target sees a pod; empty when it is not reached."""
    words = f"curl --silent --max-time 2 http://{plan.TARGET4}/ip".split()
    return kubectl("-n", NAMESPACE, "exec", pod, "-c", container, "--", *words, check=False).strip()


def comes_back(pod: str, container: str = "app") -> float:
    """Wait until a pod leaves by the VPN's exit; the seconds that it took."""
    places = (NAMESPACE, "bulkhead.mesh/vpn-client"), (attached.VPN, "bulkhead.mesh/role")
    return until(
        lambda: attached.by_the_vpn(seen_address(pod, container)),
        f"{pod} leaves by the VPN",
        evidence=lambda: standing.told(*places),
    )


def clear() -> None:
    """Give everything back and remove it; what is registered would keep the gateway from being removed."""
    names = [one["metadata"]["name"] for one in get("statefulsets")["items"]]
    if names:
        vpn_client(*(leaving(name, "stopped") for name in names))
        kubectl("-n", NAMESPACE, "delete", "statefulset", *names)
        until(lambda: not get("pods")["items"], "all pods are gone")
