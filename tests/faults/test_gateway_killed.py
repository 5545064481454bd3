"""The gateway's containers are killed from outside, ten times, and a download goes on: no leak, and traffic comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import attached
import pytest
import stage
from running_lab import kubectl, lab, until

from bulkhead_lab import demo, plan, senders, world
from bulkhead_lab.paths import Paths

RECOVERY = 15.0  # seconds
TIMES = 10
NAME = "steady"
POD = f"{NAME}-0"
DOWNLOAD_RATE = 700_000  # bytes a second, so that it lasts for all faults
CONTROLLER = ("-n", attached.VPN, "scale", "deployment/bulkhead-endpoints")
DOWNLOADER = {"kind": "StatefulSet", "namespace": demo.NAMESPACE, "name": demo.NAME}


@pytest.fixture
def steady(shapes: Paths) -> Iterator[Paths]:
    """An attached workload that sends all the time."""
    stage.put(stage.stateful_set(NAME))
    stage.vpn_client(stage.client(NAME))
    until(lambda: stage.leaves_by_the_vpn(POD), "the pod leaves by the VPN")
    yield shapes
    kubectl(*CONTROLLER, "--replicas=1")
    stage.clear()


def running(container: str) -> str:
    """The id of a container of the gateway's pod that runs now; empty if it does not."""
    words = ("-n", attached.VPN, "get", "pod", attached.GATEWAY_POD, "-o")
    path = f"jsonpath={{.status.containerStatuses[?(@.name=='{container}')]}}"
    text = kubectl(*words, path, check=False)
    one = json.loads(text) if text.startswith("{") else {}
    return str(one.get("containerID", "")).partition("//")[2] if "running" in one.get("state", {}) else ""


def kill(container: str, times: int) -> None:
    """End the container from the node as often as asked, each time as soon as it runs again."""
    last = ""
    for _time in range(times):
        until(lambda last=last: running(container) not in ("", last), f"{container} runs again", RECOVERY)
        last = running(container)
        lab("node-exec", "--", "ctr", "-n", "k8s.io", "task", "kill", "-s", "SIGKILL", last)


def test_the_engine_container_is_killed_twice(steady: Paths) -> None:
    """The second time the kubelet would let it wait, which a new pod does not have to."""
    with stage.watching(steady) as seen:
        kill("engine", 2)
        time.sleep(1)
        took = until(lambda: stage.leaves_by_the_vpn(POD), "the pod leaves by the VPN", RECOVERY)
    print(f"back after {1 + took:.1f} s")
    seen.none()
    assert min(stage.tries(POD, 5).values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("container", ["engine", "bulkhead-gateway"])
def test_a_container_is_killed_ten_times(steady: Paths, container: str) -> None:
    with stage.watching(steady) as seen:
        kill(container, TIMES)
        time.sleep(1)
        took = until(lambda: stage.leaves_by_the_vpn(POD), "the pod leaves by the VPN", RECOVERY)
    print(f"back after {1 + took:.1f} s")
    seen.none()
    assert min(stage.tries(POD, 60).values()) > 0


@pytest.mark.slow
def test_a_container_is_killed_while_the_endpoint_controller_is_down(steady: Paths) -> None:
    """Then nobody shortens the kubelet's waiting; the client is sealed until the controller is back."""
    with stage.watching(steady) as seen:
        kubectl(*CONTROLLER, "--replicas=0")
        selector = ("-l", "bulkhead.mesh/role=vpn-endpoints")
        kubectl("-n", attached.VPN, "wait", "--for=delete", "pod", *selector, check=False)
        kill("engine", 3)
        time.sleep(5)
        kubectl(*CONTROLLER, "--replicas=1")
        took = until(lambda: stage.leaves_by_the_vpn(POD), "the pod leaves by the VPN", RECOVERY)
    print(f"back after {took:.1f} s")
    seen.none()


@pytest.fixture
def downloader(shapes: Paths) -> Iterator[Paths]:
    """The demo's download client behind this suite's gateway."""
    demo.prepare(shapes)
    stage.vpn_client({**DOWNLOADER, "gateway": attached.GATEWAY})
    yield shapes
    stage.vpn_client({**DOWNLOADER, "state": "absent"})
    kubectl("delete", "namespace", demo.NAMESPACE, demo.VPN_NAMESPACE)


@pytest.mark.slow
def test_a_download_goes_on(downloader: Paths) -> None:
    demo.qbittorrent(downloader, "transfer/setDownloadLimit", "--data", f"limit={DOWNLOAD_RATE}")
    seconds = 60.0
    with ThreadPoolExecutor(1) as pool, stage.watching(downloader) as seen:
        sending = senders.start(downloader, demo.NAMESPACE, f"{demo.NAME}-0", demo.GUARDED, plan.TARGET4, seconds)
        done = pool.submit(demo.download, downloader)
        time.sleep(8)
        kubectl("-n", attached.VPN, "delete", "pod", attached.GATEWAY_POD)
        time.sleep(8)
        kill("engine", 4)
        kubectl(*CONTROLLER, "--replicas=0")
        kubectl("-n", attached.VPN, "delete", "pod", attached.GATEWAY_POD)
        time.sleep(5)
        kubectl(*CONTROLLER, "--replicas=1")
        assert not done.done(), "the download has to last for all faults"
        taken = done.result()
        tried = senders.finish(sending, seconds)
    print(f"downloaded in {taken:.0f} s")
    assert min(count["tried"] for count in tried.values()) > 0
    seen.none()
    assert demo.digest(downloader) == world.payload_digest(downloader.state)
