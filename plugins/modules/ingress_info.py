#!/usr/bin/python
# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ingress_info
short_description: Find out what of ingress is on a cluster
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Reads level and owner of the Gateway API, MetalLB and its pools, the Tailscale operator and what it serves, addresses of
    nodes and Services, and namespaces, for the roles C(gateway_api), C(metallb), C(tailscale) and C(ingress_gateways) to judge.
  - Of Secrets it only asks whether they exist; their content is never requested.
  - What the caller may not read is an error.
extends_documentation_fragment:
  - bulkhead.mesh._auth
  - bulkhead.mesh._wait
  - bulkhead.mesh._attributes
  - bulkhead.mesh._attributes.info_module
  - bulkhead.mesh._attributes.bulkhead
options:
  secrets:
    description:
      - Secrets to look for, each as V(namespace/name).
      - When absent, none.
    type: list
    elements: str
    default: []
  services:
    description:
      - Services whose ports are wanted, each as V(namespace/name).
      - When absent, none.
    type: list
    elements: str
    default: []
  contents:
    description:
      - Namespaces of which to list everything that is in them; one LIST for each kind of the cluster.
      - When absent, none.
    type: list
    elements: str
    default: []
  settle:
    description:
      - Whether to look at O(contents) until nothing is left in them that goes by itself.
    type: bool
    default: false
  gateway_api_objects:
    description:
      - Whether to list all objects of the Gateway API's kinds.
    type: bool
    default: false
seealso:
  - module: bulkhead.mesh.ingress_check
"""

EXAMPLES = r"""
- name: See who has which addresses
  bulkhead.mesh.ingress_info:
  register: found

- name: Show the pools
  ansible.builtin.debug:
    msg: "{{ found.ingress.metallb.pools }}"
"""

RETURN = r"""
ingress:
  description: What was found.
  returned: success
  type: dict
  contains:
    server:
      description: The API server.
      returned: success
      type: str
      sample: 192.0.2.1:6443
    gateway_api:
      description:
        - C(definitions) by name with C(version), C(channel), C(owner) (who would set a change back, empty for nobody) and
          C(ours); C(policy), whether the policy safe-upgrades is in force; C(classes), each with whether it is accepted;
          C(objects) where they were asked for.
      returned: success
      type: dict
      sample: {definitions: {}, policy: false, classes: {istio: true}, objects: []}
    metallb:
      description:
        - C(controllers) with their owner, C(pools) with their addresses and whether they are C(ours), and whether its
          kinds exist (C(crds), C(states)).
      returned: success
      type: dict
      sample: {controllers: [], pools: [], crds: false, states: false}
    tailnet:
      description:
        - Of the Tailscale operator its C(definitions) with their owners, C(operators) with namespace, name, owner, hostname and
          login server, C(classes) (names of ProxyClasses), and the C(ingresses) and C(custom) objects that it serves.
      returned: success
      type: dict
      sample: {definitions: {}, operators: [], classes: [], ingresses: [], custom: []}
    exposed:
      description:
        - Services on the tailnet, with the gateway they belong to, their C(hostname), whether that gateway is C(ours), and
          whether it is C(wanted) or on its way off the tailnet.
      returned: success
      type: list
      elements: dict
      sample: [{kind: Service, namespace: gateway-arr, name: arr-istio, gateway: arr, hostname: arr, wanted: true, ours: true}]
    nodes:
      description: >-
        Nodes with their addresses, and whether the label C(node.kubernetes.io/exclude-from-external-load-balancers) keeps
        MetalLB from announcing anything on them.
      returned: success
      type: list
      elements: dict
      sample: [{name: one, addresses: [192.0.2.10], excluded: false}]
    proxy:
      description: Configuration of kube-proxy, null where there is no such ConfigMap or it may not be read.
      returned: success
      type: str
      sample: "mode: iptables"
    load_balancers:
      description: Services of type LoadBalancer with their addresses, and the name of the gateway they belong to.
      returned: success
      type: list
      elements: dict
      sample: [{namespace: web, name: front, addresses: [192.0.2.100], gateway: ""}]
    namespaces:
      description: >-
        Namespaces by name, with their labels, which set of ours they belong to, and C(given), the labels that the role
        P(bulkhead.mesh.namespaces#role) and nobody else has given them.
      returned: success
      type: dict
      sample: {web: {labels: {}, ours: false, set: "", given: []}}
    secrets:
      description: Whether each of O(secrets) exists.
      returned: success
      type: dict
      sample: {gateway-arr/arr-tls: true}
    secret_versions:
      description: The version of each of O(secrets), empty for one that does not exist.
      returned: success
      type: dict
      sample: {gateway-arr/arr-tls: "4711"}
    services:
      description: Ports of each of O(services), null for one that does not exist.
      returned: success
      type: dict
      sample: {core/radarr: [7878]}
    sets:
      description: Names of our sets of objects that exist.
      returned: success
      type: list
      elements: str
      sample: [bulkhead-ingress]
    contents:
      description:
        - For each of O(contents) what is C(owned) by something else and goes with it, and what is C(foreign). What every
          namespace has is left out.
      returned: success
      type: dict
      sample: {gateway-arr: {owned: [], foreign: [Secret arr-tls]}}
failure:
  description: What failed, for programs; RV(ignore:msg) says it in a sentence.
  returned: failure
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils import _argspec, _ingress_look, _module
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError


def spec() -> dict[str, Any]:
    """The module's argument spec."""
    return _argspec.merge(
        _argspec.auth(),
        _argspec.wait(),
        {
            "secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "services": {"type": "list", "elements": "str", "default": []},
            "contents": {"type": "list", "elements": "str", "default": []},
            "settle": {"type": "bool", "default": False},
            "gateway_api_objects": {"type": "bool", "default": False},
        },
    )


def main() -> None:
    """Read and return."""
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    _module.prepare(module)
    try:
        client = _client.Client(module.params)
        found = _ingress_look.look(
            client,
            client.target,
            secrets=module.params["secrets"],
            services=module.params["services"],
            contents=[] if module.params["settle"] else module.params["contents"],
            kinds=module.params["gateway_api_objects"],
        )
        if module.params["settle"]:
            how = (module.params["wait_timeout"], module.params["wait_sleep"])
            found["contents"] = _ingress_look.settled(client, client.target, module.params["contents"], *how)
    except KubeError as exc:
        module.fail_json(msg=exc.msg, failure=exc.failure, changed=False)
    module.exit_json(changed=False, ingress=found)


if __name__ == "__main__":
    main()
