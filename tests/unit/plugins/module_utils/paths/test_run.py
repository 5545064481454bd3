# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking: pods are made and gone, commands are bounded, new pods get time, and nothing broken is a refusal."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _gather, _twins
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import Attempt, Probe, Step
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _agent_source
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._exec import Output, Place
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths import _derive, _plan, _run, _vantage
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import LAN, TAILNET, Row, Try, Vantage
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.paths import network as n


class Api:
    """Pods come up at once; writes are remembered. ``refuse``: namespaces in which none may be made."""

    def __init__(self, refuse: Sequence[str] = ()) -> None:
        self.refuse, self.pods, self.bodies, self.left = refuse, [], [], 0

    def call(self, request: Request) -> Answer:
        if request.method == "POST":
            if any(f"/{one}/" in request.path for one in self.refuse):
                return Answer(403, {"message": "quota"})
            self.bodies.append(request.body)
            self.left += 1
            return Answer(201, dict(request.body or {}))
        if request.method == "DELETE":
            self.left -= 1
            return Answer(200, {})
        if request.path.endswith("/pods"):
            return Answer(200, {"items": []})
        running = {"containerStatuses": [{"name": _twins.CONTAINER, "state": {"running": {}}}]}
        return Answer(200, {"metadata": {"name": request.path.rsplit("/", 1)[1]}, "spec": {}, "status": running})


class World:
    """Runs probes in the network in memory instead of pods and hosts."""

    def __init__(self, net: n.Network, rows: Sequence[Row]) -> None:
        self.net, self.rows, self.asked, self.clock = net, rows, [], 0.0
        self.api, self.slept, self.hosts = Api(), 0.0, {LAN: _vantage.Host(("ssh", "laptop"))}

    def probe(self, vantage: Vantage, steps: Sequence[Any]) -> Probe:
        self.asked.append(vantage)
        made = {}
        for step in steps:
            tried = []
            for one in step["attempts"]:
                if one["kind"] != "page":
                    tried.append(Attempt(one["id"], one["kind"], "timeout"))
                    continue
                request = Try(one["target"], one["port"], one["path"], one["host"], one["tls"], one["content"])
                answer = self.net.ask(vantage, request)
                told = {key: getattr(answer, key) for key in ("status", "digest", "title", "location", "content")}
                tried.append(Attempt(one["id"], "page", answer.outcome, detail=json.dumps(told)))
            made[step["id"]] = Step(tuple(tried))
        return Probe({}, made)

    def go(self, monkeypatch: Any, **more: Any) -> dict[str, Any]:
        def in_pod(runner: Any, place: Place, steps: Any) -> Any:
            vantage = next(one for one, where in list(run.places.items()) if where == place)
            return self.probe(vantage, steps)

        def on_host(shell: Any, host: Any, name: str, steps: Any, runner: Any) -> Any:
            return self.probe(Vantage(name), steps)

        def pause(seconds: float) -> None:
            self.clock += seconds

        monkeypatch.setattr(_vantage, "in_pod", in_pod)
        monkeypatch.setattr(_vantage, "on_host", on_host)
        monkeypatch.setattr(_vantage, "overlay_of", lambda pods: Place("downloads", "qbit-0", "bulkhead-overlay"))
        runner = _gather.Runner(self.api, None, {}, 5.0, clock=lambda: self.clock, pause=pause)  # type: ignore[arg-type]
        world = _plan.World({one.name: one for one in n.gateways()}, n.seen())
        options = _run.Options(**{"classes": ["P", "A", "C"], "hosts": self.hosts, "settle": 5.0, **more})
        run = _run.Run(runner, _vantage.Yard(runner, "image"), None, world, self.rows, options)  # type: ignore[arg-type]
        return run.go()


def derived() -> list[Row]:
    return _derive.derive(n.gateways(), n.clients(), n.NAMESPACES, n.seen())


def test_all_as_declared(monkeypatch: Any) -> None:
    world = World(n.network(), derived())
    told = world.go(monkeypatch)
    assert (told["verdict"], told["acceptable"], world.clock) == ("as_declared", True, 0.0)
    assert [one["seen"] for one in told["paths"]] == [one["expect"] for one in told["paths"]]
    asked = {str(one) for one in world.asked}
    assert len(world.asked) == len(asked)
    # Those without a row are asked for what pages are recognised by.
    assert asked - {one["name"] for one in told["vantages"]} == {"pod in downloads", "pod in admin"}


def test_pods_are_gone_also_when_something_breaks(monkeypatch: Any) -> None:
    world = World(n.network(), derived())
    world.go(monkeypatch)
    assert (world.api.left, len(world.api.bodies)) == (0, 5)
    world.net = None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        world.go(monkeypatch)
    assert world.api.left == 0


def test_a_pod_that_cannot_be_made_is_unknown(monkeypatch: Any) -> None:
    world = World(n.network(), derived())
    world.api = Api(refuse=["media"])
    told = world.go(monkeypatch, settle=0)
    bad = {one["from"]: one["result"] for one in told["paths"] if one["result"] != "pass"}
    assert bad == {"pod in media": "unknown"}
    assert "quota" in told["vantages"][[one["name"] for one in told["vantages"]].index("pod in media")]["reasons"][0]


def test_a_new_pod_that_gets_through_at_first_is_asked_again(monkeypatch: Any) -> None:
    world = World(n.network(), derived())
    inner = world.net.refuse
    world.net.refuse = lambda vantage, place: (
        vantage.kind != "pod" and inner(vantage, place) or (world.clock >= 2 and inner(vantage, place))
    )
    told = world.go(monkeypatch)
    assert told["verdict"] == "as_declared"
    late = [one["observed"] for one in told["checks"] if one["target"] == "pod in media -> Service downloads/qbit:8080"]
    assert late[0].endswith("(otherwise for the first 2 s)")


def test_a_new_pod_that_always_gets_through_fails(monkeypatch: Any) -> None:
    world = World(n.network(), derived())
    inner = world.net.refuse
    world.net.refuse = lambda vantage, place: vantage.kind != "pod" and inner(vantage, place)
    told = world.go(monkeypatch)
    assert (told["verdict"], told["acceptable"]) == ("not_as_declared", False)


def test_a_leak_at_the_home_network_stays_one(monkeypatch: Any) -> None:
    """A host is no new pod: what it reached once it can reach."""
    world = World(n.network(), derived())
    world.net.served["gateway media"]["/radarr/"] = "radarr"
    inner = world.net.ask

    def ask(vantage: Vantage, one: Try) -> Any:
        if world.clock >= 1:
            world.net.served["gateway media"].pop("/radarr/", None)
        return inner(vantage, one)

    world.net.ask = ask  # type: ignore[method-assign]
    told = world.go(monkeypatch)
    assert {one["from"] for one in told["paths"] if one["result"] == "fail"} == {"lan"}
    assert world.asked.count(Vantage(LAN)) == 1


def test_classes_that_were_not_asked_for(monkeypatch: Any) -> None:
    world = World(n.network(), derived())
    told = world.go(monkeypatch, classes=["P", "A"], settle=0)
    assert world.api.bodies == []
    assert {one["result"] for one in told["paths"] if one["from"].startswith("pod")} == {"skipped"}
    assert {one["result"] for one in told["paths"] if one["from"] == "lan"} == {"unknown"}
    assert (told["verdict"], told["acceptable"]) == ("unknown", False)


def test_unknown_is_accepted_where_the_inventory_says_so(monkeypatch: Any) -> None:
    world = World(n.network(), derived())
    world.hosts = {}
    told = world.go(monkeypatch, settle=0)
    assert (told["verdict"], told["acceptable"]) == ("unknown", False)
    (reason,) = told["vantages"][0]["reasons"]
    paths = sum(one["from"] == "lan" for one in told["paths"])
    assert paths > 1
    assert reason == (
        f"lan is not available, so {paths} paths are unknown: no vantage lan is given, and this machine is on no network with "
        "192.0.2.101: give bulkhead_vantages.lan a command that runs on such a host, or accept it with "
        "bulkhead_paths_accept_unknown: [lan]"
    )
    # Why is said once in the table too.
    assert sum("no vantage lan is given" in one["reason"] for one in told["checks"]) == 1
    told = world.go(monkeypatch, settle=0, accept_unknown=["lan"])
    assert (told["verdict"], told["acceptable"]) == ("unknown", True)


def test_a_failure_is_never_accepted(monkeypatch: Any) -> None:
    world = World(n.network(), derived())
    world.net.served["gateway media"]["/radarr/"] = "radarr"
    assert world.go(monkeypatch, settle=0, accept_unknown=["lan"])["acceptable"] is False


def test_an_empty_matrix_proves_nothing(monkeypatch: Any) -> None:
    told = World(n.network(), []).go(monkeypatch)
    assert (told["verdict"], told["acceptable"]) == ("unknown", False)


def test_a_matrix_without_pods_brings_its_own(monkeypatch: Any) -> None:
    at_media = [row for row in derived() if row.source.kind == LAN and row.gateway == "media"]
    told = World(n.network(), at_media).go(monkeypatch)
    assert (told["verdict"], [one["name"] for one in told["vantages"]]) == ("as_declared", ["lan"])
    # The client's policy does not let a pod of its own namespace in, so nobody knows its page.
    of_client = [row for row in derived() if row.source.kind == LAN and row.page.service == "qbit"]
    assert World(n.network(), of_client).go(monkeypatch)["verdict"] == "unknown"


# -- pods ---------------------------------------------------------------------------


def test_the_disposable_pod() -> None:
    vantage = Vantage("pod", "core", labels=(("app", "x"), (_twins.LABEL, "mine")), account="radarr")
    made = _vantage.manifest(vantage, "p", "run", "image")
    assert made["metadata"]["labels"] == {"app": "x", _twins.LABEL: "run", _twins.SIDE: "path"}
    assert made["metadata"]["namespace"] == "core"
    assert made["spec"]["serviceAccountName"] == "radarr"
    assert made["spec"]["automountServiceAccountToken"] is False
    assert {"nodeName", "tolerations"} & set(made["spec"]) == set()
    # It is an endpoint of nothing, whatever its labels are.
    assert made["spec"]["readinessGates"] == [{"conditionType": _vantage.NEVER}]
    outside = _vantage.manifest(n.OUTSIDER, "p", "run", "image")
    assert outside["metadata"]["labels"][_twins.OUTSIDE] == _twins.OUT


def test_the_overlay_of_a_client_has_to_run() -> None:
    pod = {"metadata": {"namespace": "d", "name": "q-0"}, "status": {}}
    assert isinstance(_vantage.overlay_of([pod]), Missing)
    pod["status"] = {"initContainerStatuses": [{"name": "bulkhead-overlay", "state": {"running": {}}}]}
    assert _vantage.overlay_of([pod]) == Place("d", "q-0", "bulkhead-overlay")


# -- hosts --------------------------------------------------------------------------

ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0
eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0
eth1 006433C6 010200C0 0003 0 0 0 00FFFFFF 0 0 0
"""


@pytest.mark.parametrize(
    ("address", "expected"),
    [("192.0.2.101", True), ("198.51.100.1", False), ("203.0.113.1", False), ("2001:db8::1", False), ("x", False)],
)
def test_on_link(address: str, expected: bool) -> None:
    assert _vantage.on_link(ROUTES, address) is expected


def test_where_hosts_are_asked() -> None:
    given = {LAN: _vantage.Host(("ssh", "laptop"))}
    assert _vantage.host_of(LAN, given, [], "") == given[LAN]
    assert _vantage.host_of(LAN, {}, ["192.0.2.101"], ROUTES) == _vantage.Host()
    assert isinstance(_vantage.host_of(LAN, {}, ["192.0.2.101", "203.0.113.1"], ROUTES), Missing)
    assert isinstance(_vantage.host_of(LAN, {}, [], ROUTES), Missing)
    assert isinstance(_vantage.host_of(TAILNET, {}, ["192.0.2.101"], ROUTES), Missing)
    assert _vantage.host_of("controller", {}, [], "") == _vantage.Host()


def runner() -> _gather.Runner:
    return _gather.Runner(Api(), None, _agent_source.read(), 5.0)  # type: ignore[arg-type]


def really(words: Sequence[str], stdin: str, timeout: float) -> Output:
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False, timeout=timeout)
    return Output(done.returncode, done.stdout, done.stderr)


class Pages(BaseHTTPRequestHandler):
    """A page, a redirect, one in pieces, one that never ends, and another protocol."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://elsewhere.example/login?x=1")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/pieces":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n0\r\n\r\n")
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")
            self.wfile.flush()
            threading.Event().wait(3)
        else:
            body = b"<html><TITLE lang=en> Host\n  page </title>" + self.headers["Host"].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *words: Any) -> None: ...


@pytest.fixture
def port() -> Any:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()


def asked(*tries: Try, timeout: float = 1.0) -> dict[Try, Any]:
    steps = _plan.steps(Vantage(LAN), tries[:1], tries, timeout)
    probe = _vantage.on_host(really, _vantage.Host(("env",)), LAN, steps, runner())
    found = _plan.answers(probe, tries[:1], tries)
    assert not isinstance(found, Missing), found
    assert found[1] is True
    return found[0]


def test_the_probe_really_asks(port: int) -> None:
    page = Try("127.0.0.1", port, "/", "films.example", content="films.ex")
    away, pieces = Try("localhost", port, "/away"), Try("127.0.0.1", port, "/pieces")
    closed = Try("127.0.0.1", 1, "/")
    nowhere = Try("nowhere.invalid", 80, "/")
    got = asked(page, away, pieces, closed, nowhere)
    assert (got[page].status, got[page].title, got[page].content) == (200, "Host page", True)
    assert (got[away].status, got[away].location, got[away].digest) == (302, "/login?x=1", "")
    # SHA-256 of hello, whether it comes in pieces or not
    assert got[pieces].digest == "2cf24dba5fb0a30e26e83b2ac5b9e29e"
    assert got[closed].outcome == "refused"
    assert got[nowhere].outcome == "no_name"


def test_a_page_that_never_ends_is_taken_as_it_is(port: int) -> None:
    one = Try("127.0.0.1", port, "/endless")
    assert asked(one)[one].digest == "2cf24dba5fb0a30e26e83b2ac5b9e29e"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("/nowhere/ssh",), "cannot be run"),
        (("false",), "ended with exit code 1"),
        (("sh", "-c", "echo {}"), "unexpected form"),
        (("echo",), "did not answer in JSON"),
    ],
)
def test_a_broken_command_is_no_refusal(words: tuple[str, ...], reason: str) -> None:
    steps = _plan.steps(Vantage(LAN), [], [Try("192.0.2.1", 80)], 1.0)
    found = _vantage.on_host(really, _vantage.Host(words), LAN, steps, runner())
    assert isinstance(found, Missing)
    assert reason in found


def test_without_a_command_it_is_asked_from_here(port: int) -> None:
    seen: list[Sequence[str]] = []

    def shell(words: Sequence[str], stdin: str, timeout: float) -> Output:
        seen.append(words)
        return really(words, stdin, timeout)

    steps = _plan.steps(Vantage(LAN), [], [Try("127.0.0.1", port)], 1.0)
    assert isinstance(_vantage.on_host(shell, _vantage.Host(), LAN, steps, runner()), Probe)
    assert seen == [[sys.executable, "-I", "-"]]


def test_an_answer_that_lacks_attempts_is_missing() -> None:
    tries = [Try("192.0.2.1", 80), Try("192.0.2.2", 80)]
    short = Probe({}, {"control": Step(()), "paths0": Step((Attempt("x", "page", "timeout"),) * 2)})
    assert isinstance(_plan.answers(short, [], tries), Missing)
    assert isinstance(_plan.answers(Probe({}, {}), [], tries), Missing)


def test_the_answer_that_says_something_counts() -> None:
    told = json.dumps({"status": 200, "digest": "d", "title": "", "location": "", "content": False})
    silent, late = Attempt("x", "page", "timeout"), Attempt("x", "page", "answered", detail=told, seconds=1.5)
    for first, second in ((silent, late), (late, silent)):
        probe = Probe({}, {"control": Step(()), "paths0": Step((first,)), "again0": Step((second,))})
        found = _plan.answers(probe, [], [Try("192.0.2.1", 80)])
        assert not isinstance(found, Missing)
        assert [(one.status, one.seconds) for one in found[0].values()] == [(200, 1.5)]


def test_an_unreadable_report_was_not_made() -> None:
    assert _plan.answer(Attempt("x", "page", "answered", detail="{}")).outcome == "tool"
