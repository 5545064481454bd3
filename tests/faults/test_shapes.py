"""Attached, run and given back: what is left is exactly what the user wrote, for workloads of four shapes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import attached
import pytest
import stage
from running_lab import kubectl, lab, until

from bulkhead_lab.paths import Paths

IMAGE, OTHER_IMAGE = attached.TOOLBOX, "lab.local/toolbox:other"
IDLE = ["sleep", "infinity"]
EDITED = "edited"
# Admission takes no new container that keeps NET_RAW; attaching drops it for those it finds.
LATE = {"name": "late", "securityContext": {"capabilities": {"drop": ["NET_RAW"]}}}


def idle(name: str, **more: Any) -> stage.Object:
    return {"name": name, "image": IMAGE, "command": IDLE, **more}


def shapes_of_users() -> dict[str, stage.Object]:
    """Manifests by name."""
    shared = [{"name": "data", "mountPath": "/data"}]
    web = {"name": "web", "image": IMAGE, "command": ["python3", "-m", "http.server", "8080"], "volumeMounts": shared}
    inits = [
        {"name": "prepare", "image": IMAGE, "command": ["touch", "/data/prepared"], "volumeMounts": shared},
        idle("helper", restartPolicy="Always"),
        {"name": "after", "image": IMAGE, "command": ["test", "-e", "/data/prepared"], "volumeMounts": shared},
    ]
    data = [{"name": "data", "emptyDir": {}}]
    keeps = {"capabilities": {"add": ["SYS_NICE"], "drop": ["CHOWN", "MKNOD"]}, "allowPrivilegeEscalation": False}
    drops = {"capabilities": {"drop": ["ALL"]}, "runAsUser": 1000}
    given = {
        "inits": stage.stateful_set("inits", [stage.sender()], initContainers=inits, volumes=data),
        "several": stage.stateful_set("several", [stage.sender(), web, idle("other")], volumes=data),
        "capable": stage.stateful_set(
            "capable",
            [{**stage.sender(), "securityContext": keeps}, idle("bare", securityContext=drops)],
            dnsPolicy="Default",
            dnsConfig={"options": [{"name": "attempts", "value": "3"}]},
            securityContext={"fsGroup": 2000},
        ),
        EDITED: stage.stateful_set(EDITED),
    }
    given["capable"]["spec"]["template"]["metadata"]["annotations"] = {"ambient.istio.io/dns-capture": "true"}
    return given


def edit(manifest: stage.Object) -> stage.Object:
    """What the user does later: another image, a variable, one more container, one more pod."""
    made = copy.deepcopy(manifest)
    made["spec"]["replicas"] = 2
    containers = made["spec"]["template"]["spec"]["containers"]
    containers[0]["image"] = OTHER_IMAGE
    containers[0]["env"].append({"name": "MOOD", "value": "good"})
    containers.append(idle(**LATE))
    return made


def edit_live(name: str) -> None:
    """The same, as people do it: on the live object."""
    on = ("-n", stage.NAMESPACE)
    kubectl(*on, "set", "image", f"statefulset/{name}", f"app={OTHER_IMAGE}")
    kubectl(*on, "set", "env", f"statefulset/{name}", "--containers=app", "MOOD=good")
    added = [{"op": "add", "path": "/spec/template/spec/containers/-", "value": idle(**LATE)}]
    kubectl(*on, "patch", f"statefulset/{name}", "--type=json", "-p", json.dumps(added))
    kubectl(*on, "scale", f"statefulset/{name}", "--replicas=2")


def normal(manifest: stage.Object) -> stage.Object:
    """The spec that the API server makes of a manifest: a dry run of another name."""
    other = {**manifest, "metadata": {**manifest["metadata"], "name": manifest["metadata"]["name"] + "-expected"}}
    told = kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(other))
    return dict(json.loads(told)["spec"])


@pytest.fixture
def users(shapes: Paths) -> Iterator[dict[str, stage.Object]]:
    lab("node-exec", "--", "ctr", "-n", "k8s.io", "images", "tag", "--force", IMAGE, OTHER_IMAGE)
    given = shapes_of_users()
    stage.put(*given.values())
    yield given
    stage.clear()


def behind(paths: Paths, names: list[str]) -> None:
    """All of them attached in one run, running, and leaving by the VPN alone."""
    told = stage.vpn_client(*(stage.client(name, replicas=2) for name in names))
    assert {one["state"] for one in told["clients"]} == {"attached"}, told["clients"]
    for name in names:
        assert stage.state(name) == "guarded"
        stage.comes_back(f"{name}-0")
    with stage.watching(paths) as seen:
        tried = [until(lambda n=n: min(stage.tries(f"{n}-0", 5).values()) > 0, n) for n in names]
    assert len(tried) == len(names)
    seen.none()


@pytest.mark.slow
def test_what_is_given_back_is_what_the_user_wrote(shapes: Paths, users: dict[str, stage.Object]) -> None:
    names = list(users)
    untouched = {name: stage.get("statefulset", name)["spec"] for name in names}
    assert untouched == {name: normal(one) for name, one in users.items()}, "the comparison itself has to be sound"
    behind(shapes, names)
    attached_specs = {name: stage.get("statefulset", name)["spec"] for name in names}
    assert all(attached_specs[name] != untouched[name] for name in names)

    edit_live(EDITED)
    users[EDITED] = edit(users[EDITED])
    expected = {name: normal(one) for name, one in users.items()}
    stage.ready(EDITED)
    assert stage.state(EDITED) == "guarded", "what the user edits stays guarded"

    stage.vpn_client(*(stage.leaving(name, "stopped") for name in names))
    for name in names:
        found = stage.get("statefulset", name)["spec"]
        assert found["template"] == expected[name]["template"], name
        assert found["replicas"] == 0 and stage.state(name) == "stopped"

    for name in names:
        replicas = expected[name]["replicas"]
        kubectl("-n", stage.NAMESPACE, "scale", f"statefulset/{name}", f"--replicas={replicas}")
        stage.ready(name)
    behind(shapes, names)
    stage.vpn_client(*(stage.leaving(name, "open") for name in names))
    for name in names:
        assert stage.get("statefulset", name)["spec"] == expected[name], name
        assert stage.state(name) == "plain"
        assert stage.seen_address(f"{name}-0") not in ("", attached.SERVER.exit4)
