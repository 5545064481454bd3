"""The lab's life: up, up again, killed in the middle, node restart, down; and a machine as it was before.

This suite takes the lab down at its start and at its end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_snapshot import difference, snapshot

from bulkhead_lab.paths import Paths

LAB = [sys.executable, str(Path(__file__).resolve().parents[2] / "lab" / "lab")]


def lab(*words: str, check: bool = True) -> str:
    done = subprocess.run([*LAB, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"lab {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def node_is_ready() -> bool:
    return "Ready" in lab("kubectl", "--", "get", "node", "--no-headers").split()[1]


@pytest.fixture(scope="module")
def untouched() -> Iterator[dict[str, set[str]]]:
    """The machine without a lab."""
    lab("down")
    yield snapshot()
    lab("down")


def test_two_snapshots_of_an_untouched_machine_are_equal(untouched: dict[str, set[str]]) -> None:
    assert difference(untouched, snapshot()) == []


def test_the_comparison_sees_a_change(untouched: dict[str, set[str]]) -> None:
    path = Path("/run/bulkhead-lab-test")
    path.touch()
    try:
        assert difference(untouched, snapshot()) == [f"files: + {path}"]
    finally:
        path.unlink()


def test_up_twice_then_down(untouched: dict[str, set[str]]) -> None:
    lab("up")
    first = json.loads(lab("status", "--json"))
    lab("up")
    second = json.loads(lab("status", "--json"))
    assert node_is_ready()
    assert first["node_pid"] == second["node_pid"], "the second up started something anew"
    assert not [line for line in difference(untouched, snapshot()) if "/proc/sys" in line], "kernel settings changed"
    lab("down")
    assert lab("status").strip() == "lab: down"
    assert not Paths.from_environment().state.exists()
    assert difference(untouched, snapshot()) == []


@pytest.mark.parametrize(
    "seconds", [pytest.param(0.3, marks=pytest.mark.slow), 2.0, pytest.param(6.0, marks=pytest.mark.slow)]
)
def test_up_killed_in_the_middle_is_completed_by_the_next(untouched: dict[str, set[str]], seconds: float) -> None:
    first = subprocess.Popen([*LAB, "up"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    first.send_signal(signal.SIGKILL)
    first.wait()
    lab("up")
    assert node_is_ready()
    lab("down")
    assert difference(untouched, snapshot()) == []


def test_down_after_the_root_process_was_killed(untouched: dict[str, set[str]]) -> None:
    lab("up")
    pid = int(Paths.from_environment().pid_file.read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    time.sleep(1)
    assert "broken" in lab("status", check=False)
    lab("down")
    assert difference(untouched, snapshot()) == []


def test_the_node_restarts_and_pods_come_back(untouched: dict[str, set[str]]) -> None:
    lab("up")
    lab("kubectl", "--", "create", "deployment", "kept", "--image=lab.local/toolbox:1", "--", "sleep", "infinity")
    lab("kubectl", "--", "rollout", "status", "deployment/kept", "--timeout=60s")
    before = json.loads(lab("status", "--json"))["node_pid"]
    lab("restart-node")
    assert json.loads(lab("status", "--json"))["node_pid"] != before
    lab("kubectl", "--", "wait", "--for=condition=Ready", "node/lab-node", "--timeout=60s")
    restarts = "jsonpath={.items[0].status.containerStatuses[0].restartCount}"
    for _ in range(60):
        if lab("kubectl", "--", "get", "pod", "-l", "app=kept", "-o", restarts) == "1":
            break
        time.sleep(1)
    lab("kubectl", "--", "rollout", "status", "deployment/kept", "--timeout=60s")
    assert lab("kubectl", "--", "get", "pod", "-l", "app=kept", "-o", restarts) == "1"
    lab("down")
    assert difference(untouched, snapshot()) == []
