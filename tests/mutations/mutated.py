"""What can be broken on the lab, and how each thing is put back.

A mutation is a few steps. A step is a mapping with one place to act in:

- ``client``, ``gateway``, ``app``: a shell line in the overlay's, the gateway's or the user's container;
- ``node``: a shell line as root on the node;
- ``kube``: words for kubectl, with ``object`` as its standard input;
- ``renew``: an object that is deleted and made again.

``$names`` in a line are replaced, see ``Stage.names``.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from string import Template
from typing import Any

import attached
import proof
import yaml
from running_lab import kubectl, lab, netpol

from bulkhead_lab import plan
from bulkhead_lab.client import lab_call
from bulkhead_lab.paths import Paths

SECONDS = 60.0  # until everything passes again after a mutation was undone
# The last one is the one that is tried; the API server follows in the order in which they are changed.
BINDINGS = {
    "client": [f"bulkhead-vpn-{what}.{attached.CLIENTS}.{attached.NAME}" for what in ("workload", "client")],
    "gateway": [f"bulkhead-vpn-gateway.{attached.VPN}.{attached.GATEWAY}"],
}
# Where lines run: namespace, pod, container.
CONTAINERS = {
    "client": (attached.CLIENTS, attached.POD, "bulkhead-overlay"),
    "app": (attached.CLIENTS, attached.POD, "app"),
    "gateway": (attached.VPN, attached.GATEWAY_POD, "bulkhead-gateway"),
    "engine": (attached.VPN, attached.GATEWAY_POD, "engine"),
}
WORKLOADS = {"client": (attached.CLIENTS, attached.NAME), "gateway": (attached.VPN, attached.GATEWAY)}
OBJECTS = {
    "client policy": (attached.CLIENTS, "networkpolicy", f"bulkhead-vpn-client-{attached.NAME}"),
    "gateway policy": (attached.VPN, "networkpolicy", f"bulkhead-vpn-gateway-{attached.GATEWAY}"),
    "client workload": (attached.CLIENTS, "statefulset", attached.NAME),
    "gateway workload": (attached.VPN, "statefulset", attached.GATEWAY),
}
RULES = {"client rules": "client", "gateway rules": "gateway"}
_TASKS = "/run/containerd/io.containerd.runtime.v2.task/k8s.io"
LATE = "late=8s"  # longer than a pod takes from its address to its first program, also on a busy machine
_PATIENCE = 15.0  # seconds until the API server takes a changed admission policy into account


class Stage:
    """The lab with an attached client. ``passed`` are the checks that passed when they were last looked at."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.passed: dict[str, set[str]] = {proof.CLIENT: set(), proof.GATEWAY: set()}

    def normal(self) -> None:
        """The lab's own switches as they are when nothing is tested."""
        netpol("mode", "on")
        lab_call(self.paths, "proxy-arp", value="off")

    # -- steps -----------------------------------------------------------------

    def names(self) -> dict[str, str]:
        """What ``$names`` in lines stand for, but for what belongs to one container (``task``)."""
        return {
            "clients": attached.CLIENTS,
            "vpn": attached.VPN,
            "name": attached.NAME,
            "gateway": attached.GATEWAY,
            "pod": attached.POD,
            "gateway_pod": attached.GATEWAY_POD,
            "client_policy": OBJECTS["client policy"][2],
            "gateway_policy": OBJECTS["gateway policy"][2],
            "image": attached.TOOLBOX,
            "service": attached.SERVICE,
            "target4": plan.TARGET4,
        }

    def do(self, step: Mapping[str, Any]) -> None:
        """Carry out one step; AssertionError with the output when it fails."""
        names = self.names()
        for place in CONTAINERS:
            if place in step:
                self.inside(place, self._filled(step[place], {**names, **self._addresses(step[place])}))
        if "node" in step:
            about = {}
            for word in ("client", "gateway", "engine"):
                if f"${{{word}_" in step["node"]:
                    about.update({f"{word}_{key}": value for key, value in self.task(word).items()})
            lab("node-exec", "--", "sh", "-ec", self._filled(step["node"], {**names, **about}))
        if "kube" in step:
            text = json.dumps(step["object"]) if "object" in step else None
            stdin = self._filled(text, names) if text else None
            kubectl(*shlex.split(self._filled(step["kube"], names)), stdin=stdin)
        if "renew" in step:
            namespace, kind, name = OBJECTS[step["renew"]]
            again = self.saved(step["renew"])
            kubectl("-n", namespace, "delete", kind, name)
            again()

    @staticmethod
    def _filled(line: str, names: Mapping[str, str]) -> str:
        return Template(line).substitute(names)

    @staticmethod
    def _addresses(line: str) -> dict[str, str]:
        if "$pod_ip" not in line:
            return {}
        return {"pod_ip": field(attached.CLIENTS, f"pod/{attached.POD}", "{.status.podIP}")}

    @staticmethod
    def inside(place: str, line: str, stdin: str | None = None) -> str:
        """Run a shell line in a container; its output."""
        namespace, pod, container = CONTAINERS[place]
        return kubectl("-n", namespace, "exec", "-i", pod, "-c", container, "--", "sh", "-ec", line, stdin=stdin or "")

    @staticmethod
    def task(place: str) -> dict[str, str]:
        """A running container as the node knows it: its process id, and its root file system, which is writable there."""
        namespace, pod, container = CONTAINERS[place]
        status = json.loads(kubectl("-n", namespace, "get", "pod", pod, "-o", "json"))["status"]
        held = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
        id_ = next(one["containerID"] for one in held if one["name"] == container).removeprefix("containerd://")
        listed = lab("node-exec", "--", "ctr", "--namespace", "k8s.io", "tasks", "list")
        pids = [line.split()[1] for line in listed.splitlines() if line.startswith(id_)]
        assert len(pids) == 1, f"container {container} of {pod} does not run on the node"
        return {"pid": pids[0], "rootfs": f"{_TASKS}/{id_}/rootfs"}

    # -- circumstances: on before the mutation, off after it ---------------------

    def circumstance(self, name: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """How a circumstance begins and how it ends."""
        if name.startswith("frozen "):
            # Our agents put right what they find wrong every few seconds; a stopped one does not interfere.
            pid = self.task(name.removeprefix("frozen "))["pid"]
            return (lambda: signal(pid, "STOP")), (lambda: signal(pid, "CONT"))
        if name.startswith("no admission of "):
            whose = name.removeprefix("no admission of ")
            return partial(self.admission, whose, False), partial(self.admission, whose, True)
        return {
            "proxy-ARP": (
                lambda: lab_call(self.paths, "proxy-arp", value="on"),
                lambda: lab_call(self.paths, "proxy-arp", value="off"),
            ),
            "enforcer off": (lambda: netpol("mode", "off"), lambda: netpol("mode", "on")),
            "enforcer late": (lambda: netpol("mode", LATE), lambda: netpol("mode", "on")),
            "target down": (
                lambda: lab_call(self.paths, "stop", name="target"),
                lambda: lab_call(self.paths, "start", name="target"),
            ),
        }[name]

    @staticmethod
    def admission(whose: str, on: bool) -> None:
        """Let the API server refuse what the policy of the client or gateway refuses, or only note it."""
        actions = ["Deny"] if on else ["Audit"]
        patch = json.dumps({"spec": {"validationActions": actions}})
        for name in BINDINGS[whose]:
            kubectl("patch", "validatingadmissionpolicybinding", name, "--type=merge", "-p", patch)
        deadline = time.monotonic() + _PATIENCE
        while refuses(whose) != on:
            assert time.monotonic() < deadline, f"admission of the {whose} did not follow within {_PATIENCE:.0f} s"
            time.sleep(0.2)

    # -- saving and putting back -------------------------------------------------

    def saved(self, what: str) -> Callable[[], None]:
        """Remember something as it is; calling the result puts it back."""
        if what in RULES:
            place = RULES[what]
            text = "flush ruleset\n" + self.inside(place, "nft list ruleset")
            return lambda: self.inside(place, "nft -f -", text) and None
        namespace, kind, name = OBJECTS[what]
        held = json.loads(kubectl("-n", namespace, "get", kind, name, "-o", "json"))
        for key in ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"):
            held["metadata"].pop(key, None)
        held.pop("status", None)
        return partial(put_back, held)

    @staticmethod
    def replace(whose: str) -> None:
        """A new pod; the StatefulSet may have replaced it already."""
        namespace, name = WORKLOADS[whose]
        kubectl("-n", namespace, "delete", "pod", f"{name}-0", "--ignore-not-found", "--wait=true")
        kubectl("-n", namespace, "rollout", "status", f"statefulset/{name}", "--timeout=60s")

    @contextmanager
    def broken(self, mutation: Mapping[str, Any]) -> Iterator[None]:
        """The lab with one mutation; whatever happens inside, all of it is undone, in reverse."""
        with ExitStack() as stack:
            for whose in mutation.get("replace", ()):
                stack.callback(self.replace, whose)
            for name in mutation.get("with", ()):
                begin, end = self.circumstance(name)
                stack.callback(end)
                begin()
            for what in mutation.get("restore", ()):
                stack.callback(self.saved(what))
            for step in reversed(mutation.get("undo", ())):
                stack.callback(self.do, step)
            for step in mutation.get("do", ()):
                self.do(step)
            for whose in mutation.get("roll", ()):
                self.rolled(whose)
            yield

    @staticmethod
    def rolled(whose: str) -> None:
        """Wait until the pod is of the template that was just changed, and runs."""
        namespace, name = WORKLOADS[whose]
        kubectl("-n", namespace, "rollout", "status", f"statefulset/{name}", "--timeout=60s")

    # -- looking -----------------------------------------------------------------

    def recover(self, classes: Sequence[str]) -> None:
        """Look until all checks of these classes pass; AssertionError with what does not after a while.

        Then the pods are replaced, so that the next mutation has a chance.
        """
        try:
            self._look(classes)
        except AssertionError:
            for whose in WORKLOADS:
                self.replace(whose)
            with suppress(AssertionError):
                self._look(["P", "A", "C"])
            raise

    def _look(self, classes: Sequence[str]) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            seen = proof.run(list(classes))
            bad = {on: set(each) for on, each in seen.unlike_pass().items()}
            for on, each in seen.results.items():
                self.passed[on] = (self.passed[on] | set(each)) - bad[on]
            if not any(bad.values()) and all(seen.results.values()):
                return
            assert time.monotonic() < deadline, f"not all checks pass after {SECONDS:.0f} s:\n{seen.why()}"
            time.sleep(0.5)


def field(namespace: str, what: str, path: str) -> str:
    """One field of an object."""
    return kubectl("-n", namespace, "get", what, "-o", f"jsonpath={path}").strip()


def signal(pid: str, name: str) -> None:
    """Send a signal to a process of the node."""
    lab("node-exec", "--", "kill", f"-{name}", pid)


def refuses(whose: str) -> bool:
    """Whether admission refuses, in a dry run, what it is there to refuse."""
    namespace, name = WORKLOADS[whose]
    if whose == "gateway":
        words = ("-n", namespace, "scale", f"statefulset/{name}", "--replicas=2", "--dry-run=server")
        return not kubectl(*words, check=False).strip()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "unguarded", "namespace": namespace, "labels": {"app": name}},
        "spec": {"containers": [{"name": "app", "image": attached.TOOLBOX}]},
    }
    return not kubectl("create", "--dry-run=server", "-o", "name", "-f", "-", check=False, stdin=json.dumps(pod))


def put_back(held: Mapping[str, Any]) -> None:
    """An object as it was, whether it is still there or not."""
    metadata = held["metadata"]
    there = kubectl(
        "-n", metadata["namespace"], "get", held["kind"], metadata["name"], "--ignore-not-found", "-o", "name"
    )
    kubectl("replace" if there.strip() else "create", "-f", "-", stdin=json.dumps(held))


def listed() -> list[dict[str, Any]]:
    """The list of mutations."""
    text = (attached.ROOT / "tests" / "mutations" / "killswitch.yml").read_text()
    return list(yaml.safe_load(text)["mutations"])
