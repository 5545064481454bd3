"""Each layer alone, and the gateway's misfortunes: nothing leaves the node past the VPN, and traffic comes back."""

from __future__ import annotations

import attached
import misfortunes
from running_lab import netpol

from bulkhead_lab.paths import Paths


def test_nothing_leaks_when_nothing_happens(paths: Paths) -> None:
    attached.comes_back()
    attached.during(paths, 5).judge()


def test_the_gateway_pod_is_deleted(paths: Paths) -> None:
    attached.during(paths, 12, misfortunes.delete_gateway_pod).judge()
    attached.comes_back()


def test_the_engine_is_killed_again_and_again(paths: Paths) -> None:
    attached.during(paths, 14, lambda: misfortunes.kill_program(10)).judge()
    attached.comes_back()


def test_the_gateway_moves_while_the_endpoint_controller_is_down(paths: Paths) -> None:
    misfortunes.stop_controller()
    try:
        attached.during(paths, 10, misfortunes.delete_gateway_pod).judge()
        assert attached.seen_address() == "", "nobody told the client where the gateway is"
    finally:
        misfortunes.start_controller()
    attached.comes_back()


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
    attached.comes_back()
    attached.during(paths, 5).judge()
