"""Each layer alone, and the gateway's misfortunes: nothing leaves the node past the VPN, and traffic comes back."""

from __future__ import annotations

import time

import attached
from running_lab import kubectl, netpol

from bulkhead_lab.paths import Paths

RECOVERY = 15.0  # seconds


def test_nothing_leaks_when_nothing_happens(paths: Paths) -> None:
    assert attached.seconds_until_back() < RECOVERY
    attached.during(paths, 5).judge()


def test_the_gateway_pod_is_deleted(paths: Paths) -> None:
    delete = ("-n", attached.VPN, "delete", "pod", attached.GATEWAY_POD, "--wait=false")
    attached.during(paths, 12, lambda: kubectl(*delete)).judge()
    assert attached.seconds_until_back() < RECOVERY


def test_the_engine_is_killed_again_and_again(paths: Paths) -> None:
    def kill() -> None:
        words = ("exec", attached.GATEWAY_POD, "-c", "engine", "--", "pkill", "-KILL", "-x", "wireguard-go")
        times = 0
        while times < 10:
            kubectl("-n", attached.VPN, *words, check=False)  # there may be none just now
            times += 1
            time.sleep(0.5)

    attached.during(paths, 14, kill).judge()
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
        "bulkhead.mesh/role=vpn-endpoints",
        check=False,
    )
    delete = ("-n", attached.VPN, "delete", "pod", attached.GATEWAY_POD, "--wait=false")
    attached.during(paths, 10, lambda: kubectl(*delete)).judge()
    kubectl(*scale, "--replicas=1")
    assert attached.seconds_until_back() < RECOVERY


def test_the_guard_holds_without_the_policy(paths: Paths) -> None:
    netpol("mode", "off")
    try:
        attached.during(paths, 5).judge()
    finally:
        netpol("mode", "on")


def test_the_policy_holds_without_the_guard_and_without_both_there_is_a_leak(paths: Paths) -> None:
    try:
        attached.flush_guard()
        attached.during(paths, 5).judge()
        netpol("mode", "off")
        window = attached.during(paths, 5)
        assert window.attached_packets > 0, "with both layers gone the capture has to see the leak"
    finally:
        netpol("mode", "on")
        attached.replace_pod()
    assert attached.seconds_until_back() < RECOVERY
    attached.during(paths, 5).judge()
