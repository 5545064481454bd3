"""The first attach meets a tunnel that does not work: told in a sentence, sealed, and back when the cause is gone."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator

import attached
import pytest
import stage
from running_lab import apply, until

from bulkhead_lab.client import lab_call
from bulkhead_lab.paths import Paths

NAME = "newcomer"
BOTH = {"bulkhead_vpn_clients": [*attached.VARIABLES["bulkhead_vpn_clients"], stage.client(NAME)]}
SHORT = {"vpn_gateway_wait_timeout": 15, "vpn_clients_wait_timeout": 15}
SERVICE = f"vpn-{attached.SERVER.name}"


@pytest.fixture
def newcomer(shapes: Paths) -> Iterator[Paths]:
    """A plain workload of two pods, which leave by the node."""
    stage.put(stage.stateful_set(NAME, replicas=2))
    with stage.watching(shapes) as seen:
        time.sleep(stage.BURST)
    assert seen.leaked > 0, "the workload's own packets have to be seen, or the zeros below prove nothing"
    yield shapes
    stage.clear()


def sealed(paths: Paths) -> None:
    """Every pod has its guard, tries to send, and nothing leaves."""
    until(lambda: stage.state(NAME) == "guarded", "no plain pod is left")
    with stage.watching(paths) as seen:
        for pod in stage.pods(NAME):
            assert min(stage.from_within(pod["metadata"]["name"], 2).values()) > 0
    seen.none()


def back(since: float) -> None:
    """The first pod leaves by the VPN again."""
    stage.comes_back(f"{NAME}-0")
    print(f"back after {time.monotonic() - since:.1f} s")


def told_why(told: str) -> None:
    """The sentence names what is missing and where to look."""
    assert "handshake" in told and f"Secret {attached.VPN}/provider" in told, told


@pytest.mark.slow
def test_the_tunnel_is_down(newcomer: Paths) -> None:
    """No pod waits unguarded for a rollout that cannot go on."""
    lab_call(newcomer, "stop", name=SERVICE)
    try:
        time.sleep(6)  # the gateway notices
        told = stage.vpn_client(stage.client(NAME), fails=True, wait_timeout=15)
        told_why(told["msg"])
        assert told["clients"][0]["state"] == "sealed", told["clients"]
        sealed(newcomer)
    finally:
        lab_call(newcomer, "start", name=SERVICE)
    back(time.monotonic())
    assert stage.vpn_client(stage.client(NAME))["clients"][0]["state"] == "attached"


def secret(key: str | None = None) -> None:
    """The provider's configuration, with another private key than the one it gave out."""
    (made,) = [one for one in attached.user_objects(Paths.from_environment()) if one["kind"] == "Secret"]
    if key is not None:
        text = made["stringData"]["wg0.conf"].splitlines()
        lines = [f"PrivateKey = {key}" if line.startswith("PrivateKey") else line for line in text]
        made["stringData"]["wg0.conf"] = "\n".join([*lines, ""])
    apply(made)


@pytest.mark.slow
def test_the_key_is_wrong_and_then_corrected(newcomer: Paths) -> None:
    wrong = base64.b64encode(os.urandom(32)).decode()
    secret(wrong)
    try:
        code, told = attached.play("site", {**BOTH, **SHORT})
        assert code != 0
        told_why(told)
        assert wrong not in told
        sealed(newcomer)
        assert attached.seen_address() == "", "the client that was there before is sealed too"
    finally:
        secret()
    attached.playbook("site", BOTH)
    back(time.monotonic())
    attached.comes_back()
