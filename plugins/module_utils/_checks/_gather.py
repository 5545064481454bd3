# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Running probes: exec in pods that are there, and in twins that are made for it and removed whatever happens.

Everything that goes wrong here becomes a ``Missing`` with the reason, so that nobody takes it for evidence.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ansible_collections.bulkhead.mesh.plugins.module_utils import _sources
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _controls, _plan, _remote, _twins
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import Inside, Probe, Twins
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._client import Caller
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._exec import Executor, Output, Place
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import wait_until

if TYPE_CHECKING:
    # Sent as text; Ansible packs into a module's archive what it finds imported.
    from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._remote import (  # noqa: F401
        answer,
        attempts,
        facts,
        pages,
        place,
        start,
        steps,
    )

COMMAND = ("python3", "-I", "-c", _remote.BOOT)
# One look into a container of the user's; it may have no shell, and then nothing is known from inside.
LOOK = "readlink /proc/self/ns/net; echo --; cat /etc/resolv.conf; echo --; grep Cap /proc/self/status"
SETTLE = 15.0  # seconds a network may take to put a new policy in force for a new pod


@dataclass(frozen=True)
class Runner:
    """What running a probe needs. ``sources`` are the agent's files: name -> text."""

    api: Caller
    executor: Executor
    sources: Mapping[str, str]
    timeout: float
    wait: Callable[..., tuple[bool, object]] = wait_until
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


def sent(request: Mapping[str, Any], agent: Mapping[str, str]) -> str:
    """The line that a probe reads: the request with all code. ``agent`` are the agent's files."""
    files = _sources.read(_remote)
    return json.dumps({**request, "sources": dict(agent), "rooms": files, "code": files["start.py"]}) + "\n"


def probe(
    runner: Runner, place: Place, request: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]
) -> Probe | Missing:
    """Run the probe in one container. ``request`` has facts, table, config and routes."""
    line = sent({**request, "steps": list(steps)}, runner.sources)
    try:
        output = runner.executor.run(place, COMMAND, line, _plan.longest(steps) + runner.timeout)
    except KubeError as exc:
        return Missing(exc.msg)
    return understood(output, f"in {place}")


def understood(output: Output, where: str) -> Probe | Missing:
    """What a probe printed as evidence; ``where`` it ran, such as "in container x of pod y"."""
    if output.code:
        last = (output.stderr.strip() or "no message").splitlines()[-1][:300]
        return Missing(f"the probe {where} ended with exit code {output.code}: {last}")
    try:
        return _plan.parse(json.loads(output.stdout))
    except ValueError:
        return Missing(f"the probe {where} did not answer in JSON")


def look(runner: Runner, place: Place) -> Inside | Missing:
    """Look into one container of the user's."""
    try:
        output = runner.executor.run(place, ["sh", "-c", LOOK], timeout=10.0)
    except KubeError as exc:
        return Missing(exc.msg)
    return parse_look(output.stdout)


def parse_look(text: str) -> Inside | Missing:
    """What the look into a container printed; parts it has no program for stay empty."""
    parts = [part.strip() for part in text.split("--\n")]
    if len(parts) != 3:
        return Missing("the container has no programs to look with")
    bits = {}
    for line in parts[2].splitlines():
        name, colon, value = line.partition(":")
        try:
            bits[name.strip()] = int(value.strip(), 16)
        except ValueError:
            continue
    netns = parts[0] if parts[0].startswith("net:") else ""
    return Inside(netns, parts[1], bits)


# -- twins ---------------------------------------------------------------------


def twins(
    runner: Runner, pod: Mapping[str, Any], policy: Mapping[str, Any], image: str, targets: Sequence[_plan.Target]
) -> Twins | Missing:
    """Two twins beside ``pod``, one under a copy of ``policy``; pods and copy are gone afterwards."""
    namespace = pod["metadata"]["namespace"]
    run = secrets.token_hex(4)
    copy_ = _twins.policy(f"bulkhead-twin-{run}", run, policy)
    pods = {
        side: _twins.pod(f"bulkhead-twin-{run}-{side}", run, side, pod, image)
        for side in (_twins.COVERED, _twins.CONTROL)
    }
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
    made: list[str] = []
    try:
        # The copy comes first: nothing may depend on how fast a network notices a policy for a pod that runs.
        for where, what, body in (
            (path, "networkpolicies", copy_),
            *((f"/api/v1/namespaces/{namespace}/pods", "pods", one) for one in pods.values()),
        ):
            made.append(f"{where}/{body['metadata']['name']}")
            answer = runner.api.call(Request(where, f"create {what} in {namespace}", method="POST", body=body))
            if not answer.ok:
                return Missing(f"a twin cannot be made in {namespace}: {answer.message}")
        live = {side: running(runner, namespace, one["metadata"]["name"]) for side, one in pods.items()}
        for side, one in live.items():
            if isinstance(one, Missing):
                return Missing(f"{side} twin: {one}")
        return _tried(runner, namespace, live, targets)
    except KubeError as exc:
        return Missing(exc.msg)
    finally:
        for where in reversed(made):
            remove(runner.api, where)


def running(runner: Runner, namespace: str, name: str) -> Mapping[str, Any] | Missing:
    """A twin that was made, once it runs; or why it does not."""
    held: dict[str, Any] = {}

    def seen() -> tuple[bool, object]:
        answer = runner.api.call(Request(f"/api/v1/namespaces/{namespace}/pods/{name}", f"get pods {name}"))
        if not answer.ok:
            return True, f"it cannot be read: {answer.message}"
        held.update(answer.body)
        why = _twins.stuck(answer.body)
        statuses = (answer.body.get("status") or {}).get("containerStatuses") or []
        if any("running" in (one.get("state") or {}) for one in statuses):
            return True, None
        return bool(why), why or f"it did not run within {runner.timeout:g} s"

    dummy, why = runner.wait(seen, timeout=runner.timeout, sleep=0.5)
    return Missing(str(why)) if why else held


def _tried(runner: Runner, namespace: str, live: Mapping[str, Any], targets: Sequence[_plan.Target]) -> Twins:
    def one(side: str) -> Probe | Missing:
        place = Place(namespace, live[side]["metadata"]["name"], _twins.CONTAINER)
        steps = _plan.twin_steps(targets, 2.0, side == _twins.CONTROL)
        return probe(runner, place, {"facts": ["netns"]}, steps)

    started, late = runner.clock(), 0.0
    while True:
        with ThreadPoolExecutor(max_workers=2) as pool:
            covered, control = pool.map(one, (_twins.COVERED, _twins.CONTROL))
        elapsed = runner.clock() - started
        if isinstance(covered, Missing) or not _leaked(covered) or elapsed >= SETTLE:
            break
        late = elapsed
        runner.pause(1.0)
    nodes = {twin["spec"].get("nodeName") for twin in live.values()}
    return Twins(covered, control, len(nodes) == 1, round(late, 1))


def _leaked(covered: Probe) -> bool:
    step = covered.step("plain")
    return not isinstance(step, Missing) and bool(_controls.spoke(step.attempts))


def sweep(api: Caller, namespace: str, now: datetime) -> None:
    """Remove twins and copies that are older than a twin can live: a killed run left them behind."""
    limit = (now - timedelta(seconds=2 * _twins.LIFE)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for where, what in (
        (f"/api/v1/namespaces/{namespace}/pods", "pods"),
        (f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies", "networkpolicies"),
    ):
        answer = api.call(Request(where, f"list {what} in {namespace}", query={"labelSelector": _twins.LABEL}))
        for one in answer.body.get("items") or [] if answer.ok else []:
            if (one["metadata"].get("creationTimestamp") or limit) < limit:
                remove(api, f"{where}/{one['metadata']['name']}")


def remove(api: Caller, where: str) -> None:
    """Delete at once; what is gone already is as good, and what cannot be deleted ends by its deadline."""
    try:
        api.call(Request(where, f"delete {where}", method="DELETE", query={"gracePeriodSeconds": "0"}))
    except KubeError:
        pass
