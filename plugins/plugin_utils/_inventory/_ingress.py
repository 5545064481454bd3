# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Variables about addresses, ingress gateways and the tailnet. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._gateways import EXPOSURES, PROTOCOLS
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._pools import STATES
from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory._field import (
    EVERYWHERE,
    SITE,
    TEARDOWN,
    Field,
    Variable,
    choice,
    flag,
    keyed,
    listed,
    named,
    number,
    text,
    texts,
    tree,
)


def _state() -> Field:
    return choice("V(absent) removes it.", STATES, absent="V(present)")


def _selectors() -> Field:
    keys = {
        "matchLabels": tree("Labels and their values.", {"a": "b"}),
        "matchExpressions": Field("list", "Expressions.", [], each=Field("any", "An expression.")),
    }
    return listed("Nodes, by selectors of Kubernetes.", keyed("A selector.", keys), absent="all")


_LAYER2 = {
    "interfaces": texts("Interfaces.", "eth0", absent="all"),
    "node_selectors": _selectors(),
}
_BGP = {
    "peers": texts("Names of peers.", "router", absent="all"),
    "communities": texts("Communities.", "65000:1", absent="none"),
    "aggregation_length": number("Length of announced IPv4 prefixes.", 32),
    "aggregation_length_v6": number("Length of announced IPv6 prefixes.", 128),
    "local_pref": number("Local preference.", 100),
    "node_selectors": _selectors(),
}
_POOL = {
    "name": text("Name of the pool.", "arr", needed=True),
    "addresses": texts("Networks and ranges.", "192.0.2.101/32", needed=True),
    "auto_assign": flag("Whether Services that ask for no address get one.", absent="no"),
    "segment": text("Segment whose gateways alone may have its addresses.", "arr", absent="any"),
    "advertise": keyed(
        "How it is announced, or none.",
        {"l2": keyed("By ARP and NDP.", _LAYER2), "bgp": keyed("By BGP.", _BGP)},
        absent="by ARP and NDP",
    ),
    "state": _state(),
}
_PEER = {
    "name": text("Name of the peer.", "router", needed=True),
    "my_asn": number("The cluster's AS number.", 64500, needed=True),
    "peer_asn": number("The router's AS number.", 64501, needed=True),
    "peer_address": text("The router's address.", "192.0.2.1", needed=True),
    "peer_port": number("Its port.", 179, absent="179"),
    "source_address": text("Address that the nodes speak from.", "192.0.2.2"),
    "hold_time": text("Hold time.", "90s"),
    "ebgp_multi_hop": flag("Whether the router is more than one hop away.", absent="no"),
    "password_secret": text("Secret with the password, in MetalLB's namespace.", "bgp"),
    "bfd_profile": text("BFD profile.", "fast"),
    "node_selectors": _selectors(),
    "state": _state(),
}
_LISTENER = {
    "name": text("Name of the listener.", "https", absent="the protocol"),
    "port": number("Port.", 443, absent="80, or 443 for HTTPS"),
    "protocol": choice("Protocol.", PROTOCOLS, sample="HTTPS", absent="V(HTTP)"),
    "hostname": text("Host it answers for.", "*.example.org", absent="every host"),
    "tls_secret": text("Secret with the certificate, in the gateway's namespace; for HTTPS.", "arr-tls"),
}
_ROUTE = {
    "name": text("Name of the route.", "radarr", needed=True),
    "namespace": text("Namespace of the application.", "core", needed=True),
    "service": text("Service of the application.", "radarr", absent="the route's name"),
    "port": number("Port of the Service.", 7878, needed=True),
    "hostnames": texts("Hosts.", "arr.example.org", absent="every host"),
    "path": text("Prefix of the path.", "/radarr", absent="V(/)"),
    "rewrite": text("What takes the place of the path.", "/", absent="nothing"),
    "listeners": texts("Names of listeners.", "https", absent="all"),
}
_DEVICE = {
    "hostname": text("Name in the tailnet.", "arr", absent="the gateway's name"),
    "tags": texts("Tags.", "tag:gw-arr", absent="those of all proxies"),
    "proxy_class": text("ProxyClass.", "mine", absent="that of all proxies"),
}
_GATEWAY = {
    "name": text("Name of the gateway.", "arr", needed=True),
    "namespace": text("Its namespace, which holds nothing else.", "gateway-arr", absent="V(gateway-NAME)"),
    "segment": text("Segment whose routes may attach.", "arr", absent="the gateway's name"),
    "exposure": choice("Where it is reached.", EXPOSURES, sample="both", absent="V(lan)"),
    "address": Field("any", "Address, or one of each family.", "192.0.2.101", absent="one of the pool"),
    "pool": text("Address pool.", "arr", absent="the one that has the address"),
    "tailscale": keyed("What it is in the tailnet.", _DEVICE),
    "class": text("GatewayClass.", "istio", absent="V(istio)"),
    "listeners": listed("Ports on which it answers.", keyed("A listener.", _LISTENER), absent="HTTP on port 80"),
    "routes": listed("What it leads to.", keyed("A route.", _ROUTE), absent="none"),
    "state": _state(),
}
_GROUP: dict[str, Any] = {"family": {"segments": ["arr"], "members": ["ada@example.org"]}}
VARIABLES: dict[str, Variable] = {
    "bulkhead_address_pools": Variable(
        listed("Addresses of the home network that nobody else has.", keyed("A pool.", _POOL), absent="none"),
        (SITE, TEARDOWN),
        parsed=True,
    ),
    "bulkhead_bgp_peers": Variable(
        listed("Routers to speak BGP with.", keyed("A router.", _PEER), absent="none"), (SITE,), parsed=True
    ),
    "bulkhead_ingress_gateways": Variable(
        listed("One gateway for each segment.", keyed("A gateway.", _GATEWAY), absent="none"), EVERYWHERE, parsed=True
    ),
    "bulkhead_tailnet_policy": Variable(
        keyed(
            "Who reaches which segment, as a fragment of the tailnet's policy.",
            {
                "file": text("Where it is written.", "tailnet-policy.hujson", needed=True),
                "groups": named(
                    "Groups of people, each with segments, or with segments and members.",
                    Field("any", "Segments, or a mapping of segments and members."),
                    _GROUP,
                    needed=True,
                ),
                "operator_tags": texts("Who owns the tags.", "tag:k8s-operator", absent="V(tag:k8s-operator)"),
            },
            absent="none is written",
        ),
        (SITE,),
    ),
}
