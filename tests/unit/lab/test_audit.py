"""Counting writes in the audit log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bulkhead_lab import audit


def event(
    verb: str = "create", resource: str = "pods", code: int = 201, uri: str = "/api/v1/pods", **more: Any
) -> dict[str, Any]:
    return {
        "verb": verb,
        "requestURI": uri,
        "user": {"username": "lab-admin"},
        "userAgent": "kubectl/v1.35 (linux)",
        "objectRef": {"resource": resource, **more},
        "responseStatus": {"code": code},
    }


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (event(), True),
        (event("patch", code=200), True),
        (event("delete", code=200), True),
        (event("deletecollection", code=200), True),
        (event("get", code=200), False),
        (event("watch", code=200), False),
        (event(code=409), False),
        (event(uri="/api/v1/pods?dryRun=All&fieldManager=x"), False),
        (event(uri="/api/v1/pods?fieldManager=dryRun"), True),
        (event(resource="selfsubjectaccessreviews"), False),
        (event(subresource="exec"), False),
        (event("patch", subresource="status", code=200), True),
    ],
)
def test_what_counts_as_a_write(case: dict[str, Any], expected: bool) -> None:
    assert audit.is_write(case) is expected


def test_writes_are_counted_by_client_after_the_mark(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text(json.dumps(event()) + "\n")
    since = audit.mark(log)
    with log.open("a") as handle:
        for one in (event("patch", code=200), event("patch", code=200), event("patch", code=200, subresource="status")):
            handle.write(json.dumps(one) + "\n")
        handle.write('{"half": ')
    assert audit.count_writes(audit.events(log, since)) == {
        "lab-admin kubectl": {"patch pods": 2, "patch pods/status": 1}
    }
    assert audit.count_writes(audit.events(log)) != audit.count_writes(audit.events(log, since))


def test_no_log_is_no_event(tmp_path: Path) -> None:
    assert audit.mark(tmp_path / "none") == 0
    assert list(audit.events(tmp_path / "none")) == []
