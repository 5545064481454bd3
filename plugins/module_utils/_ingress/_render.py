# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Pools, announcements, peers, gateways and routes as manifests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import (
    ATTACHES,
    NAMESPACES_SET,
    Device,
    Gateway,
    Listener,
    Peer,
    Pool,
    Range,
    Route,
    segment_label,
)

GROUP = "gateway.networking.k8s.io"
API = f"{GROUP}/v1"
POOL_API, PEER_API = "metallb.io/v1beta1", "metallb.io/v1beta2"
ADDRESSES, POOL = "metallb.io/loadBalancerIPs", "metallb.io/address-pool"
SERVICE_TYPE = "networking.istio.io/service-type"
EXPOSE, HOSTNAME = "tailscale.com/expose", "tailscale.com/hostname"
TAGS, PROXY_CLASS = "tailscale.com/tags", "tailscale.com/proxy-class"
ISTIO = "istio"  # the class whose gateways take options for their Service from a ConfigMap

Manifest = dict[str, Any]


def address_objects(
    pools: Sequence[Pool], peers: Sequence[Peer], gateways: Iterable[Gateway], namespace: str
) -> list[Manifest]:
    """Objects of MetalLB, in its own namespace."""
    homes: dict[str, set[str]] = {}
    for gateway in gateways:
        if gateway.present:
            homes.setdefault(gateway.segment, set()).add(gateway.namespace)
    kept = [pool for pool in pools if pool.state == "present"]
    made = [_pool(pool, homes.get(pool.segment, set()), namespace) for pool in kept]
    made += [_peer(peer, namespace) for peer in peers if peer.state == "present"]
    for pool in kept:
        made += _announcements(pool, namespace)
    return made


def _object(api: str, kind: str, namespace: str, name: str, spec: Mapping[str, Any]) -> Manifest:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": dict(spec)}


def _pool(pool: Pool, homes: Collection[str], namespace: str) -> Manifest:
    spec: Manifest = {"addresses": [one.text for one in pool.ranges], "autoAssign": pool.auto_assign}
    if pool.segment and homes:
        # Holds for addresses asked for by name as well: no Service elsewhere can take one of the segment's.
        spec["serviceAllocation"] = {"namespaces": sorted(homes)}
    return _object(POOL_API, "IPAddressPool", namespace, pool.name, spec)


def _peer(peer: Peer, namespace: str) -> Manifest:
    spec: Manifest = {"myASN": peer.my_asn, "peerASN": peer.peer_asn, "peerAddress": peer.peer_address}
    optional = {
        "peerPort": peer.peer_port,
        "sourceAddress": peer.source_address,
        "holdTime": peer.hold_time,
        "ebgpMultiHop": peer.ebgp_multi_hop,
        "passwordSecret": {"name": peer.password_secret} if peer.password_secret else None,
        "bfdProfile": peer.bfd_profile,
        "nodeSelectors": _plain(peer.node_selectors),
    }
    return _object(PEER_API, "BGPPeer", namespace, peer.name, {**spec, **_given(optional)})


def _announcements(pool: Pool, namespace: str) -> list[Manifest]:
    made = []
    if pool.layer2 is not None:
        optional = {
            "interfaces": list(pool.layer2.interfaces),
            "nodeSelectors": _plain(pool.layer2.node_selectors),
        }
        spec = {"ipAddressPools": [pool.name], **_given(optional)}
        made.append(_object(POOL_API, "L2Advertisement", namespace, pool.name, spec))
    if pool.bgp is not None:
        optional = {
            "peers": list(pool.bgp.peers),
            "communities": list(pool.bgp.communities),
            "aggregationLength": pool.bgp.aggregation_length,
            "aggregationLengthV6": pool.bgp.aggregation_length_v6,
            "localPref": pool.bgp.local_pref,
            "nodeSelectors": _plain(pool.bgp.node_selectors),
        }
        spec = {"ipAddressPools": [pool.name], **_given(optional)}
        made.append(_object(POOL_API, "BGPAdvertisement", namespace, pool.name, spec))
    return made


def _given(optional: Mapping[str, Any]) -> Manifest:
    return {key: value for key, value in optional.items() if value or (value == 0 and value is not False)}


def _plain(selectors: Iterable[Mapping[str, Any]]) -> list[Manifest]:
    return [dict(one) for one in selectors]


def namespace(name: str) -> Manifest:
    """A namespace of which we say nothing but that it exists."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def gateway_namespaces(gateways: Iterable[Gateway], live: Mapping[str, Mapping[str, Any]]) -> list[Manifest]:
    """Namespaces of the gateways that are ours or do not exist yet; those of somebody else stay as they are."""
    return [
        namespace(name)
        for name in dict.fromkeys(gateway.namespace for gateway in gateways if gateway.present)
        if name not in live or live[name]["set"] == NAMESPACES_SET
    ]


def gateway_objects(gateways: Iterable[Gateway], ranges: Mapping[str, Iterable[Range]]) -> list[Manifest]:
    """Gateways, and the routes in the namespaces of their applications. ``ranges`` are those of each known pool."""
    made = []
    for gateway in gateways:
        if gateway.present:
            made += _gateway(gateway, _families(gateway, ranges))
            made += [_route(gateway, route) for route in gateway.routes]
    return made


def _families(gateway: Gateway, ranges: Mapping[str, Iterable[Range]]) -> list[int]:
    """IP families of the addresses the gateway will have; empty where that is not known."""
    if not gateway.on_lan:
        return []
    named = [one.version for one in gateway.addresses]
    return sorted(set(named or (one.first.version for one in ranges.get(gateway.pool, ()))))


def _gateway(gateway: Gateway, families: Sequence[int]) -> list[Manifest]:
    annotations = {}
    if gateway.addresses:
        annotations[ADDRESSES] = ",".join(str(one) for one in gateway.addresses)
    if gateway.pool:
        annotations[POOL] = gateway.pool
    if gateway.device:
        annotations.update(_tailnet(gateway.device))
    spec: Manifest = {
        "gatewayClassName": gateway.class_name,
        "listeners": [_listener(gateway, one) for one in gateway.listeners],
    }
    if annotations:
        # Istio hands these on to the Service that it makes; that one is not ours to annotate.
        spec["infrastructure"] = {"annotations": annotations}
    made = _object(API, "Gateway", gateway.namespace, gateway.name, spec)
    if not gateway.on_lan:
        made["metadata"]["annotations"] = {SERVICE_TYPE: "ClusterIP"}
    if len(families) != 1 or gateway.class_name != ISTIO:
        return [made]
    options = _options(gateway, families[0])
    reference = {"group": "", "kind": "ConfigMap", "name": options["metadata"]["name"]}
    spec.setdefault("infrastructure", {})["parametersRef"] = reference
    made["spec"] = spec
    return [options, made]


def _tailnet(device: Device) -> dict[str, str]:
    """For the operator, which makes a proxy to the Service's ClusterIP: MetalLB has no part in it."""
    made = {EXPOSE: "true", HOSTNAME: device.hostname}
    if device.tags:
        made[TAGS] = ",".join(device.tags)
    if device.proxy_class:
        made[PROXY_CLASS] = device.proxy_class
    return made


def _options(gateway: Gateway, family: int) -> Manifest:
    """Istio asks for both families where the cluster has both, and MetalLB then gives both addresses or none."""
    service = f"spec:\n  ipFamilyPolicy: SingleStack\n  ipFamilies: [IPv{family}]\n"
    name = {"name": f"{gateway.name}-options", "namespace": gateway.namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": {"service": service}}


def _listener(gateway: Gateway, listener: Listener) -> Manifest:
    label = {segment_label(gateway.segment): ATTACHES}
    made: Manifest = {
        "name": listener.name,
        "port": listener.port,
        "protocol": listener.protocol,
        "allowedRoutes": {"namespaces": {"from": "Selector", "selector": {"matchLabels": label}}},
    }
    if listener.hostname:
        made["hostname"] = listener.hostname
    if listener.tls_secret:
        secret = {"group": "", "kind": "Secret", "name": listener.tls_secret}
        made["tls"] = {"mode": "Terminate", "certificateRefs": [secret]}
    return made


def _route(gateway: Gateway, route: Route) -> Manifest:
    parent = {"group": GROUP, "kind": "Gateway", "namespace": gateway.namespace, "name": gateway.name}
    rule: Manifest = {
        "matches": [{"path": {"type": "PathPrefix", "value": route.path}}],
        "backendRefs": [{"group": "", "kind": "Service", "name": route.service, "port": route.port, "weight": 1}],
    }
    if route.rewrite and route.rewrite != route.path:
        path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": route.rewrite}
        rule["filters"] = [{"type": "URLRewrite", "urlRewrite": {"path": path}}]
    spec: Manifest = {
        "parentRefs": [{**parent, "sectionName": name} for name in route.listeners] or [parent],
        "rules": [rule],
    }
    if route.hostnames:
        spec["hostnames"] = list(route.hostnames)
    return _object(API, "HTTPRoute", route.namespace, route.name, spec)
