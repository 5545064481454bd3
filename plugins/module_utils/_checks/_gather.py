# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Running probes: exec in pods that are there, and in twins that are made for it and removed whatever happens.

Everything that goes wrong here becomes a ``Missing`` with the reason, so that nobody takes it for evidence.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ansible_collections.bulkhead.mesh.plugins.module_utils import _sources
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _plan, _remote, _twins
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import Inside, Probe
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
        early,
        facts,
        pages,
        place,
        start,
        steps,
    )

COMMAND = ("python3", "-I", "-c", _remote.BOOT)
# One look into a container of the user's; it may have no shell, and then nothing is known from inside.
LOOK = "readlink /proc/self/ns/net; echo --; cat /etc/resolv.conf; echo --; grep Cap /proc/self/status"


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


# -- pods that are made for a probe; what is done with twins stands in _twin_run ----


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


def create(api: Caller, where: str, body: Mapping[str, Any]) -> str:
    """Make one object; why it cannot be made, empty if it was."""
    what = f"{where.rpartition('/')[2]} in {body['metadata']['namespace']}"
    answer = api.call(Request(where, f"create {what}", method="POST", body=dict(body)))
    return "" if answer.ok else answer.message or f"status {answer.status}"
