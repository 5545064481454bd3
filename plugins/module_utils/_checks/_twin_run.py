# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Twins of one node: made, watched from their first instant, tried together, and removed whatever happens.

One control serves all copies of policies on its node. Everything that goes wrong here becomes a ``Missing``.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils import _sources
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import (
    _controls,
    _gather,
    _plan,
    _remote,
    _twins,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import FirstSeconds, Probe, Twins
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._exec import Place

SETTLE = 15.0  # seconds a network may take to put a new policy in force for a new pod
BATCH = 5  # twins under a policy at one time, on one node: each costs the node a pod's start and two probes
_PROTOCOLS = {"stun": "UDP", "http": "TCP"}
Targets = Sequence[_plan.Target]


@dataclass(frozen=True)
class Group:
    """What is tried on one node from one namespace: copies of these policies, by whatever they are called.

    ``like`` is a pod of that node and namespace, ``limited`` says that an ordinary pod of the namespace may not send.
    """

    like: Mapping[str, Any]
    image: str
    policies: Mapping[str, Mapping[str, Any]]
    limited: bool = False

    @property
    def namespace(self) -> str:
        """Where twins are made."""
        return str(self.like["metadata"]["namespace"])

    @property
    def node(self) -> str:
        """Where they run."""
        return str(self.like["spec"].get("nodeName") or "")


def run(runner: _gather.Runner, group: Group, targets: Targets) -> dict[str, Twins | Missing]:
    """What twins showed, for each of the group's policies."""
    keys, found = list(group.policies), {}
    with _House(runner, group, targets) as house:
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            try:
                found.update(house.try_(batch))
            except KubeError as exc:
                found.update(dict.fromkeys(batch, Missing(exc.msg)))
    return {
        key: Missing(f"node {group.node}: {one}") if isinstance(one, Missing) else one for key, one in found.items()
    }


class _House:
    """The twins of one group while they live."""

    def __init__(self, runner: _gather.Runner, group: Group, targets: Targets) -> None:
        self.runner, self.group, self.targets = runner, group, targets
        self.made: list[str] = []
        self.control: Mapping[str, Any] | Missing | None = None
        self.control_early: FirstSeconds | Missing = Missing("its first seconds were not watched")

    def __enter__(self) -> _House:
        return self

    def __exit__(self, *exc: object) -> None:
        self._clear(0)

    def _clear(self, kept: int) -> None:
        """Remove everything that was made after the first ``kept``, the newest first."""
        while len(self.made) > kept:
            _gather.remove(self.runner.api, self.made.pop())

    def _make(self, kind: str, body: Mapping[str, Any]) -> str:
        room = "/apis/networking.k8s.io/v1" if kind == "networkpolicies" else "/api/v1"
        where = f"{room}/namespaces/{self.group.namespace}/{kind}"
        self.made.append(f"{where}/{body['metadata']['name']}")
        return _gather.create(self.runner.api, where, body)

    def _twin(self, side: str, policy: Mapping[str, Any] | None) -> str | Missing:
        """Make a twin and its policy; its name.

        The policy comes first: nothing may depend on how fast a network notices a policy for a pod that runs.
        """
        run_ = secrets.token_hex(4)
        name = f"bulkhead-twin-{run_}-{side}"
        if policy is not None:
            made = _twins.policy(name, run_, policy)
        elif self.group.limited:
            open_ = [(_PROTOCOLS[one.kind], one.address, one.port) for one in _plan.twin_targets(self.targets)]
            made = _twins.allowance(name, run_, self.group.namespace, open_)
        else:
            made = None
        orders = _twins.orders(_plan.early_targets(self.targets), 0 if side == _twins.COVERED else _twins.ENOUGH)
        program = [_sources.read(_remote)["early.py"], self.runner.sources.get("wire.py", ""), json.dumps(orders)]
        pod = _twins.pod(name, run_, side, self.group.like, self.group.image, program)
        for kind, body in (("networkpolicies", made), ("pods", pod)):
            why = self._make(kind, body) if body is not None else ""
            if why:
                return Missing(f"a twin cannot be made in {self.group.namespace}: {why}")
        return name

    def _running(self, name: str | Missing, side: str) -> Mapping[str, Any] | Missing:
        live = name if isinstance(name, Missing) else _gather.running(self.runner, self.group.namespace, name)
        return Missing(f"{side} twin: {live}") if isinstance(live, Missing) else live

    def try_(self, keys: Sequence[str]) -> dict[str, Twins | Missing]:
        """Try these policies at one moment beside the control, which is made with the first of them."""
        first = self.control is None
        control = self._twin(_twins.CONTROL, None) if first else ""
        kept = len(self.made)
        try:
            names = {key: self._twin(_twins.COVERED, self.group.policies[key]) for key in keys}
            if first:
                self.control = self._running(control, _twins.CONTROL)
            if isinstance(self.control, Missing) or self.control is None:
                return dict.fromkeys(keys, self.control or Missing("no control twin"))
            live = {key: self._running(name, _twins.COVERED) for key, name in names.items()}
            places = {key: _place(one) for key, one in live.items() if not isinstance(one, Missing)}
            early = self._early(places, first)
            tried = self._tried(places)
            return {key: self._twins(key, one, early, tried) for key, one in live.items()}
        finally:
            self._clear(kept)

    def _twins(self, key: str, live: Any, early: Mapping[str, Any], tried: Mapping[str, Any]) -> Twins | Missing:
        if isinstance(live, Missing):
            return live
        covered, control, late = tried[key]
        nodes = {self.group.node, *(one["spec"].get("nodeName") for one in (live, self.control))}  # type: ignore[index]
        return Twins(covered, control, len(nodes) == 1, round(late, 1), early[key], self.control_early)

    def _early(self, places: Mapping[str, Place], first: bool) -> dict[str, FirstSeconds | Missing]:
        """What the first programs of these twins, and of the control, counted; they answer when they have ended."""

        def told(place: Place) -> FirstSeconds | Missing:
            found = _gather.probe(self.runner, place, {"facts": ["early"]}, [])
            return found if isinstance(found, Missing) else _plan.parse_early(found.fact("early"))

        with ThreadPoolExecutor(max_workers=BATCH + 1) as pool:
            control = pool.submit(told, _place(self.control)) if first else None
            found = dict(zip(places, pool.map(told, places.values())))
            self.control_early = control.result() if control else self.control_early
        return found

    def _tried(self, places: Mapping[str, Place]) -> dict[str, tuple[Probe | Missing, Probe | Missing, float]]:
        """The attempts of these twins and of the control, again and again while one of them still gets through."""
        found: dict[str, tuple[Probe | Missing, Probe | Missing, float]] = {}
        started, late = self.runner.clock(), dict.fromkeys(places, 0.0)
        waiting = dict(places)
        while waiting:
            with ThreadPoolExecutor(max_workers=BATCH + 1) as pool:
                control = pool.submit(self._one, _place(self.control), True)
                covered = dict(zip(waiting, pool.map(lambda place: self._one(place, False), waiting.values())))
            elapsed = self.runner.clock() - started
            for key, one in covered.items():
                found[key] = (one, control.result(), late[key])
                if isinstance(one, Missing) or not _leaked(one) or elapsed >= SETTLE:
                    del waiting[key]
                late[key] = elapsed
            if waiting:
                self.runner.pause(1.0)
        return found

    def _one(self, place: Place, control: bool) -> Probe | Missing:
        steps = _plan.twin_steps(self.targets, 2.0, control)
        return _gather.probe(self.runner, place, {"facts": ["netns", "six"]}, steps)


def _place(pod: Any) -> Place:
    return Place(pod["metadata"]["namespace"], pod["metadata"]["name"], _twins.CONTAINER)


def _leaked(covered: Probe) -> bool:
    step = covered.step("plain")
    return not isinstance(step, Missing) and bool(_controls.spoke(step.attempts))
