# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The inventory's lists -> gateways and clients; everything wrong is reported, not only the first."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent.config import HEALTH_PORT
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _pod_settings
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import (
    NOT_GIVEN,
    Client,
    EgressRule,
    Gateway,
    IngressRule,
    Port,
    Problem,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._refuse import SUPPORTED_KINDS, kind_remedy
from ansible_collections.bulkhead.mesh.plugins.module_utils._reader import LABEL, Reader, entries, nearest, twice

GATEWAYS = "bulkhead_vpn_gateways"
CLIENTS = "bulkhead_vpn_clients"
ENGINES = ("wireguard", "gluetun")
TRANSPORTS = ("vxlan",)
STATES = ("present", "absent")
DETACH_TO = ("sealed", "stopped", "open")
PROTOCOLS = ("TCP", "UDP")
# Calico drops workload VXLAN to 4789, Cilium 8472; the others are tunnels of network plugins.
TAKEN_PORTS = {4789: "Calico", 4790: "Calico", 6081: "Geneve", 8472: "Cilium and Flannel"}
TAKEN_PORTS.update(dict.fromkeys(range(51820, 51824), "WireGuard of the network plugin"))
NAME_LENGTH = 52  # of a StatefulSet whose pods still get their revision label
SMALLEST_MTU, LARGEST_MTU = 576, 9000


def parse_gateways(raw: Any) -> tuple[list[Gateway], list[Problem]]:
    """Gateways of ``bulkhead_vpn_gateways`` and all problems; the gateways are complete only without problems."""
    gateways, problems = entries(raw, GATEWAYS, _gateway)
    problems += twice(gateways, GATEWAYS, lambda gateway: gateway.name, "gateway names are unique in the cluster")
    return gateways, problems


def parse_clients(raw: Any, gateways: Sequence[Gateway] | None = ()) -> tuple[list[Client], list[Problem]]:
    """Clients of ``bulkhead_vpn_clients`` and all problems, with those of their reference to ``gateways``.

    With None for these, because they cannot be read, nobody asks whether a client's gateway is one of them.
    """
    clients, problems = entries(raw, CLIENTS, _client)
    problems += twice(clients, CLIENTS, lambda client: (client.namespace, client.name), "a workload is listed once")
    states = {gateway.name: gateway.state for gateway in gateways or ()}
    for index, client in enumerate(clients):
        if (
            gateways is None
            or client.state != "present"
            or not client.gateway
            or states.get(client.gateway) == "present"
        ):
            continue
        absent = client.gateway in states
        problems.append(
            Problem(
                client.object,
                f"{CLIENTS}[{index}].gateway",
                client.gateway,
                "that gateway is to be removed" if absent else f"{GATEWAYS} has no gateway of that name",
                "give the client another gateway or detach it first"
                if absent
                else "add the gateway or correct the name",
            )
        )
    return clients, problems


def _gateway(reader: Reader, entry: Any, path: str) -> Gateway | None:
    known = (
        "name",
        "namespace",
        "engine",
        "config_secret",
        "transport",
        "port",
        "vni",
        "network",
        "mtu",
        "state",
        "pod",
    )
    if not reader.keys(entry, path, known):
        return None
    state = reader.choice(entry.get("state", "present"), f"{path}.state", STATES)
    needed = state == "present"
    secret = entry.get("config_secret")
    return Gateway(
        name=reader.name(entry.get("name"), f"{path}.name", NAME_LENGTH),
        namespace=reader.name(entry.get("namespace"), f"{path}.namespace"),
        engine=reader.choice(entry.get("engine", "wireguard"), f"{path}.engine", ENGINES),
        config_secret=reader.name(secret, f"{path}.config_secret", 253, dots=True) if needed or secret else "",
        transport=reader.choice(entry.get("transport", "vxlan"), f"{path}.transport", TRANSPORTS),
        port=_carrier_port(reader, entry, f"{path}.port"),
        vni=_optional(reader, entry, path, "vni", 1, 2**24 - 1, "a VXLAN network identifier"),
        network=_network(reader, entry.get("network"), f"{path}.network"),
        mtu=_optional(reader, entry, path, "mtu", SMALLEST_MTU, LARGEST_MTU, "an MTU in bytes"),
        state=state,
        pod=_pod_settings.parse(reader, entry.get("pod"), f"{path}.pod"),
    )


def _optional(
    reader: Reader, entry: Mapping[str, Any], path: str, key: str, lowest: int, highest: int, what: str
) -> int | None:
    if entry.get(key) is None:
        return None
    return reader.number(entry[key], f"{path}.{key}", lowest, highest, what)


def _carrier_port(reader: Reader, entry: Mapping[str, Any], path: str) -> int:
    default = Gateway.port
    port = reader.number(entry.get("port", default), path, 1, 65535, "a port")
    if port in TAKEN_PORTS:
        reader.wrong(path, port, f"it belongs to {TAKEN_PORTS[port]}", f"use another port, for example {default}")
    return port or default


def _network(reader: Reader, value: Any, path: str) -> str | None:
    if value is None:
        return None
    try:
        network = ipaddress.IPv4Network(value)
    except (ValueError, TypeError):
        reader.wrong(path, value, "an IPv4 network in CIDR form is needed", "write it like 10.222.1.0/24")
        return None
    if not 16 <= network.prefixlen <= 29 or not network.is_private:
        reader.wrong(path, value, "a private network from /16 to /29 is needed", "write it like 10.222.1.0/24")
        return None
    return str(network)


def _client(reader: Reader, entry: Any, path: str) -> Client | None:
    known = ("kind", "namespace", "name", "gateway", "egress", "ingress", "replicas", "state", "detach_to")
    if not reader.keys(entry, path, known):
        return None
    kind = entry.get("kind")
    if kind not in SUPPORTED_KINDS:
        value = NOT_GIVEN if kind is None else kind
        meant = nearest(kind, SUPPORTED_KINDS)
        remedy = f"write {meant}" if meant else kind_remedy(kind)
        reader.wrong(f"{path}.kind", value, "this kind cannot be a VPN client", remedy)
    namespace = reader.name(entry.get("namespace"), f"{path}.namespace")
    name = reader.name(entry.get("name"), f"{path}.name", 253, dots=True)
    if isinstance(kind, str) and namespace and name:
        reader.object = f"{kind} {namespace}/{name}"
        reader.problems = [
            Problem(reader.object, one.path, one.value, one.reason, one.remedy) for one in reader.problems
        ]
    state = reader.choice(entry.get("state", "present"), f"{path}.state", STATES)
    if "detach_to" in entry and state == "present":
        remedy = "remove it, or set state to absent to detach"
        reader.wrong(f"{path}.detach_to", entry["detach_to"], "it says how to detach, and the client stays", remedy)
    gateway = entry.get("gateway")
    replicas = reader.number(entry.get("replicas", 0), f"{path}.replicas", 0, 65533, "a count of pods")
    return Client(
        kind=str(kind),
        namespace=namespace,
        name=name,
        gateway=reader.name(gateway, f"{path}.gateway", NAME_LENGTH) if state == "present" or gateway else "",
        egress=reader.list(entry.get("egress"), f"{path}.egress", _egress),
        ingress=reader.list(entry.get("ingress"), f"{path}.ingress", _ingress),
        replicas=replicas or 0,
        state=state,
        detach_to=reader.choice(entry.get("detach_to", "sealed"), f"{path}.detach_to", DETACH_TO),
    )


def _egress(reader: Reader, entry: Any, path: str) -> EgressRule | None:
    if not reader.keys(entry, path, ("service", "ports")):
        return None
    service = entry.get("service")
    namespace, slash, name = service.partition("/") if isinstance(service, str) else ("", "", "")
    if not (slash and LABEL.match(namespace) and LABEL.match(name)):
        value = NOT_GIVEN if service is None else service
        reader.wrong(f"{path}.service", value, "a Service is named with its namespace", "write it like core/radarr")
        return None
    ports = reader.list(entry.get("ports"), f"{path}.ports", _service_port)
    if not entry.get("ports"):
        reader.wrong(
            f"{path}.ports",
            entry.get("ports", NOT_GIVEN),
            "egress to a Service is limited to named ports",
            "list the ports of the Service that the client needs",
        )
    return EgressRule(namespace, name, ports)


def _service_port(reader: Reader, value: Any, path: str) -> Port | None:
    if isinstance(value, str) and LABEL.match(value) and not value.isdigit():
        return value
    return reader.number(value, path, 1, 65535, "a port")


def _ingress(reader: Reader, entry: Any, path: str) -> IngressRule | None:
    if not reader.keys(entry, path, ("from", "ports", "protocol")):
        return None
    source = entry.get("from")
    sources = ("namespace", "pods", "ingress_gateway")
    if not isinstance(source, Mapping) or not reader.keys(source, f"{path}.from", sources):
        reader.wrong(
            f"{path}.from",
            NOT_GIVEN if source is None else source,
            "it is not known who may call",
            "name a namespace (with labels of its pods, if you like) or an ingress_gateway",
        )
        return None
    if ("namespace" in source) == ("ingress_gateway" in source):
        reader.wrong(
            f"{path}.from", dict(source), "exactly one source is needed", "name a namespace or an ingress_gateway"
        )
        return None
    pods = source.get("pods", {})
    if not isinstance(pods, Mapping) or not all(isinstance(part, str) for pair in pods.items() for part in pair):
        reader.wrong(f"{path}.from.pods", pods, "labels are strings", "write them like {app: radarr}")
        pods = {}
    if pods and "namespace" not in source:
        reader.wrong(f"{path}.from.pods", dict(pods), "pods are those of a namespace", "add the namespace")
    ports = reader.list(entry.get("ports"), f"{path}.ports", _pod_port)
    if not entry.get("ports"):
        reader.wrong(
            f"{path}.ports",
            entry.get("ports", NOT_GIVEN),
            "ingress is limited to named ports",
            "list the ports on which the pod may be called",
        )
    key = "namespace" if "namespace" in source else "ingress_gateway"
    named = {key: reader.name(source[key], f"{path}.from.{key}")}
    protocol = reader.choice(entry.get("protocol", "TCP"), f"{path}.protocol", PROTOCOLS)
    if protocol == "TCP" and HEALTH_PORT in ports:
        reason = "there the overlay answers the kubelet, and nobody else"
        reader.wrong(f"{path}.ports", HEALTH_PORT, reason, "name ports of the application")
    return IngressRule(ports=ports, pods=dict(pods), protocol=protocol, **named)


def _pod_port(reader: Reader, value: Any, path: str) -> int | None:
    return reader.number(value, path, 1, 65535, "a port")
