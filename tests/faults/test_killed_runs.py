"""A run that is killed after any of its steps: the workload is as it was, sealed or stopped, and the next run completes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import stage
from running_lab import lab, netpol, until

from bulkhead_lab.paths import Paths

ATTACH = ("policy", "admission", "effective", "registration", "agent", "access", "template", "rollout")
STOPPING = ("scale", "stopped", "template", "registration", "access", "agent", "admission", "policy")
OPENING = ("template", "registration", "access", "agent", "admission", "policy", "rollout")
NAME = "killed"
POD = f"{NAME}-0"
OTHER_IMAGE = "lab.local/toolbox:other"


@pytest.fixture
def plain(shapes: Paths, request: pytest.FixtureRequest) -> Iterator[Paths]:
    """A workload that nobody has attached: it sends, and what it sends is seen. The parameter is how long it ends."""
    stage.put(stage.stateful_set(NAME, terminationGracePeriodSeconds=getattr(request, "param", 1)))
    yield shapes
    netpol("mode", "on")
    stage.clear()


@pytest.fixture
def behind(plain: Paths) -> Paths:
    """The same, attached."""
    stage.vpn_client(stage.client(NAME))
    return plain


def attach(step: str | None = None) -> None:
    stage.vpn_client(stage.client(NAME), stop=f"attach.{step}" if step else None)


def detach(to: str, step: str | None = None) -> None:
    stage.vpn_client(stage.leaving(NAME, to), stop=f"detach.{step}" if step else None)


def guard_alone(paths: Paths) -> None:
    """With the policy engine off, nothing leaves all the same."""
    netpol("mode", "off")
    with stage.watching(paths) as seen:
        time.sleep(stage.BURST)
    netpol("mode", "on")
    seen.none()


def settled(*wanted: str) -> str:
    """The workload's state once it is one of these; pods that end take a moment."""
    until(lambda: stage.state(NAME) in wanted, f"{NAME} is {' or '.join(wanted)}")
    return stage.state(NAME)


def complete(paths: Paths) -> None:
    """Attached, by the VPN, with senders that try."""
    attach()
    assert settled("guarded") == "guarded"
    stage.comes_back(POD)
    until(lambda: min(stage.tries(POD, 5).values()) > 0, "both senders try")
    guard_alone(paths)
    assert stage.vpn_client(stage.client(NAME))["changed"] is False


def test_an_attach_killed_step_after_step(plain: Paths) -> None:
    with stage.watching(plain) as before:
        time.sleep(stage.BURST)
    assert before.leaked > 0, "the workload's own packets have to be seen, or the zeros below prove nothing"
    attach(ATTACH[0])
    time.sleep(1)  # the policy engine takes it up
    with stage.watching(plain) as seen:
        for step in ATTACH[1:]:
            attach(step)
            if ATTACH.index(step) < ATTACH.index("template"):
                assert stage.state(NAME) == "plain", f"after {step} the workload is as it was"
                assert not stage.guarded(stage.get("statefulset", NAME)["spec"]["template"])
            else:
                assert settled("guarded", "stopped")
        assert min(stage.tries(POD, 5).values()) > 0
    seen.none()
    complete(plain)


@pytest.mark.parametrize("plain", [15], indirect=True)
def test_a_detach_to_stopped_killed_step_after_step(behind: Paths) -> None:
    """The pods take so long to end that the run after the one that scaled them still has to wait for them."""
    netpol("mode", "off")  # so that the guard is all there is
    with stage.watching(behind) as seen:
        for step in STOPPING:
            detach("stopped", step)
            if step != "scale":
                assert stage.state(NAME) == "stopped", f"after {step}"
        detach("stopped")
        time.sleep(1)
    netpol("mode", "on")
    seen.none()
    assert stage.state(NAME) == "stopped"
    assert stage.vpn_client(stage.leaving(NAME, "stopped"))["changed"] is False


@pytest.mark.slow
def test_a_detach_to_open_killed_step_after_step(behind: Paths) -> None:
    with stage.watching(behind) as seen:
        for step in OPENING[: OPENING.index("admission")]:
            detach("open", step)
            assert settled("refused", "guarded")
    seen.none()
    detach("open")
    assert settled("plain") == "plain"
    until(lambda: stage.seen_address(POD) not in ("", stage.attached.SERVER.exit4), "it leaves by the node")


@pytest.mark.slow
@pytest.mark.parametrize("step", ATTACH)
def test_the_run_after_a_killed_attach_completes(plain: Paths, step: str) -> None:
    attach(step)
    before = ATTACH.index(step) < ATTACH.index("template")
    assert settled("plain") if before else settled("guarded", "stopped")
    complete(plain)


@pytest.mark.slow
@pytest.mark.parametrize("step", STOPPING)
def test_the_run_after_a_killed_detach_to_stopped_completes(behind: Paths, step: str) -> None:
    with stage.watching(behind) as seen:
        detach("stopped", step)
        time.sleep(1)
        detach("stopped")
    seen.none()
    assert stage.state(NAME) == "stopped"
    assert not stage.guarded(stage.get("statefulset", NAME)["spec"]["template"])
    assert stage.vpn_client(stage.leaving(NAME, "stopped"))["changed"] is False


@pytest.mark.slow
@pytest.mark.parametrize("step", OPENING)
def test_the_run_after_a_killed_detach_to_open_completes(behind: Paths, step: str) -> None:
    detach("open", step)
    detach("open")
    assert settled("plain") == "plain"
    assert stage.vpn_client(stage.leaving(NAME, "open"))["changed"] is False


@pytest.mark.slow
def test_a_new_agent_killed_step_after_step(behind: Paths) -> None:
    """Another guard is rolled out; only the last step stops accepting the old one."""
    lab("node-exec", "--", "ctr", "-n", "k8s.io", "images", "tag", "--force", stage.attached.TOOLBOX, OTHER_IMAGE)
    netpol("mode", "off")
    with stage.watching(behind) as seen:
        for step in ("admission", "effective", "template", "rollout"):
            stage.vpn_client(stage.client(NAME), stop=f"attach.{step}", agent_image=OTHER_IMAGE)
            assert settled("guarded") == "guarded"
        # With every pod renewed this one accepts only the new guard from its first step on.
        assert stage.vpn_client(stage.client(NAME), agent_image=OTHER_IMAGE)["changed"] is True
        assert stage.vpn_client(stage.client(NAME), agent_image=OTHER_IMAGE)["changed"] is False
        # The last step belongs to a run that goes through them all, such as the one back.
        stage.vpn_client(stage.client(NAME), stop="attach.narrow", agent_image=stage.attached.TOOLBOX)
        assert settled("guarded") == "guarded"
        stage.comes_back(POD)
        until(lambda: min(stage.tries(POD, 5).values()) > 0, "both senders try")
    netpol("mode", "on")
    seen.none()
    assert stage.vpn_client(stage.client(NAME))["changed"] is False
