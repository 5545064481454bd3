# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Devices, addresses, routes and neighbours of the pod, by ip and bridge. Every function may be repeated.

The pod's own default route is kept in routing table 201 of the pod's network namespace. It lives exactly as long as the
network it describes: a file would survive a new sandbox and then name the wrong router.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from . import netlink
from .command import AgentError, CommandError, log, run, run_json
from .config import POD_DEVICE, REPLY_BIT, Peer

SAVED_TABLE = 201
RULE_PREFERENCE = 200  # far below Istio's 32764, and on another bit
ROUTE_PROTOCOL = 176  # marks host routes to overlay peers and direct destinations as ours
ENGINE_PROTOCOL = 177  # the engine's route to the VPN server; another program keeps it
LAST_METRIC = 4278198272  # behind every real default route
_LOOSE = 2  # reverse path filter: the address has to be reachable, by whatever device


@dataclass(frozen=True)
class Exit:
    """How the pod left eth0 before: router address, or None where the device itself is the next hop."""

    router: str | None

    def route(self) -> list[str]:
        """Arguments of ``ip route`` for this next hop; onlink, as the router is often outside every prefix."""
        return [*(["via", self.router] if self.router else []), "dev", POD_DEVICE, *(["onlink"] if self.router else [])]


def _defaults(table: str = "main", family: str = "-4") -> list[dict[str, Any]]:
    try:
        routes = run_json(["ip", "-j", family, "route", "show", "table", table])
    except CommandError:
        return []  # a table without routes does not exist
    return [route for route in routes if route.get("dst") == "default" and route.get("type", "unicast") == "unicast"]


def require_single_exit() -> None:
    """Refuse a pod with a second way out: the guard would cut it, and the user should hear why."""
    ours = (POD_DEVICE, "bulkhead0", "tun0")
    for route in _defaults():
        if route.get("dev") not in ours:
            raise AgentError(
                f"The pod has a default route by {route.get('dev')}, not by {POD_DEVICE}; remove its second network."
            )


def pod_exit() -> Exit:
    """The pod's own default route: the saved one, else the live one, which is saved here."""
    saved = [route for route in _defaults(str(SAVED_TABLE)) if route.get("dev") == POD_DEVICE]
    if saved:
        return Exit(saved[0].get("gateway"))
    live = sorted(
        (route for route in _defaults() if route.get("dev") == POD_DEVICE), key=lambda route: route.get("metric", 0)
    )
    if not live:
        raise AgentError(f"The pod has no IPv4 default route by {POD_DEVICE} and none is saved; restart the pod.")
    found = Exit(live[0].get("gateway"))
    run(["ip", "-4", "route", "replace", "default", *found.route(), "table", str(SAVED_TABLE)])
    return found


def answer_by_arrival() -> None:
    """Replies to flows that came in by eth0 carry one mark bit and use the saved default route."""
    # max(all, device) counts, so a loose device wins over a strict "all"; strict would drop probes from the node.
    netlink.set_inet(POD_DEVICE, {netlink.RP_FILTER: _LOOSE})
    for rule in run_json(["ip", "-j", "-4", "rule", "show"]):
        if rule.get("priority") == RULE_PREFERENCE and rule.get("fwmark") == hex(REPLY_BIT):
            return
    mark = f"{REPLY_BIT:#x}/{REPLY_BIT:#x}"
    run(["ip", "-4", "rule", "add", "pref", str(RULE_PREFERENCE), "fwmark", mark, "lookup", str(SAVED_TABLE)])


def close_main_table() -> None:
    """Behind every default route stands an unreachable one, IPv4 and IPv6; eth0 keeps no default of its own.

    The overlay's or tunnel's default is in place before, so that nothing is without a route in between.
    """
    for family in ("-4", "-6"):
        try:
            run(["ip", family, "route", "replace", "unreachable", "default", "metric", str(LAST_METRIC)])
        except CommandError as exc:
            if family == "-4":
                raise
            log("no_ipv6", detail=str(exc))
            continue
        # One command per route: several defaults differ in metric or next hop.
        for route in _defaults(family=family):
            if route.get("dev") == POD_DEVICE:
                metric = ["metric", str(route["metric"])] if "metric" in route else []
                run(["ip", family, "route", "del", "default", "dev", POD_DEVICE, *metric])


def default_by(device: str, router: IPv4Address | None = None) -> None:
    """Make this device the default; other defaults of the same metric are replaced."""
    run(["ip", "-4", "route", "replace", "default", *(["via", str(router)] if router else []), "dev", device])


def quiet_ipv6() -> None:
    """No router advertisements on eth0 where the container may say so; elsewhere the guard alone drops IPv6."""
    try:
        with open(f"/proc/sys/net/ipv6/conf/{POD_DEVICE}/accept_ra", "w", encoding="ascii") as file:
            file.write("0")
    except OSError:
        pass


def host_routes(way: Exit, wanted: Iterable[IPv4Network]) -> None:
    """Exactly these destinations use eth0; routes of ours that are no longer wanted go."""
    text = {str(network) for network in wanted}
    shown = run_json(["ip", "-j", "-4", "route", "show", "proto", str(ROUTE_PROTOCOL)])
    present = {route["dst"] if "/" in route["dst"] else route["dst"] + "/32" for route in shown}
    # One program for all of them: a gateway has as many as clients, and they may come at once.
    new = [["route", "replace", one, *way.route(), "proto", str(ROUTE_PROTOCOL)] for one in sorted(text - present)]
    gone = [["route", "del", one, "proto", str(ROUTE_PROTOCOL)] for one in sorted(present - text)]
    _batch("ip", [" ".join(words) for words in (*new, *gone)])


def engine_route(way: Exit, server: IPv4Network) -> None:
    """The VPN server by eth0."""
    run(["ip", "-4", "route", "replace", str(server), *way.route(), "proto", str(ENGINE_PROTOCOL)])


def forwards(device: str) -> bool:
    """Whether IPv4 packets that arrive on this device are routed on."""
    try:
        with open(f"/proc/sys/net/ipv4/conf/{device}/forwarding", encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return False


def link(device: str) -> dict[str, Any] | None:
    """What ip knows of a device, or None."""
    try:
        return run_json(["ip", "-j", "-d", "link", "show", "dev", device])[0]
    except (CommandError, IndexError):
        return None


def mtu(device: str) -> int:
    """MTU of a device that has to exist."""
    found = link(device)
    if found is None:
        raise AgentError(f"The pod has no device {device}; its network is not the one the agent knows.")
    return found["mtu"]


def ensure_vxlan(
    device: str, vni: int, port: int, local: IPv4Address, mac: str, size: int, address: IPv4Address, prefix: int
) -> None:
    """The overlay device: no learning, no flooding, peers only from static entries."""
    found = link(device)
    data = (found or {}).get("linkinfo", {}).get("info_data", {})
    if found and (data.get("id"), data.get("port"), data.get("local")) != (vni, port, str(local)):
        run(["ip", "link", "del", "dev", device])
        found = None
    if not found:
        # local: a policy rule by source address (gluetun has one) keeps the carrier off the tunnel.
        carrier = ["id", str(vni), "dstport", str(port), "local", str(local), "dev", POD_DEVICE, "nolearning"]
        run(["ip", "link", "add", device, "address", mac, "mtu", str(size), "type", "vxlan", *carrier])
        run(["ip", "link", "set", "dev", device, "addrgenmode", "none"])  # no IPv6 chatter for the guard to count
    elif found["mtu"] != size or found["address"] != mac:
        run(["ip", "link", "set", "dev", device, "address", mac, "mtu", str(size)])
    run(["ip", "-4", "address", "replace", f"{address}/{prefix}", "dev", device])
    run(["ip", "link", "set", "dev", device, "up"])


def _batch(tool: str, commands: list[str]) -> None:
    if commands:
        run([tool, "-batch", "-"], stdin="\n".join([*commands, ""]))


def neighbours(device: str, peers: Iterable[Peer]) -> None:
    """Forwarding entries and permanent neighbours of the overlay are exactly these; wrong ones go first."""
    fdb = {(peer.mac, str(peer.outer)) for peer in peers}
    arp = {(str(peer.inner), peer.mac) for peer in peers}
    shown = run_json(["bridge", "-j", "fdb", "show", "dev", device])
    have_fdb = {(entry["mac"], entry["dst"]): entry for entry in shown if "dst" in entry}
    shown = run_json(["ip", "-j", "-4", "neigh", "show", "dev", device])
    have_arp = {(entry["dst"], entry.get("lladdr", "")): "PERMANENT" in entry.get("state", []) for entry in shown}
    _batch("bridge", [f"fdb del {mac} dev {device} dst {outer} self" for mac, outer in sorted(set(have_fdb) - fdb)])
    _batch("ip", [f"neigh del {inner} dev {device}" for inner, mac in sorted(set(have_arp) - arp)])
    add = [f"fdb replace {mac} dev {device} dst {outer} self permanent" for mac, outer in sorted(fdb - set(have_fdb))]
    _batch("bridge", add)
    lasting = {key for key, permanent in have_arp.items() if permanent}
    add = [f"neigh replace {inner} lladdr {mac} dev {device} nud permanent" for inner, mac in sorted(arp - lasting)]
    _batch("ip", add)


def received(device: str) -> int | None:
    """Packets received by a device, from this namespace's table; None when the device is missing."""
    with open("/proc/net/dev", encoding="ascii") as file:
        for line in file:
            name, dummy, values = line.partition(":")
            if name.strip() == device:
                return int(values.split()[1])
    return None
