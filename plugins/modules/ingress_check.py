#!/usr/bin/python
# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ingress_check
short_description: Check that gateways serve on their addresses
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Looks at gateways, their routes, pods and addresses until all is as wanted or the time is over.
  - A condition of an older generation counts for nothing, and a gateway that is Programmed without a ready pod does not
    pass.
  - On every end it returns the same evidence; it changes nothing.
extends_documentation_fragment:
  - bulkhead.mesh._auth
  - bulkhead.mesh._wait
  - bulkhead.mesh._attributes
  - bulkhead.mesh._attributes.info_module
  - bulkhead.mesh._attributes.bulkhead
options:
  gateways:
    description:
      - The gateways. P(bulkhead.mesh.ingress_plan#filter) makes this list from an inventory.
      - When absent, none is looked at.
    type: list
    elements: dict
    default: []
    suboptions:
      namespace:
        description: Its namespace.
        type: str
        required: true
      name:
        description: Its name.
        type: str
        required: true
      exposure:
        description: V(lan) needs an address, V(cluster) must have none.
        type: str
        choices: [lan, cluster]
        default: lan
      addresses:
        description:
          - The addresses it must have.
          - When absent, any.
        type: list
        elements: str
        default: []
      announced:
        description: Whether a node must announce the address by ARP or NDP.
        type: bool
        default: false
      listeners:
        description: Names of listeners, each with the number of routes that must be attached at least.
        type: dict
        default: {}
      routes:
        description: HTTPRoutes that it must accept, each as V(namespace/name).
        type: list
        elements: str
        default: []
  workloads:
    description:
      - Deployments and DaemonSets that must have all their pods available.
      - When absent, none.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description: Its kind.
        type: str
        choices: [Deployment, DaemonSet]
        required: true
      namespace:
        description: Its namespace.
        type: str
        required: true
      name:
        description: Its name.
        type: str
        required: true
  configuration:
    description:
      - Namespace of a MetalLB that must have accepted its configuration. Versions before 0.16 do not say whether they
        have, and are not asked.
      - When absent, it is not asked.
    type: str
  enforce:
    description:
      - Whether a check that did not pass is a failure of the task.
    type: bool
    default: true
seealso:
  - module: bulkhead.mesh.ingress_info
"""

EXAMPLES = r"""
- name: Wait until a gateway serves on its address
  bulkhead.mesh.ingress_check:
    gateways:
      - namespace: gateway-arr
        name: arr
        addresses: [192.0.2.101]
        listeners: {http: 1}
        routes: [core/radarr]

- name: Look once, and go on whatever comes of it
  bulkhead.mesh.ingress_check:
    gateways: [{namespace: gateway-arr, name: arr}]
    wait_timeout: 0
    enforce: false
"""

RETURN = r"""
checks:
  description: What was awaited and what was seen last, in the order of the input.
  returned: success, and on failure when anything was seen
  type: list
  elements: dict
  contains:
    id:
      description: Name of the check.
      returned: always
      type: str
      sample: gateway-address
    object:
      description: What it is about.
      returned: always
      type: str
      sample: Gateway gateway-arr/arr
    result:
      description: V(pass) or V(fail).
      returned: always
      type: str
      sample: pass
    expected:
      description: What was awaited.
      returned: always
      type: str
      sample: 192.0.2.101
    observed:
      description: What was seen last.
      returned: always
      type: str
      sample: 192.0.2.101
acceptable:
  description: Whether all checks passed.
  returned: success, and on failure when anything was seen
  type: bool
  sample: true
failure:
  description: What failed, for programs; RV(ignore:msg) says it in a sentence.
  returned: failure
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils import _argspec, _await, _ingress_wait, _module


def spec() -> dict[str, Any]:
    """The module's argument spec."""
    name = {"type": "str", "required": True}
    gateway = {
        "namespace": name,
        "name": name,
        "exposure": {"type": "str", "choices": ["lan", "cluster"], "default": "lan"},
        "addresses": {"type": "list", "elements": "str", "default": []},
        "announced": {"type": "bool", "default": False},
        "listeners": {"type": "dict", "default": {}},
        "routes": {"type": "list", "elements": "str", "default": []},
    }
    workload = {
        "kind": {"type": "str", "choices": ["Deployment", "DaemonSet"], "required": True},
        "namespace": name,
        "name": name,
    }
    return _argspec.merge(
        _argspec.auth(),
        _argspec.wait(),
        {
            "gateways": {"type": "list", "elements": "dict", "default": [], "options": gateway},
            "workloads": {"type": "list", "elements": "dict", "default": [], "options": workload},
            "configuration": {"type": "str"},
            "enforce": {"type": "bool", "default": True},
        },
    )


def main() -> None:
    """Look, judge and return."""
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    _module.prepare(module)
    _await.run(module, _ingress_wait.Looker)


if __name__ == "__main__":
    main()
