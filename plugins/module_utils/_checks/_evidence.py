# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Evidence as values: what was read and tried, before anybody judges it. Pure.

Wherever something could not be read stands a ``Missing`` with the reason; judges turn it into ``unknown``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import (
    NONE,
    OTHER,
    REAL,
    VPN,
    Missing,
)


@dataclass(frozen=True)
class Attempt:
    """One attempt and how it ended; ``target`` is an id such as ``stun1``, ``seen`` the address the far end reported.

    ``outcome`` is one of ``answered`` (with our nonce or a verified identity), ``wrong_answer``, ``closed``,
    ``timeout``, ``refused``, the name of an errno, or ``tool`` when the attempt itself could not be made.
    """

    target: str
    kind: str
    outcome: str
    method: str = "route"
    uid: int = 0
    privileged: bool = False  # with the capabilities of our container
    sent: int = 0
    seen: str = ""
    seconds: float = 0.0
    detail: str = ""


@dataclass(frozen=True)
class Step:
    """The attempts of one check. ``delta``: what the table's drop counters rose by meanwhile."""

    attempts: tuple[Attempt, ...] = ()
    delta: int | Missing = Missing("the drop counters were not read")
    seconds: float = 0.0
    started: float = 0.0  # seconds of the node's clock
    ended: float = 0.0


@dataclass(frozen=True)
class Probe:
    """What the probe in one pod brought back; ``facts`` are described in ``_remote.facts``."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Step] = field(default_factory=dict)

    def step(self, name: str) -> Step | Missing:
        """One step, or why there is none."""
        return self.steps.get(name, Missing(f"the probe has no attempts for {name}"))

    def fact(self, name: str) -> Any:
        """One fact, or why there is none."""
        value = self.facts.get(name, Missing(f"the probe did not report {name}"))
        if isinstance(value, Mapping) and set(value) == {"error"}:
            return Missing(f"{name} could not be read: {value['error']}")
        return value


@dataclass(frozen=True)
class Inside:
    """What a look into one container of the user's brought: namespace, resolver file and its capability lines."""

    netns: str = ""
    resolv: str = ""
    capabilities: Mapping[str, int] = field(default_factory=dict)  # CapEff, CapBnd and so on -> bits


@dataclass(frozen=True)
class PolicyView:
    """The policy as it is and as it should be.

    ``problems`` are differences as sentences. ``selected`` are names of live pods the policy's selector takes,
    ``meant`` those of the pods it is for. ``opened`` is what policies of others let these pods reach beyond it,
    ``unjudged`` are policies of which nobody here can say that.
    """

    live: Mapping[str, Any] | None
    problems: tuple[str, ...] = ()
    selected: frozenset[str] = frozenset()
    meant: frozenset[str] = frozenset()
    opened: tuple[str, ...] = ()
    unjudged: tuple[str, ...] | Missing = ()


@dataclass(frozen=True)
class ServicesView:
    """The Services that a client reaches without the VPN.

    ``leads`` say how they lead elsewhere than to the pods they select, ``unsettled`` what nobody can say of just now.
    """

    names: tuple[str, ...] = ()
    leads: tuple[str, ...] = ()
    unsettled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Early:
    """What one twin sent to one target from its first instant on, and how many answers came; ``first`` and ``last`` of them in
    seconds after that instant. ``unsent`` are packets that the kernel did not take."""

    sent: int = 0
    unsent: int = 0
    answered: int = 0
    first: float | None = None
    last: float | None = None


@dataclass(frozen=True)
class FirstSeconds:
    """By target, for as long as was ``watched``."""

    watched: float = 0.0
    targets: Mapping[str, Early] = field(default_factory=dict)


@dataclass(frozen=True)
class Twins:
    """Two unguarded pods on one node at one moment: one under a copy of the policy's egress rules, one that may send."""

    covered: Probe | Missing
    control: Probe | Missing
    same_node: bool = True
    open_seconds: float = 0.0  # how long the covered twin got through before it was cut off
    covered_early: FirstSeconds | Missing = Missing("its first seconds were not watched")
    control_early: FirstSeconds | Missing = Missing("its first seconds were not watched")


@dataclass(frozen=True)
class Record:
    """A connection in the mesh's own log. ``source`` and ``destination`` are ``namespace/service account``, empty where
    an end showed no identity; ``port`` is the caller's own."""

    port: int
    source: str = ""
    destination: str = ""
    direction: str = ""


@dataclass(frozen=True)
class MeshView:
    """The mesh around one pod. ``declared``: the inventory says that the pod is in it.

    ``dataplane`` names what serves as ztunnel, ``audit`` says what could take the pod's traffic elsewhere. ``ports`` are
    the local ports of the calls a check made, ``peers`` the pairs of accounts such a call has to show.
    """

    declared: bool = False
    dataplane: str = ""
    audit: tuple[str, ...] | Missing = Missing("the mesh was not read")
    probe_addresses: tuple[str, ...] | Missing = Missing("the mesh's agent was not read")
    records: tuple[Record, ...] | Missing = Missing("the mesh's log was not read")
    ports: Mapping[str, tuple[int, ...] | Missing] = field(default_factory=dict)  # by check
    peers: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)  # by check


@dataclass(frozen=True)
class Site:
    """What holds for all pods. ``real`` are addresses outside the VPN; ``learnt`` says whether they are known well.

    ``exits`` are addresses the provider is declared to use, empty when nothing is declared. ``gaps`` say which real addresses
    may be unknown.
    """

    real: frozenset[str] = frozenset()
    learnt: tuple[str, ...] = ()
    exits: frozenset[str] = frozenset()
    gaps: tuple[str, ...] = ()

    def address_class(self, seen: str) -> str:
        """Whose address that is; without known real addresses nothing is the VPN's but what was declared."""
        if not seen:
            return NONE
        if seen in self.real:
            return REAL
        if self.exits:
            return VPN if seen in self.exits else OTHER
        return VPN if self.learnt else OTHER


@dataclass(frozen=True)
class GatewayEvidence:
    """All that is known of one gateway. ``config`` is the agent's configuration of its pod."""

    target: str
    site: Site
    pods: tuple[Mapping[str, Any], ...] | Missing = Missing("the gateway's pods were not read")
    workload: Mapping[str, Any] | None | Missing = Missing("the gateway's StatefulSet was not read")
    config: Mapping[str, Any] | Missing = Missing("the gateway has no pod")
    probe: Probe | Missing = Missing("nothing was tried in the gateway")
    policy: PolicyView | Missing = Missing("the gateway's policy was not read")
    twins: Twins | Missing = Missing("no twins were made")
    namespace_mode: str | Missing = Missing("the gateway's namespace was not read")  # its label for the mesh
    dataplane: str = ""  # what serves as ztunnel
    clients: Mapping[str, str] = field(default_factory=dict)  # live client pods -> their addresses
    all_clients: bool = True  # False: pods of other namespaces could not be read

    @property
    def pod(self) -> Mapping[str, Any] | Missing:
        """The one live pod."""
        if isinstance(self.pods, Missing):
            return self.pods
        alive = [one for one in self.pods if "deletionTimestamp" not in one["metadata"]]
        return alive[0] if len(alive) == 1 else Missing(f"the gateway has {len(alive)} pods, not one")

    @property
    def node(self) -> str:
        """Where that pod runs; empty where there is not one."""
        return "" if isinstance(self.pod, Missing) else str(self.pod["spec"].get("nodeName") or "")


@dataclass(frozen=True)
class PodEvidence:
    """All that is known of one pod of a client."""

    target: str
    site: Site
    pod: Mapping[str, Any]
    config: Mapping[str, Any] | Missing = Missing("the pod has no guard")
    direct: Any = Missing("it is not known which destinations the inventory lists")  # of the guard, as it should be
    services: ServicesView | Missing = Missing("the Services that the client may call were not read")
    dns: Mapping[str, Any] = field(default_factory=dict)  # dnsConfig as it should be
    probe: Probe | Missing = Missing("nothing was tried in the pod")
    inside: Mapping[str, Inside | Missing] = field(default_factory=dict)  # by name of the user's container
    policy: PolicyView | Missing = Missing("the policy was not read")
    twins: Twins | Missing = Missing("no twins were made")
    gateway: GatewayEvidence | Missing = Missing("the gateway was not looked at")
    mesh: MeshView | Missing = Missing("the mesh was not looked at")

    @property
    def node(self) -> str:
        """Where the pod runs; empty where it runs nowhere yet."""
        return str(self.pod["spec"].get("nodeName") or "")


@dataclass(frozen=True)
class WorkloadEvidence:
    """Pods beside a client's own, as sentences: ``open`` use what is the client's and have no guard, ``left`` are the client's
    and its workload does not own them."""

    target: str
    open: tuple[str, ...] | Missing = Missing("the pods of its namespace were not read")
    left: tuple[str, ...] | Missing = Missing("the pods of its namespace were not read")


@dataclass(frozen=True)
class InventoryEvidence:
    """``unnamed``: what is attached in the cluster and that the inventory does not name, as sentences."""

    target: str = "inventory"
    unnamed: tuple[str, ...] | Missing = Missing("the workloads were not read")
