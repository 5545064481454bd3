# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from ansible.module_utils.testing import patch_module_args

from ansible_collections.bulkhead.mesh.plugins.module_utils import _tailnet_wait
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer
from ansible_collections.bulkhead.mesh.plugins.modules import tailnet_check

TARGET = Target("127.0.0.1:6443", "context lab")
GONE = Answer(404, {"message": "not found"})
REVISION = "deployment.kubernetes.io/revision"
ENV = [{"name": "OPERATOR_LOGIN_SERVER", "value": "http://control.example.org"}]
UP = '{"level":"info","logger":"startReconcilers","msg":"Startup complete, operator running, version: 1.98.10"}'
REFUSED = '{"level":"fatal","logger":"startup","msg":"creating operator authkey: Post: oauth2: cannot fetch token: 401 Unauthorized"}'


def items(*objects: Any) -> Answer:
    return Answer(200, {"items": list(objects)})


def owned(kind: str, name: str, by: tuple[str, str], **more: Any) -> dict[str, Any]:
    owner = {"kind": by[0], "name": by[1], "controller": True}
    metadata = {"name": name, "namespace": "tailscale", "ownerReferences": [owner]}
    metadata.update(more.pop("metadata", {}))
    return {"kind": kind, "metadata": metadata, **more}


def operator(log: str, state: Any = None, restarts: int = 0) -> dict[str, Answer]:
    state = state or {"running": {"startedAt": "2026-11-21T17:27:47Z"}}
    deployment = {
        "metadata": {
            "name": "operator",
            "namespace": "tailscale",
            "generation": 1,
            "annotations": {REVISION: "1"},
        },
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "operator", "env": ENV}]}}},
        "status": {"observedGeneration": 1},
    }
    replica_set = owned(
        "ReplicaSet", "operator-1", ("Deployment", "operator"), metadata={"labels": {"pod-template-hash": "1"}}
    )
    replica_set["metadata"]["annotations"] = {REVISION: "1"}
    pod = owned(
        "Pod",
        "operator-1-x",
        ("ReplicaSet", "operator-1"),
        metadata={"labels": {"pod-template-hash": "1"}},
        spec={"containers": [{"name": "operator"}]},
        status={"containerStatuses": [{"name": "operator", "state": state, "restartCount": restarts}]},
    )
    return {
        "GET /apis/apps/v1/namespaces/tailscale/deployments/operator": Answer(200, deployment),
        "GET /api/v1/namespaces/tailscale/pods": items(pod),
        "GET /apis/apps/v1/namespaces/tailscale/replicasets": items(replica_set),
        "GET /api/v1/namespaces/tailscale/pods/operator-1-x/log": Answer(200, {"text": log}),
    }


@pytest.fixture
def run(monkeypatch: Any, capsys: Any, fake_api: Any) -> Any:
    """Run the module against a script; gives its result and the fake."""

    def go(calls: Any, **params: Any) -> Any:
        api = fake_api(calls)
        api.target = TARGET
        monkeypatch.setattr(_client, "Client", lambda given: api)
        with patch_module_args(params), pytest.raises(SystemExit):
            tailnet_check.main()
        api.done()
        return json.loads(capsys.readouterr().out), api

    return go


def test_an_operator_that_is_up(run: Any) -> None:
    result, api = run(operator(UP), operator="operator")
    assert (result["changed"], result["acceptable"]) == (False, True)
    assert [(one["id"], one["result"]) for one in result["checks"]] == [("operator-ready", "pass")]
    # From its beginning: what it says of its start comes first.
    assert [call.query.get("limitBytes") for call in api.calls if call.path.endswith("/log")] == ["131072"]


def test_refused_credentials_end_the_wait_at_once(run: Any) -> None:
    # One look: a second one would be an unexpected call.
    result, dummy = run(operator(REFUSED, {"terminated": {"exitCode": 1}}), operator="operator", wait_timeout=600)
    assert result["failed"] is True
    assert result["msg"] == (
        "Deployment tailscale/operator is not ready after 0 s: awaited was logged in and started; seen last: "
        "http://control.example.org refuses the OAuth client with 401: check client_id and client_secret in the Secret "
        "(a file that ends with a line end is a usual cause); look "
        "with 'kubectl -n tailscale describe deployment operator'."
    )


def test_the_log_of_the_container_before_counts_between_two_starts(run: Any) -> None:
    calls: dict[str, Any] = operator("", {"waiting": {"reason": "CrashLoopBackOff"}}, restarts=1)
    where = "GET /api/v1/namespaces/tailscale/pods/operator-1-x/log"
    calls[where] = [Answer(200, {"text": ""}), Answer(200, json.loads(REFUSED))]
    result, api = run(calls, operator="operator", wait_timeout=0)
    assert "refuses the OAuth client with 401" in result["msg"]
    assert [call.query.get("previous") for call in api.calls if call.path.endswith("/log")] == [None, "true"]


def test_an_operator_that_is_not_there(run: Any) -> None:
    calls = {"GET /apis/apps/v1/namespaces/tailscale/deployments/operator": GONE}
    result, dummy = run(calls, operator="operator", wait_timeout=0)
    assert "seen last: it does not exist" in result["msg"]


def test_a_log_that_may_not_be_read_is_no_pass(run: Any) -> None:
    calls: dict[str, Any] = operator(UP)
    calls["GET /api/v1/namespaces/tailscale/pods/operator-1-x/log"] = Answer(
        403, {"reason": "Forbidden", "message": "no"}
    )
    result, dummy = run(calls, operator="operator", wait_timeout=0)
    assert result["failed"] is True and "does not allow context lab to read the log" in result["msg"]


PARENT = {
    "tailscale.com/managed": "true",
    "tailscale.com/parent-resource": "arr-istio",
    "tailscale.com/parent-resource-ns": "gateway-arr",
    "tailscale.com/parent-resource-type": "svc",
}
KEY = "c2VjcmV0LWtleQ=="


def state(**labels: str) -> dict[str, Any]:
    data = {"device_fqdn": "arr.example.ts.net.", "device_ips": '["100.64.0.3"]', "device_id": "n1"}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"metadata": {"name": "ts-arr-0", "labels": {**PARENT, **labels}}, "data": {**encoded, "_machinekey": KEY}}


def device(*states: Any) -> dict[str, Answer]:
    proxy = {
        "metadata": {"name": "ts-arr", "namespace": "tailscale", "generation": 1},
        "spec": {"replicas": 1, "updateStrategy": {"type": "RollingUpdate"}},
        "status": {
            "observedGeneration": 1,
            "replicas": 1,
            "readyReplicas": 1,
            "updatedReplicas": 1,
            "currentReplicas": 1,
            "availableReplicas": 1,
        },
    }
    return {
        "GET /api/v1/namespaces/tailscale/secrets": items(*states),
        "GET /api/v1/namespaces/gateway-arr/services": items({"metadata": {"name": "arr-istio"}}),
        "GET /apis/apps/v1/namespaces/tailscale/statefulsets": items(proxy),
    }


ARR = {"namespace": "gateway-arr", "gateway": "arr", "hostname": "arr"}


def test_a_gateway_on_the_tailnet(run: Any) -> None:
    result, api = run(device(state()), devices=[ARR])
    assert result["acceptable"] is True
    assert result["devices"] == [
        {"gateway": "gateway-arr/arr", "name": "arr.example.ts.net", "addresses": ["100.64.0.3"]}
    ]
    assert KEY not in json.dumps(result) and "secret-key" not in json.dumps(result)
    # Secrets are never listed without the operator's label.
    asked = [call.query for call in api.calls if call.path.endswith("/secrets")]
    assert [query["labelSelector"] for query in asked] == ["tailscale.com/managed=true"]


@pytest.mark.parametrize(
    "other", [{"tailscale.com/parent-resource": "media-istio"}, {"tailscale.com/parent-resource-type": "ingress"}]
)
def test_the_device_of_something_else_does_not_count(run: Any, other: dict[str, str]) -> None:
    result, dummy = run(device(state(**other)), devices=[ARR], wait_timeout=0)
    assert result["failed"] is True and result["devices"] == []


def test_a_service_off_the_tailnet(run: Any) -> None:
    gone = [{"namespace": "gateway-arr", "name": "arr-istio"}]
    calls = {
        "GET /api/v1/namespaces/tailscale/secrets": items(),
        "GET /api/v1/namespaces/gateway-arr/services/arr-istio": GONE,
    }
    result, dummy = run(calls, gone=gone)
    assert result["acceptable"] is True
    calls["GET /api/v1/namespaces/tailscale/secrets"] = items(state())
    result, dummy = run(calls, gone=gone, wait_timeout=0)
    assert "the state of device arr.example.ts.net is still there" in result["msg"]


def test_seconds_of_a_stamp() -> None:
    assert _tailnet_wait._seconds("1970-01-01T00:01:00Z") == 60.0
    assert _tailnet_wait._seconds("") is None
