# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Wait until pods are in the mesh as their namespaces say; on the way out take the labels away first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import METADATA_ONLY, Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import wait_until
from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh import _enrolment
from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh._enrolment import Judged, Wanted

Wait = Callable[..., "tuple[bool, object]"]
_MOST = 5  # pods named in one sentence
_Object = Mapping[str, Any]


@dataclass
class Look:
    """What one look at the cluster showed."""

    judged: list[Judged] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether nothing is missing; pods that need a restart are no reason to wait."""
        return not self.problems and not self.of(_enrolment.WAITING, _enrolment.WRONG)

    def of(self, *states: str) -> list[Judged]:
        """The pods in these states."""
        return [one for one in self.judged if one.state in states]

    def evidence(self) -> str:
        """What is missing, in words."""
        missing = self.of(_enrolment.WAITING, _enrolment.WRONG)
        named = [f"pod {one.namespace}/{one.name}: {one.reason}" for one in missing[:_MOST]]
        more = [f"{len(missing) - _MOST} more pods"] if len(missing) > _MOST else []
        return "; ".join([*self.problems, *named, *more]) or "every pod is as wanted"


@dataclass
class Enrolment:
    """One run over the namespaces ``wanted``; ``closed`` are those that must stay out of the mesh."""

    client: _client.Caller
    target: Target
    wanted: Sequence[Wanted]
    closed: Sequence[str]

    def look(self) -> Look:
        """One LIST of pods for each namespace that is judged, and one of all namespaces."""
        judged = [one for one in self.wanted if one.mesh != "unmanaged"]
        names = dict.fromkeys([*(one.name for one in judged), *self.closed])
        asked: dict[str, Request] = {
            "": Request("/api/v1/namespaces", "list namespaces", accept=METADATA_ONLY),
            **{name: _workload.pods_request(name) for name in names},
        }
        # Of those that must stay out the metadata say enough.
        apart = set(names) - {one.name for one in judged}
        asked |= {
            name: Request(asked[name].path, asked[name].what, accept=METADATA_ONLY) for name in asked.keys() & apart
        }
        answers = _client.read_all(self.client, asked)
        held = {
            name: list(_client.demand(answers[name], request, self.target).get("items") or [])
            for name, request in asked.items()
        }
        live = {one["metadata"]["name"]: one for one in held[""]}
        closed = [pod for name in self.closed for pod in held[name]]
        problems = [_enrolment.namespace_problem(one, live.get(one.name)) for one in judged]
        return Look(
            [_enrolment.judge(one.mesh, pod) for one in judged for pod in held[one.name]],
            [text for text in problems if text] + _enrolment.closed_problems(live.values(), closed, self.closed),
        )

    def wait(self, timeout: float, sleep: float, wait: Wait = wait_until) -> Look:
        """The last look once nothing is missing; a KubeError after ``timeout`` seconds."""
        seen = Look()

        def once() -> tuple[bool, object]:
            nonlocal seen
            seen = self.look()
            return seen.done, seen.evidence()

        done, evidence = wait(once, timeout=timeout, sleep=sleep)
        if done:
            return seen
        raise KubeError(
            f"Not every pod is in the mesh as its namespace says after {timeout:g} s; seen last: {evidence}; look with "
            "'kubectl -n istio-system logs -l k8s-app=istio-cni-node' and '-l app=ztunnel'.",
            reason="NotEnrolled",
            object_=", ".join(one.name for one in self.wanted),
            details=str(evidence),
        )

    def unlabel(self, check_mode: bool) -> tuple[list[str], Enrolment]:
        """Take away the labels that put namespaces into the mesh.

        Answers the names of those that had one, and the run that sees that those still there are out.
        """
        request = Request("/api/v1/namespaces", "list namespaces", accept=METADATA_ONLY)
        listed = _client.demand(_client.list_all(self.client, request), request, self.target).get("items") or []
        live = {one["metadata"]["name"]: one["metadata"].get("labels") or {} for one in listed}
        taken = []
        for one in self.wanted:
            labels = live.get(one.name, {})
            ours = {_enrolment.MODE: "ambient", _enrolment.INJECTION: "enabled"}
            gone = {name: None for name, value in ours.items() if labels.get(name) == value}
            if one.mesh in ("none", "unmanaged") or not gone:
                continue
            taken.append(one.name)
            query = {"fieldManager": _workload.MANAGER, **({"dryRun": "All"} if check_mode else {})}
            request = Request(
                f"/api/v1/namespaces/{one.name}",
                f"patch namespaces {one.name}",
                method="PATCH",
                body={"metadata": {"labels": gone}},
                query=query,
                content_type=_workload.MERGE_PATCH,
            )
            _client.demand(self.client.call(request), request, self.target)
        out = [Wanted(one.name, "none") for one in self.wanted if one.mesh == "ambient" and one.name in live]
        return taken, Enrolment(self.client, self.target, out, ())
