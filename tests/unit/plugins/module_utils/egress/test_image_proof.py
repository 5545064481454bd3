# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _agent_files, _image_proof
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _trials
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer

AGENT = "0123456789abcdef"


def box(name: str, image: str, command: str | None = None, **more: Any) -> dict[str, Any]:
    security = {"capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}, "runAsUser": 0}
    made = {"name": name, "image": image, "securityContext": security, **more}
    return {**made, "command": _agent_files.command(AGENT, command)} if command else made


FIREWALL, ENGINE, ENDPOINTS = box("f", "a:1", "firewall"), box("e", "e:1", "engine"), box("c", "a:1", "endpoints")
RESOLVER = box("r", "r:1")
RESOLVER["securityContext"] = {"capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}, "runAsUser": 0}


def pod(*boxes: Any, node: str = "n1", agent: str = AGENT, state: Any = None) -> dict[str, Any]:
    statuses = [{"name": one["name"], "imageID": "sha256:1", "state": state or {"running": {}}} for one in boxes]
    return {
        "metadata": {"name": "p", "annotations": {"bulkhead.mesh/agent": agent}},
        "spec": {"nodeName": node, "containers": list(boxes)},
        "status": {"containerStatuses": statuses},
    }


def test_one_container_for_each_image_with_all_its_tools() -> None:
    made = _image_proof.containers([ENDPOINTS, FIREWALL, {**ENGINE, "image": "a:1"}, RESOLVER])
    assert [(one["image"], one.get("command", [])[4:], one.get("args")) for one in made] == [
        ("a:1", ["ip", "nft", "wg"], None),
        ("r:1", [], ["-version"]),
    ]
    assert [one["securityContext"]["capabilities"] for one in made] == [
        {"drop": ["ALL"]},
        {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
    ]
    assert FIREWALL["securityContext"]["capabilities"]["add"] == ["NET_ADMIN"], "the original stays as it is"


@pytest.mark.parametrize(
    ("wanted", "there", "unproven"),
    [
        (FIREWALL, pod(FIREWALL), False),
        (FIREWALL, pod(FIREWALL, node="n2"), True),
        (FIREWALL, pod(FIREWALL, agent="another"), True),
        (FIREWALL, pod(box("f", "a:2", "firewall")), True),
        (FIREWALL, pod(FIREWALL, state={"waiting": {"reason": "ImagePullBackOff"}}), True),
        (FIREWALL, pod(FIREWALL, state={"terminated": {"exitCode": 1}}), True),
        (FIREWALL, pod(FIREWALL, state={"terminated": {"exitCode": 0}}), False),
        (ENDPOINTS, pod(FIREWALL), False),
        (ENGINE, pod(box("f", "e:1", "firewall")), True),  # it runs the agent there, and may have no wg
        (FIREWALL, pod(box("r", "a:1")), True),  # it is there as the resolver, which needs no python3
        (RESOLVER, pod(RESOLVER, agent="another"), False),
    ],
)
def test_what_runs_there_needs_no_proof(wanted: Any, there: Any, unproven: bool) -> None:
    assert _image_proof.unproven([wanted], "n1", [there], AGENT) is unproven
    assert _image_proof.unproven([wanted, RESOLVER], "n1", [there, pod(RESOLVER)], AGENT) is unproven


def test_where_the_trial_runs() -> None:
    spec = {"nodeSelector": {"a": "b"}, "imagePullSecrets": [{"name": "s"}], "hostNetwork": True}
    there = _image_proof.pod("t", "vpn", spec, [], "n1")["spec"]
    assert there["tolerations"] == [{"operator": "Exists"}] and "nodeSelector" not in there and "nodeName" not in there
    anywhere = _image_proof.pod("t", "vpn", spec, [], None)["spec"]
    assert anywhere["nodeSelector"] == {"a": "b"} and "affinity" not in anywhere and "hostNetwork" not in anywhere
    assert there["imagePullSecrets"] == anywhere["imagePullSecrets"] == [{"name": "s"}]


def test_the_script_names_what_is_missing() -> None:
    words = [sys.executable, "-I", "-c", _image_proof.SCRIPT, "surely-not-there"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "it lacks surely-not-there\n")


def ended(code: int, reason: str = "Completed", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        ([ended(0), ended(0)], ""),
        ([ended(0), ended(2, "Error")], ""),  # it does not know -version
        ([ended(0), {"running": {}}], ""),
        ([{"running": {}}, ended(0)], None),
        ([ended(0), {"waiting": {"reason": "ContainerCreating"}}], None),
        ([ended(0), ended(128, "StartError", "no such file")], "image r:1 cannot be started: no such file; "),
        (
            [ended(1, "Error", "it lacks nft\n"), {"running": {}}],
            "image a:1 cannot be used: it lacks nft (exit code 1); ",
        ),
    ],
)
def test_verdict(states: Any, verdict: str | None) -> None:
    tried = pod(*_image_proof.containers([FIREWALL, RESOLVER]))
    for status, state in zip(tried["status"]["containerStatuses"], states, strict=True):
        status["state"] = state
    found = _image_proof.verdict(tried)
    assert found == verdict or (verdict and found is not None and found.startswith(verdict))


QUOTA = 'pods "x" is forbidden: exceeded quota: q, requested: {0}, used: {0}, limited: {0}'


@pytest.mark.parametrize(
    ("status", "message", "replaces", "refused"),
    [
        (201, "", False, False),
        (403, 'violates PodSecurity "baseline:latest": non-default capabilities', False, True),
        (400, 'admission webhook "w" denied the request: no', False, True),
        (400, 'admission webhook "w" does not support dry run', False, False),
        (403, "ValidatingAdmissionPolicy 'bulkhead-vpn-client.a.b' with binding 'x' denied request: no", False, False),
        (403, "ValidatingAdmissionPolicy 'users' with binding 'x' denied request: no", False, True),
        (403, QUOTA.format("limits.cpu=1"), False, True),
        (403, QUOTA.format("limits.cpu=1"), True, False),  # the pod that goes gives it back
        (403, QUOTA.format("pods=1"), False, False),  # a replacement is no pod more
        (403, QUOTA.format("pods=1,limits.cpu=1"), False, True),
        (500, "Internal error occurred: failed calling webhook", False, False),
    ],
)
def test_what_a_trial_in_words_says(fake_api: Any, status: int, message: str, replaces: bool, refused: bool) -> None:
    api = fake_api({"POST /api/v1/namespaces/n/pods": Answer(status, {"message": message})})
    words = _trials.refusal(api, {"metadata": {"namespace": "n"}}, replaces)
    assert words == (message if refused else "")
    assert api.calls[0].query == {"dryRun": "All"}


@pytest.mark.parametrize("outcome", ["well", "badly", "never"])
def test_trials_leave_nothing(fake_api: Any, outcome: str) -> None:
    def wait(look: Any, timeout: float, sleep: float) -> Any:
        assert timeout == _trials.PULL
        return look()

    path = "/api/v1/namespaces/n/pods"
    script = {
        f"GET {path}": Answer(200, {"items": []}),
        f"POST {path}": Answer(201, {}),
        f"GET {path}/t": Answer(200, {"metadata": {"name": "t"}, "spec": {"nodeName": "n1"}, "status": {}}),
        f"DELETE {path}/t": Answer(200, {}),
    }
    api = fake_api(script)
    verdict = {"well": "", "badly": "it is bad", "never": None}[outcome]
    manifest = {"metadata": {"name": "t", "namespace": "n", "labels": {"a": "b"}}}
    found = _trials.run(api, [manifest], lambda live: verdict, timeout=9, sleep=1, wait=wait)
    assert (
        found
        == {"well": {}, "badly": {"t": "it is bad"}, "never": {"t": "its trial did not end within 300 s"}}[outcome]
    )
    api.done()


def test_a_refused_trial_is_told(fake_api: Any) -> None:
    path = "/api/v1/namespaces/n/pods"
    api = fake_api({f"GET {path}": Answer(200, {"items": []}), f"POST {path}": Answer(403, {"message": "quota"})})
    manifest = {"metadata": {"name": "t", "namespace": "n", "labels": {"a": "b"}}}
    found = _trials.run(api, [manifest], lambda live: None, timeout=9, sleep=1, wait=lambda *a, **k: None)
    assert found == {"t": "a pod that tries it is refused: quota"}
    api.done()


def test_nodes_that_can_start_pods(fake_api: Any) -> None:
    def node(ready: str) -> Answer:
        return Answer(200, {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": ready}]}})

    answers = {"up": node("True"), "down": node("Unknown"), "gone": Answer(404, {}), "hidden": Answer(403, {})}
    api = fake_api({f"GET /api/v1/nodes/{name}": answer for name, answer in answers.items()})
    assert _trials.ready_nodes(api, list(answers)) == {"up", "hidden"}
