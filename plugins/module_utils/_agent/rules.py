# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The rules: what each nft table of the agent says. Pure.

Three tables: the guard of a client pod, its closed form (loaded first, so small that it has nothing to fail on), and
the table of a gateway pod. The guard and the gateway's table have a companion in the netdev family that stops raw frames.

Filtering happens in postrouting, never in output: in output a packet that a mesh redirects still shows the interface
it was first meant for. There is no "established" accept anywhere on the way out: a packet leaves eth0 only because of
its destination, or because it answers a flow that came in by eth0.
"""

from __future__ import annotations

from .config import NONCE_PORT, OVERLAY_DEVICE, PASSED_BIT, POD_DEVICE, REPLY_BIT, Client, Gateway, gateway_address
from .tables import Chain, NamedSet, Rule, Table

GUARD = "bulkhead_guard"
GATEWAY = "bulkhead_gateway"
DROPPED = "dropped"  # counter: packets that wanted to leave and did not
DROPPED_IN = "dropped_in"  # counter: packets that wanted in by a way they must not use
DROPPED_CARRIER = "dropped_carrier"  # counter: carrier packets from strangers
DROPPED_FORWARD = "dropped_forward"
DNS_PORT = 53
# Never behind a VPN; the cluster's own networks are added to them.
LOCAL_NETWORKS = ("127.0.0.0/8", "169.254.0.0/16")

# What Istio's ztunnel marks its own packets with, and the bits of the mark it looks at (1.31): such packets are not captured.
_ZTUNNEL_MARK, _OTHER_BITS = 0x539, 0xFFFFF000

# Modes of the netdev companion, best first.
FRAMES_ROUTED = "routed"  # only packets that passed the inet table and carry a route: exact
FRAMES_MARKED = "marked"  # only packets with the mark; a sender with NET_RAW that knows the bit can set it
FRAMES_ABSENT = "absent"

_REPLY = f"{REPLY_BIT:#x}"
_PASSED = f"{PASSED_BIT:#x}"


def _count_and_drop(counter: str) -> str:
    return f"counter name {counter} drop"


_PASS = Chain("pass", (Rule(f"meta mark set meta mark or {_PASSED} accept", "pass"),))
_FORWARD_NOTHING = Chain("forward", (), "filter hook forward priority -10", "drop")
_REPLY_MARK = Chain(
    "reply",
    (
        Rule(
            f"meta nfproto ipv4 ct direction reply ct mark and {_REPLY} == {_REPLY} "
            f"meta mark set meta mark or {_REPLY}",
            "mark replies",
        ),
    ),
    "route hook output priority -145",  # after Istio's mangle chains (-150)
    "accept",
)
_MARK_ARRIVED = Rule(
    f'iifname "{POD_DEVICE}" meta nfproto ipv4 ct direction original ct mark set ct mark or {_REPLY}', "arrived on eth0"
)
_REPLIES = Rule(
    f'oifname "{POD_DEVICE}" meta nfproto ipv4 ct direction reply ct mark and {_REPLY} == {_REPLY} jump pass',
    "replies",
)
# Link-local destinations only: a router would carry neighbour messages to a global address any distance.
_NEIGHBOURS = Rule(
    f'oifname "{POD_DEVICE}" ip6 daddr {{ fe80::/10, ff02::/16 }} ip6 hoplimit 255 '
    "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } jump pass",
    "neighbour discovery",
)


def closed_table(name: str = GUARD) -> Table:
    """Nothing leaves but loopback.

    The mark on loopback packets is what the agent's trial of the netdev hook looks at; the full table does not set it.
    """
    egress = Chain(
        "egress",
        (Rule(f'oifname "lo" meta mark set meta mark or {_PASSED} accept', "loopback"),),
        "filter hook postrouting priority 200",
        "drop",
    )
    return Table("inet", name, (egress, _FORWARD_NOTHING))


def _carrier_in(port: int, sources: str) -> tuple[Rule, Chain]:
    """Carrier packets come in by eth0 from the given set, by nothing else, whatever their IP version."""
    jump = Rule(f'iifname {{ "{POD_DEVICE}", "lo" }} udp dport {port} jump carrier', "carrier")
    chain = Chain(
        "carrier",
        (
            Rule(f'iifname "{POD_DEVICE}" ip saddr @{sources} accept', "carrier known"),
            Rule(_count_and_drop(DROPPED_CARRIER), "carrier stranger"),
        ),
    )
    return jump, chain


def guard_table(config: Client) -> Table:
    """The guard of a client pod. ``gateway`` and ``direct`` are empty until the overlay agent is told: sealed."""
    overlay, eth0 = OVERLAY_DEVICE, POD_DEVICE
    carrier, carrier_chain = _carrier_in(config.port, "gateway")
    ingress = (
        carrier,
        # The host model of the kernel is weak: it would accept inner addresses on any interface.
        Rule(f'iifname "{eth0}" ip daddr {config.network} {_count_and_drop(DROPPED_IN)}', "inner address outside"),
        Rule(f'iifname "{overlay}" meta nfproto != ipv4 {_count_and_drop(DROPPED_IN)}', "overlay not IPv4"),
        Rule(f'iifname "{overlay}" ip saddr @inside {_count_and_drop(DROPPED_IN)}', "overlay inside source"),
        Rule(f'iifname "{overlay}" ct state new {_count_and_drop(DROPPED_IN)}', "overlay new flow"),
        _MARK_ARRIVED,
    )
    egress = (
        Rule('oifname "lo" accept', "loopback"),
        Rule(f'oifname "{overlay}" ip daddr @inside {_count_and_drop(DROPPED)}', "overlay inside destination"),
        Rule(f'oifname "{overlay}" meta nfproto ipv4 accept', "overlay"),
        Rule(f'oifname "{eth0}" ip daddr @gateway udp dport {config.port} jump pass', "carrier out"),
        _REPLIES,
        Rule(f'oifname "{eth0}" meta l4proto . ip daddr . th dport @direct jump pass', "direct"),
        _NEIGHBOURS,
        Rule(f"counter name {DROPPED}", "rest"),
    )
    nat = (Rule(f'oifname "{overlay}" ip saddr != {config.network} masquerade', "foreign source"),)
    # A mesh redirects TCP to loopback, which a socket that is bound to the overlay cannot reach: download clients bind
    # so. What goes to the VPN is none of the mesh's, which keeps its addresses out of the mesh's log as well.
    past_mesh = (
        Rule(
            f'oifname "{overlay}" meta l4proto tcp ip daddr != @inside '
            f"meta mark set meta mark and {_OTHER_BITS:#x} or {_ZTUNNEL_MARK:#x}",
            "past the mesh",
        ),
    )
    inside = sorted({*LOCAL_NETWORKS, *map(str, config.cluster_networks)})
    return Table(
        "inet",
        GUARD,
        (
            _PASS,
            carrier_chain,
            Chain("ingress", ingress, "filter hook prerouting priority -160", "accept"),
            _REPLY_MARK,
            Chain("past_mesh", past_mesh, "filter hook output priority -144", "accept"),  # before nat (-100)
            Chain("nat", nat, "nat hook postrouting priority srcnat", "accept"),
            Chain("egress", egress, "filter hook postrouting priority 200", "drop"),
            _FORWARD_NOTHING,
        ),
        (
            NamedSet("gateway", "ipv4_addr"),
            NamedSet("direct", "inet_proto . ipv4_addr . inet_service", interval=True),
            NamedSet("inside", "ipv4_addr", tuple(inside), interval=True),
        ),
        (DROPPED, DROPPED_IN, DROPPED_CARRIER),
    )


def gateway_table(config: Gateway) -> Table:
    """The table of a gateway pod: in by the overlay, out by the tunnel, nothing between overlay clients."""
    overlay, eth0, tunnel = OVERLAY_DEVICE, POD_DEVICE, config.tunnel_device
    carrier, carrier_chain = _carrier_in(config.port, "peers")
    inner, endpoint = gateway_address(config.network), config.endpoint
    drop_in = _count_and_drop(DROPPED_IN)
    ingress = (
        carrier,
        Rule(f'iifname {{ "{eth0}", "{tunnel}" }} ip daddr {config.network} ct state new {drop_in}', "inner outside"),
        Rule(f'iifname {{ "{overlay}", "{tunnel}" }} meta nfproto != ipv4 {drop_in}', "not IPv4"),
        Rule(f'iifname "{overlay}" ip saddr . ether saddr != @inner {drop_in}', "spoofed"),
        _MARK_ARRIVED,
    )
    incoming = (
        Rule(f'iifname "{overlay}" ip daddr {inner} meta l4proto {{ tcp, udp }} th dport {DNS_PORT} accept', "dns"),
        Rule(f'iifname "{overlay}" ip daddr {inner} udp dport {NONCE_PORT} accept', "nonce"),
        Rule(f'iifname "{overlay}" ip daddr {inner} icmp type echo-request accept', "echo"),
        Rule(f'iifname {{ "{overlay}", "{tunnel}" }} ct state established,related accept', "answers"),
        Rule(f'iifname {{ "{overlay}", "{tunnel}" }} {drop_in}', "gateway itself"),
    )
    clamp = "tcp flags syn tcp option maxseg size set rt mtu"
    forward = (
        Rule(f'iifname "{overlay}" oifname "{tunnel}" {clamp}', "segment size out"),
        Rule(f'iifname "{tunnel}" oifname "{overlay}" {clamp}', "segment size back"),
        Rule(f'iifname "{overlay}" oifname "{tunnel}" ip saddr {config.network} accept', "overlay to tunnel"),
        Rule(f'iifname "{tunnel}" oifname "{overlay}" ct state established,related accept', "answers"),
        Rule(f"counter name {DROPPED_FORWARD}", "rest"),
    )
    egress = (
        Rule('oifname "lo" accept', "loopback"),
        Rule(f'oifname "{tunnel}" meta nfproto ipv4 accept', "tunnel"),
        Rule(f'oifname "{overlay}" ip daddr {config.network} accept', "overlay"),
        Rule(
            f'oifname "{eth0}" ip daddr {endpoint.address} udp dport {endpoint.port} '
            f"meta mark and {~(REPLY_BIT | PASSED_BIT) & 0xFFFFFFFF:#x} == {config.mark:#x} jump pass",
            "endpoint",
        ),
        Rule(f'oifname "{eth0}" ip daddr @peers udp dport {config.port} jump pass', "carrier out"),
        _REPLIES,
        _NEIGHBOURS,
        Rule(f"counter name {DROPPED}", "rest"),
    )
    nat = (Rule(f'oifname "{tunnel}" masquerade', "clients"),)
    return Table(
        "inet",
        GATEWAY,
        (
            _PASS,
            carrier_chain,
            Chain("ingress", ingress, "filter hook prerouting priority -160", "accept"),
            Chain("incoming", incoming, "filter hook input priority -10", "accept"),
            _REPLY_MARK,
            Chain("nat", nat, "nat hook postrouting priority srcnat", "accept"),
            Chain("egress", egress, "filter hook postrouting priority 200", "drop"),
            Chain("forward", forward, "filter hook forward priority -10", "drop"),
        ),
        (NamedSet("peers", "ipv4_addr"), NamedSet("inner", "ipv4_addr . ether_addr")),
        (DROPPED, DROPPED_IN, DROPPED_CARRIER, DROPPED_FORWARD),
    )


def _frame_condition(mode: str) -> str:
    # A frame from a packet socket has no route, so this expression cannot be evaluated and the rule does not match;
    # its mark can be set by anyone with NET_RAW since kernel 5.17, so the mark alone is the weaker mode.
    routed = " meta rtclassid != 0xffffffff" if mode == FRAMES_ROUTED else ""
    return f"meta mark and {_PASSED} == {_PASSED}{routed}"


def frames_table(name: str, mode: str) -> Table:
    """Companion in the netdev family, without conntrack: ARP, and packets the inet table let pass.

    ARP is recognised in the frame itself, because the sender of a raw frame chooses what ``meta protocol`` says.
    """
    rules = (
        Rule("@ll,96,16 0x0806 accept", "arp"),
        Rule(f"{_frame_condition(mode)} accept", "passed"),
        Rule(f"counter name {DROPPED}", "rest"),
    )
    chain = Chain("frames", rules, f'filter hook egress device "{POD_DEVICE}" priority 0', "drop")
    return Table("netdev", name, (chain,), (), (DROPPED,))


def frames_trial_table(mode: str) -> Table:
    """Counts, on loopback and without dropping, what ``frames_table`` would let pass on eth0."""
    rules = (Rule(f"{_frame_condition(mode)} counter name seen", "passed"),)
    chain = Chain("frames", rules, 'filter hook egress device "lo" priority 0', "accept")
    return Table("netdev", "bulkhead_trial", (chain,), (), ("seen",))
