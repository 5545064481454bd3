#!/usr/bin/python
# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tailnet_check
short_description: Check that the Tailscale operator is up and gateways are on the tailnet
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Looks at the operator, at a ProxyClass, and at the devices of gateways until all is as wanted or the time is over.
  - An operator counts when it says itself that its start is complete, a device when it has its name and addresses. Refused
    credentials and a control server that is not reached end the wait early.
  - Of the Secrets in which proxies keep their state it takes name, number and addresses of the device, and nothing else.
  - On every end it returns the same evidence; it changes nothing.
extends_documentation_fragment:
  - bulkhead.mesh._auth
  - bulkhead.mesh._wait
  - bulkhead.mesh._attributes
  - bulkhead.mesh._attributes.info_module
  - bulkhead.mesh._attributes.bulkhead
options:
  namespace:
    description: Namespace of the operator, where its proxies are too.
    type: str
    default: tailscale
  operator:
    description:
      - Name of its Deployment, which must be logged in and started.
      - When absent, it is not asked.
    type: str
  login_timeout:
    description:
      - How many seconds an operator that runs may take to be logged in, before it is said that it never will.
    type: int
    default: 25
  proxy_class:
    description:
      - Name of a ProxyClass that the operator must have accepted.
      - When absent, none.
    type: str
  devices:
    description:
      - Gateways that must be on the tailnet. P(bulkhead.mesh.ingress_plan#filter) makes this list from an inventory.
      - When absent, none is looked at.
    type: list
    elements: dict
    default: []
    suboptions:
      namespace:
        description: Namespace of the gateway.
        type: str
        required: true
      gateway:
        description: Its name.
        type: str
        required: true
      hostname:
        description: The name that it must have on the tailnet.
        type: str
        required: true
  gone:
    description:
      - Services that must be off the tailnet, with their device and the operator's finalizer gone.
      - When absent, none.
    type: list
    elements: dict
    default: []
    suboptions:
      namespace:
        description: Namespace of the Service.
        type: str
        required: true
      name:
        description: Its name.
        type: str
        required: true
  enforce:
    description:
      - Whether a check that did not pass is a failure of the task.
    type: bool
    default: true
seealso:
  - module: bulkhead.mesh.ingress_check
"""

EXAMPLES = r"""
- name: Wait until the operator is logged in
  bulkhead.mesh.tailnet_check:
    operator: operator

- name: See under which names gateways are on the tailnet
  bulkhead.mesh.tailnet_check:
    devices:
      - {namespace: gateway-arr, gateway: arr, hostname: arr}
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
      sample: device-joined
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
      sample: a device arr with addresses
    observed:
      description: What was seen last.
      returned: always
      type: str
      sample: arr.example.ts.net 100.64.0.3
devices:
  description: Gateways of O(devices) that are on the tailnet.
  returned: success, and on failure when anything was seen
  type: list
  elements: dict
  contains:
    gateway:
      description: Namespace and name.
      returned: always
      type: str
      sample: gateway-arr/arr
    name:
      description: Its name on the tailnet.
      returned: always
      type: str
      sample: arr.example.ts.net
    addresses:
      description: Its addresses there.
      returned: always
      type: list
      elements: str
      sample: [100.64.0.3]
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

from ansible_collections.bulkhead.mesh.plugins.module_utils import _argspec, _await, _module, _tailnet_wait


def spec() -> dict[str, Any]:
    """The module's argument spec."""
    name = {"type": "str", "required": True}
    device = {"namespace": name, "gateway": name, "hostname": name}
    return _argspec.merge(
        _argspec.auth(),
        _argspec.wait(),
        {
            "namespace": {"type": "str", "default": "tailscale"},
            "operator": {"type": "str"},
            "login_timeout": {"type": "int", "default": 25},
            "proxy_class": {"type": "str"},
            "devices": {"type": "list", "elements": "dict", "default": [], "options": device},
            "gone": {"type": "list", "elements": "dict", "default": [], "options": {"namespace": name, "name": name}},
            "enforce": {"type": "bool", "default": True},
        },
    )


def main() -> None:
    """Look, judge and return."""
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    _module.prepare(module)
    _await.run(module, _tailnet_wait.Looker, devices=_tailnet_wait.devices)


if __name__ == "__main__":
    main()
