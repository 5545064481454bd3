# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What is asked of the API server and what comes back, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


@dataclass(frozen=True)
class Request:
    """One call; ``what`` names it for people: verb and resource, such as "list nodes"."""

    path: str
    what: str
    method: str = "GET"
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    accept: str = "application/json"
    content_type: str = "application/json"

    def __post_init__(self) -> None:
        # With a body the API server does not look at the query of a DELETE: a dry run that is only there deletes.
        if self.method == "DELETE" and self.body is not None and "dryRun" in self.query:
            object.__setattr__(self, "body", {**self.body, "dryRun": [self.query["dryRun"]]})


@dataclass(frozen=True)
class Answer:
    """What came back: HTTP status and the decoded JSON, or ``{"text": ...}`` for an answer that is not JSON."""

    status: int
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        """The API server's own words on a failure, on one line."""
        return " ".join(str(self.body.get("message") or self.body.get("text") or "no explanation").split())
