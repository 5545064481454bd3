# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Running the probe at each vantage: in disposable pods, in clients' pods, and on hosts by a command.

Everything that goes wrong here becomes a ``Missing`` with the reason, so that nobody takes it for a refusal.
"""

from __future__ import annotations

import ipaddress
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _gather, _plan, _twins
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import Probe
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._exec import Output, Place
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import CONTROLLER, LAN, Vantage

NEVER = "bulkhead.mesh/never"  # condition that no twin has, so that no Service takes one for an endpoint
_ON_LINK, _DEFAULT = "00000000", "00000000"  # gateway and destination in the kernel's table
Steps = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Host:
    """How a host outside the cluster is asked: by a command in front of ``python3``, or here where there is none."""

    command: tuple[str, ...] = ()


# Runs a program with this input for at most so many seconds; OSError when it cannot be started.
Shell = Callable[[Sequence[str], str, float], Output]


@dataclass
class Yard:
    """Disposable pods that were made, so that all of them go."""

    runner: _gather.Runner
    image: str
    made: list[str] = field(default_factory=list)

    def start(self, vantage: Vantage) -> Place | Missing:
        """A pod at this vantage, once it runs."""
        run = secrets.token_hex(4)
        name = f"bulkhead-path-{run}"
        pod = manifest(vantage, name, run, self.image)
        where = f"/api/v1/namespaces/{vantage.namespace}/pods"
        try:
            self.made.append(f"{where}/{name}")
            answer = self.runner.api.call(
                Request(where, f"create pods in {vantage.namespace}", method="POST", body=pod)
            )
            if not answer.ok:
                return Missing(f"a pod cannot be made in {vantage.namespace}: {answer.message}")
            live = _gather.running(self.runner, vantage.namespace, name)
        except KubeError as exc:
            return Missing(exc.msg)
        return live if isinstance(live, Missing) else Place(vantage.namespace, name, _twins.CONTAINER)

    def clear(self) -> None:
        """Remove all of them."""
        for where in self.made:
            _gather.remove(self.runner.api, where)


def manifest(vantage: Vantage, name: str, run: str, image: str) -> dict[str, Any]:
    """The disposable pod of a vantage. Pure."""
    made = _twins.pod(name, run, "path", {"metadata": {"namespace": vantage.namespace}, "spec": {}}, image)
    if vantage.meshed:
        del made["metadata"]["labels"][_twins.OUTSIDE]
    # Labels of the inventory come first: ours are how a pod that was left behind is found.
    made["metadata"]["labels"] = {**dict(vantage.labels), **made["metadata"]["labels"]}
    del made["spec"]["nodeName"]
    del made["spec"]["tolerations"]  # of nodes that are not ready as well: here the scheduler chooses
    made["spec"]["readinessGates"] = [{"conditionType": NEVER}]
    if vantage.account:
        made["spec"]["serviceAccountName"] = vantage.account
    return made


def in_pod(runner: _gather.Runner, place: Place, steps: Steps) -> Probe | Missing:
    """The probe in a container of ours."""
    return _gather.probe(runner, place, {"facts": []}, steps)


def overlay_of(pods: Iterable[Mapping[str, Any]]) -> Place | Missing:
    """Our container in the first of a client's pods that has it running. Pure."""
    for pod in pods:
        for one in (pod.get("status") or {}).get("initContainerStatuses") or []:
            if one["name"] == _names.OVERLAY and "running" in (one.get("state") or {}):
                return Place(pod["metadata"]["namespace"], pod["metadata"]["name"], _names.OVERLAY)
    return Missing(f"no pod of it runs with {_names.OVERLAY}")


def program(steps: Steps, sources: Mapping[str, str]) -> str:
    """The probe as one Python program, for an interpreter that reads it from standard input. Pure."""
    line = _gather.sent({"facts": [], "steps": list(steps)}, sources)
    return (
        f"import json\nREQUEST = json.loads({line!r})\n"
        "exec(compile(REQUEST['code'], 'bulkhead_remote', 'exec'), "
        "{'__name__': 'bulkhead_remote', 'REQUEST': REQUEST})\n"
    )


def on_host(shell: Shell, host: Host, name: str, steps: Steps, runner: _gather.Runner) -> Probe | Missing:
    """The probe on a host."""
    python = "python3" if host.command else sys.executable or "python3"
    words = [*host.command, python, "-I", "-"]
    limit = _plan.longest(steps) + runner.timeout
    try:
        output = shell(words, program(steps, runner.sources), limit)
    except BrokenPipeError:
        return Missing(f"the command of vantage {name} ended before it took the probe: {words[0]}")
    except OSError as exc:
        return Missing(f"the command of vantage {name} cannot be run: {exc.strerror or exc}: {words[0]}")
    return _gather.understood(output, f"at vantage {name}")


def host_of(name: str, given: Mapping[str, Host], addresses: Sequence[str], routes: str) -> Host | Missing:
    """How a host is asked. The home network is asked from here where this machine is on it. Pure.

    ``addresses`` are those of the gateways there, ``routes`` this machine's table as the kernel shows it.
    """
    if name in given:
        return given[name]
    if name == CONTROLLER:
        return Host()
    remedy = f"give bulkhead_vantages.{name} a command that runs on such a host"
    if name != LAN:
        return Missing(f"no vantage {name} is given: {remedy}")
    if addresses and all(on_link(routes, one) for one in addresses):
        return Host()
    shown = f"this machine is on no network with {addresses[0]}" if addresses else "no gateway has an address there"
    return Missing(f"no vantage {name} is given, and {shown}: {remedy}")


def on_link(routes: str, address: str) -> bool:
    """Whether a route without a gateway leads to an IPv4 address, by the text of /proc/net/route. Pure.

    >>> on_link("Iface Destination Gateway Flags RefCnt Use Metric Mask\\neth0 00001EAC 00000000 1 0 0 0 00FFFFFF", "172.30.0.9")
    True
    """
    try:
        wanted = ipaddress.ip_address(address)
    except ValueError:
        return False
    if wanted.version != 4:
        return False
    number = int.from_bytes(wanted.packed, "little")
    for line in routes.splitlines()[1:]:
        words = line.split()
        if len(words) > 7 and words[1] != _DEFAULT and words[2] == _ON_LINK:
            if number & int(words[7], 16) == int(words[1], 16):
                return True
    return False
