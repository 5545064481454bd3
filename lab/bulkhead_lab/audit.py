"""The API server's audit log: who wrote what, counted by client."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
# Asking a question and opening a terminal are `create` in the API's terms, and change nothing.
NOT_WRITES = frozenset(
    {
        "tokenreviews",
        "subjectaccessreviews",
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "selfsubjectreviews",
    }
)


def mark(log: Path) -> int:
    """Where the log ends now, in bytes: the start of a window."""
    return log.stat().st_size if log.exists() else 0


def events(log: Path, since: int = 0) -> Iterator[dict[str, Any]]:
    """Complete events after byte ``since``."""
    if not log.exists():
        return
    with log.open("rb") as handle:
        handle.seek(since)
        for line in handle:
            if line.endswith(b"\n"):
                yield json.loads(line)


def is_write(event: dict[str, Any]) -> bool:
    """Whether the request changed the cluster: a write verb, answered without error, not a dry run."""
    target = event.get("objectRef", {})
    if event.get("verb") not in WRITES or target.get("resource") in NOT_WRITES:
        return False
    if target.get("subresource") in ("exec", "portforward", "attach", "token"):
        return False
    if "All" in parse_qs(urlsplit(event.get("requestURI", "")).query).get("dryRun", []):
        return False
    return int(event.get("responseStatus", {}).get("code", 0)) < 400


def client(event: dict[str, Any]) -> str:
    """User and program of a request: ``lab-admin kubectl``."""
    return f"{event.get('user', {}).get('username', '?')} {event.get('userAgent', '?').split('/')[0]}"


def count_writes(log_events: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """client -> "verb resource" -> number of writes."""
    result: dict[str, Counter[str]] = {}
    for event in log_events:
        if is_write(event):
            target = event.get("objectRef", {})
            name = "/".join(part for part in (target.get("resource"), target.get("subresource")) if part)
            result.setdefault(client(event), Counter())[f"{event['verb']} {name}"] += 1
    return {name: dict(counter) for name, counter in sorted(result.items())}


def count_requests(log_events: Iterable[dict[str, Any]]) -> dict[str, int]:
    """client -> number of requests of any kind that the audit policy records."""
    return dict(Counter(client(event) for event in log_events))
