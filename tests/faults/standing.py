"""How a client and its gateway stand, in one line: what a failed wait has to say, as nobody can look afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator

from running_lab import kubectl

NOTES = ("bulkhead.mesh/gateway-address", "bulkhead.mesh/peers")


def told(*selectors: tuple[str, str]) -> str:
    """Pods by namespace and label: annotations of the endpoint controller, containers, last lines of logs, warnings."""
    return "; ".join(part for place in selectors for part in (*_pods(*place), *_warnings(place[0])))


def _warnings(namespace: str) -> list[str]:
    """The newest warnings of a namespace: what the kubelet had to do again."""
    path = "jsonpath={range .items[*]}{.involvedObject.name} {.lastTimestamp} {.count}x {.message}{'\\n'}{end}"
    words = ("get", "events", "--field-selector", "type=Warning", "--sort-by=.lastTimestamp", "-o", path)
    return kubectl("-n", namespace, *words, check=False).splitlines()[-5:]


def _pods(namespace: str, selector: str) -> Iterator[str]:
    text = kubectl("-n", namespace, "get", "pods", "-l", selector, "-o", "json", check=False)
    for pod in (json.loads(text) if text.startswith("{") else {}).get("items", []):
        metadata, status = pod["metadata"], pod["status"]
        name = metadata["name"]
        notes = {key: text for key, text in metadata.get("annotations", {}).items() if key in NOTES}
        yield f"{namespace}/{name} {status.get('podIP')} since {metadata['creationTimestamp']} {json.dumps(notes)}"
        for one in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            lines = kubectl("-n", namespace, "logs", name, "-c", one["name"], "--tail=2", check=False).splitlines()
            yield f"{one['name']} restarts={one['restartCount']} {json.dumps(one['state'])} {' | '.join(lines)}"
