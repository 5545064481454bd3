# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The only code that talks to the cluster: plain JSON over the kubernetes client's connections.

Its generated API classes are not used: importing one costs more than all requests of a usual run together.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import urlencode

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _config, _connection
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request

CONNECT_TIMEOUT = 5.0  # seconds
READ_TIMEOUT = 30.0
PAGE = 500  # objects per answer of a LIST
PARALLEL = 8


class Caller(Protocol):
    """What the helpers below need: tests give a fake with recorded calls."""

    def call(self, request: Request) -> Answer: ...


class Client:
    """A connection to one cluster; safe to use from several threads."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        """Configure from options of fragment ``_auth``; no request is made yet."""
        from kubernetes.client.rest import RESTClientObject

        self._configuration, self.target = _config.load(params, os.environ)
        try:
            self._pool = RESTClientObject(self._configuration).pool_manager
        except (OSError, ValueError) as exc:
            raise KubeError(
                f"The certificates for {self.target.server} ({self.target.identity}) cannot be loaded: "
                "check ca_cert, client_cert and client_key, or the kubeconfig they come from.",
                reason="BadCertificate",
                object_=self.target.server,
                details=str(exc),
            ) from exc

    def call(self, request: Request) -> Answer:
        """Make one call. Any HTTP status is an answer; no connection and unknown credentials are a KubeError."""
        url = self._configuration.host + request.path
        if request.query:
            url += "?" + urlencode(request.query)
        headers = {"Accept": request.accept, "User-Agent": "bulkhead.mesh", **self._authorization()}
        body = None
        if request.body is not None:
            body = json.dumps(request.body)
            headers["Content-Type"] = request.content_type
        answer = self._send(request.method, url, body, headers)
        if answer.status == 401:
            raise _connection.unauthorized(self.target)
        if answer.status == 403 and _connection.is_anonymous(answer.message):
            raise _connection.unrecognised(self.target, answer.message)
        return answer

    def _authorization(self) -> dict[str, str]:
        return {item["key"]: item["value"] for item in self._configuration.auth_settings().values() if item["value"]}

    def _send(self, method: str, url: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        import urllib3

        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
        try:
            response = self._pool.request(method, url, body=body, headers=dict(headers), timeout=timeout, retries=False)
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise _connection.unreachable(exc, self.target) from exc
        raw = response.data
        try:
            decoded = json.loads(raw) if raw else {}
        except ValueError:
            decoded = None
        if not isinstance(decoded, dict):
            decoded = {"text": raw.decode("utf-8", "replace")}
        return Answer(response.status, decoded)


# A policy or a webhook refused it, which no Role changes.
_ADMISSION = re.compile(r"\bdenied (the )?request\b")


def demand(answer: Answer, request: Request, target: _config.Target) -> Mapping[str, Any]:
    """The body of a good answer; a bad one as a KubeError with the object and the server's words."""
    if answer.ok:
        return answer.body
    reason = str(answer.body.get("reason") or "Failed")
    if answer.status == 403 and not _ADMISSION.search(answer.message):
        msg = (
            f"The API server {target.server} does not allow {target.identity} to {request.what}: "
            "grant it by a Role or ClusterRole, or use another context."
        )
    else:
        msg = f"The API server {target.server} refused to {request.what} with status {answer.status}: {answer.message}"
    raise KubeError(msg, reason=reason, code=answer.status, object_=request.what, details=answer.message)


def list_all(client: Caller, request: Request) -> Answer:
    """A LIST with all its pages as one answer; a page that fails is the answer."""
    collected: list[Any] = []
    token = ""
    while True:
        query = {**request.query, "limit": str(PAGE), **({"continue": token} if token else {})}
        answer = client.call(replace(request, query=query))
        if not answer.ok or "items" not in answer.body:
            return answer
        collected += answer.body["items"] or []
        token = (answer.body.get("metadata") or {}).get("continue") or ""
        if not token:
            return Answer(answer.status, {**answer.body, "items": collected})


def read_all(client: Caller, requests: Mapping[str, Request]) -> dict[str, Answer]:
    """All ``requests`` at once, each under its name; what is named "list ..." is read page by page."""

    def one(request: Request) -> Answer:
        return list_all(client, request) if request.what.startswith("list ") else client.call(request)

    if not requests:
        return {}
    with ThreadPoolExecutor(max_workers=min(PARALLEL, len(requests))) as pool:
        return dict(zip(requests, pool.map(one, requests.values())))
