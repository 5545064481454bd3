"""The outside world's BitTorrent tracker: Debian's opentracker, and what it knows."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

from . import net, plan, torrent
from .errors import LabError

USER = "_opentracker"
TIMEOUT = 5.0  # seconds


def folder(state: Path) -> Path:
    """The tracker's root directory: it locks itself into it before it reads the whitelist."""
    return state / "tracker"


def configuration(state: Path) -> str:
    """opentracker's configuration. Debian's build serves the torrents of a whitelist only, and IPv4 only."""
    return f"""listen.tcp_udp {plan.TARGET4}:{plan.TRACKER_PORT}
access.whitelist whitelist
tracker.rootdir {folder(state)}
tracker.user {USER}
"""


def write(state: Path, info_hashes: list[str]) -> None:
    """Configuration and whitelist (40 hex digits per line)."""
    place = folder(state)
    place.mkdir(parents=True, exist_ok=True)
    (place / "opentracker.conf").write_text(configuration(state))
    (place / "whitelist").write_text("".join(f"{one}\n" for one in info_hashes))


def announce_path(info_hash: str) -> str:
    """Path of an announce as the seeding peer makes it, so that asking adds no peer; ValueError for a bad hash."""
    raw = bytes.fromhex(info_hash)
    if len(raw) != 20:
        raise ValueError(f"{info_hash!r} is not an info hash of 40 hex digits")
    query = {
        "info_hash": raw,
        "peer_id": b"-BL0001-bulkheadlab1",
        "port": plan.PEER_PORT,
        "uploaded": 0,
        "downloaded": 0,
        "left": 0,
        "compact": 1,
        "numwant": 200,
    }
    return f"/announce?{urlencode(query)}"


def body(answer: bytes) -> bytes:
    """The content of an HTTP answer; ValueError when it is not a 200."""
    head, found, content = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0]
    if not found or b" 200 " not in status + b" ":
        raise ValueError(f"the tracker answered {status.decode(errors='replace')!r}")
    return content


def _ask(path: str) -> Callable[[], bytes]:
    def ask() -> bytes:
        source = (plan.PEER4, 0)
        with socket.create_connection((plan.TARGET4, plan.TRACKER_PORT), TIMEOUT, source) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {plan.TARGET4}\r\n\r\n".encode())
            answer = b""
            while part := connection.recv(65536):
                answer += part
        return answer

    return ask


def peers(info_hash: str) -> list[str]:
    """Addresses under which the tracker knows peers of a torrent now, the seeding peer's among them.

    A peer that left without a word stays for up to 45 minutes; restarting the tracker empties its list.
    """
    try:
        return torrent.peers(body(net.in_netns(plan.NS_TARGET, _ask(announce_path(info_hash)))))
    except (OSError, ValueError) as exc:
        raise LabError(
            f"The tracker did not say which peers of {info_hash} it knows: {exc}; see log/tracker.log."
        ) from exc
