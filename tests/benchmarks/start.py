"""What it takes to start many VPN clients at once, measured on the lab.

    eval "$(dev/run env)"; python tests/benchmarks/start.py [--clients 1 20 50] [--busy 2] [--slow 0.5]

So many StatefulSets of one pod each, which run already, are attached in one run of vpn_client. Told are the seconds until
all of them are Ready, the processor seconds of the whole node (pods, kubelet, containerd, API server) beyond what it takes
while nothing happens, and the requests of the run.

--busy  so many endless loops run on the machine meanwhile, one for each processor that shall be taken.
--slow  the whole node, API server and all, gets this share of a processor, as a small board would have.

The exit code is 1 when a client is not Ready, a container was started again, a pod that was Ready is no longer, or requests
grow by more than a constant per client. What it makes it takes away.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "faults"), str(ROOT / "tests" / "lab"), str(ROOT / "lab")]

# After the path is set.
import attached  # noqa: E402
from kubernetes import client, config, watch  # noqa: E402
from measure import PLAY, Audit, table, words  # noqa: E402
from running_lab import apply, kubectl, lab, netpol, until  # noqa: E402
from vpn import TASK, workload  # noqa: E402

from bulkhead_lab import nodeconfig, plan  # noqa: E402
from bulkhead_lab.paths import Paths  # noqa: E402

CGROUPS = Path("/sys/fs/cgroup")
PROGRAMS = "programs"  # the node's own, beside the kubelet's pods
PERIOD = 100_000  # microseconds
IDLE_SECONDS = 10.0
STEADY_SECONDS = 20.0  # in which nothing may flap once all are Ready
REQUESTS_GOAL = 15.0  # for each client more
WAIT_TIMEOUT = 600
PREFIX = "bench-"


class Node:
    """The node's processors: what it has used, and how much it may use."""

    def __init__(self) -> None:
        unified = (CGROUPS / "cgroup.controllers").exists()
        self._unified = unified
        self.usage = CGROUPS / ("" if unified else "cpuacct") / nodeconfig.CGROUP
        self.limits = CGROUPS / ("" if unified else "cpu") / nodeconfig.CGROUP
        namespace = lab("node-exec", "--", "readlink", "/proc/self/ns/pid").strip()
        # Pods have process namespaces of their own; what is left are the programs that the lab started.
        for folder in dict.fromkeys((self.usage, self.limits)):
            (folder / PROGRAMS).mkdir(exist_ok=True)
            for process in Path("/proc").iterdir():
                with contextlib.suppress(OSError):
                    if process.name.isdigit() and os.readlink(process / "ns" / "pid") == namespace:
                        (folder / PROGRAMS / "cgroup.procs").write_text(process.name)

    def seconds(self) -> float:
        """Processor seconds since the start."""
        if self._unified:
            used = dict(line.split() for line in (self.usage / "cpu.stat").read_text().splitlines())
            return int(used["usage_usec"]) / 1e6
        return int((self.usage / "cpuacct.usage").read_text()) / 1e9

    @contextlib.contextmanager
    def limited(self, processors: float | None) -> Iterator[None]:
        """Let the node have no more than so many processors."""
        if processors is None:
            yield
            return
        quota = str(int(processors * PERIOD))
        name, free = ("cpu.max", "max") if self._unified else ("cpu.cfs_quota_us", "-1")
        (self.limits / name).write_text(quota)
        try:
            yield
        finally:
            (self.limits / name).write_text(free)


class Flaps(threading.Thread):
    """Watches pods of a namespace for ones that were Ready and are no longer, though nobody ends them."""

    def __init__(self, namespace: str) -> None:
        super().__init__(daemon=True)
        self.namespace, self.found, self._ready = namespace, list[str](), set[str]()
        self.start()

    def run(self) -> None:
        api = client.CoreV1Api(client.ApiClient())
        api.api_client.user_agent = "benchmark"  # it must not be counted
        while True:
            with contextlib.suppress(Exception):  # the server closes a watch now and then, and a busy one is slow
                for event in watch.Watch().stream(api.list_namespaced_pod, self.namespace, timeout_seconds=300):
                    self._see(event["object"])

    def _see(self, pod: Any) -> None:
        ready = any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions or [])
        if ready:
            self._ready.add(pod.metadata.uid)
        elif pod.metadata.uid in self._ready and not pod.metadata.deletion_timestamp:
            self._ready.discard(pod.metadata.uid)
            self.found.append(pod.metadata.name)


def pods(namespace: str) -> list[dict[str, Any]]:
    """Gateway and endpoint controller, or the clients."""
    listed = json.loads(kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]
    return [one for one in listed if namespace == attached.VPN or one["metadata"]["name"].startswith(PREFIX)]


def ready(pod: dict[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions") or [])


def restarts() -> int:
    """How often containers were started again, of clients, gateway and endpoint controller."""
    return sum(
        one["restartCount"]
        for namespace in (attached.CLIENTS, attached.VPN)
        for pod in pods(namespace)
        for key in ("initContainerStatuses", "containerStatuses")
        for one in pod["status"].get(key) or []
    )


def run_module(names: Sequence[str], **more: str) -> tuple[bool, float, str]:
    """One run of vpn_client over these workloads: whether it succeeded, its seconds, and what it said."""
    one = attached.VARIABLES["bulkhead_vpn_clients"][0]
    values = {
        "kubeconfig": os.environ["KUBECONFIG"],
        "clients": [{**one, "name": name, **more} for name in names],
        "gateways": attached.VARIABLES["bulkhead_vpn_gateways"],
        "image": attached.TOOLBOX,
        "networks": {"pods": [plan.POD_CIDR4], "services": [plan.SERVICE_CIDR4], "nodes": [plan.NODE4]},
    }
    task = TASK + f"        wait_timeout: {WAIT_TIMEOUT}\n"
    with tempfile.TemporaryDirectory() as folder:
        book, given = Path(folder, "play.yml"), Path(folder, "values.json")
        book.write_text(PLAY.format(task=task), encoding="utf-8")
        given.write_text(json.dumps(values), encoding="utf-8")
        begin = time.monotonic()
        done = subprocess.run(
            ["ansible-playbook", "-i", "localhost,", "-e", f"@{given}", str(book)],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode == 0, time.monotonic() - begin, done.stdout[-3000:] + done.stderr[-1000:]


@contextlib.contextmanager
def world() -> Iterator[None]:
    """A gateway without clients; gone afterwards."""
    netpol("mode", "on")
    try:
        given = attached.user_objects(Paths.from_environment())
        apply(*(one for one in given if one["kind"] != "StatefulSet"))
        attached.playbook("site", {"bulkhead_vpn_clients": []})
        until(lambda: all(map(ready, pods(attached.VPN))), "the gateway is ready")
        yield
    finally:
        attached.clean_up()


@contextlib.contextmanager
def house(count: int) -> Iterator[list[str]]:
    """So many plain workloads that run; detached and gone afterwards."""
    names = [f"{PREFIX}{number:03}" for number in range(count)]
    apply(*(workload(name, 1) for name in names))
    until(lambda: sum(map(ready, pods(attached.CLIENTS))) == count, f"{count} plain pods are ready", 600)
    try:
        yield names
    finally:
        done, _seconds, told = run_module(names, state="absent", detach_to="stopped")
        print("" if done else told, end="")
        kubectl("-n", attached.CLIENTS, "delete", "statefulset", "--all", "--wait=false")
        until(lambda: not pods(attached.CLIENTS), "all pods are gone", 300)


@contextlib.contextmanager
def taken(processors: int) -> Iterator[None]:
    """Other work: endless loops."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _loop in range(processors)]
    try:
        yield
    finally:
        for one in loops:
            one.kill()
            one.wait()


def start(node: Node, audit: Audit, count: int, options: argparse.Namespace) -> tuple[list[str], Counter[str], bool]:
    """Attach so many at once: the row to print, the requests, and whether all went well."""
    with house(count) as names, node.limited(options.slow), taken(options.busy):
        before = node.seconds()
        time.sleep(IDLE_SECONDS)
        idle = (node.seconds() - before) / IDLE_SECONDS
        flaps = [Flaps(namespace) for namespace in (attached.CLIENTS, attached.VPN)]
        audit.since()
        begin, held = node.seconds(), restarts()
        done, seconds, told = run_module(names)
        used = node.seconds() - begin - idle * seconds
        asked = audit.since() or Counter()
        good = sum(map(ready, pods(attached.CLIENTS)))
        before = node.seconds()
        time.sleep(STEADY_SECONDS)
        steady = (node.seconds() - before) / STEADY_SECONDS
        again, found = restarts() - held, [name for one in flaps for name in one.found]
        if not done:
            print(told)
    row = [
        str(count),
        f"{good} of {count}",
        f"{seconds:.0f} s",
        f"{used / count:.1f} s",
        f"{sum(asked.values())} ({words(asked)})",
        str(again),
        ", ".join(found) or "none",
        f"{idle:.2f} -> {steady:.2f}",
    ]
    return row, asked, done and good == count and not again and not found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 20, 50])
    parser.add_argument("--busy", type=int, default=0, help="endless loops beside it")
    parser.add_argument("--slow", type=float, help="processors that the node may use")
    options = parser.parse_args()
    kubeconfig = subprocess.run(
        [sys.executable, str(ROOT / "lab" / "lab"), "kubeconfig"], capture_output=True, text=True, check=True
    ).stdout.strip()
    os.environ["KUBECONFIG"] = kubeconfig
    config.load_kube_config(kubeconfig)
    signal.signal(signal.SIGTERM, lambda *_args: sys.exit(1))  # so that what was made is taken away
    audit, node = Audit(Path(kubeconfig).parent / "audit.log"), Node()
    heading = ["Clients", "Ready", "until then", "processor each", "requests", "restarts", "flapped", "processors idle"]
    rows, good, asked = [heading], True, list[tuple[int, int]]()
    with world():
        for count in sorted(options.clients):
            row, requests, well = start(node, audit, count, options)
            rows.append(row)
            good = good and well
            asked.append((count, requests.total()))
            table(f"Started so far, {options.busy} loops beside it, node limited to {options.slow or 'nothing'}:", rows)
    growth = [
        (more - fewer) / (many - few)
        for (few, fewer), (many, more) in zip(asked, asked[1:], strict=False)
        if many > few
    ]
    print(f"  requests for each client more: {', '.join(f'{one:.1f}' for one in growth)} (at most {REQUESTS_GOAL:g})")
    return int(not good or any(one > REQUESTS_GOAL for one in growth))


if __name__ == "__main__":
    sys.exit(main())
