"""The demo's story: a plain download client, and what the outside sees of it."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from . import capture, lifecycle, plan, senders, world
from .client import lab_call
from .errors import LabError
from .paths import CHECKOUT_LAB, Paths
from .progress import human

NAMESPACE, NAME = "downloads", "qbittorrent"
VPN_NAMESPACE, SECRET = "vpn", "north-wg0"
GUARDED = "bulkhead-overlay"  # a container that shares the client's network namespace and has Python
WORKLOADS = CHECKOUT_LAB / "demo"
DOWNLOAD_TIMEOUT = 180.0  # seconds
POLL = 1.0


@dataclass(frozen=True)
class Sighting:
    """One observer and the source addresses it saw."""

    observer: str
    addresses: tuple[str, ...]


def qbittorrent(paths: Paths, path: str, *curl: str) -> str:
    """Call the download client's web API from the node, as the node's owner would."""
    address = lifecycle.kubectl(paths, "-n", NAMESPACE, "get", "pod", f"{NAME}-0", "-o", "jsonpath={.status.podIP}")
    url = f"http://{address}:8080/api/v2/{path}"
    command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "10", *curl, url]
    done = subprocess.run(lifecycle.enter_command(paths, "node", command), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"The download client's web API refused {path}: {done.stderr.strip()}; see `lab kubectl logs`.")
    return done.stdout


def prepare(paths: Paths) -> None:
    """What a user has before the collection comes: workloads that run, and a provider's configuration in a Secret."""
    lifecycle.kubectl(paths, "apply", "--server-side", "-f", str(WORKLOADS))
    config = world.client_config(paths.state, plan.VPN_SERVERS[0].name, 1)
    # The file's name is an argument, its content never is.
    secret = ["create", "secret", "generic", SECRET, f"--from-file=wg0.conf={config}", "--dry-run=client", "-o", "json"]
    made = lifecycle.kubectl(paths, "-n", VPN_NAMESPACE, *secret)
    lifecycle.kubectl(paths, "apply", "--server-side", "-f", "-", stdin=made)
    lifecycle.kubectl(paths, "-n", NAMESPACE, "rollout", "status", f"statefulset/{NAME}", "--timeout=120s")


def torrents(paths: Paths) -> dict[str, dict[str, Any]]:
    """The client's downloads by info hash."""
    return {one["hash"]: one for one in json.loads(qbittorrent(paths, "torrents/info"))}


def download(paths: Paths, timeout: float = DOWNLOAD_TIMEOUT) -> float:
    """Add the torrent (again) and wait until the client has checked every piece; seconds taken."""
    info_hash = world.torrent_info_hash(paths.state)
    if info_hash in torrents(paths):
        qbittorrent(paths, "torrents/delete", "--data", f"hashes={info_hash}&deleteFiles=true")
    start = time.monotonic()
    torrent = f"/opt/lab/state/{world.torrent_file(paths.state).relative_to(paths.state)}"
    qbittorrent(paths, "torrents/add", "--form", f"torrents=@{torrent}")
    state = "not added"
    while time.monotonic() - start < timeout:
        one = torrents(paths).get(info_hash)
        state = f"{one['state']}, {one['progress']:.0%}" if one else state
        if one and one["progress"] == 1 and one["amount_left"] == 0 and not one["state"].startswith("checking"):
            return time.monotonic() - start
        time.sleep(POLL)
    raise LabError(f"The download did not finish within {timeout:.0f} s; last seen: {state}.")


def digest(paths: Paths) -> str:
    """SHA-256 of the downloaded file, computed in the client's pod."""
    command = ["exec", f"{NAME}-0", "-c", NAME, "--", "sha256sum", f"/downloads/{world.PAYLOAD_NAME}"]
    return lifecycle.kubectl(paths, "-n", NAMESPACE, *command).split()[0]


def sightings(paths: Paths, window: dict[str, Any], since: str) -> list[Sighting]:
    """What tracker, peer (from the time ``since`` on, RFC 3339 in UTC) and capture know of the client's address."""
    outside = {plan.TARGET4, plan.TARGET6, plan.PEER4, plan.PEER6}
    peers = lab_call(paths, "tracker")
    flows = [flow for flow in window["flows"] if flow["destination"] in outside]
    servers = {server.address4 for server in plan.VPN_SERVERS}
    tunnel = sum(flow["packets"] for flow in window["flows"] if flow["destination"] in servers)
    # Nothing to the target means something only where the same capture saw the tunnel's packets.
    nothing = (f"nothing ({tunnel} packets to the VPN server)",) if tunnel else ()
    return [
        Sighting("tracker", tuple(sorted({peer for peer in peers if peer not in outside}))),
        Sighting("seeding peer", tuple(sorted(set(lab_call(paths, "seeder", since=since))))),
        Sighting("capture, node to target", tuple(sorted({flow["source"] for flow in flows})) or nothing),
    ]


def table(rows: list[Sighting]) -> str:
    """The closing picture, for a terminal."""
    names = {plan.NODE4: "the node's real address", plan.NODE6: "the node's real address"}
    names |= {address: f"exit of the VPN server {s.name}" for s in plan.VPN_SERVERS for address in (s.exit4, s.exit6)}
    lines = [f"{'observer':26} sees"]
    for row in rows:
        for address in row.addresses or ("no address at all",):
            known = f"{address:16} {names[address]}" if address in names else address
            lines.append(f"{row.observer:26} {known}")
    return "\n".join(lines)


def leaks(paths: Paths, seconds: float) -> None:
    """Senders in the attached pod and in a twin beside it; a failure when one leaks or the other does not."""
    test = senders.run(paths, NAMESPACE, f"{NAME}-0", GUARDED, seconds)
    print(f"{'pod':20} {'sender':16} {'tried':>6} {'accepted':>9}   packets from the node at the capture")
    for pod, counts, packets in (
        ("attached", test.attached, test.attached_packets),
        ("unattached twin", test.twin, test.twin_packets),
    ):
        for sender, count in counts.items():
            print(f"{pod:20} {sender:16} {count['tried']:6} {count['sent']:9}   {packets}")
    test.judge()


def picture(paths: Paths) -> None:
    """Download, then who saw which address; a failure when an observer that must see the client saw nothing."""
    for name in ("tracker", "seeder"):  # a tracker without memory, and a peer that announces itself to it at once
        lab_call(paths, "stop", name=name)
        lab_call(paths, "start", name=name)
    since = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    before = lab_call(paths, "capture")
    taken = download(paths)
    found = digest(paths)
    if found != world.payload_digest(paths.state):
        raise LabError(f"The downloaded file has SHA-256 {found}, which is not that of the seeded one.")
    rows = sightings(paths, capture.difference(before, lab_call(paths, "capture")), since)
    print(f"download: {world.PAYLOAD_SIZE // 1_000_000} MB in {human(taken)}, SHA-256 as seeded\n")
    print(table(rows))
    blind = [row.observer for row in rows if not row.addresses]
    if blind:
        raise LabError(f"{', '.join(blind)} saw no address at all, so the picture above proves nothing.")
