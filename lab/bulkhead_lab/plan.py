"""Names and addresses of the lab: the one place where they are written down.

Everything here lives in network namespaces that the lab makes. Public-looking
addresses come from the ranges reserved for documentation (RFC 5737, RFC 3849),
so nothing here can be an address of a real host.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

CLUSTER_NAME = "bulkhead-lab"
KUBERNETES_VERSION = "1.35.4"
# As lab/go-istio and lab/go-metallb pin them.
ISTIO_VERSION = "1.31.1"
GATEWAY_API_VERSION = "1.6.0"
METALLB_VERSION = "0.15.2"
HELM_VERSION = "3.21.4"
TAILSCALE_VERSION = "1.98.10"  # as lab/go-tailnet pins it

# --- images built here ------------------------------------------------------
ISTIO_HUB = "lab.local/istio"
ISTIO_IMAGES = ("pilot", "install-cni", "proxyv2", "ztunnel")
METALLB_HUB = "lab.local/metallb"
TAILSCALE_HUB = "lab.local/tailscale"


def istio_image(name: str) -> str:
    """Reference of one of Istio's images, as its charts put it together from hub, name and tag."""
    return f"{ISTIO_HUB}/{name}:{ISTIO_VERSION}"


def metallb_image(name: str) -> str:
    """Reference of one of MetalLB's images."""
    return f"{METALLB_HUB}/{name}:v{METALLB_VERSION}"


def tailscale_image(name: str) -> str:
    """Reference of one of Tailscale's images, as its chart puts it together from repository and tag."""
    return f"{TAILSCALE_HUB}/{name}:v{TAILSCALE_VERSION}"


# --- network namespaces -----------------------------------------------------
NS_INTERNET = "internet"  # router between all others; its default route is missing on purpose
NS_NODE = "node"
NS_TARGET = "target"
NS_LAN = "lan"  # a computer on the home LAN, next to the node
NS_CONTROL = "tailnet-control"  # the tailnet's control server, relay and API
NS_TAILNET = "tailnet"  # a computer elsewhere that is in the tailnet

# --- the node and its local network -----------------------------------------
LAN_BRIDGE = "lan0"  # bridge in NS_INTERNET: the home router's LAN side
UPLINK = "node0"  # the node's port on that bridge; the capture sits here
NODE_NAME = "lab-node"
NODE_DEVICE = "eth0"
LAN4 = "172.30.0.0/24"
LAN6 = "2001:db8:30::/64"
ROUTER4, ROUTER6 = "172.30.0.1", "2001:db8:30::1"
NODE4, NODE6 = "172.30.0.10", "2001:db8:30::10"
LAN_CLIENT4, LAN_CLIENT6 = "172.30.0.50", "2001:db8:30::50"
METALLB_RANGE = "172.30.0.100-172.30.0.120"
METALLB_RANGE6 = "2001:db8:30::100-2001:db8:30::120"

# --- cluster networks -------------------------------------------------------
CLUSTER_CIDR4, CLUSTER_CIDR6 = "10.244.0.0/16", "fd00:10:244::/56"
POD_CIDR4, POD_CIDR6 = "10.244.0.0/24", "fd00:10:244::/64"  # the one node's share
SERVICE_CIDR4, SERVICE_CIDR6 = "10.96.0.0/16", "fd00:10:96::/112"
DNS_SERVICE4 = "10.96.0.53"
API_SERVICE4 = "10.96.0.1"
POD_MTU = 1450
CLUSTER_DOMAIN = "cluster.local"
API_PORT = 6443  # inside NS_NODE
DEFAULT_LOOPBACK_PORT = 16443
# On the machine's 127.0.0.1: the one thing of the lab that is visible there. A second lab needs another port, and
# a home of its own.
API_LOOPBACK_PORT = int(os.environ.get("BULKHEAD_LAB_PORT") or DEFAULT_LOOPBACK_PORT)

# --- the internet target ----------------------------------------------------
TARGET4, TARGET6 = "203.0.113.10", "2001:db8:113::10"
PEER4, PEER6 = "203.0.113.20", "2001:db8:113::20"  # the seeding BitTorrent peer
# Whom the cluster asks for names it does not know: apart from the target, so that its questions are no leak of anybody.
RESOLVER4 = "203.0.113.53"
TARGET_ROUTER4, TARGET_ROUTER6 = "203.0.113.1", "2001:db8:113::1"
HTTP_PORT = 80
ECHO_PORT = 7777  # TCP and UDP
STUN_PORT = 3478
DNS_PORT = 53
TRACKER_PORT = 6969
PEER_PORT = 51413
ZONE = "probe.example"  # authoritative on the target, with a query log

# --- the tailnet ------------------------------------------------------------
# Private, unlike the rest of the world: with a public one the clients speak plain HTTP only now and then and insist on TLS.
CONTROL4, CONTROL6 = "172.31.0.2", "2001:db8:2::2"
CONTROL_ROUTER4, CONTROL_ROUTER6 = "172.31.0.1", "2001:db8:2::1"
TAILNET_CLIENT4, TAILNET_CLIENT6 = "192.0.2.130", "2001:db8:3::2"
TAILNET_CLIENT_ROUTER4, TAILNET_CLIENT_ROUTER6 = "192.0.2.129", "2001:db8:3::1"
TAILNET_PREFIX4 = 25  # of the networks of both
CONTROL_PORT = 8088  # control server and API
DERP_PORT = 8443
LOGIN_SERVER = f"http://{CONTROL4}:{CONTROL_PORT}"
TAILNET_DOMAIN = "lab-tailnet.ts.net"
TAILNET_HOSTNAME = "laptop"  # of the computer in NS_TAILNET


@dataclass(frozen=True)
class VpnServer:
    """A WireGuard server of the outside world; clients leave with its exit address."""

    name: str
    namespace: str
    address4: str
    address6: str
    router4: str
    router6: str
    prefix4: int
    prefix6: int
    exit4: str
    exit6: str
    inner4: str  # network of the tunnel's inner addresses; .1 is the server
    inner6: str
    port: int = 51820
    clients: int = 4  # how many client configurations are made: client1 ... clientN


VPN_SERVERS = (
    VpnServer(
        name="north",
        namespace="vpn-north",
        address4="198.51.100.2",
        address6="2001:db8:51::2",
        router4="198.51.100.1",
        router6="2001:db8:51::1",
        prefix4=29,
        prefix6=64,
        exit4="198.51.100.5",
        exit6="2001:db8:51::5",
        inner4="10.66.0.0/24",
        inner6="fd00:66::/64",
    ),
    VpnServer(
        name="south",
        namespace="vpn-south",
        address4="198.51.100.10",
        address6="2001:db8:52::2",
        router4="198.51.100.9",
        router6="2001:db8:52::1",
        prefix4=29,
        prefix6=64,
        exit4="198.51.100.13",
        exit6="2001:db8:52::5",
        inner4="10.67.0.0/24",
        inner6="fd00:67::/64",
    ),
)
