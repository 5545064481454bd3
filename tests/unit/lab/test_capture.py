"""The uplink's capture: what is counted, and when a window may be called complete."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bulkhead_lab import capture
from bulkhead_lab.errors import LabError


def element(value: Any, packets: int) -> dict[str, Any]:
    return {"elem": {"val": value, "counter": {"packets": packets, "bytes": 99}}}


def listing(
    frames: dict[Any, int],
    flows4: dict[tuple[Any, ...], int] | None = None,
    flows6: dict[tuple[Any, ...], int] | None = None,
    discovery: dict[tuple[Any, ...], int] | None = None,
    missed: int = 0,
    generation: str = "0a1b2c3d",
) -> str:
    """What nft 1.0.6 prints; sets without elements have no ``elem``."""
    items: list[dict[str, Any]] = [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "netdev", "name": "uplink", "handle": 2}},
        {
            "counter": {
                "family": "netdev",
                "name": f"generation_{generation}",
                "table": "uplink",
                "packets": 0,
                "bytes": 0,
            }
        },
        {"counter": {"family": "netdev", "name": "missed", "table": "uplink", "packets": missed, "bytes": 0}},
        {"chain": {"family": "netdev", "table": "uplink", "name": "ingress"}},
    ]
    sets: dict[str, list[dict[str, Any]]] = {"frames": [element(kind, packets) for kind, packets in frames.items()]}
    for name, flows in (("flows4", flows4), ("flows6", flows6), ("discovery6", discovery)):
        sets[name] = [element({"concat": list(key)}, packets) for key, packets in (flows or {}).items()]
    for name, elements in sets.items():
        items.append({"set": {"name": name, "table": "uplink", **({"elem": elements} if elements else {})}})
    return json.dumps({"nftables": items})


def snapshot(**arguments: Any) -> dict[str, Any]:
    return capture.parse(listing(**arguments))


UDP = ("172.30.0.10", "203.0.113.10", "udp")
FIRST = {"frames": {"ip": 5, "arp": 2}, "flows4": {UDP: 5}}


def test_parse() -> None:
    seen = snapshot(
        frames={"ip": 7, "ip6": 5, "arp": 1, "34525x": 2},
        flows4={UDP: 4, ("172.30.0.10", "203.0.113.10", 6): 2, ("172.30.0.10", "203.0.113.9", 253): 1},
        flows6={("2001:db8:30::10", "2001:db8:113::10", "icmpv6"): 3},
        discovery={("fe80::1", "ff02::16"): 2},
    )
    assert seen == {
        "generation": "0a1b2c3d",
        "missed": 0,
        "frames": {"ip": 7, "ip6": 5, "arp": 1, "34525x": 2},
        "flows": [
            {"source": "172.30.0.10", "destination": "203.0.113.10", "protocol": "tcp", "packets": 2},
            {"source": "172.30.0.10", "destination": "203.0.113.10", "protocol": "udp", "packets": 4},
            {"source": "172.30.0.10", "destination": "203.0.113.9", "protocol": "253", "packets": 1},
            {"source": "2001:db8:30::10", "destination": "2001:db8:113::10", "protocol": "ipv6-icmp", "packets": 3},
            {"source": "fe80::1", "destination": "ff02::16", "protocol": "ipv6-nd", "packets": 2},
        ],
    }
    assert json.loads(json.dumps(seen)) == seen


def test_parse_refuses_a_table_that_is_not_ours() -> None:
    with pytest.raises(LabError, match="The table uplink on the uplink is not the lab's"):
        capture.parse(json.dumps({"nftables": [{"table": {"name": "uplink"}}]}))


def test_an_empty_window_is_complete_and_empty() -> None:
    assert capture.difference(snapshot(**FIRST), snapshot(**FIRST)) == {
        "complete": True,
        "reason": None,
        "frames": {},
        "flows": [],
    }


def test_a_window_holds_the_difference_alone() -> None:
    later = snapshot(
        frames={"ip": 8, "ip6": 2, "arp": 3},
        flows4={UDP: 7, ("172.30.0.10", "203.0.113.20", "tcp"): 1},
        discovery={("fe80::1", "ff02::2"): 2},
    )
    assert capture.difference(snapshot(**FIRST), later) == {
        "complete": True,
        "reason": None,
        "frames": {"arp": 1, "ip": 3, "ip6": 2},
        "flows": [
            {"source": "172.30.0.10", "destination": "203.0.113.10", "protocol": "udp", "packets": 2},
            {"source": "172.30.0.10", "destination": "203.0.113.20", "protocol": "tcp", "packets": 1},
            {"source": "fe80::1", "destination": "ff02::2", "protocol": "ipv6-nd", "packets": 2},
        ],
    }


def test_missed_packets_make_a_window_incomplete() -> None:
    later = snapshot(frames={"ip": 9, "arp": 2}, flows4={UDP: 6}, missed=3)
    window = capture.difference(snapshot(**FIRST), later)
    assert not window["complete"]
    assert window["reason"].startswith("3 packets came when 65535 flows were known already")
    assert window["flows"][0]["packets"] == 1


def test_packets_missed_before_the_window_do_not_count() -> None:
    earlier = snapshot(frames={"ip": 8}, flows4={UDP: 5}, missed=3)
    later = snapshot(frames={"ip": 9}, flows4={UDP: 6}, missed=3)
    assert capture.difference(earlier, later)["complete"]


@pytest.mark.parametrize("frames", [{"ip": 7, "arp": 2}, {"ip": 5, "arp": 2}, {"ip": 6, "ip6": 1, "arp": 2}])
def test_frames_that_are_in_no_flow_make_a_window_incomplete(frames: dict[str, int]) -> None:
    window = capture.difference(snapshot(**FIRST), snapshot(frames=frames, flows4={UDP: 6}))
    assert not window["complete"]
    assert "do not add up" in window["reason"]


def test_a_window_across_generations_is_incomplete() -> None:
    later = snapshot(frames={"ip": 6}, flows4={UDP: 6}, generation="ffffffff")
    window = capture.difference(snapshot(**FIRST), later)
    assert not window["complete"]
    assert "counting began anew" in window["reason"]
    assert window["flows"][0]["packets"] == 6  # all that the new generation has seen


def test_swapped_snapshots_are_noticed() -> None:
    later = snapshot(frames={"ip": 9}, flows4={UDP: 8, ("172.30.0.10", "192.0.2.1", "udp"): 1})
    assert "right order" in capture.difference(later, snapshot(**FIRST))["reason"]
    fewer_flows = snapshot(frames={"ip": 5, "arp": 2})
    assert "right order" in capture.difference(snapshot(**FIRST), fewer_flows)["reason"]


def test_a_snapshot_is_read_again_until_it_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    torn = listing(frames={"ip": 5}, flows4={UDP: 6})
    whole = listing(frames={"ip": 6}, flows4={UDP: 6})
    answers = [torn, torn, whole, torn]
    monkeypatch.setattr(capture.net, "run", lambda *_, **__: answers.pop(0))
    monkeypatch.setattr(capture.time, "sleep", lambda _: None)
    assert capture.snapshot() == capture.parse(whole)
    answers[:] = [torn] * capture.ATTEMPTS + [whole]
    assert capture.snapshot() == capture.parse(torn)  # said by `difference`, not waited for for ever


@pytest.mark.parametrize(
    ("tables", "fresh"), [("", True), ("table netdev uplink2\n", True), ("table netdev uplink\n", False)]
)
def test_totals_outlive_the_device(monkeypatch: pytest.MonkeyPatch, tables: str, fresh: bool) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(capture.net, "run", lambda *_, **__: tables)
    monkeypatch.setattr(capture.net, "nft", lambda text, _: loaded.append(text))
    capture.attach()
    assert ("delete table" in loaded[0]) is fresh
    assert ("counter generation_" in loaded[0]) is fresh
    assert "hook ingress device node0" in loaded[0]
    assert loaded[0].index("add chain") < loaded[0].index("delete chain")


def test_every_generation_has_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(capture.net, "run", lambda *_, **__: "")
    monkeypatch.setattr(capture.net, "nft", lambda text, _: loaded.append(text))
    capture.attach()
    capture.attach()
    assert loaded[0] != loaded[1]
