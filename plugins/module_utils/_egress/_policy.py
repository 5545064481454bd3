# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""NetworkPolicies of clients and gateways: exact peers and ports, and whether a live one still is that.

An ``ipBlock`` is always one address: the VPN's endpoint, or the address from which a mesh shows kubelet probes.
"""

from __future__ import annotations

import copy
import ipaddress
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent.config import HEALTH_PORT
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names, _services
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import (
    NOT_GIVEN,
    Client,
    Gateway,
    IngressRule,
    Problem,
)

API = "networking.k8s.io/v1"
_ANY = "it opens more than this collection asked for"
_AGAIN = "run site.yml again; if it comes back, somebody else writes this policy"
Peer = dict[str, Any]
Rule = dict[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """Where the gateway's tunnel goes: an address, a port and TCP or UDP."""

    address: str
    port: int
    protocol: str = "UDP"


@dataclass(frozen=True)
class ClientPods:
    """The pods of one client: its namespace and its workload's own selector."""

    namespace: str
    selector: Mapping[str, Any]


def client_policy_name(client: Client) -> str:
    """Name of the client's policy, in its namespace."""
    return _names.fit(f"bulkhead-vpn-client-{client.name}", 253)


def gateway_policy_name(gateway: Gateway) -> str:
    """Name of the gateway's policy, in its namespace."""
    return f"bulkhead-vpn-gateway-{gateway.name}"


def client_policy(
    client: Client,
    selector: Mapping[str, Any],
    gateway: Gateway,
    destinations: Sequence[_services.Destination] = (),
    ambient: Collection[str] = (),
    ingress_gateways: Mapping[str, str] | None = None,
    probe_addresses: Sequence[str] = (),
    probe_ports: Sequence[int] = (),
) -> dict[str, Any]:
    """The policy of one client.

    ``selector`` is the workload's ``spec.selector``: it cannot be changed, so no new template gets rid of the policy.
    ``ambient`` are the namespaces in the mesh, ``ingress_gateways`` the namespace of each, ``probe_addresses`` where
    kubelet probes come from in a mesh (empty: from the node, which policies always let in). The kubelet calls our own
    port as well as ``probe_ports``; to nobody else is it open.
    """
    carrier = [_rule("to", [_gateway_peer(gateway)], [_port("UDP", gateway.port)])]
    egress = carrier + [_to_service(client, one, ambient) for one in destinations if one.ports]
    ingress = [_rule("from", [_gateway_peer(gateway)], [_port("UDP", gateway.port)])]
    ingress += [_from_source(client, one, ambient, ingress_gateways or {}) for one in client.ingress]
    if probe_addresses:
        peers = [_address_peer(address) for address in probe_addresses]
        ports = sorted({HEALTH_PORT, *probe_ports})
        ingress.append(_rule("from", peers, [_port("TCP", port) for port in ports]))
    labels = {_names.CLIENT_LABEL: client.id, _names.GATEWAY_LABEL: gateway.name}
    return _policy(client_policy_name(client), client.namespace, labels, selector, egress, ingress)


def sealed_policy(client: Client, selector: Mapping[str, Any], gateway: str) -> dict[str, Any]:
    """The policy of a client that has no gateway any more: nobody out, nobody in. ``gateway`` is the one it had."""
    labels = {_names.CLIENT_LABEL: client.id, _names.GATEWAY_LABEL: gateway}
    return _policy(client_policy_name(client), client.namespace, labels, selector, (), ())


def gateway_policy(gateway: Gateway, endpoints: Sequence[Endpoint], clients: Sequence[ClientPods]) -> dict[str, Any]:
    """The policy of one gateway: out to the VPN's endpoints, and the carrier from and to exactly its clients."""
    egress = [_rule("to", [_address_peer(one.address)], [_port(one.protocol, one.port)]) for one in endpoints]
    peers = [_pods_peer(one.namespace, one.selector) for one in clients]
    carrier = [_port("UDP", gateway.port)]
    egress += [_rule("to", peers, carrier)] if peers else []
    ingress = [_rule("from", peers, carrier)] if peers else []
    labels = {_names.ROLE_LABEL: _names.GATEWAY_ROLE, _names.GATEWAY_LABEL: gateway.name}
    selector = {"matchLabels": _names.gateway_pod_labels(gateway.name)}
    return _policy(gateway_policy_name(gateway), gateway.namespace, labels, selector, egress, ingress)


def probe_ports(template: Mapping[str, Any]) -> list[int]:
    """The ports that the kubelet calls on pods of this template, sorted; names are looked up."""
    spec = template.get("spec") or {}
    found = set()
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        named = {port["name"]: port["containerPort"] for port in container.get("ports") or [] if "name" in port}
        lifecycle = container.get("lifecycle") or {}
        probes = [container.get(f"{kind}Probe") for kind in ("liveness", "readiness", "startup")]
        for probe in [*probes, *lifecycle.values()]:
            for kind in ("httpGet", "tcpSocket", "grpc"):
                port = ((probe or {}).get(kind) or {}).get("port")
                number = named.get(port) if isinstance(port, str) and not port.isdigit() else port
                if number is not None:
                    found.add(int(number))
    return sorted(found)


def _policy(
    name: str,
    namespace: str,
    labels: Mapping[str, str],
    selector: Mapping[str, Any],
    egress: Sequence[Rule],
    ingress: Sequence[Rule],
) -> dict[str, Any]:
    # The API server keeps no empty list of rules; with the type named, none at all means nobody.
    rules = {"egress": _canonical_rules(egress), "ingress": _canonical_rules(ingress)}
    return {
        "apiVersion": API,
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "podSelector": copy.deepcopy(dict(selector)),
            "policyTypes": ["Egress", "Ingress"],
            **{direction: listed for direction, listed in rules.items() if listed},
        },
    }


def _rule(direction: str, peers: Sequence[Peer], ports: Sequence[Mapping[str, Any]]) -> Rule:
    # A rule without peers or ports would mean all of them.
    if not peers or not ports:
        raise ValueError(f"a rule needs peers and ports: {peers}, {ports}")
    return {direction: list(peers), "ports": list(ports)}


def _port(protocol: str, port: int) -> dict[str, Any]:
    return {"protocol": protocol, "port": port}


def _pods_peer(namespace: str, selector: Mapping[str, Any]) -> Peer:
    return {
        "namespaceSelector": {"matchLabels": {_names.NAMESPACE_LABEL: namespace}},
        "podSelector": copy.deepcopy(dict(selector)),
    }


def _gateway_peer(gateway: Gateway) -> Peer:
    return _pods_peer(gateway.namespace, {"matchLabels": _names.gateway_pod_labels(gateway.name)})


def _address_peer(address: str) -> Peer:
    return {"ipBlock": {"cidr": str(ipaddress.ip_network(address))}}


def _to_service(client: Client, destination: _services.Destination, ambient: Collection[str]) -> Rule:
    ports = {(port.protocol, target) for port in destination.ports for target in port.targets}
    ports |= _hbone(ports, client.namespace, destination.namespace, ambient)
    peer = _pods_peer(destination.namespace, {"matchLabels": dict(destination.selector)})
    return _rule("to", [peer], [_port(protocol, port) for protocol, port in sorted(ports)])


def _from_source(
    client: Client, rule: IngressRule, ambient: Collection[str], ingress_gateways: Mapping[str, str]
) -> Rule:
    if rule.ingress_gateway is not None:
        namespace = ingress_gateways[rule.ingress_gateway]
        peer = _pods_peer(namespace, {"matchLabels": {_names.INGRESS_GATEWAY_LABEL: rule.ingress_gateway}})
        # Its pods are never captured, but they call what is in the mesh on the mesh's port all the same.
        ambient = {*ambient, namespace}
    else:
        namespace = rule.namespace or ""
        peer = _pods_peer(namespace, {"matchLabels": dict(rule.pods)} if rule.pods else {})
        if not rule.pods:
            del peer["podSelector"]
    ports = {(rule.protocol, port) for port in rule.ports}
    ports |= _hbone(ports, client.namespace, namespace, ambient)
    return _rule("from", [peer], [_port(protocol, port) for protocol, port in sorted(ports)])


def _hbone(ports: Iterable[tuple[str, int]], one: str, other: str, ambient: Collection[str]) -> set[tuple[str, int]]:
    """The mesh's port, when TCP goes from pod to pod inside the mesh."""
    inside = one in ambient and other in ambient and any(protocol == "TCP" for protocol, _port_number in ports)
    return {("TCP", _names.HBONE_PORT)} if inside else set()


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _canonical_rules(rules: Iterable[Mapping[str, Any]]) -> list[Rule]:
    """Rules in an order that does not depend on that of the inventory, each once."""
    ordered = []
    for rule in rules:
        sorted_rule = {
            key: sorted(value, key=_key) if isinstance(value, list) else value for key, value in rule.items()
        }
        if sorted_rule not in ordered:
            ordered.append(sorted_rule)
    return sorted(ordered, key=_key)


def shape_problems(policy: Mapping[str, Any] | None, expected: Mapping[str, Any]) -> list[Problem]:
    """How a live policy differs from the one rendered; a policy that is missing is one problem."""
    metadata = expected["metadata"]
    object_ = f"NetworkPolicy {metadata['namespace']}/{metadata['name']}"
    if policy is None:
        return [Problem(object_, "policy", NOT_GIVEN, "it does not exist", _AGAIN)]
    held, wanted = policy["spec"], expected["spec"]
    problems = []
    if _selector(held.get("podSelector")) != _selector(wanted["podSelector"]):
        reason = "it selects other pods than the workload's own"
        problems.append(Problem(object_, "spec.podSelector", held.get("podSelector", NOT_GIVEN), reason, _AGAIN))
    if sorted(held.get("policyTypes") or []) != sorted(wanted["policyTypes"]):
        reason = "both directions have to be limited"
        problems.append(Problem(object_, "spec.policyTypes", held.get("policyTypes", NOT_GIVEN), reason, _AGAIN))
    for direction, peers in (("egress", "to"), ("ingress", "from")):
        problems += _rule_problems(object_, direction, peers, held.get(direction) or [], wanted.get(direction) or [])
    return problems


def _selector(selector: Mapping[str, Any] | None) -> str:
    plain = {key: value for key, value in (selector or {}).items() if value}
    expressions = [{**one, "values": sorted(one.get("values") or [])} for one in plain.get("matchExpressions") or []]
    return _key({**plain, "matchExpressions": sorted(expressions, key=_key)})


def _rule_problems(
    object_: str, direction: str, peers: str, held: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]
) -> list[Problem]:
    problems = []
    normal = [_canonical_rules([_with_protocol(rule)])[0] for rule in held]
    for index, rule in enumerate(normal):
        if rule in wanted:
            continue
        path = f"spec.{direction}[{index}]"
        widths = [*_widths(rule, peers, wanted)] or [("", rule, _ANY)]
        problems += [Problem(object_, path + part, value, reason, _AGAIN) for part, value, reason in widths]
    for rule in wanted:
        if rule not in normal:
            reason = "this rule is missing, and what it allows is cut off"
            problems.append(Problem(object_, f"spec.{direction}", rule, reason, _AGAIN))
    return problems


def _with_protocol(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {**rule, "ports": [{"protocol": "TCP", **port} for port in rule.get("ports") or []]}


def _widths(rule: Mapping[str, Any], peers: str, wanted: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, Any, str]]:
    """What is too wide in a rule: part of the path, value and reason."""
    allowed = [peer for one in wanted for peer in one[peers] if "ipBlock" in peer]
    if not rule.get(peers):
        yield f".{peers}", rule.get(peers, NOT_GIVEN), "no peers are named, which means all of them"
    if not rule.get("ports"):
        yield ".ports", NOT_GIVEN, "no ports are named, which means all of them"
    for port in rule.get("ports") or []:
        if "port" not in port or "endPort" in port:
            yield ".ports", port, "a range of ports is open"
    for peer in rule.get(peers) or []:
        if "ipBlock" in peer and peer not in allowed:
            yield f".{peers}.ipBlock", peer["ipBlock"]["cidr"], "this network is none of those asked for"
        if "namespaceSelector" in peer and not peer["namespaceSelector"]:
            yield f".{peers}.namespaceSelector", {}, "pods of every namespace are meant"
