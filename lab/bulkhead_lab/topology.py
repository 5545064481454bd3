"""The outside world's networks as values, and the commands that make them. Pure.

Commands are lines for ``ip -batch`` (without the word ip) and rulesets for nft.
All of them may run again on what they have made, but for ``link add``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from . import plan

DEVICE = "eth0"  # of every outside host, towards the router
LAPTOP_PORT = "laptop0"  # the router's device towards the computer in the tailnet
LAN_MAC, NODE_MAC = "02:00:00:00:00:01", "02:00:00:00:00:0a"  # fixed: a new node must not meet a stale neighbour entry

# No packet of the kernel's own that can be avoided, and no address but ours.
QUIET = {
    **{
        f"net.ipv6.conf.{scope}.{name}": 0
        for scope in ("all", "default")
        for name in ("accept_dad", "accept_ra", "autoconf")
    },
    **{f"net.ipv4.conf.{scope}.rp_filter": 0 for scope in ("all", "default")},
}
FORWARDING = {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1}


@dataclass(frozen=True)
class Host:
    """A network namespace with one link to the router. The first address of a family is the one it talks from.

    ``bridge`` names the router's bridge that the link is a port of; without one the link is a network of its own.
    """

    netns: str
    port: str  # the router's device of that link
    router4: str
    router6: str
    prefix4: int
    prefix6: int
    v4: tuple[str, ...]
    v6: tuple[str, ...]
    forwards: bool = False
    bridge: str = ""


def hosts() -> tuple[Host, ...]:
    """Everything behind the router but the node."""
    target = Host(
        plan.NS_TARGET,
        "target0",
        plan.TARGET_ROUTER4,
        plan.TARGET_ROUTER6,
        24,
        64,
        (plan.TARGET4, plan.PEER4, plan.RESOLVER4),
        (plan.TARGET6, plan.PEER6),
    )
    servers = (
        Host(
            server.namespace,
            f"{server.name}0",
            server.router4,
            server.router6,
            server.prefix4,
            server.prefix6,
            (server.address4, server.exit4),
            (server.address6, server.exit6),
            forwards=True,
        )
        for server in plan.VPN_SERVERS
    )
    lan = Host(
        plan.NS_LAN,
        "lan-client0",
        plan.ROUTER4,
        plan.ROUTER6,
        _prefix(plan.LAN4),
        _prefix(plan.LAN6),
        (plan.LAN_CLIENT4,),
        (plan.LAN_CLIENT6,),
        bridge=plan.LAN_BRIDGE,
    )
    control = Host(
        plan.NS_CONTROL,
        "control0",
        plan.CONTROL_ROUTER4,
        plan.CONTROL_ROUTER6,
        plan.TAILNET_PREFIX4,
        64,
        (plan.CONTROL4,),
        (plan.CONTROL6,),
    )
    laptop = Host(
        plan.NS_TAILNET,
        LAPTOP_PORT,
        plan.TAILNET_CLIENT_ROUTER4,
        plan.TAILNET_CLIENT_ROUTER6,
        plan.TAILNET_PREFIX4,
        64,
        (plan.TAILNET_CLIENT4,),
        (plan.TAILNET_CLIENT6,),
    )
    return (target, lan, *servers, control, laptop)


def settings(forwards: bool) -> dict[str, int]:
    """Kernel settings of a namespace; to be set before it has devices."""
    return {**QUIET, **(FORWARDING if forwards else {})}


def addresses(device: str, v4: Iterable[str], v6: Iterable[str], prefix4: int, prefix6: int) -> list[str]:
    """Set addresses without duplicate detection; but for the first, those of IPv6 are never chosen as a source."""
    lines = [f"address replace {address}/{prefix4} dev {device}" for address in v4]
    for index, address in enumerate(v6):
        secondary = " preferred_lft 0" if index else ""
        lines.append(f"address replace {address}/{prefix6} dev {device} nodad{secondary}")
    return lines


def defaults(device: str, router4: str, router6: str) -> list[str]:
    """Default routes of both families."""
    return [
        f"route replace default via {router4} dev {device}",
        f"route replace ::/0 via {router6} dev {device}",
    ]


def bridge(exists: bool) -> list[str]:
    """Router: the home LAN's bridge with the router's addresses."""
    prefix4, prefix6 = _prefix(plan.LAN4), _prefix(plan.LAN6)
    make = f"link add {plan.LAN_BRIDGE} address {LAN_MAC} type bridge mcast_snooping 0 forward_delay 0"
    return [
        *([] if exists else [make]),
        *addresses(plan.LAN_BRIDGE, [plan.ROUTER4], [plan.ROUTER6], prefix4, prefix6),
        f"link set {plan.LAN_BRIDGE} up",
    ]


def wire(host: Host, exists: bool) -> list[str]:
    """Router: its end of the link to a host, and the link itself unless it exists."""
    make = f"link add {host.port} type veth peer name {DEVICE} netns {host.netns}"
    joins = [f"link set {host.port} master {host.bridge}"]
    routed = addresses(host.port, [host.router4], [host.router6], host.prefix4, host.prefix6)
    return [
        *([] if exists else [make]),
        *(joins if host.bridge else routed),
        f"link set {host.port} up",
    ]


def far_end(host: Host) -> list[str]:
    """Host: its end of that link."""
    return [
        *addresses(DEVICE, host.v4, host.v6, host.prefix4, host.prefix6),
        f"link set {DEVICE} up",
        *defaults(DEVICE, host.router4, host.router6),
    ]


def uplink() -> list[str]:
    """Router: the node's link, both ends down, so that the capture comes first."""
    peer = f"peer name {plan.NODE_DEVICE} address {NODE_MAC} netns {plan.NS_NODE}"
    return [f"link add {plan.UPLINK} type veth {peer}"]


def uplink_up() -> list[str]:
    """Router: the node's port joins the LAN."""
    return [f"link set {plan.UPLINK} master {plan.LAN_BRIDGE}", f"link set {plan.UPLINK} up"]


def node() -> list[str]:
    """Node: its end of the uplink."""
    prefix4, prefix6 = _prefix(plan.LAN4), _prefix(plan.LAN6)
    return [
        *addresses(plan.NODE_DEVICE, [plan.NODE4], [plan.NODE6], prefix4, prefix6),
        f"link set {plan.NODE_DEVICE} up",
        *defaults(plan.NODE_DEVICE, plan.ROUTER4, plan.ROUTER6),
    ]


def home_firewall() -> str:
    """Router: who is out on the road gets nothing from the home network that was not asked for from there."""
    return f"""add table inet home
delete table inet home
table inet home {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{LAPTOP_PORT}" oifname "{plan.LAN_BRIDGE}" ct state new drop
    }}
}}
"""


def nat(server: plan.VpnServer) -> str:
    """VPN server: what comes out of the tunnel leaves with the exit address."""
    return f"""add table inet exit
delete table inet exit
table inet exit {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {server.inner4} oifname "{DEVICE}" snat ip to {server.exit4}
        ip6 saddr {server.inner6} oifname "{DEVICE}" snat ip6 to {server.exit6}
    }}
}}
"""


def _prefix(network: str) -> int:
    return ipaddress.ip_network(network).prefixlen
