# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Wait until gateways are Ready; one of which it is certain that it will not be so is not waited for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _gateway_ready, _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._patience import Patience


class Run(Protocol):
    """The run that waits."""

    client: _client.Caller
    target: Target
    params: Mapping[str, Any]
    changed: bool
    failures: dict[str, KubeError]
    wait: Callable[..., tuple[bool, object]]


def until_ready(run: Run, plans: Sequence[_gateway.Plan]) -> None:
    """Until every gateway's tunnel carries traffic; those of which that does not come true fail.

    A pod of an older template that is not Ready is replaced.
    """
    left = {plan.gateway.name: plan for plan in plans if plan.gateway.name not in run.failures}
    evidence: dict[str, str] = {}
    hopeless: dict[str, _gateway.Plan] = {}
    patience = Patience()

    def look() -> tuple[bool, object]:
        for name, plan in list(left.items()):
            found = _look(run, plan, patience)
            evidence[name] = found.evidence
            for pod in found.stale:
                run.changed = _workload.delete_pod(run.client, run.target, pod) or run.changed
            if found.certain:
                hopeless[name] = plan
            if found.ready or found.certain:
                del left[name]
        return not left, None

    if left:
        run.wait(look, timeout=run.params["wait_timeout"], sleep=run.params["wait_sleep"])
    for name, plan in {**hopeless, **left}.items():
        after = "will not get ready" if name in hopeless else f"is not ready after {run.params['wait_timeout']} s"
        words = f"{plan.gateway.object} {after}: {evidence[name]}."
        run.failures[name] = KubeError(words, reason="NotReady", object_=plan.gateway.object, details=words)


def _look(run: Run, plan: _gateway.Plan, patience: Patience) -> _gateway_ready.Look:
    gateway, endpoint = plan.gateway, plan.endpoint
    server, secret = f"{endpoint.address}:{endpoint.port}", f"{gateway.namespace}/{gateway.config_secret}"
    return _gateway_ready.look(run.client, gateway.namespace, gateway.name, server, secret, patience)
