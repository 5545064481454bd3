# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wiring of killswitch_check: options in, one result out, and never a pass by accident."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("kubernetes")
pytest.importorskip("websocket")

from ansible.module_utils.testing import patch_module_args

from ansible_collections.bulkhead.mesh.plugins.module_utils._killswitch import _run
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _exec
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request
from ansible_collections.bulkhead.mesh.plugins.modules import killswitch_check
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.checks import evidence as e

CLIENT = {"kind": "StatefulSet", "namespace": "downloads", "name": "app", "gateway": "north"}
GATEWAY = {"name": "north", "namespace": "vpn", "config_secret": "wg0"}
TARGETS = {"stun": [{"address": "203.0.113.10"}], "http": [], "dns": [], "bulk": []}
BASE = {"clients": [CLIENT], "gateways": [GATEWAY], "targets": TARGETS, "real_addresses": ["192.0.2.10"]}
GUARD_ENV = [{"name": "BULKHEAD_CONFIG", "value": json.dumps({"direct": [], "resolver": "10.222.1.1"})}]


class Api:
    """A cluster of fixed objects; ``refuse`` are paths that answer 403. Any write fails the test."""

    target = Target("127.0.0.1:6443", "context lab")

    def __init__(self, lists: dict[str, Any], refuse: tuple[str, ...] = ()) -> None:
        self.lists, self.refuse = lists, refuse
        self.writes: list[str] = []

    def call(self, request: Request) -> Answer:
        if request.method != "GET":
            self.writes.append(f"{request.method} {request.path}")
            return Answer(403, {"message": "no writes here"})
        if any(part in request.path for part in self.refuse):
            return Answer(403, {"message": "forbidden"})
        return Answer(200, {"items": self.lists.get(request.path, [])})


def cluster() -> dict[str, Any]:
    labels = {"app": "app", "bulkhead.mesh/vpn-client": "downloads.app"}
    owner = {"kind": "StatefulSet", "name": "app", "controller": True}
    pod = json.loads(json.dumps(e.POD))
    pod["metadata"].update(labels=labels, ownerReferences=[owner])
    pod["spec"]["initContainers"][0].update(env=GUARD_ENV, image="agent")
    workload = {
        "metadata": {"namespace": "downloads", "name": "app"},
        "spec": {"selector": {"matchLabels": {"app": "app"}}, "template": {"metadata": {}, "spec": {"containers": []}}},
    }
    return {
        "/api/v1/namespaces/downloads/pods": [pod],
        "/apis/apps/v1/namespaces/downloads/statefulsets": [workload],
    }


@pytest.fixture
def run(monkeypatch: Any, capsys: Any) -> Any:
    def go(api: Any, executor: Any = None, **params: Any) -> Any:
        class Refusing:
            def __init__(self, client: Any) -> None: ...

            def run(self, *arguments: Any, **more: Any) -> Any:
                if executor is None:
                    raise KubeError("not allowed to run a command", reason="Forbidden")
                return executor(*arguments, **more)

        monkeypatch.setattr(_client, "Client", lambda given: api if not isinstance(api, Exception) else _raise(api))
        monkeypatch.setattr(_exec, "Exec", Refusing)
        with patch_module_args({**BASE, **params}), pytest.raises(SystemExit):
            killswitch_check.main()
        return json.loads(capsys.readouterr().out)

    return go


def _raise(exc: Exception) -> Any:
    raise exc


def test_without_exec_nothing_is_better_than_unknown(run: Any) -> None:
    api = Api(cluster())
    result = run(api)
    assert result["failed"] and result["changed"] is False and result["acceptable"] is False
    assert result["verdict"] == "unknown"
    assert result["failure"]["reason"] == "NotAsRequired"
    assert "StatefulSet downloads/app" in result["msg"]
    assert api.writes == []
    by_id = {one["id"]: one for one in result["checks"] if one["target"] == "downloads/app-0"}
    assert by_id["ctl-tools"]["result"] == "unknown"
    assert by_id["pod-hostnet"]["result"] == "pass"
    assert by_id["np-exists"]["result"] == "unknown"
    assert by_id["np-enforced"]["result"] == "skipped"


@pytest.mark.parametrize("refuse", ["/pods", "/networkpolicies", "/statefulsets", "/configmaps", "/nodes", "/api"])
def test_what_cannot_be_read_is_never_a_pass(run: Any, refuse: str) -> None:
    result = run(Api(cluster(), (refuse,)), enforce=False)
    assert result["verdict"] == "unknown" and not result["acceptable"]
    assert "failed" not in result


def test_no_clients_prove_nothing(run: Any) -> None:
    for clients in ([], [{**CLIENT, "state": "absent"}]):
        result = run(Api({}), clients=clients)
        assert result["failed"] and result["verdict"] == "unknown"


def test_client_without_pods(run: Any) -> None:
    lists = cluster()
    lists["/api/v1/namespaces/downloads/pods"] = []
    result = run(Api(lists), enforce=False)
    assert "no pod runs" in result["clients"][0]["reasons"][0] and not result["acceptable"]


def test_check_mode_makes_no_pods(run: Any) -> None:
    api = Api(cluster())
    result = run(api, check_classes=["P", "A", "C"], _ansible_check_mode=True, enforce=False)
    assert api.writes == []
    assert {one["result"] for one in result["checks"] if one["class"] == "C"} == {"skipped"}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"real_addresses": ["192.0.2.0/24"]}, "real_addresses has '192.0.2.0/24': give addresses"),
        ({"exit_addresses": ["vpn.example"]}, "exit_addresses has 'vpn.example'"),
        ({"accept_unknown": ["pod-nonsense"]}, "accept_unknown has 'pod-nonsense': no check has this id"),
        ({"clients": [{**CLIENT, "gateway": "south"}]}, "has no gateway of that name"),
        ({"clients": [{**CLIENT, "kind": "DaemonSet"}]}, "this kind cannot be a VPN client"),
    ],
)
def test_bad_options(run: Any, params: Any, words: str) -> None:
    api = Api({})
    result = run(api, **params)
    assert result["failed"] and words in result["msg"] and result["failure"]["reason"] == "Refused"
    assert result["checks"] == [] and result["acceptable"] is False


def test_unreachable_server(run: Any) -> None:
    result = run(KubeError("The API server cannot be reached.", reason="Unreachable"))
    assert result["failed"] and result["verdict"] == "unknown" and result["changed"] is False


def test_names_that_cannot_be_looked_up_are_told(run: Any, monkeypatch: Any) -> None:
    told: list[str] = []
    monkeypatch.setattr(killswitch_check, "lookup", lambda name: [])
    monkeypatch.setattr(killswitch_check.AnsibleModule, "warn", lambda module, warning: told.append(warning))
    run(Api(cluster()), targets={**TARGETS, "stun": [{"address": "stun.example"}]}, enforce=False)
    assert len(told) == 1 and "stun.example" in told[0]


def test_a_bug_in_a_probe_is_no_end(run: Any) -> None:
    def broken(*arguments: Any, **more: Any) -> Any:
        raise RuntimeError("bug")

    result = run(Api(cluster()), broken, enforce=False)
    assert result["verdict"] == "unknown"
    assert any("RuntimeError" in one["reason"] for one in result["checks"])


def test_requirement_of_lookups() -> None:
    assert killswitch_check.lookup("127.0.0.1") == ["127.0.0.1"]
    assert _run.PARALLEL > 1
