# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exec over a fake websocket: every end of a command is an output or one sentence."""

from __future__ import annotations

import json
import ssl
import types
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

websocket = pytest.importorskip("websocket")

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _exec  # noqa: E402  after the skip
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target  # noqa: E402
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError  # noqa: E402

PLACE = _exec.Place("downloads", "app-0", "bulkhead-overlay")
BINARY, CLOSE = websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_CLOSE


def status(**fields: Any) -> bytes:
    return b"\x03" + json.dumps(fields).encode()


OK = status(status="Success")


class Socket:
    """Gives the frames of a script; what is sent is kept."""

    def __init__(self, *frames: Any, subprotocol: str = "v5.channel.k8s.io") -> None:
        self.frames, self.subprotocol = list(frames), subprotocol
        self.sent: list[bytes] = []
        self.closed = False

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def send_binary(self, data: bytes) -> None:
        self.sent.append(data)

    def recv_data(self) -> Any:
        if not self.frames:
            return CLOSE, b""
        frame = self.frames.pop(0)
        if isinstance(frame, Exception):
            raise frame
        return BINARY, frame

    def close(self, timeout: float) -> None:
        self.closed = True


@pytest.fixture
def run(monkeypatch: Any) -> Any:
    def go(opened: Any, **arguments: Any) -> Any:
        made = object.__new__(_exec.Exec)
        made.target = Target("10.0.0.1:6443", "context homelab")
        made._configuration = types.SimpleNamespace(
            host="https://10.0.0.1:6443", verify_ssl=True, ssl_ca_cert="/ca", assert_hostname=None, proxy=None
        )
        made._authorization = lambda: {"authorization": "Bearer t"}
        calls = []

        def create(url: str, **options: Any) -> Any:
            calls.append((url, options))
            if isinstance(opened, Exception):
                raise opened
            return opened

        monkeypatch.setattr(websocket, "create_connection", create)
        return made.run(PLACE, ["python3", "-c", "a b"], **arguments), calls

    return go


def test_output_and_exit_code(run: Any) -> None:
    failed = status(
        status="Failure", reason="NonZeroExitCode", details={"causes": [{"reason": "ExitCode", "message": "3"}]}
    )
    opened = Socket(b"\x01out", b"\x02err", b"\x01put", b"", failed)
    output, ((url, options),) = run(opened, timeout=5)
    assert output == _exec.Output(3, "output", "err")
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("wss", "10.0.0.1:6443")
    assert parts.path == "/api/v1/namespaces/downloads/pods/app-0/exec"
    query = parse_qsl(parts.query)
    assert [value for key, value in query if key == "command"] == ["python3", "-c", "a b"]
    assert ("stdin", "true") not in query
    assert options["header"][0] == "authorization: Bearer t"
    assert options["timeout"] <= 5 and options["sslopt"]["cert_reqs"] == ssl.CERT_REQUIRED
    assert opened.closed and opened.sent == []


@pytest.mark.parametrize(("protocol", "closes"), [("v5.channel.k8s.io", True), ("v4.channel.k8s.io", False)])
def test_standard_input(run: Any, protocol: str, closes: bool) -> None:
    text = "x" * 70000
    opened = Socket(OK, subprotocol=protocol)
    output, ((url, dummy),) = run(opened, stdin=text)
    assert output.code == 0
    assert ("stdin", "true") in parse_qsl(urlsplit(url).query)
    data = [frame for frame in opened.sent if frame[0] == 0]
    assert b"".join(frame[1:] for frame in data).decode() == text
    assert (opened.sent[-1] == b"\xff\x00") is closes


@pytest.mark.parametrize(
    ("opened", "reason", "words"),
    [
        (Socket(), "ExecBroken", "without a result"),
        (Socket(b"\x03nonsense"), "ExecBroken", "without a result"),
        (Socket(status(status="Failure", reason="NonZeroExitCode", details={})), "ExecBroken", "without a result"),
        (Socket(status(status="Failure", message="exec: python3: not found")), "ExecFailed", "python3: not found"),
        (Socket(websocket.WebSocketTimeoutException()), "ExecTimeout", "did not end within 5 s"),
        (Socket(websocket.WebSocketConnectionClosedException("gone")), "ExecBroken", "broke before"),
        (OSError("no route to host"), "ExecBroken", "broke before"),
        (websocket.WebSocketTimeoutException(), "ExecTimeout", "did not end within 5 s"),
    ],
)
def test_broken(run: Any, opened: Any, reason: str, words: str) -> None:
    with pytest.raises(KubeError) as caught:
        run(opened, timeout=5)
    assert caught.value.failure["reason"] == reason
    assert words in caught.value.msg and "downloads/app-0" in caught.value.msg
    assert not isinstance(opened, Socket) or opened.closed


@pytest.mark.parametrize(
    ("code", "body", "reason", "words"),
    [
        (400, b'{"message": "container x is not valid"}', "NoContainer", "container x is not valid"),
        (401, b"", "Unauthorized", "renew the token"),
        (403, b'{"message": "forbidden"}', "Forbidden", "grant get and create on pods/exec"),
        (404, b'{"message": "not found"}', "NotFound", "There is no container"),
        (500, b"kubelet <gone>", "ExecRefused", "kubelet <gone>"),
    ],
)
def test_refused(run: Any, code: int, body: bytes, reason: str, words: str) -> None:
    refused = websocket.WebSocketBadStatusException("status %d %s", code, "", {}, body)
    with pytest.raises(KubeError) as caught:
        run(refused)
    assert (caught.value.failure["reason"], caught.value.failure["code"]) == (reason, code)
    assert words in caught.value.msg


def test_deadline_holds_while_frames_come(run: Any, monkeypatch: Any) -> None:
    clock = iter([0.0, 1.0, 2.0, 3.0, 99.0])
    monkeypatch.setattr(_exec.time, "monotonic", lambda: next(clock))
    with pytest.raises(KubeError) as caught:
        run(Socket(*[b"\x01x"] * 10), timeout=5)
    assert caught.value.failure["reason"] == "ExecTimeout"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"verify_ssl": False}, {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}),
        ({"verify_ssl": True, "ssl_ca_cert": "/ca"}, {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": "/ca"}),
        (
            {"verify_ssl": True, "assert_hostname": False, "cert_file": "/c", "key_file": "/k", "tls_server_name": "s"},
            {
                "cert_reqs": ssl.CERT_REQUIRED,
                "check_hostname": False,
                "certfile": "/c",
                "keyfile": "/k",
                "server_hostname": "s",
            },
        ),
    ],
)
def test_tls_options(settings: dict[str, Any], expected: dict[str, Any]) -> None:
    plain = {"ssl_ca_cert": None, "assert_hostname": None, "cert_file": None, "key_file": None, **settings}
    assert _exec.tls_options(types.SimpleNamespace(**plain)) == expected
