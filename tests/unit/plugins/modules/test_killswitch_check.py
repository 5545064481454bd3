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


NAMED = "/apis/apps/v1/statefulsets"


def attached() -> dict[str, Any]:
    (workload,) = cluster()["/apis/apps/v1/namespaces/downloads/statefulsets"]
    template = {"metadata": {"labels": {"bulkhead.mesh/vpn-client": "downloads.app"}}, "spec": {"containers": []}}
    return {**workload, "spec": {**workload["spec"], "template": template}}


def inventory(result: Any) -> tuple[str, list[str]]:
    (found,) = [one["result"] for one in result["checks"] if one["id"] == "inv-named"]
    return found, result["reasons"]


@pytest.mark.parametrize("clients", [[], [{**CLIENT, "name": "other"}], [{**CLIENT, "kind": "Deployment"}]])
def test_an_attached_workload_that_is_not_named_is_a_failure(run: Any, clients: Any) -> None:
    result = run(Api({NAMED: [attached()]}), clients=clients)
    assert result["failed"] and result["verdict"] == "unknown"
    found, reasons = inventory(result)
    assert found == "fail" and "StatefulSet downloads/app is attached" in reasons[0]
    assert "StatefulSet downloads/app is attached" in result["msg"]


def test_named_is_also_what_is_to_be_absent(run: Any) -> None:
    for clients in ([CLIENT], [{**CLIENT, "state": "absent"}]):
        assert inventory(run(Api({NAMED: [attached()]}), clients=clients, enforce=False)) == ("pass", [])


def test_a_pod_of_a_client_that_nobody_names(run: Any) -> None:
    pod = {"metadata": {"namespace": "tv", "name": "x-0", "labels": {"bulkhead.mesh/vpn-client": "tv.x"}}, "spec": {}}
    found, reasons = inventory(run(Api({"/api/v1/pods": [pod]}), clients=[], enforce=False))
    assert found == "fail" and "Pod tv/x-0 is of VPN client tv.x" in reasons[0]
    pod["status"] = {"phase": "Succeeded"}
    assert inventory(run(Api({"/api/v1/pods": [pod]}), clients=[], enforce=False)) == ("pass", [])


@pytest.mark.parametrize("refuse", ["/apis/apps/v1/statefulsets", "/apis/apps/v1/deployments", "/api/v1/pods"])
def test_what_is_attached_and_cannot_be_listed_is_unknown(run: Any, refuse: str) -> None:
    result = run(Api({}, (refuse,)), clients=[], enforce=False)
    found, reasons = inventory(result)
    assert found == "unknown" and "not able to list" in reasons[0] and result["verdict"] == "unknown"
    again = run(Api({}, (refuse,)), clients=[], enforce=False, accept_unknown=["inv-named"])
    assert again["reasons"] == []


def beside(result: Any) -> dict[str, Any]:
    return {one["id"]: one for one in result["checks"] if one["target"] == "downloads/app"}


def test_a_pod_that_left_its_workload_is_checked_like_the_others(run: Any) -> None:
    lists = cluster()
    (pod,) = lists["/api/v1/namespaces/downloads/pods"]
    stray = json.loads(json.dumps(pod))
    stray["metadata"].update(name="app-9", ownerReferences=[])
    stray["spec"]["hostNetwork"] = True
    lists["/api/v1/namespaces/downloads/pods"] = [pod, stray]
    result = run(Api(lists), enforce=False)
    found = beside(result)["pod-left-behind"]
    assert found["result"] == "fail" and "downloads/app-9" in found["reason"]
    host = {one["target"]: one["result"] for one in result["checks"] if one["id"] == "pod-hostnet"}
    assert host == {"downloads/app-0": "pass", "downloads/app-9": "fail"}
    assert beside(run(Api(cluster()), enforce=False))["pod-left-behind"]["result"] == "pass"


def test_a_pod_that_uses_the_clients_account_without_a_guard(run: Any) -> None:
    lists = cluster()
    (workload,) = lists["/apis/apps/v1/namespaces/downloads/statefulsets"]
    workload["spec"]["template"]["spec"]["serviceAccountName"] = "app"
    again = {"metadata": {"namespace": "downloads", "name": "again-0"}, "spec": {"serviceAccountName": "app"}}
    lists["/api/v1/namespaces/downloads/pods"].append(again)
    result = run(Api(lists), enforce=False)
    assert beside(result)["pod-stray"]["result"] == "fail"
    assert result["verdict"] == "unprotected" and "downloads/again-0" in result["clients"][0]["reason"]
    accepted = run(Api(lists), enforce=False, accept_open_pods=["downloads/again"])
    assert beside(accepted)["pod-stray"]["result"] == "pass" and accepted["verdict"] == "unknown"


@pytest.mark.parametrize("refuse", ["namespaces/downloads/pods", "namespaces/downloads/replicasets"])
def test_pods_beside_a_client_that_cannot_be_listed_are_unknown(run: Any, refuse: str) -> None:
    found = beside(run(Api(cluster(), (refuse,)), enforce=False))
    assert found["pod-left-behind"]["result"] == "unknown"


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
        ({"accept_open_pods": ["again"]}, "accept_open_pods has 'again': give namespace/name"),
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
