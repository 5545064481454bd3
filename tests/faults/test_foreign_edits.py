"""Somebody else writes an attached workload: its pods are refused or sealed, verify says which, the next run attaches it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attached
import pytest
import stage
from mesh_on_lab import program
from running_lab import kubectl

from bulkhead_lab.paths import Paths

NAME = "rewritten"
ONLY = {"bulkhead_vpn_clients": [stage.client(NAME)]}
BOTH = {"bulkhead_vpn_clients": [stage.client(NAME), *attached.VARIABLES["bulkhead_vpn_clients"]]}
ON = ("-n", stage.NAMESPACE)


def manifest() -> str:
    """What the user keeps in a folder; with an init container of the user's own, which a merge might put first."""
    init = {"name": "prepare", "image": attached.TOOLBOX, "command": ["true"]}
    return json.dumps(stage.stateful_set(NAME, initContainers=[init]))


def undo() -> None:
    kubectl(*ON, "rollout", "undo", f"statefulset/{NAME}")


def apply_again() -> None:
    kubectl("apply", "-f", "-", stdin=manifest())


def apply_on_the_server() -> None:
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest())


def put() -> None:
    """The whole object is replaced."""
    kubectl("replace", "-f", "-", stdin=manifest())


def recreate() -> None:
    """What helm upgrade --force does where replacing is refused."""
    kubectl(*ON, "delete", "statefulset", NAME, "--cascade=foreground")
    kubectl("create", "-f", "-", stdin=manifest())


def helm_upgrade_force() -> None:
    """The workload is a release of Helm; --force replaces each of its objects."""
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(folder)
        (chart / "Chart.yaml").write_text(f"{{apiVersion: v2, name: {NAME}, version: 0.1.0}}")
        (chart / "templates").mkdir()
        (chart / "templates" / "workload.yaml").write_text(manifest())
        program("helm", "upgrade", "--install", "--force", "--take-ownership", NAME, folder, *ON)


def make_again_by_hand() -> None:
    """No workload at all: a pod with the workload's labels."""
    template = json.loads(manifest())["spec"]["template"]
    metadata = {"name": f"{NAME}-9", "namespace": stage.NAMESPACE, "labels": template["metadata"]["labels"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    kubectl("create", "-f", "-", stdin=json.dumps(pod), check=False)


@pytest.fixture
def rewritten(shapes: Paths) -> Iterator[Paths]:
    """Applied by its user, attached, and Ready."""
    kubectl("apply", "-f", "-", stdin=manifest())
    stage.ready(NAME)
    stage.vpn_client(stage.client(NAME))
    stage.comes_back(f"{NAME}-0")
    yield shapes
    stage.clear()


@pytest.mark.slow
@pytest.mark.parametrize(
    "edit", [undo, apply_again, apply_on_the_server, put, recreate, helm_upgrade_force, make_again_by_hand]
)
def test_no_edit_opens_it(rewritten: Paths, tmp_path: Path, edit: Callable[[], None]) -> None:
    seen_states = set()
    with stage.watching(rewritten) as seen:
        edit()
        for _look in range(6):
            time.sleep(1)
            seen_states.add(stage.state(NAME))
    seen.none()
    assert seen_states <= {"guarded", "refused"}, seen_states
    now = stage.state(NAME)
    if now == "refused":
        assert stage.GUARD in stage.refusal(NAME), stage.refusal(NAME)
    proof = attached.verify(tmp_path, ONLY)
    print(f"{edit.__name__}: {now}, verify: {proof.verdict} {proof.reasons}")
    if now == "refused":
        assert proof.code != 0 and proof.verdict == "unknown", proof
        assert "no pod runs" in proof.reasons[0]
    else:
        assert proof.verdict == "protected", proof
    attached.playbook("site", BOTH)
    assert stage.state(NAME) == "guarded"
    stage.comes_back(f"{NAME}-0")
