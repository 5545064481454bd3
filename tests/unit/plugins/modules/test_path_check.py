# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wiring of path_check: options in, one result out, and never a pass by accident."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

pytest.importorskip("kubernetes")
pytest.importorskip("websocket")

from ansible.module_utils.testing import patch_module_args

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _exec
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request
from ansible_collections.bulkhead.mesh.plugins.modules import path_check
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.paths import network as n

BASE = {"gateways": n.GATEWAYS, "clients": n.CLIENTS, "vpn_gateways": n.VPN, "namespaces": n.NAMESPACES, "settle": 0}
TRUE = {"vantages": {"lan": {"command": ["true"]}}}


class Api:
    """An empty cluster, in which no pod may be made; ``refuse`` are paths that answer 403."""

    target = Target("127.0.0.1:6443", "context lab")

    def __init__(self, refuse: tuple[str, ...] = ()) -> None:
        self.refuse, self.writes = refuse, []

    def call(self, request: Request) -> Answer:
        if request.method != "GET":
            self.writes.append(f"{request.method} {request.path}")
            return Answer(403, {"message": "no writes here"})
        if any(part in request.path for part in self.refuse):
            return Answer(403, {"message": "forbidden"})
        return Answer(200, {"items": []})


@pytest.fixture
def run(monkeypatch: Any, capsys: Any) -> Any:
    def go(api: Any, check: bool = False, **params: Any) -> Any:
        def client(given: Any) -> Any:
            if isinstance(api, Exception):
                raise api
            return api

        monkeypatch.setattr(_client, "Client", client)
        monkeypatch.setattr(_exec, "Exec", lambda held: None)
        monkeypatch.setattr(path_check, "routing_table", lambda: "")
        with patch_module_args({**BASE, **params, "_ansible_check_mode": check}), pytest.raises(SystemExit) as ended:
            path_check.main()
        return ended.value.code, json.loads(capsys.readouterr().out)

    return go


def test_nothing_available_is_unknown(run: Any) -> None:
    code, told = run(Api())
    assert code == 1
    assert (told["verdict"], told["acceptable"], told["changed"]) == ("unknown", False, False)
    assert told["failure"]["reason"] == "NotAsDeclared"
    assert told["failure"]["object"] == "lan"
    assert "give bulkhead_vantages.lan a command" in told["msg"]


def test_without_enforcement_the_result_says_it(run: Any) -> None:
    code, told = run(Api(), enforce=False, **TRUE)
    assert (code, told["acceptable"]) == (0, False)
    assert {one["result"] for one in told["paths"]} == {"unknown"}


def test_an_empty_matrix_fails(run: Any) -> None:
    code, told = run(Api(), gateways=[], clients=[], vpn_gateways=[])
    assert code == 1
    assert told["msg"] == "The matrix is empty, so nothing is proven: give gateways or paths."


def test_a_matrix_of_ones_own_replaces_the_derived_one(run: Any) -> None:
    mine = [{"from": "lan", "to": {"gateway": "arr", "path": "/radarr/"}, "expect": "reached"}]
    assert len(run(Api(), enforce=False, paths=mine)[1]["paths"]) == 1
    assert len(run(Api(), enforce=False, paths=mine, derive=True)[1]["paths"]) > 10
    assert run(Api(), enforce=False, paths=[], derive=False)[1]["paths"] == []


def test_the_tailnet_is_asked_where_a_vantage_is_given(run: Any) -> None:
    told = run(Api(), enforce=False, vantages={"tailnet": {"command": ["true"]}})[1]
    assert "tailnet" in {one["from"] for one in told["paths"]}


@pytest.mark.parametrize(("check", "writes"), [(True, 0), (False, 1)])
def test_check_mode_makes_no_pods(run: Any, check: bool, writes: int) -> None:
    api = Api()
    mine = [{"from": {"namespace": "core"}, "to": {"service": "core/radarr", "port": 7878}, "expect": "reached"}]
    told = run(api, check=check, enforce=False, paths=mine, check_classes=["P", "A", "C"], timeout=1)[1]
    assert len([one for one in api.writes if one.startswith("POST")]) == writes
    assert told["paths"][0]["result"] == ("skipped" if check else "unknown")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"paths": [{"from": "moon"}]}, 'bulkhead_paths[0].from is "moon"'),
        ({"gateways": [{"name": "A!"}]}, "bulkhead_ingress_gateways"),
        ({"vpn_gateways": []}, "bulkhead_vpn_clients"),
    ],
)
def test_bad_input_is_told_before_anything_is_asked(run: Any, params: Any, words: str) -> None:
    code, told = run(KubeError("never asked", reason="x"), **params)
    assert code == 1
    assert words in told["msg"]
    assert told["failure"]["reason"] == "Refused"
    assert told["checks"] == []


def test_a_vantage_that_nobody_asks_from_is_refused(run: Any) -> None:
    code, told = run(Api(), accept_unknown=["lan", "pod", "moon"])
    assert code == 1
    assert told["msg"].startswith("accept_unknown has 'moon': nobody asks from there, use one of ['client', ")


def test_what_may_not_be_read_fails(run: Any) -> None:
    code, told = run(Api(refuse=("/services",)))
    assert code == 1
    assert "list services" in told["msg"]
    assert told["failure"]["code"] == 403


def test_commands_are_bounded_in_time() -> None:
    with patch_module_args(BASE):
        module = path_check.AnsibleModule(argument_spec=path_check.spec())
    started = time.monotonic()
    ended = path_check.shell(module)(["sleep", "20"], "", 0.5)
    assert time.monotonic() - started < 10
    assert ended.code != 0
    assert ended.stderr == "it did not end within 0.5 s"


def test_commands_get_their_input_and_nothing_is_hidden() -> None:
    with patch_module_args(BASE):
        module = path_check.AnsibleModule(argument_spec=path_check.spec())
    ended = path_check.shell(module)(["cat"], "words", 5.0)
    assert (ended.code, ended.stdout.strip()) == (0, "words")
    with pytest.raises(OSError, match="nowhere"):
        path_check.shell(module)(["/nowhere/ssh"], "", 5.0)
