"""The gateway's containers are killed from outside, ten times, and a download goes on: no leak, and traffic comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import attached
import misfortunes
import pytest
import stage
from running_lab import kubectl, until

from bulkhead_lab import demo, plan, senders, world
from bulkhead_lab.paths import Paths

TIMES = 10
NAME = "steady"
POD = f"{NAME}-0"
DOWNLOAD_RATE = 700_000  # bytes a second, so that it lasts for all faults
DOWNLOAD_TIMEOUT = (
    600.0  # seconds; the client takes two minutes to give a dead connection up, and one more to try again
)
DOWNLOADER = {"kind": "StatefulSet", "namespace": demo.NAMESPACE, "name": demo.NAME}


@pytest.fixture
def steady(shapes: Paths) -> Iterator[Paths]:
    """An attached workload that sends all the time."""
    stage.put(stage.stateful_set(NAME))
    stage.vpn_client(stage.client(NAME))
    stage.comes_back(POD)
    yield shapes
    misfortunes.start_controller()
    stage.clear()


def test_the_engine_container_is_killed_twice(steady: Paths) -> None:
    """The second time the kubelet would let it wait, which a new pod does not have to."""
    before = misfortunes.gateway_uid()
    with stage.watching(steady) as seen:
        misfortunes.kill_container("engine", 2)
        until(lambda: misfortunes.gateway_uid() not in ("", before), "the controller has replaced the gateway's pod")
        took = stage.comes_back(POD)
    print(f"back after {took:.1f} s")
    seen.none()
    assert min(stage.tries(POD, 5).values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("container", ["engine", "bulkhead-gateway"])
def test_a_container_is_killed_ten_times(steady: Paths, container: str) -> None:
    with stage.watching(steady) as seen:
        misfortunes.kill_container(container, TIMES)
        time.sleep(1)
        took = stage.comes_back(POD)
    print(f"back after {took:.1f} s")
    seen.none()
    assert min(stage.tries(POD, 60).values()) > 0


@pytest.mark.slow
def test_a_container_is_killed_while_the_endpoint_controller_is_down(steady: Paths) -> None:
    """Then nobody shortens the kubelet's waiting; the client is sealed until the controller is back."""
    with stage.watching(steady) as seen:
        misfortunes.stop_controller()
        misfortunes.kill_container("engine", 3)
        time.sleep(5)
        misfortunes.start_controller()
        took = stage.comes_back(POD)
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
        done = pool.submit(demo.download, downloader, DOWNLOAD_TIMEOUT)
        time.sleep(8)
        misfortunes.delete_gateway_pod()
        time.sleep(8)
        misfortunes.kill_container("engine", 4)
        misfortunes.stop_controller()
        misfortunes.delete_gateway_pod()
        time.sleep(5)
        misfortunes.start_controller()
        assert not done.done(), "the download has to last for all faults"
        taken = done.result()
        tried = senders.finish(sending, seconds)
    print(f"downloaded in {taken:.0f} s")
    assert min(count["tried"] for count in tried.values()) > 0
    seen.none()
    assert demo.digest(downloader) == world.payload_digest(downloader.state)
