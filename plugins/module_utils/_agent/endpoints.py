# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The endpoint controller: tells pods where their other end is, once a second.

It reads the registry and the labelled pods and writes three annotations, each change of them twice. It deletes a gateway's
pod whose container the kubelet holds back, and nothing else. While it is down, or while it cannot read something, what
the pods know stays as it is.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable
from urllib.parse import quote, urlencode

from . import health, peering
from .command import AgentError, log
from .config import ConfigError

REGISTRY = "bulkhead-vpn-registry"  # ConfigMap in the controller's own namespace
REGISTRY_KEY = "registry.json"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TICK_SECONDS = 1.0
TIMEOUT_SECONDS = 5.0  # of connecting, and of each wait for an answer's next bytes
STALE_SECONDS = 60.0  # silence of the heartbeat after which the process hangs
LARGEST_ANSWER = 64 * 2**20  # bytes
MANAGER = "bulkhead-endpoints"


class ApiError(AgentError):
    """A call failed; ``status`` is 0 when there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ApiError(f"{path} cannot be read; does the pod have a service account token?") from exc


class Api:
    """One kept connection to the API server. The token is read for every call and the CA for every connection."""

    def __init__(
        self,
        host: str,
        port: int,
        account: str = ACCOUNT,
        connect: Callable[[], http.client.HTTPConnection] | None = None,
    ) -> None:
        self._host, self._port, self._account = host, port, account
        self._connect = connect or self._secure
        self._connection: http.client.HTTPConnection | None = None

    def _secure(self) -> http.client.HTTPConnection:
        try:
            context = ssl.create_default_context(cafile=os.path.join(self._account, "ca.crt"))
        except (OSError, ssl.SSLError) as exc:
            raise ApiError(f"The CA in {self._account} cannot be used; does the pod have a service account?") from exc
        return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_SECONDS, context=context)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """JSON of a 2xx answer; anything else is an ApiError."""
        headers = {"Authorization": f"Bearer {_read(os.path.join(self._account, 'token'))}", "User-Agent": MANAGER}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        for again in (self._connection is not None, False):
            try:
                status, raw = self._exchange(method, path, data, headers)
                break
            except (OSError, http.client.HTTPException) as exc:
                self.close()
                # The server may have closed the connection while it was idle; every call here can be repeated.
                if not again:
                    raise ApiError(f"The API server did not answer {method} {path}: {_cause(exc)}.") from exc
        try:
            answer = json.loads(raw)
        except ValueError as exc:
            raise ApiError(f"The API server answered {method} {path} with something that is not JSON.", status) from exc
        if not 200 <= status < 300:
            said = answer.get("message") if isinstance(answer, Mapping) else None
            raise ApiError(f"The API server refused {method} {path} with status {status}: {said}", status)
        return answer

    def _exchange(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request(method, path, body=data, headers=dict(headers))
        response = self._connection.getresponse()
        raw = response.read(LARGEST_ANSWER)
        if not response.isclosed():
            self.close()
        return response.status, raw

    def close(self) -> None:
        """Forget the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _cause(exc: Exception) -> str:
    return " ".join(str(exc).split()) or type(exc).__name__


class Controller:
    """What is remembered between two ticks: the last good registry, and what was said about failures."""

    def __init__(self, api: Api, namespace: str, beat: Callable[[], None] = lambda: None) -> None:
        self.api, self.namespace, self._beat = api, namespace, beat
        self.registry: dict[str, peering.Link] | None = None
        self._complaints: dict[str, str] = {}
        self._touched: set[str] = set()

    def tick(self) -> None:
        """Read, decide, patch; never raises for what cluster or network do."""
        self._beat()
        self._touched.clear()
        self._read_registry()
        if self.registry is None:
            return
        gateways = self._pods(self.namespace, f"{peering.ROLE_LABEL}={peering.GATEWAY_ROLE}")
        clients: dict[str, Sequence[peering.Pod] | None] = {}
        selector = f"{peering.CLIENT_LABEL},{peering.GATEWAY_LABEL} in ({','.join(sorted(self.registry))})"
        for namespace in sorted({one for link in self.registry.values() for one in link.namespaces()}):
            clients[namespace] = self._pods(namespace, selector)
        for patch in peering.decide(self.registry, gateways, clients):
            self._patch(patch)
        for pod in peering.to_replace(self.registry, gateways):
            self._delete(pod)
        # Pods and namespaces that are gone are not remembered for ever.
        self._complaints = {about: why for about, why in self._complaints.items() if about in self._touched}

    def _read_registry(self) -> None:
        path = f"/api/v1/namespaces/{quote(self.namespace)}/configmaps/{REGISTRY}"
        try:
            found = self.api.call("GET", path)
            registry = peering.parse_registry((found.get("data") or {}).get(REGISTRY_KEY))
        except (ApiError, ConfigError) as exc:
            self._say("registry", str(exc))
            return
        self._say("registry", "")
        if registry != self.registry:
            counts = {name: len(link.clients) for name, link in sorted(registry.items())}
            log("registry", gateways=counts)
        self.registry = registry

    def _pods(self, namespace: str, selector: str) -> list[peering.Pod] | None:
        """Pods by label, or None when the read failed."""
        self._beat()
        path = f"/api/v1/namespaces/{quote(namespace)}/pods?{urlencode({'labelSelector': selector})}"
        try:
            answer = self.api.call("GET", path)
            pods = [peering.parse_pod(item) for item in answer["items"] or ()]
        except (ApiError, KeyError, TypeError, AttributeError) as exc:
            self._say(f"pods {namespace}", str(exc) or type(exc).__name__)
            return None
        self._say(f"pods {namespace}", "")
        return pods

    def _patch(self, patch: peering.Patch) -> None:
        self._beat()
        pod = f"{patch.namespace}/{patch.name}"
        path = f"/api/v1/namespaces/{quote(patch.namespace)}/pods/{quote(patch.name)}?fieldManager={MANAGER}"
        # With the uid the API server refuses the patch for a pod that took over the name.
        metadata = {"uid": patch.uid, "annotations": dict(patch.annotations)}
        try:
            self.api.call("PATCH", path, {"metadata": metadata})
        except ApiError as exc:
            # Gone or replaced since it was listed: the next tick sees what is there then.
            if exc.status not in (404, 409) and not (exc.status == 422 and "metadata.uid" in str(exc)):
                self._say(f"pod {pod}", str(exc))
            return
        self._say(f"pod {pod}", "")
        again = any(text.endswith(peering.AGAIN) for text in patch.annotations.values())
        told = {key[len(peering.PREFIX) :]: text.strip() for key, text in patch.annotations.items()}
        log("repeated" if again else "written", pod=pod, **told)

    def _delete(self, pod: peering.Pod) -> None:
        """Let the StatefulSet make this pod anew, and no pod that took over its name."""
        self._beat()
        name = f"{pod.namespace}/{pod.name}"
        path = f"/api/v1/namespaces/{quote(pod.namespace)}/pods/{quote(pod.name)}"
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": pod.uid}}
        try:
            self.api.call("DELETE", path, body)
        except ApiError as exc:
            if exc.status not in (404, 409):
                self._say(f"replacing {name}", str(exc))
            return
        self._say(f"replacing {name}", "")
        log("replaced", pod=name, detail="the kubelet held back a container that was killed")

    def _say(self, about: str, why: str) -> None:
        """Log a failure when it begins, changes and ends, not once a second."""
        self._touched.add(about)
        if self._complaints.get(about, "") != why:
            log("failing" if why else "working", about=about, detail=why)
        self._complaints[about] = why


class Heart:
    """The sign of life: when the loop last turned, by a monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        """The loop turns, whether or not the API server answers it."""
        self._last = self._clock()

    def alive(self) -> bool:
        """Whether it turned lately."""
        return self._clock() - self._last <= STALE_SECONDS


def main(environment: Mapping[str, str]) -> int:
    """Command ``endpoints``: runs until it is stopped."""
    account = environment.get("BULKHEAD_ACCOUNT", ACCOUNT)
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port.isdigit():
        raise AgentError("KUBERNETES_SERVICE_HOST and _PORT do not say where the API server is; run this in a pod.")
    try:
        address = ipaddress.ip_address(environment.get("POD_IP", ""))
    except ValueError as exc:
        raise AgentError("POD_IP does not say the pod's address; apply the collection again.") from exc
    namespace = _read(os.path.join(account, "namespace"))
    heart = Heart()
    controller = Controller(Api(host, int(port), account), namespace, heart.beat)
    health.Health(address, heart.alive).start()
    log("endpoints_started", namespace=namespace)
    while True:
        started = time.monotonic()
        controller.tick()
        time.sleep(max(0.0, started + TICK_SECONDS - time.monotonic()))
