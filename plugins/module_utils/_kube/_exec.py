# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Exec in a container over a websocket, bounded in time.

The kubernetes client's own stream has no timeout for the connection and needs its generated API classes; only the
library below it, websocket-client, is used here.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._client import CONNECT_TIMEOUT, Client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError

# v5 can close standard input; v4 cannot, so programs must know from what they read where it ends.
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255
_CHUNK = 32 * 1024  # bytes of a frame of standard input
_MOST = 16 * 1024 * 1024  # bytes of output that are kept


@dataclass(frozen=True)
class Place:
    """Where a command runs."""

    namespace: str
    pod: str
    container: str

    def __str__(self) -> str:
        return f"container {self.container} of pod {self.namespace}/{self.pod}"


@dataclass(frozen=True)
class Output:
    """What the command left."""

    code: int
    stdout: str
    stderr: str


class Executor(Protocol):
    """What callers need: tests give a fake."""

    def run(self, place: Place, command: Sequence[str], stdin: str = "", timeout: float = 30.0) -> Output: ...


class Exec:
    """Runs commands in containers; safe to use from several threads, each run has a connection of its own."""

    def __init__(self, client: Client) -> None:
        self._configuration = client._configuration
        self._authorization = client._authorization
        self.target = client.target

    def run(self, place: Place, command: Sequence[str], stdin: str = "", timeout: float = 30.0) -> Output:
        """Run a command to its end. A command that ends is an Output whatever its exit code; all else is a KubeError."""
        import websocket

        deadline = time.monotonic() + timeout
        opened = None
        try:
            opened = self._open(place, command, bool(stdin))
            return _converse(opened, place, stdin, deadline, timeout)
        except websocket.WebSocketBadStatusException as exc:
            raise refused(place, exc.status_code, _body(exc), self.target.identity) from exc
        except websocket.WebSocketTimeoutException as exc:
            raise _late(place, timeout) from exc
        except (websocket.WebSocketException, OSError) as exc:
            raise KubeError(
                f"The connection to {place} broke before the command ended: run it again.",
                reason="ExecBroken",
                object_=str(place),
                details=" ".join(str(exc).split()),
            ) from exc
        finally:
            if opened is not None:
                opened.close(timeout=1)

    def _open(self, place: Place, command: Sequence[str], stdin: bool) -> Any:
        import websocket

        query: list[tuple[str, str]] = [("container", place.container), ("stdout", "true"), ("stderr", "true")]
        query += [("stdin", "true")] if stdin else []
        query += [("command", word) for word in command]
        host = self._configuration.host
        base = "ws" + host[4:] if host.startswith("http") else host
        url = f"{base}/api/v1/namespaces/{place.namespace}/pods/{place.pod}/exec?{urlencode(query)}"
        headers = [f"{key}: {value}" for key, value in self._authorization().items()]
        return websocket.create_connection(
            url,
            timeout=CONNECT_TIMEOUT,
            header=[*headers, "User-Agent: bulkhead.mesh"],
            subprotocols=list(PROTOCOLS),
            sslopt=tls_options(self._configuration),
            suppress_origin=True,
            **_proxy(self._configuration),
        )


def tls_options(configuration: Any) -> dict[str, Any]:
    """TLS settings of a kubernetes client's configuration, as websocket-client names them."""
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED}
    if not configuration.verify_ssl:
        options = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    elif configuration.ssl_ca_cert:
        options["ca_certs"] = configuration.ssl_ca_cert
    if configuration.verify_ssl and configuration.assert_hostname is False:
        options["check_hostname"] = False
    for name, attribute in (("certfile", "cert_file"), ("keyfile", "key_file"), ("server_hostname", "tls_server_name")):
        value = getattr(configuration, attribute, None)
        if value:
            options[name] = value
    return options


def _proxy(configuration: Any) -> dict[str, Any]:
    if not getattr(configuration, "proxy", None):
        # Otherwise the library looks at the environment on its own, and kubeconfigs do not.
        return {"http_no_proxy": ["*"]}
    parts = urlsplit(configuration.proxy)
    return {"http_proxy_host": parts.hostname, "http_proxy_port": parts.port, "proxy_type": parts.scheme or "http"}


def _converse(opened: Any, place: Place, stdin: str, deadline: float, timeout: float) -> Output:
    import websocket

    if stdin:
        data = stdin.encode()
        for start in range(0, len(data), _CHUNK):
            opened.settimeout(max(0.1, deadline - time.monotonic()))
            opened.send_binary(bytes([_STDIN]) + data[start : start + _CHUNK])
        if opened.subprotocol == PROTOCOLS[0]:
            opened.send_binary(bytes([_CLOSE, _STDIN]))
    held = {_STDOUT: bytearray(), _STDERR: bytearray(), _STATUS: bytearray()}
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise _late(place, timeout)
        opened.settimeout(left)
        code, frame = opened.recv_data()
        if code == websocket.ABNF.OPCODE_CLOSE:
            break
        if frame and frame[0] in held and len(held[frame[0]]) < _MOST:
            held[frame[0]] += frame[1:]
        if frame and frame[0] == _STATUS:
            break
    texts = {channel: bytes(data).decode("utf-8", "replace") for channel, data in held.items()}
    return Output(exit_code(texts[_STATUS], place), texts[_STDOUT], texts[_STDERR])


def exit_code(status: str, place: Place) -> int:
    """The exit code in the status that ends an exec; a command that never ran is a KubeError."""
    try:
        answer = json.loads(status)
        if answer["status"] == "Success":
            return 0
        if answer.get("reason") == "NonZeroExitCode":
            causes = (answer.get("details") or {}).get("causes") or []
            return next(int(one["message"]) for one in causes if one.get("reason") == "ExitCode")
        message = " ".join(str(answer.get("message") or "no explanation").split())
    except (ValueError, KeyError, TypeError, StopIteration) as exc:
        raise KubeError(
            f"The exec in {place} ended without a result: see whether the container was restarted, and run it again.",
            reason="ExecBroken",
            object_=str(place),
            details=status[:500],
        ) from exc
    raise KubeError(
        f"The command cannot be started in {place}: {message}: see that the image has the program.",
        reason="ExecFailed",
        object_=str(place),
        details=message,
    )


def refused(place: Place, code: int, answer: Mapping[str, Any], identity: str) -> KubeError:
    """Why the API server did not even open the connection."""
    message = " ".join(str(answer.get("message") or "no explanation").split())
    more = {"code": code, "object_": str(place), "details": message}
    if code == 401:
        return KubeError(
            f"The API server does not accept the credentials of {identity}: renew the token or certificate.",
            reason="Unauthorized",
            **more,
        )
    if code == 403:
        return KubeError(
            f"The API server does not allow {identity} to run a command in {place}: "
            "grant get and create on pods/exec, or use another context.",
            reason="Forbidden",
            **more,
        )
    if code == 404:
        return KubeError(f"There is no {place}: it was deleted meanwhile; run it again.", reason="NotFound", **more)
    if code == 400:
        return KubeError(
            f"No command can run in {place}: {message}: see that the container exists and runs.",
            reason="NoContainer",
            **more,
        )
    return KubeError(
        f"The API server refused a command in {place} with status {code}: {message}: see the node's kubelet.",
        reason="ExecRefused",
        **more,
    )


def _late(place: Place, timeout: float) -> KubeError:
    return KubeError(
        f"The command in {place} did not end within {timeout:g} s: raise the timeout or look at the node's load.",
        reason="ExecTimeout",
        object_=str(place),
    )


def _body(exc: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(exc.resp_body or b"{}")
    except ValueError:
        return {"message": (exc.resp_body or b"").decode("utf-8", "replace")}
    return found if isinstance(found, dict) else {}
