# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Given back as the default has it, a workload that something starts again does not get out; given back open, it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import stage
from running_lab import kubectl, netpol, until

from bulkhead_lab.paths import Paths

NAME = "scaled"
POD, ON = f"{NAME}-0", ("-n", stage.NAMESPACE)
OURS = ("networkpolicy", "validatingadmissionpolicy", "validatingadmissionpolicybinding")
LABEL = f"bulkhead.mesh/vpn-client={stage.NAMESPACE}.{NAME}"


@pytest.fixture
def behind(shapes: Paths) -> Iterator[Paths]:
    """Attached and leaving by the VPN."""
    stage.put(stage.stateful_set(NAME))
    stage.vpn_client(stage.client(NAME))
    stage.comes_back(POD)
    yield shapes
    netpol("mode", "on")
    stage.clear()


@contextmanager
def a_scaler() -> Iterator[None]:
    """What wants one pod, whatever anybody does."""
    ended = threading.Event()

    def scale() -> None:
        while not ended.wait(0.5):
            kubectl(*ON, "scale", f"statefulset/{NAME}", "--replicas=1", check=False)

    thread = threading.Thread(target=scale)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def overlay_runs() -> bool:
    """Whether the pod there is has its guard behind it and could send from the container after that."""
    for pod in stage.pods(NAME):
        held = {one["name"]: one["state"] for one in pod["status"].get("initContainerStatuses") or []}
        if "running" in held.get("bulkhead-overlay", {}) and "deletionTimestamp" not in pod["metadata"]:
            return stage.guarded(pod)
    return False


def test_what_scales_a_sealed_client_up_opens_nothing(behind: Paths) -> None:
    with a_scaler():
        with stage.watching(behind) as seen:
            told = stage.vpn_client(stage.client(NAME, state="absent"))
            until(overlay_runs, f"{NAME} was scaled up again")
            tried = stage.from_within(POD, stage.BURST)
        assert told["clients"][0]["state"] == "sealed" and min(tried.values()) > 0, (told["clients"], tried)
        seen.none()
        # Each layer alone: the guard without the policy engine, the policy without the guard.
        netpol("mode", "off")
        with stage.watching(behind) as seen:
            tried = stage.from_within(POD, stage.BURST)
        netpol("mode", "on")
        assert min(tried.values()) > 0, tried
        seen.none()
        time.sleep(1)  # the policy engine takes it up
        kubectl(*ON, "exec", POD, "-c", "bulkhead-overlay", "--", "nft", "flush", "ruleset")
        with stage.watching(behind) as seen:
            tried = stage.from_within(POD, stage.BURST)
        assert min(tried.values()) > 0, tried
        seen.none()
        # Without what sealing leaves there, the same scaler starts it in the clear.
        stage.vpn_client(stage.leaving(NAME, "open"))
        until(lambda: stage.state(NAME) == "plain", f"{NAME} runs without the guard")
        until(lambda: sum(stage.tries(POD, 5).values()) > 0, f"{POD} sends")
        with stage.watching(behind) as seen:
            time.sleep(stage.BURST)
        assert seen.leaked > 0, "given back open it has to be seen, or the zeros above prove nothing"


@pytest.mark.slow
def test_what_protects_a_sealed_client_goes_after_its_workload(behind: Paths) -> None:
    stage.vpn_client(stage.client(NAME, state="absent"))
    assert stage.state(NAME) == "stopped" and stage.vpn_client(stage.client(NAME, state="absent"))["changed"] is False
    layers = [kubectl("get", kind, "--all-namespaces", "-l", LABEL, "-o", "name").split() for kind in OURS]
    assert all(layers), layers
    kubectl(*ON, "delete", "statefulset", NAME)
    told = stage.vpn_client(stage.client(NAME, state="absent"))
    assert told["clients"][0]["state"] == "missing" and told["changed"] is True
    assert not any(kubectl("get", kind, "--all-namespaces", "-l", LABEL, "-o", "name") for kind in OURS)
