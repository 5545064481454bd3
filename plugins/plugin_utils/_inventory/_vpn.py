# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Variables about VPN egress. Pure."""

from __future__ import annotations

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._parse import (
    DETACH_TO,
    ENGINES,
    PROTOCOLS,
    STATES,
    TRANSPORTS,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._pod_settings import CONTAINERS
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._refuse import SUPPORTED_KINDS
from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory._field import (
    EVERYWHERE,
    SITE,
    TEARDOWN,
    VERIFY,
    Field,
    Variable,
    choice,
    keyed,
    listed,
    number,
    text,
    texts,
    tree,
)

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_TOLERATION = {
    "key": text("Key of the taint.", "nas"),
    "operator": text("Exists or Equal.", "Equal"),
    "value": text("Its value.", "true"),
    "effect": text("Its effect.", "NoSchedule"),
    "tolerationSeconds": number("Seconds, with NoExecute.", 60),
}
_POD = {
    "image_pull_secrets": texts("Secrets for its images.", "registry", absent="none"),
    "node_selector": tree("Labels of nodes.", {"disk": "ssd"}, absent="any node"),
    "tolerations": listed("Taints of nodes that it takes.", keyed("A toleration.", _TOLERATION), absent="none"),
    "affinity": tree("As in a pod's spec.affinity.", {"nodeAffinity": {}}, absent="none"),
    "priority_class_name": text("PriorityClass.", "high", absent="none"),
    "resources": keyed(
        "Requests and limits of its containers.",
        {
            name: keyed(
                f"Of {name}.",
                {kind: tree(f"Its {kind}.", {"memory": "64Mi"}) for kind in ("requests", "limits")},
            )
            for name in CONTAINERS
        },
    ),
    "labels": tree("More labels.", {"a": "b"}, absent="none"),
    "annotations": tree("More annotations.", {"a": "b"}, absent="none"),
}
_GATEWAY = {
    "name": text("Name of the gateway.", "north", needed=True),
    "namespace": text("Its namespace, out of every mesh.", "vpn", needed=True),
    "engine": choice("What makes the tunnel.", ENGINES, absent="V(wireguard)"),
    "config_secret": text("Secret with the provider's configuration.", "north-wg0", needed=True),
    "transport": choice("How clients reach it.", TRANSPORTS, absent="V(vxlan)"),
    "port": number("UDP port of the transport.", 14789, absent="14789"),
    "vni": number("VXLAN network identifier.", 7001, absent="one is chosen"),
    "network": text("Network of inner addresses.", "10.222.1.0/24", absent="one is chosen"),
    "mtu": number("MTU of the tunnel.", 1420, absent="that of the configuration"),
    "state": choice("V(absent) removes it.", STATES, absent="V(present)"),
    "pod": keyed("Where and how its pods run.", _POD),
}
_EGRESS = {
    "service": text("Service, as NAMESPACE/NAME.", "core/radarr", needed=True),
    "ports": Field("list", "Ports of the Service.", [7878], each=Field("any", "A port."), needed=True),
}
_SOURCE = {
    "namespace": text("Pods of a namespace; either this or ingress_gateway.", "core"),
    "pods": tree("Labels of these pods.", {"app": "radarr"}, absent="all of them"),
    "ingress_gateway": text("An ingress gateway.", "arr"),
}
_INGRESS = {
    "from": keyed("Who.", _SOURCE, needed=True),
    "ports": Field("list", "Ports of the pod.", [8080], each=Field("int", "A port."), needed=True),
    "protocol": choice("Protocol.", PROTOCOLS, absent="V(TCP)"),
}
_CLIENT = {
    "kind": choice("Kind of the workload.", SUPPORTED_KINDS, needed=True),
    "namespace": text("Its namespace.", "downloads", needed=True),
    "name": text("Its name.", "qbittorrent", needed=True),
    "gateway": text("VPN gateway by which it leaves.", "north", needed=True),
    "egress": listed("Services that it may call without the VPN.", keyed("A Service.", _EGRESS), absent="none"),
    "ingress": listed("Who may call it.", keyed("A caller.", _INGRESS), absent="nobody"),
    "replicas": number("Pods to reserve inner addresses for.", 2, absent="those the workload has"),
    "state": choice("V(absent) gives it back.", STATES, absent="V(present)"),
    "detach_to": choice("What becomes of it then.", DETACH_TO, absent=f"V({DETACH_TO[0]})"),
}
VARIABLES: dict[str, Variable] = {
    "bulkhead_vpn_gateways": Variable(
        listed("VPN gateways.", keyed("A gateway.", _GATEWAY), absent="none"), EVERYWHERE, parsed=True
    ),
    "bulkhead_vpn_clients": Variable(
        listed("Workloads that leave by a gateway and by nothing else.", keyed("A workload.", _CLIENT), absent="none"),
        EVERYWHERE,
        parsed=True,
    ),
    "bulkhead_vpn_images": Variable(
        keyed(
            "Images.",
            {
                "engine": text("Of the engine. There is no public one.", "registry.example.com/engine:1"),
                "agent": text(
                    "Of guard, overlay, controller and twins.", "registry.example.com/agent:1", absent="netshoot"
                ),
                "resolver": text("Of CoreDNS.", "registry.example.com/coredns:1", absent="coredns"),
                "pull_policy": choice("When they are pulled.", PULL_POLICIES, absent="V(IfNotPresent)"),
            },
        ),
        (SITE, VERIFY, TEARDOWN),
    ),
    "bulkhead_vpn_dns": Variable(
        texts("Name servers behind the tunnel, for configurations that name none.", "10.64.0.1", absent="none"), (SITE,)
    ),
    "bulkhead_vpn_max_parallel": Variable(
        number(
            "Pods of clients that start at once on one node, at least 1.",
            8,
            absent="four for each processor that it can allocate",
        ),
        (SITE,),
    ),
    "bulkhead_detach_to": Variable(
        choice("What teardown does with clients.", DETACH_TO, absent=f"V({DETACH_TO[0]})"), (TEARDOWN,)
    ),
    "bulkhead_probe_addresses": Variable(
        texts("Where a mesh shows kubelet probes from.", "169.254.7.127", absent="Istio's own"), (SITE, VERIFY)
    ),
}
