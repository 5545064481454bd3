# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Whether operator and devices are as wanted, from what the objects and the operator's log say now. Pure.

The operator has no readiness probe, and a Service's condition turns true before its proxy has joined: what counts is
the operator's own word that its start is complete, and the name and addresses that a device has been given.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._render import EXPOSE
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._status import FAIL, PASS, Check

FINALIZER = "tailscale.com/finalizer"
PARENT, PARENT_NAMESPACE = "tailscale.com/parent-resource", "tailscale.com/parent-resource-ns"
PARENT_TYPE, MANAGED = "tailscale.com/parent-resource-type", "tailscale.com/managed"
CLASS = "tailscale"  # of Services that the operator takes as a load balancer
_SHOWN = ("device_id", "device_fqdn", "device_ips")  # everything else in a proxy's state is secret
_STARTED = "Startup complete"
_EARLY = ("startup", "ts-api-client", "startReconcilers", "tailscaled")  # loggers of an operator that is not up yet
_UNREACHED = re.compile(
    r"(dial tcp[^\n]*?: )?((?:lookup [^\n]*: )?no such host|connection refused|no route to host|network is unreachable|"
    r"i/o timeout|context deadline exceeded|tls: [^\n]*|x509: [^\n]*)"
)
_Object = Mapping[str, Any]


@dataclass(frozen=True)
class Said:
    """What the operator's pod says: its last log, whether it runs, since how many seconds, and how often it ended."""

    log: str
    running: bool
    seconds: float
    restarts: int


@dataclass(frozen=True)
class Judgement:
    """``ready``, or the words why not; ``final`` when waiting longer is no use."""

    ready: bool
    words: str
    final: bool = False


def judge(said: Said, server: str, patience: float) -> Judgement:
    """Whether the operator is up. After ``patience`` seconds without an answer of ``server`` waiting is no use."""
    lines = [_line(one) for one in said.log.splitlines() if one.strip()]
    fatal = next((one for one in reversed(lines) if one.get("level") == "fatal"), None)
    if fatal is not None:
        return _fatal(str(fatal.get("msg", "")), server, said.restarts)
    if not said.running:
        return Judgement(False, "its container does not run")
    if any(_up(one) for one in lines):
        return Judgement(True, "it says that its start is complete")
    words = f"for {said.seconds:.0f} s it has not got as far as to be logged in at {server}"
    if said.seconds < patience:
        return Judgement(False, words)
    return Judgement(False, f"{words}: check that the cluster reaches it, and the device's approval there", True)


def _line(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {"msg": text}
    return found if isinstance(found, Mapping) else {"msg": text}


def _up(line: Mapping[str, Any]) -> bool:
    """A line of a controller; the first one may be gone from a long log."""
    if str(line.get("msg", "")).startswith(_STARTED):
        return True
    return bool(line.get("level")) and str(line.get("logger", "startup")) not in _EARLY


def _fatal(message: str, server: str, restarts: int) -> Judgement:
    """What an operator that gave up said last, as a sentence that names the remedy."""
    words = " ".join(message.replace("\\n", " ").split())
    refused = re.search(r"cannot fetch token: (\d+)", words)
    if refused:
        said = (
            f"{server} refuses the OAuth client with {refused.group(1)}: check client_id and client_secret in the Secret "
            "(a file that ends with a line end is a usual cause)"
        )
        return Judgement(False, said, True)
    if "error reading client" in words or "reading client" in words:
        return Judgement(False, "the Secret has no client_id or no client_secret: it needs both keys", True)
    unreached = _UNREACHED.search(words)
    if unreached:
        # Once may be a network that is still coming up.
        return Judgement(False, f"{server} cannot be reached from the cluster: {unreached.group(2)}", restarts > 0)
    if "creating operator authkey" in words:
        detail = words.partition("creating operator authkey: ")[2]
        remedy = "the OAuth client needs the scope Auth Keys (write) and the operator's tag, which the policy must own"
        return Judgement(False, f"{server} gives no auth key: {detail}; {remedy}", True)
    return Judgement(False, f"it ended: {words}", restarts > 1)


def operator(place: str, judgement: Judgement) -> Check:
    """The operator as a check."""
    return _check("operator-ready", f"Deployment {place}", judgement.ready, "logged in and started", judgement.words)


def proxy_class(name: str, live: _Object | None) -> Check:
    """A ProxyClass; a condition of an older generation counts for nothing."""
    what, expected = f"ProxyClass {name}", "ProxyClassReady"
    if live is None:
        return _check("proxy-class", what, False, expected, "it does not exist")
    for one in (live.get("status") or {}).get("conditions") or []:
        if one.get("type") != "ProxyClassReady":
            continue
        if (one.get("observedGeneration") or 0) < (live["metadata"].get("generation") or 0):
            return _check("proxy-class", what, False, expected, "the operator has not looked at it yet")
        return _check("proxy-class", what, one.get("status") == "True", expected, str(one.get("message")))
    return _check("proxy-class", what, False, expected, "the operator has not looked at it yet")


def device(wanted: Mapping[str, Any], service: _Object | None, state: _Object | None, pods: Judgement) -> list[Check]:
    """A gateway on the tailnet: its device with name and addresses, and the proxy that forwards."""
    what = f"Gateway {wanted['namespace']}/{wanted['gateway']}"
    expected = f"a device {wanted['hostname']} with addresses"
    if service is None:
        return [_check("device-joined", what, False, expected, "it has no Service yet")]
    fqdn, addresses = identity(state)
    if fqdn and addresses:
        name = fqdn.partition(".")[0]
        if name != wanted["hostname"]:
            words = f"the tailnet calls it {name}, because another device has the name {wanted['hostname']}"
            return [_check("device-joined", what, False, expected, words)]
        joined = _check("device-joined", what, True, expected, f"{fqdn} {', '.join(addresses)}")
    else:
        joined = _check("device-joined", what, False, expected, _pending(service, state) + _tail(pods))
    return [joined, _check("device-proxy", what, pods.ready, "a proxy that runs", pods.words)]


def _tail(pods: Judgement) -> str:
    return "" if pods.ready else f"; {pods.words}"


def _pending(service: _Object, state: _Object | None) -> str:
    for one in (service.get("status") or {}).get("conditions") or []:
        if one.get("type") == "TailscaleProxyReady" and one.get("status") != "True":
            return str(one.get("message") or one.get("reason"))
    if state is None:
        return "the operator has made no proxy for it"
    return "its proxy has not joined the tailnet"


def identity(state: _Object | None) -> tuple[str, list[str]]:
    """Name and addresses out of the decoded state of a proxy; empty before it has joined."""
    data = (state or {}).get("device") or {}
    return str(data.get("fqdn") or "").rstrip("."), [str(one) for one in data.get("ips") or []]


def is_exposed(service: _Object) -> bool:
    """Whether the operator is asked to put a Service on the tailnet."""
    notes = service["metadata"].get("annotations") or {}
    spec = service.get("spec") or {}
    asked = notes.get(EXPOSE) == "true" or spec.get("loadBalancerClass") == CLASS
    return asked and "deletionTimestamp" not in service["metadata"]


def is_held(one: _Object) -> bool:
    """Whether the operator has not let go of an object."""
    return FINALIZER in (one["metadata"].get("finalizers") or [])


def gone(place: str, service: _Object | None, states: Sequence[_Object]) -> Check:
    """A Service off the tailnet: no device, no proxy, no finalizer."""
    what, expected = f"Service {place}", "off the tailnet, its device removed"
    words = []
    if states:
        fqdn = identity(states[0])[0]
        words.append(f"the state of device {fqdn or '(unnamed)'} is still there")
    if service is not None and is_held(service):
        words.append(f"it carries the finalizer {FINALIZER}, which only a working operator takes away")
    return _check("device-gone", what, not words, expected, "; ".join(words) or "nothing of it is left")


def _check(id_: str, object_: str, fine: bool, expected: str, observed: str) -> Check:
    return Check(id_, object_, PASS if fine else FAIL, expected, observed)


def decoded(data: Mapping[str, str]) -> dict[str, Any]:
    """Who a device is, of a proxy's state as its Secret has it; keys and everything else of it stay where they are."""
    plain = {key: _text(data.get(key) or "") for key in _SHOWN}
    try:
        addresses = json.loads(plain["device_ips"] or "[]")
    except ValueError:
        addresses = []
    addresses = [str(one) for one in addresses] if isinstance(addresses, list) else []
    return {"id": plain["device_id"], "fqdn": plain["device_fqdn"], "ips": addresses}


def _text(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except ValueError:
        return ""
