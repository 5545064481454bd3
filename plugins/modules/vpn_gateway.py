#!/usr/bin/python
# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vpn_gateway
short_description: Set up gateways through which workloads leave by a VPN
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - A gateway is one pod with a WireGuard tunnel. Workloads that M(bulkhead.mesh.vpn_client) attaches to it reach the
    internet through that tunnel and in no other way; while the tunnel is down they reach nothing.
  - With the gateway come a firewall in its pod, a NetworkPolicy, admission policies, a resolver that asks through the
    tunnel, and in each gateway namespace one controller that tells clients and gateways each other's pod addresses.
  - All gateways are judged before anything is written. One that cannot be what is asked, or for which a step fails, stays as
    it is and holds up no other one; the task fails at its end with every name and reason.
  - A gateway that is no longer in the list stays as it is and is reported in RV(orphans).
extends_documentation_fragment:
  - bulkhead.mesh._auth
  - bulkhead.mesh._wait
  - bulkhead.mesh._attributes
  - bulkhead.mesh._attributes.bulkhead
attributes:
  check_mode:
    support: full
    details:
      - A namespace or Secret that does not exist yet is a warning, and what depends on it is not predicted in detail.
  diff_mode:
    support: full
    details:
      - Never shows anything of a WireGuard configuration but its endpoint and DNS servers.
  idempotent:
    support: full
    details:
      - The name of a VPN server is looked up each time; an address in use is kept as long as the name has it.
options:
  gateways:
    description:
      - The gateways, each a dictionary. V(name) (at most 52 characters) and V(namespace) are needed, and V(config_secret)
        unless it is removed.
      - V(config_secret) is a Secret of that namespace with the provider's WireGuard file under the key C(wg0.conf). A
        Secret with a single key that ends in C(.conf) will do as well.
      - V(vni), V(network) (IPv4, /16 to /29), V(port) (UDP, V(14789)) and V(mtu) are chosen when absent, and then kept.
      - V(pod) says where and how its pod runs - V(image_pull_secrets) (names of Secrets), V(node_selector), V(tolerations),
        V(affinity), V(priority_class_name), V(labels), V(annotations), and V(resources) by container (V(firewall), V(engine),
        V(gateway), V(resolver), each with V(requests) and V(limits)). The endpoint controller of the namespace gets the pull
        secrets and tolerations of all its gateways, and of the rest, but resources, labels and annotations, what all of them
        say alike.
      - V(engine) is V(wireguard) and V(transport) V(vxlan).
      - V(state) is V(present), or V(absent), which is refused while clients are registered.
    type: list
    elements: dict
    required: true
  images:
    description:
      - The images that the pods run.
    type: dict
    default: {}
    suboptions:
      agent:
        description:
          - Image with python3, iproute2 and nftables.
        type: str
        default: docker.io/nicolaka/netshoot:v0.14
      engine:
        description:
          - Image that has C(wg) besides, and C(wireguard-go) for nodes whose kernel has no WireGuard.
          - Needed unless all O(gateways) are V(absent). No public image has all of it.
        type: str
      resolver:
        description:
          - Image of CoreDNS.
        type: str
        default: docker.io/coredns/coredns:1.14.1
      pull_policy:
        description:
          - When nodes pull the images.
        type: str
        choices: [Always, IfNotPresent, Never]
        default: IfNotPresent
  dns:
    description:
      - Name servers behind the tunnel for gateways whose WireGuard configuration names none with an IPv4 address.
      - When absent, such a configuration is refused.
    type: list
    elements: str
    default: []
  cluster_domain:
    description:
      - Domain of the cluster. Of its names the resolver answers only those that clients may call.
    type: str
    default: cluster.local
  cluster_networks:
    description:
      - Networks of the cluster by what they are for, such as V(pods), V(services) and V(nodes), each a list of CIDRs. No
        gateway gets a network that overlaps one of them.
      - When absent, overlaps are not noticed.
    type: dict
    default: {}
  defer:
    description:
      - Whether what is wrong with some gateways, such as a missing Secret or a tunnel that carries no traffic yet, is only
        told, in RV(failure) and RV(ignore:msg), for callers that see to clients all the same and fail after that. What
        concerns all of them fails at once.
    type: bool
    default: false
  force_conflicts:
    description:
      - Whether to take over fields that others manage with other values.
    type: bool
    default: false
seealso:
  - module: bulkhead.mesh.object_set
notes:
  - The namespaces of gateways need the Pod Security level V(privileged), for NET_ADMIN and the device C(/dev/net/tun).
"""

EXAMPLES = r"""
- name: Keep one gateway
  bulkhead.mesh.vpn_gateway:
    gateways:
      - name: vpnarr
        namespace: vpn
        config_secret: mullvad-wg0
    images:
      engine: registry.example.com/bulkhead/engine:1

- name: Remove a gateway that has no clients any more
  bulkhead.mesh.vpn_gateway:
    gateways:
      - name: vpnold
        namespace: vpn
        state: absent
"""

RETURN = r"""
gateways:
  description: The gateways that are present, as planned from the list.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the gateway.
      returned: success
      type: str
      sample: vpnarr
    namespace:
      description: Its namespace.
      returned: success
      type: str
      sample: vpn
    network:
      description: Network of inner addresses; the first one is the gateway's.
      returned: success
      type: str
      sample: 10.222.1.0/24
    vni:
      description: VXLAN network identifier.
      returned: success
      type: int
      sample: 7001
    port:
      description: UDP port of the carrier.
      returned: success
      type: int
      sample: 14789
    endpoint:
      description: Address and port of the VPN server; null where only a real run can know.
      returned: success
      type: str
      sample: 198.51.100.2:51820
    clients:
      description: Ids of registered clients.
      returned: success
      type: list
      elements: str
      sample: [downloads.qbittorrent]
orphans:
  description: Gateways that are registered and not in the list; they were left alone.
  returned: success
  type: list
  elements: dict
  sample: []
problems:
  description: What was refused, each with C(object), C(path), C(value) and C(msg).
  returned: when the input or gateways were refused
  type: list
  elements: dict
failure:
  description: What failed, for programs; RV(ignore:msg) says it in a sentence.
  returned: failure, and with O(defer) for what is wrong with some gateways
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils import _argspec, _module, _vpn_gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _parse
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError


def spec() -> dict[str, Any]:
    """The module's argument spec."""
    images = {
        "agent": {"type": "str", "default": "docker.io/nicolaka/netshoot:v0.14"},
        "engine": {"type": "str"},
        "resolver": {"type": "str", "default": "docker.io/coredns/coredns:1.14.1"},
        "pull_policy": {"type": "str", "choices": ["Always", "IfNotPresent", "Never"], "default": "IfNotPresent"},
    }
    return _argspec.merge(
        _argspec.auth(),
        _argspec.wait(),
        {
            "gateways": {"type": "list", "elements": "dict", "required": True},
            "images": {"type": "dict", "default": {}, "options": images, "apply_defaults": True},
            "dns": {"type": "list", "elements": "str", "default": []},
            "cluster_domain": {"type": "str", "default": "cluster.local"},
            "cluster_networks": {"type": "dict", "default": {}},
            "defer": {"type": "bool", "default": False},
            "force_conflicts": {"type": "bool", "default": False},
        },
    )


def main() -> None:
    """Judge, plan, apply, wait and return."""
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    _module.prepare(module)
    run = _vpn_gateway.Run(module.params, module.check_mode, module.no_log_values.add)
    try:
        gateways, problems = _parse.parse_gateways(module.params["gateways"])
        if problems:
            raise _vpn_gateway.Refused(problems)
        client = _client.Client(module.params)
        result = run.go(client, client.target, gateways)
    except _vpn_gateway.Refused as exc:
        failure = {"code": None, "reason": "Refused", "object": exc.problems[0].object, "details": None}
        problems = [one.to_dict() for one in exc.problems]
        module.fail_json(msg=str(exc), problems=problems, failure=failure, changed=False)
    except KubeError as exc:
        module.fail_json(msg=exc.msg, failure=exc.failure, changed=run.changed)
    for warning in run.warnings:
        module.warn(warning)
    if module._diff:
        result["diff"] = run.diff
    _module.end(module, {"changed": run.changed, **result}, defer=module.params["defer"])


if __name__ == "__main__":
    main()
