"""Each layer alone, and the gateway's misfortunes: nothing leaves the node past the VPN, and traffic comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator

import attached
import pytest
from running_lab import apply, kubectl, netpol

from bulkhead_lab import senders
from bulkhead_lab.client import lab_call
from bulkhead_lab.paths import Paths

RECOVERY = 15.0  # seconds


@pytest.fixture(scope="module")
def paths() -> Iterator[Paths]:
    found = Paths.from_environment()
    netpol("mode", "on")
    apply(*attached.user_objects(found))
    kubectl("-n", attached.CLIENTS, "rollout", "status", f"statefulset/{attached.NAME}", "--timeout=60s")
    attached.playbook("site")
    senders.make_twin(found, attached.CLIENTS)
    lab_call(found, "proxy-arp", value="on")
    yield found
    lab_call(found, "proxy-arp", value="off")
    netpol("mode", "on")
    attached.clean_up()


def held(window: attached.Window) -> None:
    """Nothing leaked although both senders tried, and the twin shows that a leak would have been seen."""
    assert min(window.tried.values()) > 0
    assert window.twin > 0, "the twin's packets were not seen, so the zero proves nothing"
    assert window.leaked == 0


def guard(command: str) -> None:
    """Do something to the guard's tables from the one container that may."""
    nft = ["nft", *command.split()]
    kubectl("-n", attached.CLIENTS, "exec", attached.POD, "-c", "bulkhead-overlay", "--", *nft)


def test_nothing_leaks_when_nothing_happens(paths: Paths) -> None:
    assert attached.seconds_until_back() < RECOVERY
    held(attached.during(paths, 5, lambda: None))


def test_the_gateway_pod_is_deleted(paths: Paths) -> None:
    delete = ("-n", attached.VPN, "delete", "pod", attached.GATEWAY_POD, "--wait=false")
    held(attached.during(paths, 12, lambda: kubectl(*delete)))
    assert attached.seconds_until_back() < RECOVERY


def test_the_engine_is_killed_again_and_again(paths: Paths) -> None:
    def kill() -> None:
        for attempt in range(10):
            script = (
                "import os,signal,subprocess as s; [os.kill(int(p),9) for p in s.run(['pgrep','-x','wireguard-go'],"
            )
            script += "capture_output=True,text=True).stdout.split()]"
            kubectl("-n", attached.VPN, "exec", attached.GATEWAY_POD, "-c", "engine", "--", "python3", "-c", script)
            time.sleep(0.5)

    held(attached.during(paths, 14, kill))
    assert attached.seconds_until_back() < RECOVERY


def test_the_gateway_moves_while_the_endpoint_controller_is_down(paths: Paths) -> None:
    scale = ("-n", attached.VPN, "scale", "deployment/bulkhead-endpoints")
    kubectl(*scale, "--replicas=0")
    kubectl(
        "-n",
        attached.VPN,
        "wait",
        "--for=delete",
        "pod",
        "-l",
        "app.kubernetes.io/name=bulkhead-endpoints",
        check=False,
    )
    delete = ("-n", attached.VPN, "delete", "pod", attached.GATEWAY_POD, "--wait=false")
    held(attached.during(paths, 10, lambda: kubectl(*delete)))
    kubectl(*scale, "--replicas=1")
    assert attached.seconds_until_back() < RECOVERY


def test_the_guard_holds_without_the_policy(paths: Paths) -> None:
    netpol("mode", "off")
    try:
        held(attached.during(paths, 5, lambda: None))
    finally:
        netpol("mode", "on")


def test_the_policy_holds_without_the_guard_and_without_both_there_is_a_leak(paths: Paths) -> None:
    try:
        guard("flush ruleset")
        held(attached.during(paths, 5, lambda: None))
        netpol("mode", "off")
        window = attached.during(paths, 5, lambda: None)
        assert window.leaked > 0, "with both layers gone the capture has to see the leak"
    finally:
        netpol("mode", "on")
        kubectl("-n", attached.CLIENTS, "delete", "pod", attached.POD, "--wait=true")
        kubectl("-n", attached.CLIENTS, "rollout", "status", f"statefulset/{attached.NAME}", "--timeout=60s")
    assert attached.seconds_until_back() < RECOVERY
    held(attached.during(paths, 5, lambda: None))
