"""The seeded file, its .torrent, and what tracker and seeder tell."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from bulkhead_lab import plan, seeder, torrent, tracker, world

# Of the 50 MB that every lab seeds: a change of the generator changes every recorded result.
DIGEST = "b7ff544516f2b640e9ad5b03a9411e3c336320ea1c96fc0732c1353734e1de82"


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, b"i0e"),
        (-42, b"i-42e"),
        ("spam", b"4:spam"),
        ("ü", b"2:\xc3\xbc"),
        (b"", b"0:"),
        (["a", 1, []], b"l1:ai1elee"),
        ({"b": 1, "a": {"c": b"\xff"}}, b"d1:ad1:c1:\xffe1:bi1ee"),
    ],
)
def test_bencode(value: Any, encoded: bytes) -> None:
    assert torrent.bencode(value) == encoded


def test_bencode_orders_keys_by_bytes() -> None:
    assert torrent.bencode({"B": 1, "a": 2, b"\xff": 3, "A": 4}) == b"d1:Ai4e1:Bi1e1:ai2e1:\xffi3ee"


@pytest.mark.parametrize("value", [True, 1.5, None, {"a": None}])
def test_bencode_refuses_what_it_has_no_form_for(value: Any) -> None:
    with pytest.raises(TypeError, match="bencode"):
        torrent.bencode(value)


def test_bdecode_is_the_inverse() -> None:
    value = {b"a": [1, -2, b"x" * 300, {b"": b""}], b"b": b"\x00e"}
    assert torrent.bdecode(torrent.bencode(value)) == value


@pytest.mark.parametrize(
    "data", [b"", b"i1", b"ie", b"4:abc", b"l", b"d1:a", b"d1:ae", b"x", b"i1ei2e", b"-1:a", b"3", b"5"]
)
def test_bdecode_refuses_malformed_data(data: bytes) -> None:
    with pytest.raises(ValueError):
        torrent.bdecode(data)


def test_payload_is_the_same_everywhere() -> None:
    content = torrent.payload()
    assert len(content) == torrent.PAYLOAD_SIZE == 50_000_000
    assert hashlib.sha256(content).hexdigest() == DIGEST
    assert torrent.payload(100) == content[:100]


def test_torrent_describes_every_byte() -> None:
    content = torrent.payload(torrent.PIECE_SIZE * 2 + 5)
    decoded = torrent.bdecode(torrent.torrent(content))
    info = decoded[b"info"]
    assert decoded[b"announce"] == b"http://203.0.113.10:6969/announce"
    assert info[b"length"] == len(content)
    assert info[b"private"] == 1
    pieces = info[b"pieces"]
    assert len(pieces) == 3 * 20
    assert pieces[40:] == hashlib.sha1(content[-5:]).digest()
    assert pieces[:20] == hashlib.sha1(content[: info[b"piece length"]]).digest()


def test_info_hash_is_of_the_info_part_alone() -> None:
    info = torrent.info(b"abc")
    expected = hashlib.sha1(torrent.bencode(info)).hexdigest()
    assert torrent.info_hash(torrent.torrent(b"abc")) == expected
    assert torrent.info_hash(torrent.bencode({"announce": "http://192.0.2.1/", "info": info})) == expected


def test_peers_of_both_families_each_once() -> None:
    v4 = bytes([203, 0, 113, 20, 200, 213]) + bytes([172, 30, 0, 10, 26, 225]) + bytes([172, 30, 0, 10, 26, 226])
    v6 = bytes.fromhex("20010db8003000000000000000000010") + b"\x1a\xe1"
    answer = torrent.bencode({"interval": 1800, "peers": v4, "peers6": v6})
    assert torrent.peers(answer) == ["172.30.0.10", "203.0.113.20", "2001:db8:30::10"]
    assert torrent.peers(torrent.bencode({"peers": b""})) == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"failure reason": "not authorized"}, "the tracker refused: not authorized"),
        ({"peers": b"12345"}, "the tracker's peers are not in the compact form"),
        ({"peers": [{"ip": "192.0.2.1", "port": 1}]}, "the tracker's peers are not in the compact form"),
        ([], "the tracker's answer is not a dictionary"),
    ],
)
def test_peers_refuses_what_it_cannot_read(answer: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        torrent.peers(torrent.bencode(answer))
    assert str(caught.value) == message


def test_announce_is_the_seeding_peers_own() -> None:
    path = tracker.announce_path("00" * 19 + "ff")
    assert "info_hash=" + "%00" * 19 + "%FF&" in path
    assert f"port={plan.PEER_PORT}&" in path
    assert "&left=0&" in path and "event" not in path
    peer_id = path.split("peer_id=")[1].split("&")[0]
    assert len(peer_id) == 20
    for bad in ("", "00", "zz" * 20):
        with pytest.raises(ValueError):
            tracker.announce_path(bad)


def test_body_of_the_tracker() -> None:
    assert tracker.body(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nd\r\n\r\ne") == b"d\r\n\r\ne"
    for bad in (b"", b"HTTP/1.1 404 Not Found\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n"):
        with pytest.raises(ValueError, match="the tracker answered"):
            tracker.body(bad)


def test_tracker_accepts_our_torrent_only(tmp_path: Path) -> None:
    tracker.write(tmp_path, ["aa" * 20])
    assert (tmp_path / "tracker" / "whitelist").read_text() == "aa" * 20 + "\n"
    lines = (tmp_path / "tracker" / "opentracker.conf").read_text().splitlines()
    # Relative: the file is read after the tracker has locked itself into its root directory.
    assert "access.whitelist whitelist" in lines
    assert f"tracker.rootdir {tmp_path / 'tracker'}" in lines
    assert "listen.tcp_udp 203.0.113.10:6969" in lines


def test_payload_is_written_once(tmp_path: Path) -> None:
    seeder.write_payload(tmp_path)
    assert world.payload_digest(tmp_path) == DIGEST
    assert len(world.torrent_info_hash(tmp_path)) == 40
    before = world.torrent_file(tmp_path).stat().st_mtime_ns
    seeder.write_payload(tmp_path)
    assert world.torrent_file(tmp_path).stat().st_mtime_ns == before
    data = tmp_path / "torrent" / world.PAYLOAD_NAME
    data.write_bytes(b"cut short by a full disk")
    seeder.write_payload(tmp_path)
    assert world.payload_digest(tmp_path) == DIGEST


def test_seeder_talks_from_its_own_addresses_and_calls_nobody() -> None:
    settings = seeder.settings()
    assert settings["listen_interfaces"] == "203.0.113.20:51413,[2001:db8:113::20]:51413"
    assert not any(settings[name] for name in settings if name.startswith("enable_"))
    assert {"enable_outgoing_tcp", "enable_outgoing_utp", "enable_dht", "enable_lsd"} <= set(settings)


def test_seeder_log() -> None:
    when = datetime(2026, 1, 2, 4, 4, 5, 67_800, tzinfo=timezone(timedelta(hours=1)))
    assert seeder.line("connected", ("::ffff:198.51.100.5", 6881), when) == (
        '{"time": "2026-01-02T03:04:05.067Z", "event": "connected", "address": "198.51.100.5", "port": 6881}\n'
    )


def test_seeder_addresses() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    log = (
        seeder.line("connected", ("172.30.0.10", 1), start)
        + seeder.line("disconnected", ("172.30.0.10", 1), start + timedelta(seconds=9))
        + seeder.line("disconnected", ("192.0.2.7", 1), start + timedelta(seconds=9))
        + seeder.line("connected", ("198.51.100.5", 2), start + timedelta(seconds=5))
        + seeder.line("connected", ("198.51.100.5", 3), start + timedelta(seconds=6))
    )
    assert seeder.addresses("") == []
    assert seeder.addresses(log) == ["172.30.0.10", "198.51.100.5"]
    assert seeder.addresses(log, since="2026-01-01T00:00:05.000Z") == ["198.51.100.5"]
    assert seeder.addresses(log, since="2026-01-01T00:00:06.001Z") == []
