# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import config as agent_config
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _admission,
    _client_objects,
    _detach,
    _flow,
    _patch,
    _policy,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._client_objects import Site
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import (
    Client,
    EgressRule,
    Gateway,
    IngressRule,
)

GATEWAY = Gateway("vpnarr", "vpn", "mullvad-wg0")
CLIENT = Client("StatefulSet", "downloads", "qbittorrent", "vpnarr", egress=(EgressRule("core", "radarr", (7878,)),))
SITE = Site(
    agent_files={"__init__.py": "x = 1\n", "guard.py": ""},
    image="example.org/agent:1",
    cluster_networks={"pods": ["10.244.0.0/16", "fd00::/48"], "nodes": ["192.0.2.10"]},
)
LINK = {
    "vni": 7001,
    "port": 14790,
    "network": "10.222.1.0/24",
    "clients": {CLIENT.id: {"namespace": "downloads", "first_index": 2, "size": 2}},
}


@pytest.fixture
def world(workload: Any, service: Any) -> Any:
    """What the cluster holds; objects given are added to workload and Service, or replace them."""

    def make(*objects: Any, **changes: Any) -> _flow.Held:
        return _flow.Held([{**workload(**changes), "status": {}}, {**service(), "kind": "Service"}, *objects])

    return make


def plan(held: Any, registered: Any = False, settled: Any = True, site: Any = SITE) -> Any:
    return _flow.plan_attach(CLIENT, GATEWAY, LINK, registered, held, site, settled)


def after(held: Any, one: Any) -> list[Any]:
    """All objects once the plan is carried out."""
    objects = {_flow.key_of(item): item for item in held.all("Service")}
    for listed in one.apply.values():
        objects.update({_flow.key_of(item): item for item in listed})
    patched = _flow.patched(one)
    return [*objects.values(), patched]


def test_first_plan_has_every_step_in_order(world: Any) -> None:
    one = plan(world())
    assert one.steps == tuple(step for step in _flow.ATTACH if step not in ("attach.told", "attach.narrow"))
    assert one.action == "attach"
    assert one.operations[0]["path"] == "/metadata/resourceVersion"


def test_nothing_is_left_to_do_afterwards(world: Any) -> None:
    held = world()
    done = _flow.Held(after(held, plan(held)))
    again = plan(done, registered=True)
    assert again.steps == () and again.action == "none" and again.apply == {}


@pytest.mark.parametrize(
    ("registered", "settled", "steps"),
    [(False, True, ("attach.registration",)), (True, False, ("attach.rollout",))],
)
def test_a_part_that_is_missing_is_the_only_step(world: Any, registered: Any, settled: Any, steps: Any) -> None:
    held = world()
    done = _flow.Held(after(held, plan(held)))
    assert plan(done, registered, settled).steps == steps


def test_a_plan_that_only_waits_is_no_action(world: Any) -> None:
    held = world()
    assert plan(_flow.Held(after(held, plan(held))), True, False).action == "none"


@pytest.mark.parametrize("rule", ["bulkhead-vpn-client.", "bulkhead-vpn-workload."])
@pytest.mark.parametrize(
    "kind", ["NetworkPolicy", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "Role"]
)
def test_an_object_that_somebody_changed_is_written_again(world: Any, kind: str, rule: str) -> None:
    held = world()
    objects = copy.deepcopy(after(held, plan(held)))
    prefix = rule if kind.startswith("Validating") else ""
    (changed,) = [one for one in objects if one["kind"] == kind and one["metadata"]["name"].startswith(prefix)]
    if kind == "NetworkPolicy":
        changed["spec"]["egress"].append({})
    elif kind == "Role":
        changed["rules"].append({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})
    elif kind == "ValidatingAdmissionPolicy":
        changed["spec"]["matchConstraints"]["excludeResourceRules"] = [{"resources": ["pods"]}]
    else:
        changed["spec"]["matchResources"] = {"namespaceSelector": {"matchLabels": {"nowhere": "x"}}}
    again = plan(_flow.Held(objects), registered=True)
    assert [one["kind"] for listed in again.apply.values() for one in listed] == [kind]


def test_the_rule_for_the_workload_is_in_force_once_the_one_for_its_pods_is(world: Any) -> None:
    """Only the second is tried, and the API server takes them up in the order in which they were written."""
    names = [one["metadata"]["name"] for one in plan(world()).apply["attach.admission"]]
    assert [name.split(".")[0] for name in names] == ["bulkhead-vpn-workload"] * 2 + ["bulkhead-vpn-client"] * 2


def test_what_the_server_adds_to_an_object_is_no_change(world: Any) -> None:
    held = world()
    objects = copy.deepcopy(after(held, plan(held)))
    for one in objects:
        one["metadata"].update(uid="1", managedFields=[], creationTimestamp="x")
        one["metadata"].setdefault("labels", {})["applyset.kubernetes.io/part-of"] = "y"
        if one["kind"] == "ValidatingAdmissionPolicy":
            one["status"] = {"observedGeneration": 1}
            one["spec"]["matchConstraints"].setdefault("namespaceSelector", {})
    assert plan(_flow.Held(objects), registered=True).steps == ()


def test_admission_is_tried_before_every_change_of_the_template(world: Any) -> None:
    held = world()
    done = _flow.Held(after(held, plan(held)))
    newer = Site(**{**SITE.__dict__, "image": "example.org/agent:2"})
    steps = plan(done, True, site=newer).steps
    assert steps == ("attach.admission", "attach.effective", "attach.template", "attach.rollout", "attach.narrow")


def test_old_and_new_guard_are_accepted_while_one_replaces_the_other(world: Any) -> None:
    held = world()
    done = _flow.Held(after(held, plan(held)))
    newer = Site(**{**SITE.__dict__, "image": "example.org/agent:2"})
    one = plan(done, True, site=newer)
    wide, narrow = str(one.apply["attach.admission"]), str(one.apply["attach.narrow"])
    assert "example.org/agent:1" in wide and "example.org/agent:2" in wide
    assert "example.org/agent:1" not in narrow and "example.org/agent:2" in narrow


def test_an_edited_guard_is_repaired_and_never_accepted(world: Any) -> None:
    held = world()
    objects = copy.deepcopy(after(held, plan(held)))
    (workload,) = [one for one in objects if one["kind"] == "StatefulSet"]
    workload["spec"]["template"]["spec"]["initContainers"][0]["image"] = "example.org/evil:1"
    again = plan(_flow.Held(objects), registered=True)
    assert again.steps == ("attach.effective", "attach.template", "attach.rollout")
    assert "evil" not in str(_flow.patched(again))


def test_other_destinations_are_registered_and_replace_no_pod(world: Any) -> None:
    held = world()
    done = _flow.Held(after(held, plan(held)))
    direct = [{"protocol": "tcp", "address": "10.96.3.4", "port": 7878}]
    assert [dict(one) for one in _flow.entry(CLIENT, done, SITE).direct] == direct
    fewer = Client(CLIENT.kind, CLIENT.namespace, CLIENT.name, CLIENT.gateway)
    assert _flow.entry(fewer, done, SITE).direct == []
    one = _flow.plan_attach(fewer, GATEWAY, LINK, False, done, SITE, True)
    assert one.steps == ("attach.policy", "attach.registration") and one.operations == []


@pytest.mark.parametrize("where", ["template", "pod"])
def test_a_guard_that_somebody_gave_more_destinations_is_never_accepted(world: Any, where: str) -> None:
    held = world()
    objects = copy.deepcopy(after(held, plan(held)))
    (workload,) = [one for one in objects if one["kind"] == "StatefulSet"]
    template = copy.deepcopy(workload["spec"]["template"])
    if where == "template":
        template = workload["spec"]["template"]
    else:
        template["metadata"].update(name="qbittorrent-0", namespace="downloads")
        objects.append({"kind": "Pod", **template})
    (config,) = [one for one in template["spec"]["initContainers"][0]["env"] if one["name"] == "BULKHEAD_CONFIG"]
    config["value"] = json.dumps({**json.loads(config["value"]), "cluster_networks": ["wide open"]})
    again = plan(_flow.Held(objects), registered=True)
    assert "wide open" not in json.dumps(again.apply)
    assert ("attach.template" in again.steps) == (where == "template")


def test_a_pod_of_the_template_before_may_be_made_again(world: Any) -> None:
    held = world()
    first = plan(held)
    old = copy.deepcopy(_flow.patched(first)["spec"]["template"])
    old["metadata"].update(name="qbittorrent-0", namespace="downloads")
    newer = Site(**{**SITE.__dict__, "image": "example.org/agent:2"})
    second = plan(_flow.Held(after(held, first)), True, site=newer)
    objects = [*after(held, second), {"kind": "Pod", **old}]
    (policy,) = [one for one in plan(_flow.Held(objects), True, site=newer).apply["attach.admission"] if "spec" in one][
        :1
    ]
    assert "example.org/agent:1" in str(policy) and "example.org/agent:2" in str(policy)


def test_the_configuration_is_one_that_the_agent_takes() -> None:
    made = _client_objects.settings(CLIENT, GATEWAY, LINK, LINK["clients"][CLIENT.id], SITE)
    parsed = agent_config.client(made.config)
    assert (parsed.vni, parsed.port, parsed.first_index) == (7001, 14790, 2)
    assert [str(one) for one in parsed.cluster_networks] == ["10.244.0.0/16", "192.0.2.10/32"]
    assert made.resolver == "10.222.1.1"


def test_the_policy_uses_the_port_the_gateway_was_given(world: Any) -> None:
    (policy,) = plan(world()).apply["attach.policy"]
    assert {"protocol": "UDP", "port": 14790} in [port for rule in policy["spec"]["egress"] for port in rule["ports"]]


def test_unguarded_pod_is_what_the_selector_selects_and_nothing_else_refuses(workload: Any) -> None:
    one = workload(template={"metadata": {"labels": {"bulkhead.mesh/vpn-client": "x"}}})
    pod = _client_objects.unguarded_pod(one, "i:1")
    assert pod["metadata"]["labels"] == {"app": "qbittorrent"} and "initContainers" not in pod["spec"]
    assert pod["spec"]["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_guarded_pod_is_what_attaching_makes_of_it(world: Any) -> None:
    attached = _flow.patched(plan(world()))
    pod = _client_objects.guarded_pod(attached, "i:1")
    template = attached["spec"]["template"]
    mark = _admission.mark_of(template)
    assert mark is not None and _admission.mark_of(pod) == mark
    assert pod["metadata"]["labels"] == template["metadata"]["labels"]
    assert [one["name"] for one in pod["spec"]["volumes"]] == ["bulkhead-agent", "bulkhead-endpoint"]


# --- judging ---------------------------------------------------------------------------------------------------------


def test_everything_that_is_wrong_is_told(world: Any) -> None:
    client = Client(
        "StatefulSet",
        "downloads",
        "qbittorrent",
        "vpnarr",
        egress=(EgressRule("core", "nothing", (1,)),),
        ingress=(IngressRule((80,), ingress_gateway="arr"),),
    )
    problems = _flow.judge(client, {"vpnarr": GATEWAY}, world(pod={"hostPID": True}), SITE)
    assert [one.path for one in problems] == [
        "ingress[0].from.ingress_gateway",
        "spec.template.spec.hostPID",
        "egress[0].service",
    ]
    assert str(problems[0]) == (
        'StatefulSet downloads/qbittorrent: ingress[0].from.ingress_gateway is "arr": no ingress gateway of that name is '
        "known; add it or correct the name."
    )


def test_an_attached_workload_is_judged_without_our_edit(world: Any) -> None:
    held = world()
    done = _flow.Held(after(held, plan(held)))
    assert _flow.judge(CLIENT, {"vpnarr": GATEWAY}, done, SITE) == []


def test_its_own_pods_are_no_strangers(world: Any) -> None:
    pod = {
        "kind": "Pod",
        "metadata": {
            "name": "qbittorrent-0",
            "namespace": "downloads",
            "labels": {"app": "qbittorrent"},
            "ownerReferences": [{"kind": "StatefulSet", "name": "qbittorrent", "controller": True}],
        },
        "spec": {"containers": []},
    }
    assert _flow.judge(CLIENT, {"vpnarr": GATEWAY}, world(pod), SITE) == []
    alone = copy.deepcopy(pod)
    alone["metadata"].update(name="other", ownerReferences=[])
    assert [one.path for one in _flow.judge(CLIENT, {"vpnarr": GATEWAY}, world(alone), SITE)] == ["spec.selector"]


# --- detaching -------------------------------------------------------------------------------------------------------


def leaving(to: str) -> Client:
    return Client("StatefulSet", "downloads", "qbittorrent", state="absent", detach_to=to)


def detach(held: Any, to: str = "stopped", registered: bool = True, settled: bool = True) -> Any:
    return _detach.plan_detach(leaving(to), registered, held, [leaving(to)], settled)


@pytest.mark.parametrize(
    ("to", "left_out"),
    [
        ("stopped", {"detach.seal", "detach.rollout"}),
        ("open", {"detach.scale", "detach.stopped", "detach.seal"}),
        (
            "sealed",
            {
                "detach.release",
                "detach.template",
                "detach.agent",
                "detach.admission",
                "detach.policy",
                "detach.rollout",
            },
        ),
    ],
)
def test_detach_has_every_step_in_order(world: Any, to: str, left_out: Any) -> None:
    held = world()
    one = detach(_flow.Held(after(held, plan(held))), to)
    assert one.steps == tuple(step for step in _flow.DETACH if step not in left_out)
    if to != "sealed":
        assert [item["kind"] for item in one.remove["detach.admission"]][0] == "ValidatingAdmissionPolicyBinding"


def test_detach_gives_the_template_back(world: Any) -> None:
    held = world()
    one = detach(_flow.Held(after(held, plan(held))), "open")
    (before,) = held.all("StatefulSet")
    assert _flow.patched(one)["spec"] == before["spec"]


def test_the_template_is_given_back_after_the_workload_is_released_and_before_its_pods_are(world: Any) -> None:
    held = world()
    one = detach(_flow.Held(after(held, plan(held))), "open")
    names = {step: {item["metadata"]["name"] for item in one.remove[step]} for step in one.remove}
    assert names["detach.release"] == {f"bulkhead-vpn-workload.{CLIENT.id}"}
    assert names["detach.admission"] == {f"bulkhead-vpn-client.{CLIENT.id}"}
    order = [one.steps.index(step) for step in ("detach.release", "detach.template", "detach.admission")]
    assert order == sorted(order)


@pytest.mark.parametrize("to", ["sealed", "stopped", "open"])
def test_a_workload_that_was_never_attached_is_left_alone(world: Any, to: str) -> None:
    one = detach(world(), to, registered=False)
    assert one.steps == () and one.action == "none"


def test_started_again_between_two_runs_it_is_stopped_again(world: Any) -> None:
    """The template is detached already, the policy is not: taking that away would open it."""
    held = world()
    protection = plan(held).apply["attach.policy"]
    assert "detach.scale" in detach(world(*protection)).steps


@pytest.mark.parametrize("other", ["client", "orphan", "gateway"])
def test_what_others_of_the_namespace_need_stays(world: Any, workload: Any, other: str) -> None:
    held = world()
    objects = after(held, plan(held))
    clients = [leaving("open")]
    if other == "client":
        clients.append(Client("StatefulSet", "downloads", "next", "vpnarr"))
    elif other == "orphan":
        twin = copy.deepcopy(next(one for one in objects if one["kind"] == "StatefulSet"))
        twin["metadata"]["name"] = "twin"
        objects.append(twin)
    else:
        objects.append(
            workload(metadata={"name": "gw"}, template={"metadata": {"labels": {"bulkhead.mesh/role": "gateway"}}})
        )
    one = _detach.plan_detach(clients[0], True, _flow.Held(objects), clients, True)
    assert "detach.access" not in one.steps and "detach.agent" not in one.steps and "detach.policy" in one.steps


def test_a_workload_that_is_gone_leaves_nothing_behind(world: Any) -> None:
    held = world()
    objects = [one for one in after(held, plan(held)) if one["kind"] != "StatefulSet"]
    assert detach(_flow.Held(objects)).steps == (
        "detach.release",
        "detach.registration",
        "detach.access",
        "detach.agent",
        "detach.admission",
        "detach.policy",
    )


# --- the gateway's side ----------------------------------------------------------------------------------------------


def test_gateway_policy_follows_the_registry_and_keeps_its_endpoints() -> None:
    room = {"namespace": "downloads", "first_index": 2, "size": 1, "selector": {"matchLabels": {"app": "q"}}}
    registry = {"gateways": {"vpnarr": {**LINK, "clients": {"downloads.q": {**room, "services": {}}}}}}
    endpoint = _policy.Endpoint("198.51.100.2", 51820)
    live = _policy.gateway_policy(GATEWAY, [endpoint], [])
    (wanted,) = _client_objects.gateway_objects(GATEWAY, registry, live, None, "cluster.local")
    selected = [_policy.ClientPods("downloads", {"matchLabels": {"app": "q"}})]
    ported = Gateway("vpnarr", "vpn", "mullvad-wg0", port=14790)
    assert wanted == _policy.gateway_policy(ported, [endpoint], selected)
    assert _client_objects.gateway_objects(GATEWAY, registry, wanted, None, "cluster.local") == []


@pytest.mark.parametrize(("namespace", "kinds"), [("downloads", ["Role", "RoleBinding"]), ("vpn", [])])
def test_access_is_for_the_clients_namespace_only(namespace: str, kinds: Any) -> None:
    made = _client_objects.access_objects(namespace, "vpn")
    assert [one["kind"] for one in made] == kinds
    assert all(one["metadata"]["namespace"] == namespace for one in made)


def test_patched_is_what_the_operations_make(world: Any) -> None:
    one = plan(world())
    assert _flow.patched(one) == _patch.apply_patch(one.workload, one.operations)
