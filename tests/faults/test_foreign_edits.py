"""Somebody else writes an attached workload: what would take the guard away is refused, and merges keep it."""

from __future__ import annotations

import contextlib
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
    """Refused: the template before had no guard."""
    kubectl(*ON, "rollout", "undo", f"statefulset/{NAME}", check=False)


def apply_again() -> None:
    kubectl("apply", "-f", "-", stdin=manifest())


def apply_on_the_server() -> None:
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest())


def put() -> None:
    """The whole object is replaced: refused."""
    kubectl("replace", "-f", "-", stdin=manifest(), check=False)


def recreate() -> None:
    """Refused as it was, and taken without a pod: the next run attaches it before it has one."""
    kubectl(*ON, "delete", "statefulset", NAME, "--cascade=foreground")
    assert not kubectl("create", "-o", "name", "-f", "-", stdin=manifest(), check=False)
    without = json.loads(manifest())
    without["spec"]["replicas"] = 0
    kubectl("create", "-f", "-", stdin=json.dumps(without))


def add_container() -> None:
    """One that keeps NET_RAW: refused."""
    late = {"name": "late", "image": attached.TOOLBOX, "command": ["sleep", "infinity"]}
    added = json.dumps([{"op": "add", "path": "/spec/template/spec/containers/-", "value": late}])
    kubectl(*ON, "patch", f"statefulset/{NAME}", "--type=json", "-p", added, check=False)


def helm_upgrade_force() -> None:
    """The workload is a release of Helm; --force replaces each of its objects, which is refused."""
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(folder)
        (chart / "Chart.yaml").write_text(f"{{apiVersion: v2, name: {NAME}, version: 0.1.0}}")
        (chart / "templates").mkdir()
        (chart / "templates" / "workload.yaml").write_text(manifest())
        with contextlib.suppress(AssertionError):
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
    "edit",
    [undo, apply_again, apply_on_the_server, put, recreate, add_container, helm_upgrade_force, make_again_by_hand],
)
def test_no_edit_opens_it(rewritten: Paths, tmp_path: Path, edit: Callable[[], None]) -> None:
    seen_states = set()
    with stage.watching(rewritten) as seen:
        edit()
        for _look in range(6):
            time.sleep(1)
            seen_states.add(stage.state(NAME))
    seen.none()
    stopped = edit is recreate
    assert seen_states == {"stopped" if stopped else "guarded"}, seen_states
    if not stopped:
        proof = attached.verify(tmp_path, ONLY)
        assert proof.verdict == "protected", proof
    attached.playbook("site", BOTH)
    if stopped:
        kubectl(*ON, "scale", f"statefulset/{NAME}", "--replicas=1")
        stage.ready(NAME)
    assert stage.state(NAME) == "guarded"
    stage.comes_back(f"{NAME}-0")
