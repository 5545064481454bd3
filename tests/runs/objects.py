"""All objects of all kinds of a cluster, and what differs between two such listings."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from running_lab import kubectl

# They come and go by themselves.
NOISE = frozenset(
    {
        "endpoints",
        "endpointslices.discovery.k8s.io",
        "events",
        "events.events.k8s.io",
        "leases.coordination.k8s.io",
    }
)
# Made anew by Kubernetes with each edit of their owner: only who they are counts.
MADE_ANEW = frozenset({"ControllerRevision", "Pod"})
COUNTERS = frozenset({"generation", "managedFields", "resourceVersion"})
HEARTBEAT = "metadata.annotations.control-plane.alpha.kubernetes.io/leader"  # of a leader that has no Lease
SETTLED = 60.0  # seconds
Listing = dict[str, dict[str, str]]  # object -> field -> digest of its value


def read() -> list[dict[str, Any]]:
    """Every object that can be listed."""
    kinds = sorted(set(kubectl("api-resources", "--verbs=list", "--output=name").split()) - NOISE)
    return json.loads(kubectl("get", ",".join(kinds), "--all-namespaces", "--output=json"))["items"]


def listing(items: Iterable[Mapping[str, Any]]) -> Listing:
    """The objects by name, with a digest of each field; so a Secret can be compared and never be printed."""
    found: Listing = {}
    for item in items:
        metadata = item["metadata"]
        group = item["apiVersion"].rpartition("/")[0]
        kind = f"{item['kind']}.{group}" if group else item["kind"]
        name = "/".join(metadata[part] for part in ("namespace", "name") if part in metadata)
        kept = {field: value for field, value in metadata.items() if field not in COUNTERS}
        owners = {owner["kind"] for owner in metadata.get("ownerReferences", [])}
        if item["kind"] == "ControllerRevision" or "ReplicaSet" in owners:
            # one for each template that the owner ever had; a pod that may have had others before it
            name = name.rpartition("-")[0] + "-*"
        content = {field: value for field, value in item.items() if field not in ("metadata", "status")}
        shown = {} if item["kind"] in MADE_ANEW else {**content, "metadata": kept}
        found[f"{kind} {name}"] = {field: digest for field, digest in _fields(shown, "") if field != HEARTBEAT}
    return found


def _fields(value: object, path: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, child in value.items():
            yield from _fields(child, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and value:
        for index, child in enumerate(value):
            yield from _fields(child, f"{path}[{index}]")
    else:
        yield path, hashlib.sha256(json.dumps(value).encode()).hexdigest()


def difference(before: Listing, after: Listing) -> list[str]:
    """A line for each object that came or went, and for each field that is another one; empty when they are equal."""
    lines = [f"- {name}" for name in before if name not in after] + [
        f"+ {name}" for name in after if name not in before
    ]
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        lines += [f"~ {name}: {field}" for field in old.keys() | new.keys() if old.get(field) != new.get(field)]
    return sorted(lines)


def settled(before: Listing, expected: Iterable[str], look: Callable[[], Listing] | None = None) -> list[str]:
    """The difference to ``before``, once it is the expected one or after a minute: what is deleted needs a while."""
    wanted, end = sorted(expected), time.monotonic() + SETTLED
    while True:
        found = difference(before, (look or now)())
        if found == wanted or time.monotonic() > end:
            return found
        time.sleep(1)


def now() -> Listing:
    """The cluster as it is."""
    return listing(read())
