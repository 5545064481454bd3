# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An attached workload does not slip out of what holds it: not by other labels, not by another name, not pod by pod.

Each is also tried without the rule that is to stop it, and then the capture sees it leak.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attached
import pytest
import stage
from running_lab import kubectl, until

from bulkhead_lab.paths import Paths

NAME, COPY = "held", "copy"
ON = ("-n", stage.NAMESPACE)


@pytest.fixture
def held(shapes: Paths) -> Iterator[Paths]:
    """Attached and leaving by the VPN."""
    stage.put(stage.stateful_set(NAME))
    stage.vpn_client(stage.client(NAME))
    stage.comes_back(f"{NAME}-0")
    yield shapes
    stage.clear()


def labelled(app: str, name: str = NAME, **more: Any) -> str:
    """A user's manifest of this name whose pods have this label."""
    made = stage.stateful_set(name)
    for labels in (made["spec"]["selector"]["matchLabels"], made["spec"]["template"]["metadata"]["labels"]):
        labels["app"] = app
    made["spec"].update(more)
    return json.dumps(made)


def create(manifest: str) -> bool:
    """Whether the API server takes it."""
    return bool(kubectl("create", "-o", "name", "-f", "-", check=False, stdin=manifest))


def leaks(paths: Paths, app: str) -> bool:
    """Whether packets of a plain pod with this label are seen outside; it has to send."""
    until(lambda: [one["status"].get("phase") for one in stage.pods(app)] == ["Running"], f"a pod of {app} runs")
    name = stage.pods(app)[0]["metadata"]["name"]
    until(lambda: sum(stage.tries(name, 10).values()) > 0, f"{name} sends")
    with stage.watching(paths) as seen:
        time.sleep(stage.BURST)
    return seen.leaked > 0


def namespaces(egress: str) -> dict[str, Any]:
    """The inventory's namespaces, with this one as sealed or open as asked; one that it forgets would stay sealed."""
    here = {"name": stage.NAMESPACE, "mesh": "unmanaged", "egress": egress}
    return {"bulkhead_namespaces": [*attached.VARIABLES["bulkhead_namespaces"], here]}


def seal(on: bool) -> None:
    """As the inventory asks for it."""
    code, told = attached.play("site", namespaces("sealed" if on else "open"), "--tags", "namespaces")
    assert code == 0, told[-3000:]
    assert bool(kubectl(*ON, "get", "networkpolicy", "bulkhead-sealed", "--ignore-not-found")) == on


def test_made_again_with_other_labels(held: Paths) -> None:
    kubectl(*ON, "delete", "statefulset", NAME, "--cascade=foreground")
    with stage.watching(held) as seen:
        assert not create(labelled("renamed")), "other labels: no policy would select its pods"
        assert not create(labelled(NAME)), "no guard"
        assert not create(labelled("renamed", replicas=0)), "it could be scaled later"
        time.sleep(stage.BURST)
    seen.none()
    with stage.no_admission(NAME):
        assert create(labelled("renamed"))
        assert leaks(held, "renamed"), "without the rule it has to leak, or the zero above proves nothing"
        kubectl(*ON, "delete", "statefulset", NAME, "--cascade=foreground")
    with stage.watching(held) as seen:
        assert create(labelled(NAME, replicas=0)), "the way back that never opens it"
        stage.vpn_client(stage.client(NAME))
        kubectl(*ON, "scale", f"statefulset/{NAME}", "--replicas=1")
        stage.ready(NAME)
    seen.none()
    assert stage.state(NAME) == "guarded"
    stage.comes_back(f"{NAME}-0")


def test_a_pod_keeps_the_label_of_its_policy(held: Paths) -> None:
    pod = f"{NAME}-0"
    # The guard away: what holds now is the policy, and that goes by the label.
    kubectl(*ON, "exec", pod, "-c", "bulkhead-overlay", "--", "nft", "flush", "ruleset")
    with stage.watching(held) as seen:
        kubectl(*ON, "label", "pod", pod, "app-", check=False)
        kubectl(*ON, "label", "pod", pod, "bulkhead.mesh/vpn-client-", check=False)
        time.sleep(stage.BURST)
        tried = stage.tries(pod, stage.BURST + 1)
    assert min(tried.values()) > 0, tried
    seen.none()
    labels = stage.get("pod", pod)["metadata"]["labels"]
    assert labels["app"] == NAME and "bulkhead.mesh/vpn-client" in labels
    with stage.no_admission(NAME):
        kubectl(*ON, "label", "pod", pod, "app-")
        with stage.watching(held) as seen:
            time.sleep(2 * stage.BURST)
        assert seen.leaked > 0, "without the rule it has to leak, or the zero above proves nothing"
        kubectl(*ON, "delete", "pod", pod, "--grace-period=0", "--force")


def test_another_name_in_a_sealed_namespace(held: Paths) -> None:
    assert create(labelled(COPY, COPY))
    assert leaks(held, COPY), "a namespace that is not sealed lets out whatever nobody thought of"
    kubectl(*ON, "delete", "statefulset", COPY, "--cascade=foreground")
    seal(True)
    try:
        with stage.watching(held) as seen:
            assert create(labelled(COPY, COPY))
            until(lambda: [one["status"].get("phase") for one in stage.pods(COPY)] == ["Running"], "the copy runs")
            until(lambda: sum(stage.tries(f"{COPY}-0", 10).values()) > 0, "the copy sends")
            time.sleep(stage.BURST)
        seen.none()
        stage.comes_back(f"{NAME}-0")
    finally:
        seal(False)
        kubectl(*ON, "delete", "statefulset", COPY, "--cascade=foreground")


@pytest.mark.slow
def test_a_client_in_a_sealed_namespace_is_protected(held: Paths, tmp_path: Path) -> None:
    """The twins that verify makes have a way out of their own, or it could not tell."""
    seal(True)
    try:
        only = {**namespaces("sealed"), "bulkhead_vpn_clients": [stage.client(NAME)]}
        proof = attached.verify(tmp_path, only)
        assert proof.verdict == "protected" and "ctl-detect" in proof.checks["pass"], proof
    finally:
        seal(False)
