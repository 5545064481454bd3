# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decisions of the running parts: what to believe, what is alive, what to change."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import __main__ as entry
from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import (
    command,
    config,
    engine,
    gateway,
    links,
    netlink,
    overlay,
    probe,
)

LAST = ipaddress.IPv4Address("10.244.0.7")
NETWORK = ipaddress.IPv4Network("10.222.1.0/24")


@pytest.mark.parametrize(
    ("text", "address", "complains"),
    [("10.244.0.8", "10.244.0.8", False), ("", None, False), (None, "10.244.0.7", True), ("x", "10.244.0.7", True)],
)
def test_next_address(text: str | None, address: str | None, complains: bool) -> None:
    found, why = overlay.next_address(text, LAST)
    assert (found and str(found), bool(why)) == (address, complains)


DIRECT = config.parse_direct('[{"protocol": "tcp", "address": "10.96.3.4", "port": 7878}]')
OTHER = '[{"protocol": "udp", "address": "10.244.0.0/16", "port": 81}]'


@pytest.mark.parametrize(
    ("text", "last", "found", "complains"),
    [
        (OTHER, DIRECT, config.parse_direct(OTHER), False),
        (OTHER, None, config.parse_direct(OTHER), False),
        ("[]", DIRECT, (), False),
        ("", DIRECT, DIRECT, False),  # a new controller may not have written yet
        ("", None, None, True),
        (None, DIRECT, DIRECT, True),
        (None, None, None, True),
        ("x", DIRECT, DIRECT, True),
        ("x", (), (), True),
        ('[{"protocol": "tcp", "address": "9.9.9.9", "port": 1}]', DIRECT, DIRECT, True),
    ],
)
def test_next_direct(text: str | None, last: Any, found: Any, complains: bool) -> None:
    now, why = overlay.next_direct(text, last)
    assert (now, bool(why)) == (found, complains)


def test_destinations_are_read_back_from_the_guard() -> None:
    known = (*(DIRECT or ()), *(config.parse_direct(OTHER) or ()))
    listed = {"tcp . 10.96.3.4 . 7878", "udp . 10.244.0.0/16 . 81", "tcp . 9.9.9.9 . 1", "tcp . 10.0.0.1 . 1-2"}
    assert overlay.admitted(listed) == known
    assert overlay.admitted({one.replace("/32", "") for one in overlay.elements(known)}) == known


def test_pulse() -> None:
    pulse = gateway.Pulse()
    assert not pulse.alive(0) and not pulse.quiet(0)  # no device: nobody to ask
    pulse = pulse.look(5, 1)
    assert not pulse.alive(1) and pulse.quiet(1)  # a device with old packets is no sign of life
    pulse = pulse.look(5, 2)
    assert not pulse.alive(2)
    pulse = pulse.look(6, 3)
    assert pulse.alive(3) and pulse.alive(3 + gateway.ALIVE_SECONDS) and not pulse.quiet(3.5)
    assert pulse.quiet(3 + gateway.QUIET_SECONDS)
    assert not pulse.alive(3.1 + gateway.ALIVE_SECONDS)
    assert not pulse.look(2, 4).alive(4)  # another device of the same name
    assert not pulse.look(None, 4).alive(4)
    assert not pulse.look(None, 4).look(7, 4).alive(4)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (OSError(errno.EPERM, ""), "EPERM"),
        (OSError(errno.ENETUNREACH, ""), "ENETUNREACH"),
        (OSError(errno.EHOSTUNREACH, ""), "EHOSTUNREACH"),
        (OSError(errno.ECONNREFUSED, ""), "refused"),
        (OSError(errno.ECONNRESET, ""), "refused"),
        (TimeoutError(), "timeout"),
        (OSError(errno.ETIMEDOUT, ""), "timeout"),
        (OSError(errno.EMSGSIZE, ""), "EMSGSIZE"),
    ],
)
def test_outcomes_stay_apart(error: OSError, name: str) -> None:
    assert probe.outcome_of(error) == name


def test_answer_needs_the_nonce() -> None:
    assert probe._text_answer(b"abc", b"abc 198.51.100.5\n") == probe.Result("answered", 1, "198.51.100.5")
    assert probe._text_answer(b"abc", b"abc") == probe.Result("answered", 1, "")
    assert probe._text_answer(b"abc", b"abd 198.51.100.5\n") is None
    assert probe._text_answer(b"abc", b"") is None


def test_refusal_of_a_datagram_is_not_a_timeout() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    found = probe.attempt_once(probe.Attempt("udp", "127.0.0.1", port, timeout=5))
    assert (found.outcome, found.sent) == ("refused", 1)


def test_connection_that_says_nothing_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        attempt = probe.Attempt("tcp", "127.0.0.1", server.getsockname()[1], timeout=0.05)
        assert probe.attempt_once(attempt).outcome == "timeout"


def test_netlink_message() -> None:
    message = netlink.set_inet_message(3, {netlink.FORWARDING: 1})
    length, kind = struct.unpack_from("=IH", message)
    assert (length, kind) == (len(message), 19)
    assert struct.unpack_from("=BBHiII", message, 16)[3] == 3
    assert message[-8:] == struct.pack("=HHI", 8, 1, 1)


class Tools:
    """ip and bridge by prepared answers; what changes something is recorded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> None:
        self.answers, self.calls = answers, []
        self.changes = 0  # programs that were started to change something
        monkeypatch.setattr(links, "run_json", self.show)
        monkeypatch.setattr(links, "run", self.change)

    def show(self, argv: list[str]) -> Any:
        found = self.answers[" ".join(argv)]
        if isinstance(found, Exception):
            raise found
        return found

    def change(self, argv: list[str], stdin: str | None = None) -> str:
        self.changes += 1
        self.calls += (stdin or "").splitlines() or [" ".join(argv)]
        return ""


SAVED, MAIN = "ip -j -4 route show table 201", "ip -j -4 route show table main"
NO_TABLE = command.CommandError("no table")


def test_exit_is_saved_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = [
        {"dst": "default", "gateway": "10.9.9.9", "dev": "eth0", "metric": 50},
        {"dst": "default", "gateway": "10.244.0.1", "dev": "eth0"},
        {"dst": "default", "type": "unreachable", "dev": "lo"},
    ]
    tools = Tools(monkeypatch, {SAVED: NO_TABLE, MAIN: routes})
    assert links.pod_exit() == links.Exit("10.244.0.1")
    assert tools.calls == ["ip -4 route replace default via 10.244.0.1 dev eth0 onlink table 201"]


def test_saved_exit_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart the live default is the overlay's; the saved one is the pod's."""
    saved = [{"dst": "default", "gateway": "10.244.0.1", "dev": "eth0"}]
    tools = Tools(monkeypatch, {SAVED: saved, MAIN: [{"dst": "default", "gateway": "10.222.1.1", "dev": "bulkhead0"}]})
    assert links.pod_exit() == links.Exit("10.244.0.1")
    assert tools.calls == []


def test_no_exit_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    Tools(monkeypatch, {SAVED: NO_TABLE, MAIN: [{"dst": "default", "gateway": "10.222.1.1", "dev": "bulkhead0"}]})
    with pytest.raises(command.AgentError, match="no IPv4 default route by eth0"):
        links.pod_exit()


def test_exit_without_router(monkeypatch: pytest.MonkeyPatch) -> None:
    tools = Tools(monkeypatch, {SAVED: NO_TABLE, MAIN: [{"dst": "default", "dev": "eth0", "scope": "link"}]})
    assert links.pod_exit() == links.Exit(None)
    assert tools.calls == ["ip -4 route replace default dev eth0 table 201"]


def test_second_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Tools(monkeypatch, {MAIN: [{"dst": "default", "dev": "eth0"}, {"dst": "default", "dev": "net1", "metric": 9}]})
    with pytest.raises(command.AgentError, match="by net1, not by eth0"):
        links.require_single_exit()


def test_host_routes_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = [{"dst": "10.244.0.7"}, {"dst": "10.96.0.0/16"}]
    tools = Tools(monkeypatch, {"ip -j -4 route show proto 176": shown})
    links.host_routes(links.Exit("10.244.0.1"), map(ipaddress.IPv4Network, ["10.244.0.8/32", "10.96.0.0/16"]))
    assert tools.calls == [
        "route replace 10.244.0.8/32 via 10.244.0.1 dev eth0 onlink proto 176",
        "route del 10.244.0.7/32 proto 176",
    ]
    assert tools.changes == 1, "one program, however many clients come at once"


def test_neighbours_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = [ipaddress.IPv4Address(f"10.222.1.{number}") for number in (10, 11)]
    peers = [
        config.Peer(item, config.mac_address(item), ipaddress.IPv4Address(f"10.244.0.{number}"))
        for number, item in enumerate(inner, 5)
    ]
    fdb = [
        {"mac": peers[0].mac, "dst": "10.244.0.5"},
        {"mac": peers[1].mac, "dst": "10.244.0.99"},
        {"mac": "33:33:00:00:00:01"},
    ]
    arp = [
        {"dst": "10.222.1.10", "lladdr": peers[0].mac, "state": ["PERMANENT"]},
        {"dst": "10.222.1.12", "state": ["FAILED"]},
    ]
    tools = Tools(monkeypatch, {"bridge -j fdb show dev b": fdb, "ip -j -4 neigh show dev b": arp})
    links.neighbours("b", peers)
    assert tools.calls == [
        f"fdb del {peers[1].mac} dev b dst 10.244.0.99 self",
        "neigh del 10.222.1.12 dev b",
        f"fdb replace {peers[1].mac} dev b dst 10.244.0.6 self permanent",
        f"neigh replace 10.222.1.11 lladdr {peers[1].mac} dev b nud permanent",
    ]


@pytest.mark.parametrize(
    ("argv", "role", "sentence"),
    [
        (["open"], "client", "open is not a command of the agent"),
        ([], "client", "Nothing is not a command of the agent"),
        (["guard"], "gateway", "Command guard does not fit a pod with the role gateway."),
        (["firewall"], "client", "Command firewall does not fit a pod with the role client."),
    ],
)
def test_wrong_command(argv: list[str], role: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = {"vni": 7, "port": 14789, "network": "10.222.1.0/24", "mark": 1, "first_index": 10}
    endpoint = {"endpoint": {"address": "198.51.100.2", "port": 1}}
    found = config.client(network) if role == "client" else config.gateway({**network, **endpoint})
    monkeypatch.setattr(config, "from_environment", lambda environment: found)
    with pytest.raises(command.AgentError) as caught:
        entry.dispatch(argv, {})
    assert str(caught.value).startswith(sentence)


def test_endpoints_need_no_pod_configuration() -> None:
    with pytest.raises(command.AgentError, match="KUBERNETES_SERVICE_HOST"):
        entry.dispatch(["endpoints"], {})


@pytest.mark.parametrize(
    ("limit", "told"),
    [("536870912\n", "402653184"), ("max\n", None), (None, None), ("", None)],
)
def test_server_keeps_below_its_containers_memory(limit: str | None, told: str | None) -> None:
    environment = engine.server_environment({"PATH": "/bin"}, limit)
    assert environment.get("GOMEMLIMIT") == told
    assert environment["PATH"] == "/bin" and environment["WG_PROCESS_FOREGROUND"] == "1"


def test_memory_goal_that_is_set_wins() -> None:
    assert engine.server_environment({"GOMEMLIMIT": "1GiB"}, "536870912")["GOMEMLIMIT"] == "1GiB"
