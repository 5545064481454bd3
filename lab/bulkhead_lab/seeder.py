"""The outside world's BitTorrent peer: seeds the payload and writes down every peer that it talked to.

A real peer (libtorrent, the library inside qBittorrent) without a web
interface: that would list the present peers only, and a client that has
everything leaves within a second. Runs in the rootfs: ``python3 -m bulkhead_lab.seeder``.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import plan, torrent
from .paths import INSIDE_STATE

REANNOUNCE = 30.0  # seconds: a tracker that was restarted knows nobody
WAIT_MS = 1000


def folder(state: Path) -> Path:
    """Where the payload and its .torrent lie."""
    return state / "torrent"


def log_file(state: Path) -> Path:
    """One JSON line per peer and event: time, event (connected, disconnected), address, port."""
    return state / "log" / "seeder-peers.jsonl"


def addresses(log: str, since: str | None = None) -> list[str]:
    """Addresses of the peers that opened BitTorrent's handshake for this torrent, each once.

    ``since``: RFC 3339 time in UTC with milliseconds (the log's own form); earlier connections do not count.
    """
    found = set()
    for line in log.splitlines():
        entry = json.loads(line)
        if entry["event"] == "connected" and (since is None or entry["time"] >= since):
            found.add(entry["address"])
    return sorted(found)


def line(event: str, endpoint: tuple[str, int], when: datetime) -> str:
    """One line of the log."""
    stamp = when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    address = endpoint[0].removeprefix("::ffff:")
    return json.dumps({"time": stamp, "event": event, "address": address, "port": endpoint[1]}) + "\n"


def write_payload(state: Path) -> None:
    """Make payload and .torrent unless they are there in full."""
    place = folder(state)
    place.mkdir(parents=True, exist_ok=True)
    data, description = place / torrent.PAYLOAD_NAME, place / f"{torrent.PAYLOAD_NAME}.torrent"
    if description.exists() and data.exists() and data.stat().st_size == torrent.PAYLOAD_SIZE:
        return
    content = torrent.payload()
    data.write_bytes(content)
    description.write_bytes(torrent.torrent(content))


def settings() -> dict[str, Any]:
    """libtorrent's settings: the peer's own addresses, no way to be found but the tracker, and never the one who calls.

    So every connection was made by the client, and comes from the address the client leaves by.
    """
    return {
        "listen_interfaces": f"{plan.PEER4}:{plan.PEER_PORT},[{plan.PEER6}]:{plan.PEER_PORT}",
        "enable_outgoing_tcp": False,
        "enable_outgoing_utp": False,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "allow_multiple_connections_per_ip": True,  # clients behind one VPN exit
        "user_agent": "bulkhead-lab-seeder",
    }


def main() -> None:
    """Seed until killed."""
    import libtorrent  # Debian's, in the rootfs only

    category = libtorrent.alert.category_t
    session = libtorrent.session(
        {**settings(), "alert_mask": category.connect_notification | category.error_notification}
    )
    place = folder(INSIDE_STATE)
    description = libtorrent.torrent_info(str(place / f"{torrent.PAYLOAD_NAME}.torrent"))
    # Seed mode: pieces are checked when they are asked for, so that the start takes no second.
    handle = session.add_torrent(
        {"ti": description, "save_path": str(place), "flags": libtorrent.torrent_flags.seed_mode}
    )
    announced = time.monotonic()
    with log_file(INSIDE_STATE).open("a", buffering=1) as log:
        while True:
            session.wait_for_alert(WAIT_MS)
            for alert in session.pop_alerts():
                if isinstance(alert, libtorrent.peer_connect_alert):
                    log.write(line("connected", alert.endpoint, datetime.now(UTC)))
                elif isinstance(alert, libtorrent.peer_disconnected_alert):
                    log.write(line("disconnected", alert.endpoint, datetime.now(UTC)))
                # The tracker has no IPv6, so every announce from there fails.
                if not (isinstance(alert, libtorrent.tracker_error_alert) and plan.PEER6 in alert.message()):
                    print(alert.what(), alert.message(), flush=True)
            if time.monotonic() - announced > REANNOUNCE:
                announced = time.monotonic()
                handle.force_reannounce(0, -1, libtorrent.torrent_handle.ignore_min_interval)


if __name__ == "__main__":
    main()
