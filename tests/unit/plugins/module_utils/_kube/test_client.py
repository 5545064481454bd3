# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import ssl
import time
import types
from datetime import datetime
from typing import Any

import pytest

urllib3 = pytest.importorskip("urllib3")

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _connection  # noqa: E402  after the skip
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target  # noqa: E402
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError  # noqa: E402
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request  # noqa: E402

TARGET = Target("10.0.0.1:6443", "context homelab")


class Pool:
    """Stands for urllib3's pool: one answer or exception, and what was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = []

    def request(self, method: Any, url: str, **options: Any) -> Any:
        self.asked.append((method, url, options))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def client(answer: Any) -> Any:
    made = object.__new__(_client.Client)
    made.target = TARGET
    made._pool = Pool(answer)
    token = {"BearerToken": {"in": "header", "key": "authorization", "value": "Bearer t"}}
    made._configuration = types.SimpleNamespace(host="https://10.0.0.1:6443", auth_settings=lambda: token)
    return made


def response(status: Any = 200, data: Any = b'{"a": 1}') -> Any:
    return types.SimpleNamespace(status=status, data=data)


def test_call() -> None:
    made = client(response())
    answer = made.call(Request("/api", "read", method="POST", body={"b": 2}, query={"limit": "1"}))
    assert answer == Answer(200, {"a": 1})
    ((method, url, options),) = made._pool.asked
    assert (method, url) == ("POST", "https://10.0.0.1:6443/api?limit=1")
    assert options["body"] == '{"b": 2}'
    assert options["headers"]["authorization"] == "Bearer t"
    assert options["headers"]["Content-Type"] == "application/json"
    assert options["retries"] is False
    assert options["timeout"].connect_timeout == 5


def test_get_has_no_body() -> None:
    made = client(response())
    made.call(Request("/api", "read"))
    assert made._pool.asked[0][2]["body"] is None
    assert "Content-Type" not in made._pool.asked[0][2]["headers"]


@pytest.mark.parametrize(
    "data, body", [(b"plain", {"text": "plain"}), (b"[1]", {"text": "[1]"}), (b"", {}), (b"\xff", {"text": "\ufffd"})]
)
def test_answers_that_are_no_object(data: Any, body: Any) -> None:
    assert client(response(data=data)).call(Request("/log", "read")).body == body


def test_forbidden_is_an_answer_but_unauthorized_an_error() -> None:
    assert client(response(403)).call(Request("/api", "read")).status == 403
    with pytest.raises(KubeError) as caught:
        client(response(401)).call(Request("/api", "read"))
    assert caught.value.msg == (
        "The API server 10.0.0.1:6443 does not accept the credentials of context homelab: "
        "renew the token or certificate."
    )
    assert caught.value.failure["code"] == 401


def test_nobody_advises_rights_for_an_anonymous_caller() -> None:
    words = 'nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group ""'
    data = json.dumps({"reason": "Forbidden", "message": words}).encode()
    with pytest.raises(KubeError) as caught:
        client(response(403, data)).call(Request("/api/v1/nodes", "list nodes"))
    assert caught.value.msg == (
        "The API server 10.0.0.1:6443 received no credentials from context homelab that it knows, and took the call "
        "for an anonymous one: log in again, correct the user of that context, or use another context."
    )


def test_expired_client_certificate_is_named(tmp_path: Any) -> None:
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.not_valid_before(datetime(2020, 1, 1)).not_valid_after(datetime(2021, 2, 3))
    made = builder.serial_number(1).sign(key, hashes.SHA256())
    certificate = tmp_path / "crt"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    ended = _connection.expiry(str(certificate))
    assert ended is not None and ended < time.time()
    made = client(response(401))
    made.target = Target("10.0.0.1:6443", "context homelab", certificate=str(certificate))
    with pytest.raises(
        KubeError, match="^The client certificate of context homelab .* expired on [0-9-]{10}: renew it "
    ):
        made.call(Request("/api", "read"))


@pytest.mark.parametrize("path", ["", "/nowhere/crt"])
def test_expiry_that_cannot_be_read_is_unknown(path: str) -> None:
    assert _connection.expiry(path) is None


@pytest.mark.parametrize(
    "cause, reason",
    [
        (urllib3.exceptions.ConnectTimeoutError(None, "timed out"), "Unreachable"),
        (urllib3.exceptions.NewConnectionError(None, "refused"), "Unreachable"),
        (urllib3.exceptions.ReadTimeoutError(None, "", "read timed out"), "Unreachable"),
        (ConnectionResetError("reset"), "Unreachable"),
        (
            urllib3.exceptions.SSLError(ssl.SSLError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self signed")),
            "UntrustedCertificate",
        ),
        (
            urllib3.exceptions.SSLError(ssl.SSLError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate has expired")),
            "ExpiredCertificate",
        ),
        (
            urllib3.exceptions.SSLError(ssl.SSLError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] Hostname mismatch")),
            "UntrustedCertificate",
        ),
        (urllib3.exceptions.ProxyError("Cannot connect to proxy.", OSError("refused")), "ProxyFailed"),
        (urllib3.exceptions.SSLError(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]")), "TlsFailed"),
    ],
)
def test_no_connection(cause: Any, reason: str) -> None:
    with pytest.raises(KubeError) as caught:
        client(cause).call(Request("/version", "read"))
    assert caught.value.failure["reason"] == reason
    assert caught.value.failure["object"] == "10.0.0.1:6443"
    assert "context homelab" in caught.value.msg
    assert str(cause) not in caught.value.msg
    assert caught.value.__cause__ is cause


def test_demand() -> None:
    request = Request("/x", "list nodes")
    assert _client.demand(Answer(200, {"a": 1}), request, TARGET) == {"a": 1}
    with pytest.raises(KubeError) as caught:
        _client.demand(Answer(403, {"reason": "Forbidden", "message": "nodes is\nforbidden"}), request, TARGET)
    assert caught.value.msg == (
        "The API server 10.0.0.1:6443 does not allow context homelab to list nodes: "
        "grant it by a Role or ClusterRole, or use another context."
    )
    assert caught.value.failure == {
        "code": 403,
        "reason": "Forbidden",
        "object": "list nodes",
        "details": "nodes is forbidden",
    }
    denial = "nodes is forbidden: ValidatingAdmissionPolicy 'x' with binding 'x' denied request: use y."
    with pytest.raises(KubeError) as caught:
        _client.demand(Answer(403, {"reason": "Forbidden", "message": denial}), request, TARGET)
    assert denial in caught.value.msg and "Role" not in caught.value.msg, "no Role changes what a policy refuses"
    with pytest.raises(KubeError, match="with status 500: boom"):
        _client.demand(Answer(500, {"message": "boom"}), request, TARGET)


def page(names: Any, token: Any = None) -> Any:
    return Answer(200, {"kind": "NodeList", "metadata": {"continue": token} if token else {}, "items": names})


def test_pages_become_one(fake_api: Any) -> None:
    api = fake_api({"GET /n": [page(["a"], "next"), page(["b"])]})
    assert _client.list_all(api, Request("/n", "list nodes")).body["items"] == ["a", "b"]
    api.done()
    assert [call.query.get("continue") for call in api.calls] == [None, "next"]


def test_a_failed_page_is_no_short_list(fake_api: Any) -> None:
    api = fake_api({"GET /n": [page(["a"], "next"), Answer(410, {"reason": "Expired"})]})
    assert _client.list_all(api, Request("/n", "list nodes")).status == 410


def test_read_all_keeps_names_and_passes_errors(fake_api: Any) -> None:
    api = fake_api({"GET /a": Answer(200, {"x": 1}), "GET /b": Answer(403, {})})
    found = _client.read_all(api, {"one": Request("/a", "get a"), "two": Request("/b", "list b")})
    assert (found["one"].body, found["two"].status) == ({"x": 1}, 403)
    broken = fake_api({"GET /a": KubeError("gone", reason="Unreachable")})
    with pytest.raises(KubeError, match="gone"):
        _client.read_all(broken, {"one": Request("/a", "get a")})
    assert _client.read_all(api, {}) == {}


@pytest.mark.parametrize(
    ("method", "body", "query", "sent"),
    [
        ("DELETE", {"kind": "DeleteOptions"}, {"dryRun": "All"}, {"kind": "DeleteOptions", "dryRun": ["All"]}),
        ("DELETE", {"kind": "DeleteOptions"}, {}, {"kind": "DeleteOptions"}),
        ("DELETE", None, {"dryRun": "All"}, None),
        ("PATCH", {"data": {}}, {"dryRun": "All"}, {"data": {}}),
    ],
)
def test_trial_of_a_deletion_says_so_in_its_body(method: str, body: Any, query: Any, sent: Any) -> None:
    """The API server does not look at the query of a DELETE that has a body."""
    assert Request("/api/v1/pods/x", "x", method, body, query).body == sent
