# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running probes: a broken tool gives missing evidence, and twins are gone whatever happens."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _gather, _plan, _remote
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._plan import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._remote import attempts
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _agent_files, _agent_source
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._exec import Output, Place
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request

PLACE = Place("ns", "app-0", "bulkhead-overlay")
TARGETS = [
    Target("stun1", "stun", "203.0.113.10", 3478),
    Target("http1", "http", "203.0.113.10", 80),
    Target("dns1", "dns", "203.0.113.10", 53, zone="probe.example"),
    Target("bulk1", "bulk", "203.0.113.10", 80),
]
LIVE = {"metadata": {"namespace": "ns", "name": "app-0"}, "spec": {"nodeName": "n1"}}
POLICY = {"metadata": {"namespace": "ns", "name": "real"}, "spec": {"egress": [{"to": [], "ports": []}]}}


class Executor:
    """Answers by the function given; remembers what was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, []

    def run(self, place: Place, command: Any, stdin: str = "", timeout: float = 30.0) -> Output:
        self.asked.append((place, list(command), json.loads(stdin) if stdin else None, timeout))
        found = self.answer(place, json.loads(stdin)) if callable(self.answer) else self.answer
        if isinstance(found, Exception):
            raise found
        return found


class Api:
    """Keeps what is created; ``refuse`` answers a call with an error, ``broken`` raises on one."""

    def __init__(self, refuse: str = "", broken: str = "", state: Any = None) -> None:
        self.objects: dict[str, Any] = {}
        self.made: list[Any] = []
        self.refuse, self.broken = refuse, broken
        self.state = state or {"running": {}}

    def call(self, request: Request) -> Answer:
        key = f"{request.method} {request.path}"
        if self.broken and self.broken in key:
            raise KubeError("the API server is gone", reason="Unreachable")
        if self.refuse and self.refuse in key:
            return Answer(403, {"message": "exceeded quota"})
        if request.method == "POST":
            self.made.append(request.body)
            self.objects[f"{request.path}/{request.body['metadata']['name']}"] = request.body
            return Answer(201, dict(request.body))
        if request.method == "DELETE":
            return Answer(200 if self.objects.pop(request.path, None) else 404, {})
        if request.path in self.objects:
            status = {"phase": "Running", "containerStatuses": [{"name": "twin", "state": self.state}]}
            return Answer(200, {**self.objects[request.path], "status": status})
        items = [one for key, one in self.objects.items() if key.rpartition("/")[0] == request.path]
        return Answer(200, {"items": items})


def runner(executor: Any, api: Any = None, **more: Any) -> _gather.Runner:
    def wait(look: Any, timeout: float, sleep: float) -> Any:
        return look()

    return _gather.Runner(api or Api(), executor, {"probe.py": "x"}, 5.0, wait=wait, pause=lambda seconds: None, **more)


def answered(place: Place, request: Any, outcome: str | None = None) -> Output:
    """As the probe would: the covered twin gets nothing, everybody else an answer."""
    outcome = outcome or ("timeout" if "covered" in place.pod else "answered")
    steps = {
        step["id"]: {
            "attempts": [{"target": one["id"], "kind": one["kind"], "outcome": outcome} for one in step["attempts"]],
            "delta": None,
            "why": "none",
            "seconds": 0.1,
            "started": 1.0,
            "ended": 2.0,
        }
        for step in request["steps"]
    }
    return Output(0, json.dumps({"facts": {}, "steps": steps}), "")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (KubeError("The command cannot be started: no python3.", reason="ExecFailed"), "no python3"),
        (KubeError("not allowed to run a command", reason="Forbidden"), "not allowed"),
        (KubeError("did not end within 30 s", reason="ExecTimeout"), "did not end"),
        (KubeError("No command can run: container not found", reason="NoContainer"), "not found"),
        (Output(1, "", "Traceback\nImportError: no module named bulkhead"), "exit code 1: ImportError"),
        (Output(137, "", ""), "exit code 137"),
        (Output(0, "", ""), "did not answer in JSON"),
        (Output(0, "{", ""), "did not answer in JSON"),
        (Output(0, "[]", ""), "unexpected form"),
        (Output(0, "null", ""), "unexpected form"),
        (Output(0, '{"facts": {}}', ""), "unexpected form"),
        (Output(0, '{"facts": {}, "steps": {"a": {}}}', ""), "unexpected form"),
        (Output(0, '{"facts": {}, "steps": {"a": null}}', ""), "unexpected form"),
    ],
)
def test_broken_tools(answer: Any, reason: str) -> None:
    found = _gather.probe(runner(Executor(answer)), PLACE, {"facts": []}, [])
    assert isinstance(found, Missing)
    assert reason in found


def test_probe_sends_everything_by_standard_input() -> None:
    executor = Executor(answered)
    steps = _plan.client_steps(TARGETS, 2.0, "10.244.0.10", "10.222.1.1")
    found = _gather.probe(runner(executor), PLACE, {"facts": ["agent"], "table": "bulkhead_guard"}, steps)
    assert not isinstance(found, Missing)
    ((place, command, sent, timeout),) = executor.asked
    assert command[:3] == ["python3", "-I", "-c"] and len(command[3]) < 500
    assert sent["sources"] == {"probe.py": "x"} and sent["table"] == "bulkhead_guard"
    assert "def run(" in sent["code"] and "def answer(" in sent["rooms"]["answer.py"]
    for name, text in {**sent["rooms"], "code": sent["code"]}.items():
        compile(text, name, "exec")
    assert timeout > sum(max((one["timeout"] for one in step["attempts"]), default=0) for step in steps)


def test_at_most_five_packets_per_check() -> None:
    """Controls and bulk apart, which are ordinary traffic."""
    steps = _plan.client_steps(TARGETS, 2.0, "10.244.0.10", "10.222.1.1")
    for step in [*steps, *_plan.gateway_steps(TARGETS, 2.0, "tun0"), *_plan.twin_steps(TARGETS, 2.0, True)]:
        assert len(step["attempts"]) * max(1, len(step["uids"])) <= 5, step["id"]


def test_leak_attempts_by_both_users_and_only_to_named_targets() -> None:
    steps = {step["id"]: step for step in _plan.client_steps(TARGETS, 2.0, "10.244.0.10", "10.222.1.1")}
    for name in ("pod-direct", "pod-dev-bind", "pod-icmp"):
        assert steps[name]["uids"] == [65534, 0]
        assert {one["device"] for one in steps[name]["attempts"]} == {"eth0"}
    assert {one["method"] for one in steps["pod-direct"]["attempts"]} == {"pktinfo", "unicast_if"}
    assert {one["kind"] for one in steps["pod-dev-bind"]["attempts"]} == {"stun", "http"}
    named = {"203.0.113.10", "10.222.1.1", "192.0.2.1", "2001:db8::1", "fe80::1"}
    assert {one["target"] for step in steps.values() for one in step["attempts"]} <= named


@pytest.mark.parametrize(
    ("text", "netns", "resolv", "bits"),
    [
        (
            "net:[42]\n--\nnameserver 1.2.3.4\n--\nCapEff:\t00000000a80425fb\n",
            "net:[42]",
            "nameserver 1.2.3.4",
            0xA80425FB,
        ),
        ("--\n--\n", "", "", None),
        ("sh: readlink: not found\n--\nx\n--\nCapEff: zz\n", "", "x", None),
    ],
)
def test_look(text: str, netns: str, resolv: str, bits: int | None) -> None:
    found = _gather.parse_look(text)
    assert not isinstance(found, Missing)
    assert (found.netns, found.resolv, found.capabilities.get("CapEff")) == (netns, resolv, bits)


def test_look_without_a_shell() -> None:
    assert isinstance(_gather.look(runner(Executor(KubeError("no sh", reason="ExecFailed"))), PLACE), Missing)
    assert isinstance(_gather.parse_look(""), Missing)


# -- twins -------------------------------------------------------------------------


def test_sweep_takes_old_ones_only() -> None:
    api = Api()
    now = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    for name, born in (("old", "2026-01-01T11:00:00Z"), ("young", "2026-01-01T11:58:00Z"), ("unborn", None)):
        for path in ("/api/v1/namespaces/ns/pods", "/apis/networking.k8s.io/v1/namespaces/ns/networkpolicies"):
            api.objects[f"{path}/{name}"] = {"metadata": {"name": name, "creationTimestamp": born}}
    _gather.sweep(api, "ns", now)
    assert {key.rpartition("/")[2] for key in api.objects} == {"young", "unborn"}
    _gather.sweep(Api(refuse="GET"), "ns", now)


def test_boot_runs_the_code_it_is_sent(capsys: Any, monkeypatch: Any) -> None:
    code = "print(__name__, REQUEST['x'])"
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"code": code, "x": 5}) + "\n"))
    exec(_remote.BOOT, {})
    assert capsys.readouterr().out == "bulkhead_remote 5\n"


def test_the_probe_that_is_sent_runs_without_this_checkout(tmp_path: Any) -> None:
    """As an exec runs it: nothing but the interpreter and one line of standard input."""
    for name, text in _agent_source.read().items():
        (tmp_path / name).write_text(text)
    steps = [{"id": "none", "attempts": [], "uids": []}]
    line = _gather.sent({"facts": ["agent", "nonsense"], "steps": steps, "mount": str(tmp_path)}, _agent_source.read())
    words = [sys.executable, "-I", "-c", _remote.BOOT]
    done = subprocess.run(words, input=line, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=30)
    answer = json.loads(done.stdout)
    assert answer["facts"]["agent"] == _agent_files.agent_hash(_agent_source.read())
    assert answer["facts"]["nonsense"] == {"error": "KeyError: 'nonsense'"}
    assert (answer["steps"]["none"]["attempts"], answer["steps"]["none"]["delta"]) == ([], None)


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ('{"address":"198.51.100.5","port":4711}', "203.0.113.10", "198.51.100.5"),
        ("fl=1\nh=1.1.1.1\nip=198.51.100.5\nts=1700000000.1", "1.1.1.1", "198.51.100.5"),
        ('{"ip": "2001:db8::5"}', "1.1.1.1", "2001:db8::5"),
        ("dead beef 12345 1.2.3", "1.1.1.1", ""),
        ("", "1.1.1.1", ""),
    ],
)
def test_stated_address(text: str, target: str, expected: str) -> None:
    assert attempts.stated_address(text, target) == expected
