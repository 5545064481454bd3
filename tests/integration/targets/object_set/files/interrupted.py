"""Kill the engine after 0, 1, 2 ... writes while it creates, prunes and deletes; the next run must complete it.

Usage: interrupted.py KUBECONFIG NAMESPACE <objects.json
Prints a line for each run that was killed; exits with a message when a run was not completed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _calls, _client, _reconcile
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._apply import Report, Waiting
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._applyset import ObjectSet
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._plan import Options
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request

Objects = list[dict[str, Any]]


class Killed(Exception):
    """The run ends here."""


class Mortal:
    """A client that dies before its next write once ``left`` of them were made."""

    def __init__(self, client: _client.Client, left: int) -> None:
        self.client = client
        self.left = left

    def call(self, request: Request) -> Answer:
        """Pass on or die."""
        if request.method != "GET" and "dryRun" not in request.query:
            if self.left <= 0:
                raise Killed
            self.left -= 1
        return self.client.call(request)


def run(client: _client.Client, namespace: str, objects: Objects, present: bool, writes: int) -> tuple[Report, dict]:
    """One run that may make so many writes."""
    report = Report()
    session = _calls.Session(Mortal(client, writes))
    owner = ObjectSet("interrupted", namespace)
    job = _reconcile.Job(owner, objects, present, Options(), not present, Waiting(60, 0.5))
    _reconcile.reconcile(session, client.target, job, report)
    return report, session.counts


def tried(what: str, writes: int, go: Callable[[int], tuple[Report, dict]]) -> None:
    """Kill, complete, and see that nothing is left to do."""
    try:
        go(writes)
        print(f"{what}: not killed, it makes no more than {writes} writes")
    except Killed:
        print(f"{what}: killed after {writes} writes")
    go(1000)
    report, counts = go(1000)
    if _reconcile.changed(report, check=False) or counts["applies"] or counts["deletes"]:
        sys.exit(f"{what}, killed after {writes} writes: the run after the next one still had to do {counts}")


def main(kubeconfig: str, namespace: str) -> None:
    """All three ways, with every number of writes."""
    objects: Objects = json.load(sys.stdin)
    few = [manifest for manifest in objects if manifest["kind"] in ("Namespace", "ConfigMap", "Secret")]
    client = _client.Client({"kubeconfig": kubeconfig})
    for writes in range(len(objects) + 2):
        tried("create", writes, lambda most: run(client, namespace, objects, True, most))
        tried("prune", writes, lambda most: run(client, namespace, few, True, most))
        tried("delete", writes, lambda most: run(client, namespace, [], False, most))


if __name__ == "__main__":
    main(*sys.argv[1:])
