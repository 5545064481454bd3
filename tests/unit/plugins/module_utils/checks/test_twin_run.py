# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Twins of one node: one control for all policies, nothing left behind, and missing wherever the tool breaks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _twin_run, _twins
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import Twins
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._plan import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._exec import Output, Place
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.checks.test_gather import (
    LIVE,
    POLICY,
    TARGETS,
    Api,
    Executor,
    answered,
    runner,
)

BOTH = [*TARGETS, Target("stun2-v6", "stun", "2001:db8::10", 3478)]
WATCHED = {"watched": 3.0, "targets": {"stun1": {"sent": 30, "unsent": 0, "answered": 0, "first": None, "last": None}}}


def probe(place: Place, request: Any, outcome: str | None = None) -> Output:
    """As the probe would, with what the first program counted."""
    found = json.loads(answered(place, request, outcome).stdout)
    facts = {"early": WATCHED} if request["facts"] == ["early"] else {"six": False}
    return Output(0, json.dumps({**found, "facts": facts}), "")


def group(*keys: str, **more: Any) -> _twin_run.Group:
    return _twin_run.Group(LIVE, "image", dict.fromkeys(keys or ("app",), POLICY), **more)


def run(api: Any, executor: Any = None, group_: Any = None, targets: Any = None, **more: Any) -> dict[str, Any]:
    wanted = TARGETS if targets is None else targets
    return _twin_run.run(runner(executor or Executor(probe), api, **more), group_ or group(), wanted)


def sides(api: Api, side: str) -> list[Any]:
    return [one for one in api.made if one["kind"] == "Pod" and one["metadata"]["labels"][_twins.SIDE] == side]


def test_twins_are_made_and_removed() -> None:
    api = Api()
    found = run(api)["app"]
    assert isinstance(found, Twins) and found.same_node
    assert {one.outcome for one in found.covered.step("plain").attempts} == {"timeout"}
    assert {one.outcome for one in found.control.step("pod-dev-bind").attempts} == {"answered"}
    assert found.covered_early.targets["stun1"].sent == 30 and found.control_early.watched == 3.0
    (policy,) = [one for one in api.made if one["kind"] == "NetworkPolicy"]
    assert policy["spec"]["egress"] == POLICY["spec"]["egress"]
    selector = policy["spec"]["podSelector"]["matchLabels"]
    (covered,), (control,) = sides(api, "covered"), sides(api, "control")
    assert selector.items() <= covered["metadata"]["labels"].items()
    assert not selector.items() <= control["metadata"]["labels"].items()
    # Nothing may depend on how fast a network notices a policy.
    assert api.made.index(policy) < api.made.index(covered)
    for pod in (covered, control):
        assert pod["spec"]["nodeName"] == "n1" and pod["spec"]["activeDeadlineSeconds"] == _twins.LIFE
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert all(key.startswith("bulkhead.mesh/twin") for key in set(pod["metadata"]["labels"]) - {_twins.OUTSIDE})
    assert api.objects == {}


def test_the_first_program_watches_from_the_first_instant_on() -> None:
    api = Api()
    run(api, targets=BOTH)
    for side, enough in (("covered", 0), ("control", _twins.ENOUGH)):
        ((pod,),) = [sides(api, side)]
        *python, program, wire, orders = pod["spec"]["containers"][0]["command"]
        assert python == ["python3", "-I", "-c"] and "def watch(" in program and wire == ""
        told = json.loads(orders)
        assert [one["target"] for one in told["targets"]] == ["203.0.113.10", "2001:db8::10"]
        assert told["enough"] == enough
    assert _twins.LONGEST < _twins.LIFE / 3


def test_one_control_serves_all_policies_of_a_node_and_few_run_at_a_time() -> None:
    api = Api()
    most = 0
    keys = [f"app{number}" for number in range(2 * _twin_run.BATCH + 1)]

    def counted(place: Place, request: Any) -> Output:
        nonlocal most
        most = max(most, sum("/pods/" in one for one in api.objects))
        return probe(place, request)

    found = run(api, Executor(counted), group(*keys))
    assert list(found) == keys and all(isinstance(one, Twins) for one in found.values())
    assert (len(sides(api, "control")), len(sides(api, "covered"))) == (1, len(keys))
    labels = [one["metadata"]["labels"][_twins.LABEL] for one in sides(api, "covered")]
    assert len(set(labels)) == len(keys), "a copy of a policy has to select its own twin only"
    assert most == _twin_run.BATCH + 1
    assert api.objects == {}


def test_where_an_ordinary_pod_may_not_send_the_control_brings_what_it_needs() -> None:
    api = Api()
    run(api, targets=BOTH, group_=group(limited=True))
    (control,) = sides(api, "control")
    own = [one for one in api.made if one["kind"] == "NetworkPolicy" and "control" in one["metadata"]["name"]]
    assert [
        one["spec"]["podSelector"]["matchLabels"].items() <= control["metadata"]["labels"].items() for one in own
    ] == [True]
    opened = [(one["to"], one["ports"]) for one in own[0]["spec"]["egress"]]
    assert opened == [
        ([{"ipBlock": {"cidr": "203.0.113.10/32"}}], [{"protocol": "UDP", "port": 3478}]),
        ([{"ipBlock": {"cidr": "203.0.113.10/32"}}], [{"protocol": "TCP", "port": 80}]),
        ([{"ipBlock": {"cidr": "2001:db8::10/128"}}], [{"protocol": "UDP", "port": 3478}]),
    ]
    assert api.made.index(own[0]) < api.made.index(control)
    assert api.objects == {}
    run(api := Api())
    assert not any("control" in one["metadata"]["name"] for one in api.made if one["kind"] == "NetworkPolicy")


@pytest.mark.parametrize(
    "api",
    [
        Api(refuse="POST /api/v1"),
        Api(refuse="POST /apis/networking"),
        Api(refuse="GET /api/v1"),
        Api(broken="GET /api/v1"),
        Api(broken="POST /apis/networking"),
        Api(state={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
        Api(state={"terminated": {"exitCode": 127}}),
        Api(state={"waiting": {"reason": "ContainerCreating"}}),
    ],
)
def test_twins_that_cannot_be_made(api: Api) -> None:
    found = run(api, group_=group("one", "two"))
    assert {key: isinstance(one, Missing) for key, one in found.items()} == {"one": True, "two": True}
    # Which node is not proven has to be told.
    assert all(one.startswith("node n1: ") for one in found.values())
    assert api.objects == {}


def test_twins_are_removed_when_the_probe_breaks() -> None:
    api = Api()
    found = run(api, Executor(KubeError("exec refused", reason="Forbidden")))["app"]
    assert isinstance(found, Twins)
    for one in (found.covered, found.control, found.covered_early, found.control_early):
        assert isinstance(one, Missing)
    assert api.objects == {}
    with pytest.raises(ZeroDivisionError):
        run(api, Executor(ZeroDivisionError()))
    assert api.objects == {}


@pytest.mark.parametrize(
    "told", [None, {}, {"watched": 3.0}, {"watched": "x", "targets": {}}, {"watched": 1, "targets": {"a": 5}}]
)
def test_a_first_program_that_tells_something_else_is_no_evidence(told: Any) -> None:
    def odd(place: Place, request: Any) -> Output:
        found = json.loads(probe(place, request).stdout)
        return Output(0, json.dumps({**found, "facts": {"early": told}}), "")

    found = run(Api(), Executor(odd))["app"]
    assert isinstance(found.covered_early, Missing) and isinstance(found.control_early, Missing)


def test_a_network_that_is_late_gets_time_but_not_for_ever() -> None:
    seconds = iter([0.0, 1.0, 2.0, 3.0])
    tries = iter(["answered", "answered", "timeout"])

    def late(place: Place, request: Any) -> Output:
        tried = "covered" in place.pod and request["facts"] != ["early"]
        return probe(place, request, next(tries) if tried else None)

    found = run(Api(), Executor(late), clock=lambda: next(seconds))["app"]
    assert isinstance(found, Twins) and found.open_seconds == 2.0
    assert {one.outcome for one in found.covered.step("plain").attempts} == {"timeout"}
    seconds = iter([0.0, 5.0, 16.0])
    never = run(Api(), Executor(lambda place, request: probe(place, request, "answered")), clock=lambda: next(seconds))
    assert {one.outcome for one in never["app"].covered.step("plain").attempts} == {"answered"}
