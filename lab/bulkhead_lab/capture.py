"""Ground truth: what the node sends into its uplink, counted in the kernel.

An nftables chain sits on the uplink's far end (device node0 in the namespace
``internet``) from before that device is up, and counts every packet for as
long as the lab runs. A window is the difference of two snapshots, so it has no
start that could be missed.

"Packet" is what the kernel hands over: TCP segments may arrive merged into
one, datagrams never do.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from . import net, plan
from .errors import LabError

TABLE = "uplink"
SIZE = 65535  # flows per address family; more of them make a window incomplete
ATTEMPTS = 20  # to read a snapshot between two packets
ATTEMPT_PAUSE = 0.02  # seconds
GENERATION = "generation_"

# MLD and neighbour discovery: the chatter of IPv6 itself, kept apart from pings.
DISCOVERY_TYPES = (130, 131, 132, 133, 134, 135, 136, 137, 143)
DISCOVERY = "ipv6-nd"
# nft writes a name only where the system knows one.
PROTOCOLS = {
    "1": "icmp",
    "2": "igmp",
    "6": "tcp",
    "17": "udp",
    "47": "gre",
    "50": "esp",
    "58": "ipv6-icmp",
    "132": "sctp",
}
PROTOCOLS["icmpv6"] = PROTOCOLS["58"]

Counts = dict[tuple[str, str, str], int]


def render(generation: str | None, device: str = plan.UPLINK) -> str:
    """The counting table as one transaction.

    With a ``generation`` the table starts from zero under that name. With None
    only the chain is put (back) on the device, which the kernel drops together
    with the device; sets and totals stay, and so does a window across it.
    ``missed`` counts packets for which a set had no room.
    """
    hook = f"type filter hook ingress device {device} priority -500; policy accept;"
    discovery = ", ".join(str(number) for number in DISCOVERY_TYPES)
    count = {
        "flows4": "ip saddr . ip daddr . ip protocol",
        "flows6": "ip6 saddr . ip6 daddr . meta l4proto",
        "discovery6": "ip6 saddr . ip6 daddr",
    }
    keys = {"frames": "ether type", **count}
    sets = "".join(
        f"    set {name} {{ typeof {key}; size {SIZE}; flags dynamic; counter; }}\n" for name, key in keys.items()
    )
    # A full set ends its rule, so only what could not be counted reaches the rule after it.
    fresh = f"""
add table netdev {TABLE}
delete table netdev {TABLE}
table netdev {TABLE} {{
    counter {GENERATION}{generation} {{ }}
    counter missed {{ }}
{sets}    chain discovery {{
        update @discovery6 {{ {count["discovery6"]} }} return
        counter name missed return
    }}
    chain count4 {{
        update @flows4 {{ {count["flows4"]} }} return
        counter name missed
    }}
    chain count6 {{
        icmpv6 type {{ {discovery} }} goto discovery
        update @flows6 {{ {count["flows6"]} }} return
        counter name missed
    }}
}}
"""
    # Deleting alone would fail where the kernel has taken the chain already.
    chain = f"""
add chain netdev {TABLE} ingress {{ {hook} }}
delete chain netdev {TABLE} ingress
table netdev {TABLE} {{
    chain ingress {{
        {hook}
        update @frames {{ ether type }}
        ether type ip jump count4
        ether type ip6 jump count6
    }}
}}
"""
    return (fresh if generation is not None else "") + chain


def attach() -> None:
    """Count on the uplink device, which was just made and is not up yet; totals of an earlier device stay."""
    new = f"table netdev {TABLE}" not in net.run(["nft", "list", "tables"], netns=plan.NS_INTERNET).splitlines()
    net.nft(render(secrets.token_hex(4) if new else None), plan.NS_INTERNET)


def parse(listing: str) -> dict[str, Any]:
    """A snapshot from ``nft --json list table``.

    Shape: generation (str), missed (packets that no set had room for), frames
    (packets by frame type: ip, ip6, arp, ...), flows (list of source,
    destination, protocol, packets; sorted; a protocol without a name is its number as text). All totals since the generation began.
    """
    generation, missed = "", None
    frames: dict[str, int] = {}
    flows: Counts = {}
    for item in json.loads(listing)["nftables"]:
        counter = item.get("counter", {})
        if counter.get("name") == "missed":
            missed = counter["packets"]
        elif counter.get("name", "").startswith(GENERATION):
            generation = counter["name"].removeprefix(GENERATION)
        found = item.get("set", {})
        for entry in found.get("elem", []):
            value, packets = entry["elem"]["val"], entry["elem"]["counter"]["packets"]
            if found["name"] == "frames":
                frames[str(value)] = packets
                continue
            source, destination, *protocol = value["concat"]
            name = str(protocol[0]) if protocol else DISCOVERY
            flows[source, destination, PROTOCOLS.get(name, name)] = packets
    if missed is None or not generation:
        raise LabError(f"The table {TABLE} on the uplink is not the lab's: run `lab down` and `lab up`.")
    return {"generation": generation, "missed": missed, "frames": frames, "flows": _rows(flows)}


def _rows(flows: Counts) -> list[dict[str, Any]]:
    return [
        {"source": source, "destination": destination, "protocol": protocol, "packets": packets}
        for (source, destination, protocol), packets in sorted(flows.items())
    ]


def _counts(snapshot: dict[str, Any]) -> Counts:
    return {(flow["source"], flow["destination"], flow["protocol"]): flow["packets"] for flow in snapshot["flows"]}


def consistent(snapshot: dict[str, Any]) -> bool:
    """Whether flows and missed packets add up to the IP frames; not so while packets arrive during the reading."""
    frames = snapshot["frames"].get("ip", 0) + snapshot["frames"].get("ip6", 0)
    return sum(flow["packets"] for flow in snapshot["flows"]) + snapshot["missed"] == frames


def snapshot() -> dict[str, Any]:
    """All totals now, in the shape of :func:`parse`; read again when packets came in between."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(ATTEMPT_PAUSE)
        seen = parse(net.run(["nft", "--json", "list", "table", "netdev", TABLE], netns=plan.NS_INTERNET))
        if consistent(seen):
            break
    return seen


def difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The window between two snapshots.

    Shape: complete (bool), reason (why not, else None), frames and flows as in
    a snapshot but of this window alone, without zeros. What is listed was
    seen in any case; only a complete window shows that there was no more.
    """
    old = before if before["generation"] == after["generation"] else {"missed": 0, "frames": {}, "flows": []}
    earlier, flows = _counts(old), _counts(after)
    changes = {key: packets - earlier.pop(key, 0) for key, packets in flows.items()}
    frames = {kind: packets - old["frames"].get(kind, 0) for kind, packets in after["frames"].items()}
    missed = after["missed"] - old["missed"]
    reason = None
    if old is not before:
        reason = "counting began anew inside the window; what was counted before that is not in it"
    elif earlier or missed < 0 or min([0, *changes.values(), *frames.values()]) < 0:
        reason = "the later snapshot has less than the earlier one: were they given in the right order?"
    elif missed:
        reason = f"{missed} packets came when {SIZE} flows were known already, and are in no flow"
    elif not consistent({"missed": missed, "frames": frames, "flows": _rows(changes)}):
        reason = "packets kept arriving while a snapshot was read, so flows and frames do not add up"
    return {
        "complete": reason is None,
        "reason": reason,
        "frames": {kind: packets for kind, packets in sorted(frames.items()) if packets},
        "flows": _rows({key: packets for key, packets in changes.items() if packets}),
    }
