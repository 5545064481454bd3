# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard alone: every way to name eth0, with it and without it, in one and the same pod."""

from __future__ import annotations

import json
import sys
import time

import pytest
from world import TARGET4, TARGET6, World, eventually, kill, publish, sh

COUNT = 10
ECHO = ("--port", "7777", "--count", str(COUNT), "--timeout", "0.03")
BOUND = {
    "udp bindtodevice": ("udp", "--target", TARGET4, "--device", "eth0", "--method", "bindtodevice", *ECHO),
    "udp unicast_if": ("udp", "--target", TARGET4, "--device", "eth0", "--method", "unicast_if", *ECHO),
    "udp pktinfo": ("udp", "--target", TARGET4, "--device", "eth0", "--method", "pktinfo", *ECHO),
    "udp source and device": (
        *("udp", "--target", TARGET4, "--device", "eth0", "--method", "bindtodevice", "--source", "10.244.0.10"),
        *ECHO,
    ),
    "tcp bindtodevice": ("tcp", "--target", TARGET4, "--device", "eth0", "--method", "bindtodevice", *ECHO),
    "icmp bindtodevice": ("icmp", "--target", TARGET4, "--device", "eth0", "--method", "bindtodevice", *ECHO),
    "udp6 bindtodevice": ("udp", "--target", TARGET6, "--device", "eth0", "--method", "bindtodevice", *ECHO),
    "udp6 pktinfo": ("udp", "--target", TARGET6, "--device", "eth0", "--method", "pktinfo", *ECHO),
    "udp6 route": ("udp", "--target", TARGET6, *ECHO),
    "tcp6 route": ("tcp", "--target", TARGET6, *ECHO),
    "icmp6 route": ("icmp", "--target", TARGET6, *ECHO),
}
RAW = (
    "raw",
    "--target",
    TARGET4,
    "--port",
    "7777",
    "--device",
    "eth0",
    "--source",
    "10.244.0.10",
    "--count",
    str(COUNT),
)
FRAMES = {
    "plain": (),
    "past the queue": ("--bypass",),
    "with our mark": ("--mark", "0x30000"),
    "said to be ARP": ("--ethertype", "0x0806"),
    "said to be ARP, past the queue, marked": ("--ethertype", "0x0806", "--bypass", "--mark", "0x30000"),
}


def router_mac(world: World) -> str:
    link = json.loads(world.run("router", "ip", "-j", "link", "show", "p-client"))
    return link[0]["address"]


def raw_attempts(world: World) -> dict[str, tuple[str, ...]]:
    return {f"frames {name}": (*RAW, "--name", router_mac(world), *more) for name, more in FRAMES.items()}


def test_every_way_to_name_eth0(world: World) -> None:
    """Guarded: nothing on the pod's link, the kernel says EPERM, the counter says how many. Then without, the control."""
    world.attached()
    kill(world.overlay)  # it would take the routes away again that this test puts in the guard's way
    attempts = [(name, argv, uid) for name, argv in BOUND.items() for uid in ("65534", "0")]
    attempts += [(name, argv, "") for name, argv in raw_attempts(world).items()]
    table: dict[str, list[int]] = {}
    for guarded in (True, False):
        if not guarded:
            world.remove_guard()
        for name, argv, uid in attempts:
            # What a router advertisement does; routes are no protection, so they must not be what holds here.
            world.ipv6_default("pod-client")
            refused = dropped(world) if guarded else 0
            with world.captured() as seen:
                outcomes = world.outcomes("client", *argv, *(("--uid", uid) if uid else ()))
            table.setdefault(f"{name} {uid}".strip(), []).append(seen["link"])
            if guarded:
                assert seen["link"] == seen["clear"] == 0, (name, uid, seen)
                assert dropped(world) - refused >= COUNT, (name, uid)
                # The kernel keeps the error from these senders; the counter above is what counts.
                assert name.startswith(("frames", "tcp", "icmp6")) or outcomes == {"EPERM"}, (name, uid, outcomes)
            else:
                assert seen["link"] >= COUNT and seen["clear"] >= COUNT, (name, uid, seen)
    print("\n".join(f"{name:48} guarded {on:4} unguarded {off:4}" for name, (on, off) in table.items()))


def test_mark_alone_can_be_forged(world: World) -> None:
    """Why the companion asks for a route as well: with NET_RAW the mark can be set, a route cannot."""
    assert world.agent_once("client", "guard").returncode == 0
    attempts = raw_attempts(world)
    world.run("pod-client", "nft", "-f", frames_file(world, "marked"))
    sent = {}
    for name, argv in attempts.items():
        with world.captured() as seen:
            world.probe("client", *argv)
        sent[name] = seen["link"]
    assert sent["frames plain"] == sent["frames said to be ARP"] == 0
    assert sent["frames with our mark"] >= COUNT


def frames_file(world: World, mode: str) -> str:
    code = f"from bulkhead_agent import rules, tables; print(tables.render(rules.frames_table(rules.GUARD, {mode!r})))"
    argv = ["env", f"PYTHONPATH={world.directory}", sys.executable, "-B", "-c", code]
    path = world.directory / "frames.nft"
    path.write_text(sh(argv))
    return str(path)


def dropped(world: World) -> int:
    return sum(world.count("pod-client", family, "bulkhead_guard", "dropped") for family in ("inet", "netdev"))


def test_nothing_from_the_first_packet_on(world: World) -> None:
    """Senders run from the moment the guard ended, before overlay and gateway exist, until well after."""
    sender = ("--count", "400", "--interval", "0.005", "--timeout", "0.2", "--port", "7777")
    bound = world.probe_argv("udp", "--target", TARGET4, "--device", "eth0", "--method", "bindtodevice", *sender)
    plain = world.probe_argv("udp", "--target", TARGET4, *sender)
    with world.captured() as seen:
        # The control at the same time: a pod without guard loses its first packets to the same capture.
        control = world.start("pod-plain", plain, **world.environment("plain"))
        done = world.agent_once("client", "guard")
        assert done.returncode == 0, done.stderr
        publish(world.endpoint, "")
        senders = [world.start("pod-client", argv, **world.environment("client")) for argv in (bound, plain)]
        overlay = world.agent("client", "overlay")
        world.up_gateway()
        time.sleep(0.3)
        publish(world.direct, "[]")
        publish(world.endpoint, "10.244.0.20")
        world.wait_tunnel()
        outcomes = [json.loads(process.communicate(timeout=30)[0])["results"] for process in senders]
        control.wait(timeout=30)
    assert overlay.poll() is None
    assert [len(results) for results in outcomes] == [400, 400]
    assert {result["outcome"] for result in outcomes[0]} == {"EPERM"}
    assert seen["link"] == 0
    assert seen["clear"] == 400  # the control's, and nobody else's


def test_sealed_while_there_is_no_gateway(attached: World) -> None:
    ask = ("udp", "--target", TARGET4, "--port", "7777", "--timeout", "0.3")
    assert attached.outcomes("client", *ask) == {"answered"}
    with attached.captured() as seen:
        publish(attached.endpoint, "")
        eventually(lambda: not gateway_set(attached))
        assert "answered" not in attached.outcomes("client", *ask, "--count", "5")
        assert attached.outcomes("client", *ask, "--device", "eth0", "--method", "bindtodevice") == {"EPERM"}
    assert seen == {"exit": 0, "clear": 0, "link": 0}
    publish(attached.endpoint, "10.244.0.20")
    assert attached.wait_tunnel() < 3


def gateway_set(world: World) -> list[str]:
    out = world.run("pod-client", "nft", "-j", "list", "set", "inet", "bulkhead_guard", "gateway")
    return json.loads(out)["nftables"][1]["set"].get("elem", [])


PLAIN = ("tcp", "--target", "10.244.0.40", "--timeout", "0.5", "--port")


def direct_set(world: World) -> list[str]:
    """Addresses and ports that the guard lets pass directly."""
    out = world.run("pod-client", "nft", "-j", "list", "set", "inet", "bulkhead_guard", "direct")
    return [":".join(map(str, one["concat"][1:])) for one in json.loads(out)["nftables"][1]["set"].get("elem", [])]


def listed(*ports: int) -> str:
    """A list of direct destinations as the controller writes it."""
    return json.dumps([{"protocol": "tcp", "address": "10.244.0.40", "port": port} for port in ports])


def test_sealed_until_the_direct_destinations_are_told(world: World) -> None:
    """The start-up probe needs the gateway, so nothing of the user's starts before its destinations are in force."""
    world.up_gateway()
    world.serve("pod-plain", 7000)
    assert world.agent_once("client", "guard").returncode == 0
    publish(world.direct, "")  # a kubelet makes the file before the annotation is there
    publish(world.endpoint, "10.244.0.20")
    overlay = world.agent("client", "overlay")
    time.sleep(1)
    assert (gateway_set(world), direct_set(world), overlay.poll()) == ([], [], None)
    assert "answered" not in world.outcomes("client", *PLAIN, "7000")
    publish(world.direct, listed(7000))
    world.wait_tunnel()
    assert direct_set(world) == ["10.244.0.40:7000"]
    assert world.outcomes("client", *PLAIN, "7000") == {"answered"}


def test_another_list_is_followed_while_the_pod_runs(attached: World) -> None:
    for port in (7000, 7001):
        attached.serve("pod-plain", port)
    assert attached.outcomes("client", *PLAIN, "7000") == {"answered"}
    with attached.captured() as seen:
        publish(attached.direct, listed(7001))
        eventually(lambda: direct_set(attached) == ["10.244.0.40:7001"])
        assert attached.outcomes("client", *PLAIN, "7001") == {"answered"}
        assert "answered" not in attached.outcomes("client", *PLAIN, "7000")
        publish(attached.direct, "[]")
        eventually(lambda: not direct_set(attached))
        assert "answered" not in attached.outcomes("client", *PLAIN, "7001")
    assert attached.run("pod-client", "ip", "route", "show", "proto", "176").split() == [
        "10.244.0.20",
        "via",
        "10.244.0.1",
        "dev",
        "eth0",
        "onlink",
    ]
    assert seen["clear"] == 0
    publish(attached.direct, listed(7000))
    eventually(lambda: direct_set(attached))


@pytest.mark.parametrize("content", ["", "no list", '[{"protocol": "tcp", "address": "9.9.9.9", "port": 53}]', None])
def test_no_list_keeps_the_last_good_one_also_over_a_restart(attached: World, content: str | None) -> None:
    attached.direct.unlink() if content is None else publish(attached.direct, content)
    time.sleep(0.8)
    before = direct_set(attached), gateway_set(attached)
    kill(attached.overlay)
    attached.overlay = attached.agent("client", "overlay")
    attached.wait_tunnel()
    after = direct_set(attached), gateway_set(attached)
    publish(attached.direct, listed(7000))
    assert before == after == (["10.244.0.40:7000"], ["10.244.0.20"])


def test_a_destination_that_somebody_added_to_the_set_goes_again(attached: World) -> None:
    attached.run("pod-client", "nft", "add element inet bulkhead_guard direct { udp . 203.0.113.10 . 7777 }")
    assert len(direct_set(attached)) == 2
    eventually(lambda: direct_set(attached) == ["10.244.0.40:7000"], 15)


@pytest.mark.parametrize("content", ["no address", "fd00::1", "10.244.0.20 10.244.0.30", None])
def test_nonsense_keeps_the_last_good_address(attached: World, content: str | None) -> None:
    attached.endpoint.unlink() if content is None else publish(attached.endpoint, content)
    time.sleep(0.8)
    found, running = gateway_set(attached), attached.overlay.poll() is None
    publish(attached.endpoint, "10.244.0.20")
    assert (found, running) == (["10.244.0.20"], True)


def test_overlay_killed_and_started_again(attached: World) -> None:
    """Nothing it needs is lost with it: the saved exit, the guard's set, the device."""
    index = attached.run("pod-client", "ip", "-o", "link", "show", "bulkhead0").split(":")[0]
    with attached.captured() as seen:
        for _kill in range(3):
            kill(attached.overlay)
            attached.overlay = attached.agent("client", "overlay")
            assert attached.wait_tunnel() < 5
    assert seen["clear"] == seen["link"] == 0
    assert attached.run("pod-client", "ip", "-o", "link", "show", "bulkhead0").split(":")[0] == index  # not made anew
    routes = attached.run("pod-client", "ip", "route", "show", "table", "201")
    assert "default via 10.244.0.1 dev eth0" in routes
    assert attached.run("pod-client", "ip", "rule", "show").count("fwmark 0x10000/0x10000 lookup 201") == 1


def test_proof_is_what_is_loaded(attached: World) -> None:
    proof = json.loads((attached.directory / "proof-client").read_text())
    assert proof["agent"] == "0123456789abcdef"
    assert proof["frames"]["mode"] == "routed"
    assert proof["table"] == live(attached)["table"]
    rule = ["nft", "insert", "rule", "inet", "bulkhead_guard", "egress", "oifname", "eth0", "accept"]
    attached.run("pod-client", *rule)
    changed = live(attached)
    assert proof["table"] != changed["table"] and proof["frames"] == changed["frames"]
    assert attached.agent_once("client", "guard").returncode == 0  # the same rules again
    assert live(attached)["table"] == proof["table"]
    kill(attached.overlay)  # sealed again until the agent looks: a fresh one does at once
    attached.overlay = attached.agent("client", "overlay")
    attached.wait_tunnel()


def live(world: World) -> dict[str, object]:
    code = "import json; from bulkhead_agent import guard; print(json.dumps(guard.live()))"
    argv = ["env", f"PYTHONPATH={world.directory}", sys.executable, "-B", "-c", code]
    return json.loads(world.run("pod-client", *argv))


@pytest.mark.parametrize("broken", ["nft load", "second network"])
def test_failing_guard_leaves_the_pod_closed(world: World, broken: str) -> None:
    if broken == "nft load":
        rules = world.directory / "bulkhead_agent" / "rules.py"
        rules.write_text(rules.read_text().replace("ct state new", "ct state nonsense"))
    else:
        world.ip(
            "pod-client",
            "link add net1 type veth peer name net2",
            "link set net1 up",
            "route add default dev net1 metric 9",
        )
    done = world.agent_once("client", "guard")
    assert done.returncode == 1
    assert json.loads(done.stderr.splitlines()[-1])["event"] == "failed"
    assert not (world.directory / "proof-client").exists()
    with world.captured() as seen:
        for name in ("udp bindtodevice", "udp6 route", "tcp bindtodevice"):
            assert "answered" not in world.outcomes("client", *BOUND[name])
    assert seen["link"] == 0


def test_overlay_refuses_a_pod_without_guard(world: World) -> None:
    done = world.agent_once("client", "overlay")
    assert done.returncode == 1 and "guard's table is missing" in done.stderr
    assert "default via 10.244.0.1" in world.run("pod-client", "ip", "route")
