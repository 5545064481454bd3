"""Many clients attached at once: in waves, each pod once, and nothing of ours is started again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import attached
import pytest
import stage
from running_lab import kubectl, until

from bulkhead_lab.paths import Paths

COUNT, AT_ONCE = 8, 3
NAMES = [f"many-{number}" for number in range(COUNT)]
IDLE = {"name": "app", "image": attached.TOOLBOX, "command": ["sleep", "infinity"]}


@pytest.fixture
def many(shapes: Paths) -> Iterator[Paths]:
    """Workloads that run plainly; the first and the last one send."""
    loud = (NAMES[0], NAMES[-1])
    stage.put(*(stage.stateful_set(name, () if name in loud else [IDLE]) for name in NAMES))
    yield shapes
    stage.clear()


def restarts(*namespaces: str) -> dict[str, int]:
    """Containers that were started again, by pod."""
    listed = [json.loads(kubectl("-n", one, "get", "pods", "-o", "json"))["items"] for one in namespaces]
    return {
        f"{pod['metadata']['name']} {held['name']}": held["restartCount"]
        for pods in listed
        for pod in pods
        for key in ("initContainerStatuses", "containerStatuses")
        for held in pod["status"].get(key) or []
        if held["restartCount"]
    }


def states() -> list[str]:
    return [stage.state(name) for name in NAMES]


def test_many_clients_start_in_waves_and_a_run_killed_between_two_is_completed(many: Paths) -> None:
    before = restarts(attached.VPN)
    clients = [stage.client(name) for name in NAMES]
    stage.vpn_client(*clients, max_parallel=AT_ONCE, stop="attach.template/1")
    until(lambda: states()[:AT_ONCE] == ["guarded"] * AT_ONCE, "the first wave is guarded")
    # The rest is as it was, behind its policy: the last one has no guard, sends, and nothing of it gets out.
    assert states()[AT_ONCE:] == ["plain"] * (COUNT - AT_ONCE)
    with stage.watching(many) as seen:
        time.sleep(stage.BURST)
        until(lambda: min(stage.tries(f"{NAMES[-1]}-0", stage.BURST).values()) > 0, "the last one sends")
    seen.none()
    told = stage.vpn_client(*clients, max_parallel=AT_ONCE, wait_timeout=200)
    assert {one["state"] for one in told["clients"]} == {"attached"}, told["clients"]
    assert states() == ["guarded"] * COUNT
    for name in (NAMES[0], NAMES[-1]):
        stage.comes_back(f"{name}-0")
    assert restarts(stage.NAMESPACE) == {}
    assert restarts(attached.VPN) == before, "neither the gateway nor the endpoint controller was started again"
