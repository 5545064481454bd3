# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Modules that await: look at objects of the cluster until all checks pass, and say what was seen last and where to look."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _status
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._status import Check
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._patience import Patience
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import wait_until

Wait = Callable[..., "tuple[bool, object]"]


class Looker:
    """What looks: reads objects of the cluster; those who wait for something of their own say what in ``look``."""

    def __init__(self, client: _client.Caller, target: Target) -> None:
        self._client, self._target = client, target
        self.patience = Patience()
        self.certain: set[str] = set()  # objects that will not become ready, as of the last look

    def look(self, params: Mapping[str, Any]) -> tuple[list[Check], bool]:
        """All checks now, and whether waiting longer is no use."""
        raise NotImplementedError

    def until(self, params: Mapping[str, Any], timeout: float, sleep: float, wait: Wait = wait_until) -> list[Check]:
        """The last checks: all passed, waiting longer is no use, or ``timeout`` seconds are over."""

        def once() -> tuple[bool, object]:
            checks, final = self.look(params)
            return final or all(check.result == _status.PASS for check in checks), checks

        checks: Any = wait(once, timeout=timeout, sleep=sleep)[1]
        return checks

    def _get(self, path: str, what: str) -> Mapping[str, Any] | None:
        """One object, None if it does not exist; what may not be read is an error."""
        request = Request(path, what)
        answer = self._client.call(request)
        return None if answer.status == 404 else _client.demand(answer, request, self._target)

    def _list(self, path: str, what: str, labels: str = "") -> list[Mapping[str, Any]]:
        """Objects of a kind; none where the cluster has no such kind."""
        return self._list_known(path, what, labels) or []

    def _list_known(self, path: str, what: str, labels: str = "") -> list[Mapping[str, Any]] | None:
        """Objects of a kind, None where the cluster has no such kind."""
        request = Request(path, what, query={"labelSelector": labels} if labels else {})
        answer = _client.list_all(self._client, request)
        if answer.status == 404:
            return None
        return list(_client.demand(answer, request, self._target).get("items") or [])


def run(module: AnsibleModule, make: Callable[..., Any], **told: Callable[[Sequence[Check]], Any]) -> None:
    """A module that awaits: look until all passed or its time is over, and end the task.

    ``make`` makes what looks, such as a Looker; ``told`` are further results, made of the checks.
    """
    timeout, start = module.params["wait_timeout"], time.monotonic()
    try:
        client = _client.Client(module.params)
        looker = make(client, client.target)
        checks = looker.until(module.params, timeout, module.params["wait_sleep"])
    except KubeError as exc:
        module.fail_json(msg=exc.msg, failure=exc.failure, changed=False)
    failed = [one for one in checks if one.result != _status.PASS]
    result: dict[str, Any] = {"checks": [one.to_dict() for one in checks], "acceptable": not failed}
    result |= {name: of(checks) for name, of in told.items()}
    # What is certain is what the wait ended with; the others might have come.
    failed = [one for one in failed if one.object in getattr(looker, "certain", ())] or failed
    if failed and module.params["enforce"]:
        failure = {"code": None, "reason": "NotReady", "object": failed[0].object, "details": failed[0].observed}
        # A wait that had become no use is over before its time.
        taken = min(timeout, round(time.monotonic() - start))
        module.fail_json(msg=sentence(failed, taken), failure=failure, changed=False, **result)
    module.exit_json(changed=False, **result)


def sentence(failed: Sequence[Check], timeout: float) -> str:
    """What was awaited, what was seen last, and where to look."""
    said = [
        f"{one.object} is not ready after {timeout:g} s: awaited was {one.expected}; seen last: {one.observed}; look "
        f"with 'kubectl {_where(one.object)}'."
        for one in failed
    ]
    return " ".join(said)


def _where(object_: str) -> str:
    kind, dummy, place = object_.partition(" ")
    namespace, slash, name = place.rpartition("/")
    if not slash:
        return f"get {kind.lower()}s -A -o yaml"
    return f"-n {namespace} describe {kind.lower()} {name}"
