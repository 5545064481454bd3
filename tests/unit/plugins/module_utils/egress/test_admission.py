# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Admission policies: what they match and require. Their expressions are evaluated by the lab's API server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _admission,
    _agent_files,
    _cel,
    _template,
    _workload_admission,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._admission import GuardMark
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._patch import apply_patch

Object = dict[str, Any]
CLIENT = Client("StatefulSet", "downloads", "qbittorrent", "vpnarr")
GATEWAY = Gateway("vpnarr", "vpn", "mullvad-wg0")
SELECTOR = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}
ENV = '[{"name": "BULKHEAD_CONFIG", "value": "{\\"direct\\":[]}"}]'
MARK = GuardMark("0123456789abcdef", "example.org/agent:1", ENV, "[]", "[]", "httpGet")


def client_admission(*marks: GuardMark, size: int | None = 3) -> list[Object]:
    return _admission.client_admission(CLIENT, SELECTOR, marks or (MARK,), size)


ALL = {
    "client": client_admission,
    "gateway": lambda: _admission.gateway_admission(GATEWAY),
    "endpoints": lambda: _admission.endpoints_admission([GATEWAY]),
    "workload": lambda: _workload_admission.workload_admission(CLIENT, SELECTOR, [MARK]),
    "labels": _workload_admission.labels_admission,
}


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_policy_denies_and_fails_closed(make: Callable[[], list[Object]]) -> None:
    policy, binding = make()
    assert policy["apiVersion"] == binding["apiVersion"] == "admissionregistration.k8s.io/v1"
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
    for validation in policy["spec"]["validations"]:
        assert validation["message"].endswith(".") and "\n" not in validation["message"]


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_every_variable_used_is_there_and_before_its_use(make: Callable[[], list[Object]]) -> None:
    spec = make()[0]["spec"]
    known: set[str] = set()
    for variable in spec.get("variables", []):
        assert set(re.findall(r"variables\.(\w+)", variable["expression"])) <= known
        known.add(variable["name"])
    for validation in spec["validations"]:
        assert set(re.findall(r"variables\.(\w+)", validation["expression"])) <= known
    for condition in spec.get("matchConditions", []):
        assert "variables." not in condition["expression"]  # unknown there


def test_client_policy_matches_the_pods_of_the_workload() -> None:
    constraints = client_admission()[0]["spec"]["matchConstraints"]
    assert constraints["objectSelector"] == SELECTOR
    assert constraints["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "downloads"}}
    matched = {(one, rule["resources"][0]) for rule in constraints["resourceRules"] for one in rule["operations"]}
    assert matched == {("CREATE", "pods"), ("UPDATE", "pods"), ("UPDATE", "pods/ephemeralcontainers")}


def test_client_policy_wants_the_command_that_attaching_writes(
    workload: Callable[..., Object], settings: Callable[..., Any]
) -> None:
    made = workload()
    guard = apply_patch(made, _template.attach(made, settings()))["spec"]["template"]["spec"]["initContainers"][0]
    spec = client_admission(replace(MARK, agent=settings().agent))[0]["spec"]
    entry = next(one["expression"] for one in spec["variables"] if one["name"] == "entry")
    assert json.loads(entry) == _agent_files.ENTRY
    literals = [entry if part == _agent_files.ENTRY else json.dumps(part) for part in guard["command"]]
    command = f"== [{', '.join(literals)}]".replace(entry, "variables.entry")
    assert sum(command in one["expression"] for one in spec["validations"]) == 1


def test_old_and_new_agent_are_accepted_each_with_its_own_image() -> None:
    expression = client_admission(MARK, replace(MARK, agent="f" * 16, image="example.org/agent:2"))[0]["spec"][
        "validations"
    ][2]["expression"]
    first, second = expression.split(" || ")[1:]
    assert MARK.agent in first and MARK.image in first and "agent:2" not in first
    assert "f" * 16 in second and "agent:2" in second and MARK.agent not in second
    with pytest.raises(ValueError, match="guard"):
        _admission.client_admission(CLIENT, SELECTOR, [])


def attached(workload: Callable[..., Object], settings: Any) -> Object:
    made = workload()
    template: Object = apply_patch(made, _template.attach(made, settings))["spec"]["template"]
    return template


def test_mark_has_all_that_makes_a_guard_another_one(
    workload: Callable[..., Object], settings: Callable[..., Any]
) -> None:
    template = attached(workload, settings())
    mark = _admission.mark_of(template)
    assert mark is not None and (mark.agent, mark.image) == (settings().agent, settings().image)
    spec = template["spec"]
    assert json.loads(mark.env) == spec["initContainers"][0]["env"] == spec["initContainers"][1]["env"]
    assert json.loads(mark.mounts) == spec["initContainers"][0]["volumeMounts"]
    assert json.loads(mark.endpoint) == [one for one in spec["volumes"] if one["name"] == "bulkhead-endpoint"]
    changes = ({"config": {"vni": 7}}, {"agent": "f" * 16}, {"image": "example.org/agent:2"})
    marks = {mark, *(_admission.mark_of(attached(workload, settings(**one))) for one in changes)}
    assert len(marks) == 4 and None not in marks


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["spec"].pop("initContainers"),
        lambda one: one["spec"]["initContainers"].reverse(),
        lambda one: one["spec"]["initContainers"][0]["command"].append("x"),
        lambda one: one["metadata"]["annotations"].pop("bulkhead.mesh/agent"),
        lambda one: one["metadata"].pop("annotations"),
    ],
)
def test_what_is_no_guard_has_no_mark(
    workload: Callable[..., Object], settings: Callable[..., Any], change: Callable[[Object], Any]
) -> None:
    template = attached(workload, settings())
    change(template)
    assert _admission.mark_of(template) is None


def command(*words: str) -> Object:
    return {"exec": {"command": list(words)}}


def test_an_overlay_that_is_asked_by_a_command_is_of_an_agent_before(
    workload: Callable[..., Object], settings: Callable[..., Any]
) -> None:
    template = attached(workload, settings())
    new = _admission.mark_of(template)
    probe = template["spec"]["initContainers"][1]["startupProbe"]
    del probe["httpGet"]
    probe.update(command(*_agent_files.command(settings().agent, "probe", "overlay")))
    old = _admission.mark_of(template)
    assert new is not None and old is not None and replace(old, probe=new.probe) == new != old
    for mark, asked, other in ((new, "httpGet", "exec"), (old, "exec", "httpGet")):
        expression = client_admission(mark)[0]["spec"]["validations"][2]["expression"]
        assert f"startupProbe.?{asked}" in expression and f"startupProbe.?{other}" not in expression
    # What anybody else wrote there never becomes a guard that is accepted.
    for probe in ({}, command("nft", "flush", "ruleset"), {"httpGet": {"port": 8080}}, None):
        template["spec"]["initContainers"][1]["startupProbe"] = probe
        assert _admission.mark_of(template) is None


def test_number_of_addresses_is_a_limit_only_where_there_is_one() -> None:
    assert "< 3" in json.dumps(client_admission()[0])
    assert "pod-index" not in json.dumps(client_admission(size=None)[0])


def test_gateway_policy_covers_scale() -> None:
    constraints = _admission.gateway_admission(GATEWAY)[0]["spec"]["matchConstraints"]
    (rule,) = constraints["resourceRules"]
    assert rule["resources"] == ["statefulsets", "statefulsets/scale"]
    assert rule["resourceNames"] == ["vpnarr"]
    assert constraints["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "vpn"}}


def test_each_controller_writes_for_the_gateways_of_its_namespace() -> None:
    gateways = [Gateway("b", "vpn", "x"), Gateway("a", "vpn", "x"), Gateway("c", "tv", "x")]
    policy = _admission.endpoints_admission(gateways)[0]["spec"]
    writers = next(one["expression"] for one in policy["variables"] if one["name"] == "writers")
    assert json.loads(writers) == {
        "system:serviceaccount:tv:bulkhead-endpoints": ["c"],
        "system:serviceaccount:vpn:bulkhead-endpoints": ["a", "b"],
    }
    assert _admission.endpoints_admission(gateways) == _admission.endpoints_admission(gateways[::-1])
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert "pods/status" in rule["resources"]  # annotations can be written there too


def test_literals_cannot_break_out() -> None:
    assert _cel.literal('a" || true || "') == '"a\\" || true || \\""'
    assert _cel.literal(["x", 1]) == '["x", 1]'
    assert _cel.mixed({'a" || "': [1]}) == 'dyn({"a\\" || \\"": dyn([dyn(1)])})'
