"""Kill the engine after 0, 1, 2 ... writes while it creates, prunes and deletes; the next run must complete it.

Usage: interrupted.py KUBECONFIG NAMESPACE GROUP <objects.json
Each number of writes has a namespace and a group of custom kinds of its own, NAMESPACE-N and GROUP-N, so that they run
side by side: most of the time goes by while a namespace is being deleted.
Prints a line for each run that was killed; exits with a message when a run was not completed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _calls, _client, _reconcile
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._apply import Report, Waiting
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._applyset import ObjectSet
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._plan import Options
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request

Objects = list[dict[str, Any]]


class Killed(Exception):
    """The run ends here."""


class Incomplete(Exception):
    """The run after a killed one left something to do."""


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


def run(
    client: _client.Client, namespace: str, objects: Objects, present: bool, writes: int, check: bool = False
) -> tuple[Report, dict]:
    """One run that may make so many writes."""
    report = Report()
    session = _calls.Session(Mortal(client, writes))
    owner = ObjectSet("interrupted", namespace)
    job = _reconcile.Job(owner, objects, present, Options(check=check), not present, Waiting(60, 0.5))
    _reconcile.reconcile(session, client.target, job, report)
    return report, session.counts


def tried(what: str, writes: int, go: Callable[[int], tuple[Report, dict]]) -> str:
    """Kill, complete, and see that nothing is left to do; what happened in words."""
    try:
        go(writes)
        words = f"{what}: not killed, it makes no more than {writes} writes"
    except Killed:
        words = f"{what}: killed after {writes} writes"
    go(1000)
    report, counts = go(1000)
    if _reconcile.changed(report, check=False) or counts["applies"] or counts["deletes"]:
        raise Incomplete(f"{what}, killed after {writes} writes: the run after the next one still had to do {counts}")
    return words


def all_ways(client: _client.Client, namespace: str, objects: Objects, writes: int) -> list[str]:
    """Create, prune and delete with one number of writes."""
    few = [manifest for manifest in objects if manifest["kind"] in ("Namespace", "ConfigMap", "Secret")]
    words = []
    for what, wanted in (("create", objects), ("prune", few), ("delete", [])):
        words.append(tried(what, writes, lambda most, one=wanted: run(client, namespace, one, bool(one), most)))
        report, dummy = run(client, namespace, objects, False, 0, check=True)
        there = sorted(f"{step.key.kind} {step.key.name}" for step in report.plan)
        expected = sorted(f"{one['kind']} {one['metadata']['name']}" for one in wanted)
        if there != expected:
            raise Incomplete(f"{words[-1]}, and at its end there were {there} instead of {expected}")
    return words


def main(kubeconfig: str, namespace: str, group: str) -> None:
    """All three ways, with every number of writes."""
    text = sys.stdin.read()
    client = _client.Client({"kubeconfig": kubeconfig})

    def one(writes: int) -> list[str]:
        mine = text.replace(f'"{namespace}"', f'"{namespace}-{writes}"').replace(group, f"{group}-{writes}")
        objects, home = json.loads(mine), f"{namespace}-{writes}"
        run(client, home, objects, False, 1000)  # what an earlier run of this program left
        try:
            return all_ways(client, home, objects, writes)
        finally:
            run(client, home, objects, False, 1000)

    numbers = range(len(json.loads(text)) + 2)
    with ThreadPoolExecutor(max_workers=len(numbers)) as pool:
        try:
            for words in pool.map(one, numbers):
                print("\n".join(words))
        except Incomplete as exc:
            sys.exit(str(exc))


if __name__ == "__main__":
    main(*sys.argv[1:])
