# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The property of the inverse edit, over generated templates: detach(user_edit(attach(T))) == user_edit(T)."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names, _pieces, _template
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._patch import apply_patch

TEMPLATES = 600
BLOCKS = 8
Object = dict[str, Any]
Edit = Callable[[Object, random.Random], None]


# --- templates as users write them ---


def generate(rng: random.Random) -> Object:
    """One workload; every optional part is there or not."""
    count = rng.randint(0, 3)
    pod: Object = {"containers": [container(rng, f"app{index}") for index in range(rng.randint(1, 3))]}
    if count or rng.random() < 0.1:
        pod["initContainers"] = [container(rng, f"init{index}", init=True) for index in range(count)]
    if rng.random() < 0.6:
        pod["volumes"] = [volume(rng, f"data{index}") for index in range(rng.randint(0, 3))]
    if rng.random() < 0.9:
        pod["dnsPolicy"] = rng.choice(["ClusterFirst", "Default", "None", "ClusterFirstWithHostNet"])
    if pod.get("dnsPolicy") == "None" or rng.random() < 0.3:
        pod["dnsConfig"] = dns_config(rng)
    if rng.random() < 0.6:
        pod["securityContext"] = rng.choice([{}, {"fsGroup": 1000}, {"runAsNonRoot": True, "runAsUser": 1000}])
    if rng.random() < 0.3:
        pod["automountServiceAccountToken"] = rng.random() < 0.5
    metadata: Object = {"labels": {"app": "demo"}}
    if rng.random() < 0.3:
        metadata["labels"]["tier"] = rng.choice("ab")
    if rng.random() < 0.5:
        choices = {"example.org/a": "1", _names.DNS_CAPTURE_ANNOTATION: rng.choice(["true", "false"])}
        metadata["annotations"] = {key: value for key, value in choices.items() if rng.random() < 0.5}
    return {
        "kind": rng.choice(["StatefulSet", "Deployment"]),
        "metadata": {"name": "demo", "namespace": "downloads", "resourceVersion": str(rng.randint(1, 10**6))},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "demo"}},
            "template": {"metadata": metadata, "spec": pod},
        },
    }


def container(rng: random.Random, name: str, init: bool = False) -> Object:
    made: Object = {"name": name, "image": f"example.org/{name}:{rng.randint(1, 9)}"}
    if init and rng.random() < 0.4:
        made["restartPolicy"] = "Always"
    if rng.random() < 0.4:
        made["env"] = [{"name": "A", "value": "1"}]
    if rng.random() < 0.3:
        amounts = {"cpu": "100m", "memory": "64Mi"}
        made["resources"] = {"requests": dict(amounts), "limits": dict(amounts)}
    if rng.random() < 0.3:
        made["volumeMounts"] = [{"name": "data0", "mountPath": "/data"}]
    if rng.random() < 0.6:
        made["securityContext"] = security_context(rng)
    return made


def security_context(rng: random.Random) -> Object:
    context: Object = {}
    if rng.random() < 0.5:
        context["runAsUser"] = rng.choice([0, 1000])
    if rng.random() < 0.7:
        capabilities: Object = {}
        if rng.random() < 0.4:
            capabilities["add"] = ["CHOWN"]
        if rng.random() < 0.7:
            capabilities["drop"] = rng.choice([[], ["ALL"], ["NET_RAW"], ["SYS_CHROOT"], ["MKNOD", "NET_RAW"]])[:]
        context["capabilities"] = capabilities
    return context


def volume(rng: random.Random, name: str) -> Object:
    return {"name": name, **rng.choice([{"emptyDir": {}}, {"persistentVolumeClaim": {"claimName": name}}])}


def dns_config(rng: random.Random) -> Object:
    config: Object = {"nameservers": [f"192.0.2.{rng.randint(1, 9)}"]}
    if rng.random() < 0.5:
        config["searches"] = ["example.org"]
    if rng.random() < 0.5:
        config["options"] = [{"name": "ndots", "value": rng.choice(["2", "5"])}]
    return config


# --- what users do to a live workload; ours is left alone, so that the same edit fits both forms ---


def own(workload: Object, key: str) -> list[Object]:
    items = workload["spec"]["template"]["spec"].get(key) or []
    return [item for item in items if item["name"] not in (*_names.CONTAINERS, *_names.VOLUMES)]


def some(workload: Object, rng: random.Random) -> Object:
    return rng.choice([*own(workload, "initContainers"), *own(workload, "containers")])


def change_image(workload: Object, rng: random.Random) -> None:
    some(workload, rng)["image"] = f"example.org/new:{rng.randint(1, 9)}"


def add_container(workload: Object, rng: random.Random) -> None:
    items = workload["spec"]["template"]["spec"]["containers"]
    items.insert(rng.randint(0, len(items)), container(rng, f"extra{rng.randrange(10**6)}"))


def remove_container(workload: Object, rng: random.Random) -> None:
    items = workload["spec"]["template"]["spec"]["containers"]
    if len(items) > 1:
        items.pop(rng.randrange(len(items)))


def add_init(workload: Object, rng: random.Random) -> None:
    items = workload["spec"]["template"]["spec"].setdefault("initContainers", [])
    mine = own(workload, "initContainers")
    place = rng.randint(0, len(mine))
    items.insert(len(items) - len(mine) + place, container(rng, f"later{rng.randrange(10**6)}", init=True))


def remove_init(workload: Object, rng: random.Random) -> None:
    mine = own(workload, "initContainers")
    if mine:
        workload["spec"]["template"]["spec"]["initContainers"].remove(rng.choice(mine))


def change_dns_config(workload: Object, rng: random.Random) -> None:
    workload["spec"]["template"]["spec"]["dnsConfig"] = dns_config(rng)


def change_dns_policy(workload: Object, rng: random.Random) -> None:
    workload["spec"]["template"]["spec"]["dnsPolicy"] = rng.choice(["ClusterFirst", "Default"])


def add_drop(workload: Object, rng: random.Random) -> None:
    context = some(workload, rng).setdefault("securityContext", {})
    context.setdefault("capabilities", {}).setdefault("drop", []).append(rng.choice(["KILL", "ALL"]))


def replace_security_context(workload: Object, rng: random.Random) -> None:
    some(workload, rng)["securityContext"] = {"capabilities": {"add": ["CHOWN"]}, "runAsUser": rng.choice([1, 2])}


def add_env(workload: Object, rng: random.Random) -> None:
    some(workload, rng).setdefault("env", []).append({"name": f"B{rng.randint(1, 99)}", "value": "2"})


def add_volume(workload: Object, rng: random.Random) -> None:
    items = workload["spec"]["template"]["spec"].setdefault("volumes", [])
    made = volume(rng, f"more{len(own(workload, 'volumes'))}-{rng.randint(1, 999)}")
    # In both forms behind the same volume of the user's: only their order among themselves is the user's.
    mine = own(workload, "volumes")
    after = rng.choice([None, *[item["name"] for item in mine]])
    names = [item["name"] for item in items]
    items.insert(names.index(after) + 1 if after else (names.index(mine[0]["name"]) if mine else len(items)), made)


def change_labels(workload: Object, rng: random.Random) -> None:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    labels["tier"] = "c"
    if rng.random() < 0.5:
        labels["added"] = "yes"


def change_annotations(workload: Object, rng: random.Random) -> None:
    annotations = workload["spec"]["template"]["metadata"].setdefault("annotations", {})
    annotations[rng.choice(["example.org/a", "example.org/b"])] = "later"
    if rng.random() < 0.3:
        annotations[_names.DNS_CAPTURE_ANNOTATION] = "true"


def change_pod(workload: Object, rng: random.Random) -> None:
    pod = workload["spec"]["template"]["spec"]
    pod["securityContext"] = {"runAsUser": rng.randint(1, 99), "runAsNonRoot": True}
    pod["terminationGracePeriodSeconds"] = rng.randint(1, 99)


def scale(workload: Object, rng: random.Random) -> None:
    workload["spec"]["replicas"] = rng.randint(0, 1)


EDITS: list[Edit] = [
    change_image,
    add_container,
    remove_container,
    add_init,
    remove_init,
    change_dns_config,
    change_dns_policy,
    add_drop,
    replace_security_context,
    add_env,
    add_volume,
    change_labels,
    change_annotations,
    change_pod,
    scale,
]


def edited(workload: Object, edits: list[tuple[Edit, int]]) -> Object:
    copied = copy.deepcopy(workload)
    for edit, seed in edits:
        edit(copied, random.Random(seed))
    return copied


def defaulted(workload: Object) -> Object:
    """As an API server holds it: fields that were not given have values, everywhere."""
    copied = copy.deepcopy(workload)
    pod = copied["spec"]["template"]["spec"]
    for one in [*pod.get("initContainers", []), *pod["containers"]]:
        one.setdefault("terminationMessagePath", "/dev/termination-log")
        one.setdefault("terminationMessagePolicy", "File")
        one.setdefault("imagePullPolicy", "IfNotPresent")
        one.setdefault("resources", {})
        for variable in one.get("env", []):
            if "valueFrom" in variable:
                variable["valueFrom"]["fieldRef"].setdefault("apiVersion", "v1")
        if "startupProbe" in one:
            one["startupProbe"].setdefault("successThreshold", 1)
    for one in pod.get("volumes", []):
        for kind in ("configMap", "downwardAPI"):
            if kind in one:
                one[kind].setdefault("defaultMode", 0o644)
    pod.setdefault("dnsPolicy", "ClusterFirst")
    pod.setdefault("securityContext", {})
    return copied


@pytest.fixture(params=range(BLOCKS))
def cases(request: pytest.FixtureRequest) -> list[tuple[Object, list[tuple[Edit, int]]]]:
    """Templates with a list of edits each; always the same ones."""
    made = []
    for number in range(TEMPLATES // BLOCKS):
        rng = random.Random(request.param * TEMPLATES + number)
        chosen = rng.choices(EDITS, k=rng.randint(0, 5))
        made.append((generate(rng), [(edit, rng.randrange(10**9)) for edit in chosen]))
    return made


Cases = list[tuple[Object, list[tuple[Edit, int]]]]
Make = Callable[..., _pieces.Settings]


def attached(workload: Object, settings: _pieces.Settings) -> Object:
    return apply_patch(workload, _template.attach(workload, settings))


def detached(workload: Object) -> Object:
    return held(apply_patch(workload, _template.detach(workload)))


def held(workload: Object) -> Object:
    """As an API server holds it: empty lists and maps of strings are not there."""
    copied = copy.deepcopy(workload)
    template = copied["spec"]["template"]
    pod = template["spec"]
    capabilities = [
        (one.get("securityContext") or {}).get("capabilities") or {}
        for one in [*(pod.get("initContainers") or []), *pod["containers"]]
    ]
    for place in (pod, template["metadata"], *capabilities):
        for key in ("initContainers", "volumes", "annotations", "drop"):
            if key in place and not place[key]:
                del place[key]
    return copied


def test_inverse_edit_leaves_what_the_user_wrote(cases: Cases, settings: Make) -> None:
    for workload, edits in cases:
        assert detached(edited(attached(workload, settings()), edits)) == held(edited(workload, edits)), edits


def test_attaching_again_changes_nothing_and_undoing_it_neither(cases: Cases, settings: Make) -> None:
    for workload, edits in cases:
        live = edited(attached(workload, settings()), edits)
        again = attached(live, settings())
        assert _template.attach(again, settings()) == []
        assert detached(again) == held(edited(workload, edits))


def test_edits_before_attaching_and_after_it_lead_to_the_same(cases: Cases, settings: Make) -> None:
    for workload, edits in cases:
        after = attached(edited(attached(workload, settings()), edits), settings())
        before = attached(held(edited(workload, edits)), settings())
        assert ordered(after) == ordered(before)


def test_other_settings_replace_the_first_ones(cases: Cases, settings: Make) -> None:
    other = settings(gateway="other", agent="f" * 16, resolver="10.222.2.1", config={"role": "client"}, image="i:2")
    for workload, edits in cases:
        live = edited(attached(workload, settings()), edits)
        moved = attached(live, other)
        assert ordered(moved) == ordered(attached(held(edited(workload, edits)), other))
        assert detached(moved) == held(edited(workload, edits))


def test_defaults_of_the_api_server_are_no_difference(cases: Cases, settings: Make) -> None:
    for workload, _edits in cases:
        live = defaulted(attached(defaulted(workload), settings()))
        assert _template.attach(live, settings()) == []
        assert _template.find_tampering(live) == []
        assert detached(live) == held(defaulted(workload))


def ordered(workload: Object) -> Object:
    """With volumes by name: their order means nothing."""
    copied = held(workload)
    copied["spec"]["template"]["spec"]["volumes"].sort(key=lambda item: item["name"])
    return copied


def test_unedited_template_comes_back_to_the_letter(cases: Cases, settings: Make) -> None:
    for workload, _edits in cases:
        live = attached(workload, settings())
        assert apply_patch(live, _template.detach(live)) == held(workload)


def test_generator_makes_every_shape() -> None:
    """The property says nothing about what is never generated."""
    pods = [generate(random.Random(seed))["spec"]["template"]["spec"] for seed in range(TEMPLATES)]
    inits = [one for pod in pods for one in pod.get("initContainers", [])]
    drops = [
        one.get("securityContext", {}).get("capabilities", {}).get("drop") for pod in pods for one in pod["containers"]
    ]
    assert {"Always", None} == {one.get("restartPolicy") for one in inits}
    assert {1, 2, 3} == {len(pod["containers"]) for pod in pods}
    assert any(pod.get("initContainers") == [] for pod in pods) and any("initContainers" not in pod for pod in pods)
    assert all(drop in drops for drop in ([], ["ALL"], ["NET_RAW"], ["MKNOD", "NET_RAW"], None))
    assert {None, "None", "Default"} < {pod.get("dnsPolicy") for pod in pods}
    assert any(_pieces.guaranteed(pod) for pod in pods) and not all(_pieces.guaranteed(pod) for pod in pods)
