"""object_set against kubernetes.core.k8s on the same objects, in one run: seconds and requests of a no-change run.

    eval "$(dev/run env)"; python tests/benchmarks/object_set.py [--kubeconfig FILE] [--objects 60] [--audit-log FILE]

Makes the objects in the namespace object-set-benchmark of the cluster, applies them with both, and then measures runs
in which nothing changes: one object_set task with the list, one k8s task for each object in a loop, and (for fairness)
one k8s task with all definitions. Each figure is the shortest of --rounds, less the time of an empty play. The exit
code is 1 when the ratio to tasks per object is below --at-least.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from measure import Audit, play, words

NAMESPACE = "object-set-benchmark"
KINDS = ("ConfigMap", "Secret", "ServiceAccount", "Service", "NetworkPolicy")
TASKS = {
    "nothing": "",
    "object_set, one task": """
    - bulkhead.mesh.object_set:
        kubeconfig: "{{ kubeconfig }}"
        name: benchmark
        namespace: "{{ home }}"
        objects: "{{ objects }}"
""",
    "k8s, a task per object": """
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: "{{ item }}"}
      loop: "{{ objects }}"
      loop_control: {label: "{{ item.metadata.name }}"}
""",
    "k8s, one task": """
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: "{{ objects }}"}
""",
}
REMOVE = """
    - bulkhead.mesh.object_set:
        kubeconfig: "{{ kubeconfig }}"
        name: benchmark
        namespace: "{{ home }}"
        state: absent
        prune_protect: []
        wait: true
"""


def manifest(index: int) -> dict[str, Any]:
    """One of the objects."""
    kind = KINDS[index % len(KINDS)]
    name = f"bench-{index}"
    made: dict[str, Any] = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}}
    if kind == "ConfigMap":
        made["data"] = {f"key{n}": "value" * 20 for n in range(10)}
    elif kind == "Secret":
        made["stringData"] = {"key": "value" * 20}
    elif kind == "ServiceAccount":
        made["automountServiceAccountToken"] = False
    elif kind == "Service":
        made["spec"] = {"selector": {"app": name}, "ports": [{"name": "web", "port": 80}]}
    else:
        made["apiVersion"] = "networking.k8s.io/v1"
        made["spec"] = {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": ["Ingress"]}
    return made


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kubeconfig", default=os.environ.get("KUBECONFIG"), help="default: $KUBECONFIG")
    parser.add_argument("--audit-log", type=Path, help="default: audit.log beside the kubeconfig")
    parser.add_argument("--objects", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-least", type=float, default=10.0)
    options = parser.parse_args()
    if not options.kubeconfig or not Path(options.kubeconfig).exists():
        parser.error("no cluster: name a kubeconfig with --kubeconfig, or start the lab with lab/lab up")
    log = options.audit_log or Path(options.kubeconfig).parent / "audit.log"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    objects = [namespace, *(manifest(index) for index in range(options.objects - 1))]
    variables = {"kubeconfig": options.kubeconfig, "home": NAMESPACE, "objects": objects}
    try:
        for name in ("object_set, one task", "k8s, one task", "object_set, one task"):
            play(TASKS[name], variables)
        empty = min(play("", variables) for _round in range(options.rounds))
        audit = Audit(log)
        seconds: dict[str, float] = {}
        print(
            f"No-change run of {len(objects)} objects of {len(KINDS) + 1} kinds, less {empty:.2f} s of an empty play:"
        )
        for name in list(TASKS)[1:]:
            rounds = 1 if "per object" in name else options.rounds
            seconds[name] = min(play(TASKS[name], variables) for _round in range(rounds)) - empty
            print(f"  {name:24} {seconds[name]:7.2f} s   {words(audit.since())} (in {rounds} rounds)")
    finally:
        play(REMOVE, variables)
    ours = seconds["object_set, one task"]
    ratio = seconds["k8s, a task per object"] / ours
    print(f"  {ratio:.1f} times faster than a task per object, {seconds['k8s, one task'] / ours:.1f} than one k8s task")
    return int(ratio < options.at_least)


if __name__ == "__main__":
    sys.exit(main())
