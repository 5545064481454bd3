"""The table of NetworkPolicy cases as data, and the verdict on what was observed. No I/O but reading the file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parent / "cases.yaml"
OUTSIDE = "outside"
HOST_PORT = 18080  # the pod on the node's network listens here, so that it meets no program of the node


@dataclass(frozen=True)
class Probe:
    """One packet exchange to try; ``allowed`` is what the policies say about it."""

    source: str  # pod
    target: str  # pod, service, target4 or target6
    port: int | None  # None for ICMP
    protocol: str  # TCP, UDP or ICMP
    family: int  # 4 or 6
    allowed: bool

    def __str__(self) -> str:
        where = self.target if self.port is None else f"{self.target}:{self.port}"
        return f"{self.source} -> {where} {self.protocol} IPv{self.family}"


@dataclass(frozen=True)
class Case:
    """One case: policies and what they must do."""

    name: str
    shows: str
    policies: tuple[dict[str, Any], ...]
    probes: tuple[Probe, ...]
    flows: tuple[Probe, ...]  # run before the policies; allowed = go on afterwards


@dataclass(frozen=True)
class CaseFile:
    """The whole file."""

    listen: tuple[int, ...]
    namespaces: dict[str, dict[str, str]]
    pods: dict[str, dict[str, Any]]
    services: dict[str, dict[str, Any]]
    cases: tuple[Case, ...]

    @classmethod
    def load(cls, path: Path = FILE) -> CaseFile:
        """Read and check the file; ValueError names the case that proves nothing."""
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        cast = data["cast"]
        known = {*cast["pods"], *cast["services"], "target4", "target6"}
        cases = tuple(_case(item, known) for item in data["cases"])
        return cls(tuple(cast["listen"]), cast["namespaces"], cast["pods"], cast["services"], cases)


def _case(item: dict[str, Any], known: set[str]) -> Case:
    probes = tuple(p for e in item["expect"] for p in spread(e, e["allowed"]))
    flows = tuple(p for e in item.get("flows", ()) for p in spread(e, e["survives"]))
    if {p.allowed for p in probes} != {True, False}:
        raise ValueError(f"case {item['name']!r} needs allowed and denied expectations; add the missing kind")
    for probe in (*probes, *flows):
        for name in (probe.source, probe.target):
            if name not in known:
                raise ValueError(f"case {item['name']!r}: {name!r} is not in the cast; add it or correct the name")
    return Case(item["name"], item["shows"], tuple(item["policies"]), probes, flows)


def spread(expectation: dict[str, Any], allowed: bool) -> list[Probe]:
    """One probe per address family of an expectation (both unless it says otherwise)."""
    target, _, port = expectation["to"].partition(":")
    family = expectation.get("family", "both")
    return [
        Probe(
            expectation["from"], target, int(port) if port else None, expectation.get("protocol", "TCP"), one, allowed
        )
        for one in ((4, 6) if family == "both" else (family,))
    ]


def policy_objects(case: Case, addresses: dict[str, dict[int, str]]) -> list[dict[str, Any]]:
    """The case's NetworkPolicy objects, with $ip4(POD) and $ip6(POD) filled in."""

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fill(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner) for inner in value]
        if isinstance(value, str):
            return re.sub(r"\$ip([46])\(([a-z-]+)\)", lambda m: addresses[m[2]][int(m[1])], value)
        return value

    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"namespace": policy["namespace"], "name": policy["name"]},
            "spec": fill(policy["spec"]),
        }
        for policy in case.policies
    ]


def verdict(probe: Probe, answered: bool, received: bool | None) -> str | None:
    """What is wrong with an observation; None if it is as expected.

    ``received``: the receiver got the nonce; None where it cannot be asked
    (ICMP, services, the outside).
    """
    if probe.allowed and not answered:
        return f"{probe}: no answer, but it is allowed"
    if not probe.allowed and answered:
        return f"{probe}: an answer, but it is denied"
    if not probe.allowed and received:
        return f"{probe}: no answer, but the packet reached the receiver and it is denied"
    if probe.allowed and received is False:
        return f"{probe}: an answer, but the receiver never got the nonce"
    return None


def flow_verdict(flow: Probe, before: int, gained: int) -> str | None:
    """What is wrong with a running flow: bytes answered before the policy and after it; None if all is well."""
    if before == 0:
        return f"running flow {flow}: nothing came back even before the policy"
    if flow.allowed and gained == 0:
        return f"running flow {flow}: cut, but it is allowed"
    if not flow.allowed and gained > 0:
        return f"running flow {flow}: {gained} bytes came back after the policy, but it is denied"
    return None
