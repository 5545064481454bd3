# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What is asked of a probe in each kind of pod, and its answer as evidence. Pure.

Attempts go to the targets the operator named and to addresses reserved for documentation, at most five packets per
check, with no data of anybody's in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import (
    Attempt,
    Early,
    FirstSeconds,
    Probe,
    Step,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._judge_controls import COUNTED, SIX
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing

NOBODY, ROOT = 65534, 0
POD_DEVICE = "eth0"
NOWHERE = "192.0.2.1"  # RFC 5737: if it ever left, it would reach nobody
NOWHERE6 = "2001:db8::1"  # RFC 3849
NEIGHBOUR6 = "fe80::1"
DISCARD = 9
BULK = 256 * 1024  # bytes each way
LITERALS = {"lan": "192.168.0.1", "link-local": "169.254.169.254", "multicast": "239.255.255.250"}
CLIENT_TABLE, GATEWAY_TABLE = "bulkhead_guard", "bulkhead_gateway"
_COMMON = ("agent", "netns", "tools", "guard", "egress", "rendered", "link", "mtu", "fdb", "neighbours", "mesh")
CLIENT_FACTS = (*_COMMON, "direct", "routes", "addresses", "resolv", "ping_groups")
GATEWAY_FACTS = (*_COMMON, "forward", "forwards")
Entry = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """Where attempts go. ``kind`` is stun, http, dns or bulk; ``id`` names it in results.

    ``zone`` is a DNS zone whose every name states who asked, ``name`` a single such name. ``echo``: whether a bulk
    target gives back the ``path`` or the ``body`` of a request.
    """

    id: str
    kind: str
    address: str
    port: int
    host: str = ""
    path: str = "/"
    tls: bool = False
    zone: str = ""
    name: str = ""
    echo: str = "path"


def entry(target: Target, timeout: float, /, **more: Any) -> Entry:
    """One attempt on a target, as the probe takes it."""
    made: Entry = {"id": target.id, "target": target.address, "port": target.port, "timeout": timeout}
    made["kind"] = "https" if target.kind == "http" and target.tls else target.kind
    if target.kind in ("http", "bulk"):
        made.update(host=target.host, path=target.path, tls=target.tls)
    if target.kind == "bulk":
        made.update(bulk=BULK, echo=target.echo, timeout=max(timeout, 10.0))
    if target.kind == "dns":
        made.update(zone=target.zone, name=target.name)
    return {**made, **more}


def _of(targets: Iterable[Target], *kinds: str, six: bool = False) -> list[Target]:
    return [one for one in targets if one.kind in kinds and (":" in one.address) == six]


def _step(name: str, attempts: Sequence[Entry], *uids: int) -> Entry:
    return {"id": name, "attempts": list(attempts), "uids": list(uids)}


def leak_steps(targets: Sequence[Target], timeout: float) -> list[Entry]:
    """Attempts past the guard that name eth0: per packet, and by binding to it."""
    stun, http = _of(targets, "stun")[:1], _of(targets, "http")[:1]
    named = [
        entry(one, timeout, method=method, device=POD_DEVICE) for one in stun for method in ("pktinfo", "unicast_if")
    ]
    bound = [entry(one, timeout, method="bindtodevice", device=POD_DEVICE) for one in (*stun, *http)]
    return [_step("pod-direct", named, NOBODY, ROOT), _step("pod-dev-bind", bound, NOBODY, ROOT)]


def client_steps(
    targets: Sequence[Target], timeout: float, pod_ip: str, resolver: str, mesh: Sequence[tuple[str, int]] = ()
) -> list[Entry]:
    """All attempts in a client's pod; ``mesh`` are address and port of Services in the mesh that it may call."""
    stun = _of(targets, "stun")
    first = stun[:1]
    bound = {"method": "bindtodevice", "device": POD_DEVICE}
    nowhere = Target("nowhere", "udp", NOWHERE, DISCARD)
    six = _of(targets, "stun", six=True)[:1] or [Target("nowhere6", "udp", NOWHERE6, DISCARD)]
    # Without a default route the kernel refuses by itself; a neighbour has a route, so there the guard is asked.
    neighbour = entry(Target("neighbour6", "udp", NEIGHBOUR6, DISCARD), timeout, **bound)
    bulk = _of(targets, "bulk")
    full = [entry(one, timeout, kind="icmp", port=0, full_size=True) for one in first]
    # pylint: disable-next=kwarg-superseded-by-positional-arg  # a key of the entry, not the positional-only parameter
    names = [entry(one, timeout, target=resolver, port=53) for one in _of(targets, "dns")] if resolver else []
    asked = [one for one in _of(targets, "dns") if one.address]
    return [
        _step("ctl-tunnel", [entry(one, timeout) for one in (*stun, *_of(targets, "http"), *asked)]),
        _step("ctl-counter", [entry(nowhere, 1.0, **bound)] * COUNTED),
        *leak_steps(targets, timeout),
        _step("pod-src-bind", [entry(one, timeout, source=pod_ip) for one in first]),
        _step("pod-v6", [*(entry(one, timeout, **how) for one in six for how in ({}, bound)), neighbour]),
        _step("icmp-tunnel", [entry(one, timeout, kind="icmp", port=0) for one in first]),
        _step("pod-icmp", [entry(one, timeout, kind="icmp", port=0, **bound) for one in first], NOBODY, ROOT),
        _step("dns-exit", names),
        _step("bulk-small", [{**entry(one, timeout), "bulk": 64} for one in bulk]),
        _step("ovl-mtu", [*full, *(entry(one, timeout) for one in bulk)]),
        *([_step("mesh-out", [entry(Target("mesh", "call", *one), timeout) for one in mesh])] if mesh else []),
    ]


def gateway_steps(targets: Sequence[Target], timeout: float, tunnel: str) -> list[Entry]:
    """All attempts in a gateway's pod."""
    stun, http = _of(targets, "stun"), _of(targets, "http")
    through = [entry(one, timeout, method="bindtodevice", device=tunnel) for one in (*stun, *http)]
    past = [entry(one, timeout, method="bindtodevice", device=POD_DEVICE) for one in stun[:1]]
    return [_step("gw-exit", through), _step("gw-clear", past)]


def twin_steps(targets: Sequence[Target], timeout: float, control: bool) -> list[Entry]:
    """Attempts in a twin: the plain way, and in the control what the leak checks of a client try."""
    plain = [entry(one, timeout) for one in twin_targets(targets)]
    leaking = leak_steps(targets, timeout) if control else []
    six = _of(targets, "stun", six=True)[:1] if control else []
    if six:
        leaking.append(_step(SIX, [entry(one, timeout, method="bindtodevice", device=POD_DEVICE) for one in six]))
    # A twin has no capabilities at all: one user is enough.
    return [_step("plain", plain), *({**one, "uids": []} for one in leaking)]


def twin_targets(targets: Sequence[Target]) -> list[Target]:
    """The targets of twins: one of each kind, by IPv4 and by IPv6."""
    return [one for six in (False, True) for kind in ("stun", "http") for one in _of(targets, kind, six=six)[:1]]


def early_targets(targets: Sequence[Target]) -> list[Entry]:
    """Those of a twin's first program, which knows one protocol only."""
    found = [one for one in twin_targets(targets) if one.kind == "stun"]
    return [{"id": one.id, "target": one.address, "port": one.port} for one in found]


def looked_up(targets: Sequence[Target], node: str) -> dict[str, dict[str, str]]:
    """Literals whose route is looked up."""
    found = {name: {"address": address} for name, address in LITERALS.items()}
    for one in _of(targets, "stun")[:1]:
        found["public"] = {"address": one.address}
    found["public IPv6"] = {"address": (_of(targets, "stun", six=True)[:1] or [Target("", "", NOWHERE6, 0)])[0].address}
    if node and ":" not in node:
        found["node"] = {"address": node}
    return found


def longest(steps: Iterable[Mapping[str, Any]]) -> float:
    """Seconds after which a probe with these steps must have answered; each step has four to clean up in."""
    return 20.0 + sum(max((one["timeout"] for one in step["attempts"]), default=0.0) + 4.0 for step in steps)


def parse(answer: Any) -> Probe | Missing:
    """The probe's answer; anything of another form is no evidence."""
    try:
        steps = {name: _parse_step(one) for name, one in answer["steps"].items()}
        facts = dict(answer["facts"])
    except (TypeError, KeyError, ValueError, AttributeError) as exc:
        return Missing(f"the probe's answer has an unexpected form ({type(exc).__name__}: {exc})")
    return Probe(facts, steps)


def parse_early(found: Any) -> FirstSeconds | Missing:
    """What a twin's first program told; anything of another form is no evidence."""
    if isinstance(found, Missing):
        return found
    try:
        return FirstSeconds(float(found["watched"]), {id_: Early(**one) for id_, one in found["targets"].items()})
    except (TypeError, KeyError, ValueError, AttributeError) as exc:
        return Missing(f"the first program's answer has an unexpected form ({type(exc).__name__}: {exc})")


def _parse_step(one: Mapping[str, Any]) -> Step:
    delta = one["delta"]
    if not isinstance(delta, int):
        delta = Missing(f"the drop counters could not be read: {one.get('why', 'no reason given')}")
    attempts = tuple(
        Attempt(
            target=str(tried["target"]),
            kind=str(tried["kind"]),
            outcome=str(tried["outcome"]),
            method=str(tried.get("method", "route")),
            uid=int(tried.get("uid", 0)),
            privileged=bool(tried.get("privileged", False)),
            sent=int(tried.get("sent", 0)),
            seen=str(tried.get("seen", "")),
            seconds=float(tried.get("seconds", 0.0)),
            detail=str(tried.get("detail", "")),
        )
        for tried in one["attempts"]
    )
    return Step(attempts, delta, float(one["seconds"]), float(one["started"]), float(one["ended"]))
