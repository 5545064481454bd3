#!/usr/bin/python
# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: istio_namespace
short_description: Prepare the namespace of Istio, and remove what its control plane leaves behind
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Before the charts, makes the namespace and lets the node agents' pods into it. A namespace that has a Pod Security
    level keeps it.
  - After the charts are gone, removes what the control plane had made by itself and Helm does not know. These are the
    root certificates in every namespace, its locks, its certificate authority and its GatewayClasses.
  - A namespace that this module made is deleted with O(state=absent) when nothing of others is in it. Any other one only
    loses the marks this module had set.
  - A certificate authority of the user's, in the Secret C(cacerts), is never touched.
extends_documentation_fragment:
  - bulkhead.mesh._auth
  - bulkhead.mesh._attributes
  - bulkhead.mesh._attributes.bulkhead
attributes:
  check_mode:
    support: full
    details:
      - What the charts still hold counts as there, so before they are uninstalled no deletion of the namespace is shown.
  diff_mode:
    support: full
    details:
      - Shows the actions.
  idempotent:
    support: full
options:
  name:
    description:
      - Name of the namespace.
      - When absent, V(istio-system).
    type: str
    default: istio-system
  state:
    description:
      - Whether Istio is to be installed into it, or was uninstalled from it.
      - When absent, V(present).
    type: str
    choices: [present, absent]
    default: present
  delete_crds:
    description:
      - Whether O(state=absent) also deletes the CRDs of our Helm release, and with them every object of these kinds.
      - When absent, they stay.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Prepare the namespace
  bulkhead.mesh.istio_namespace:
    name: istio-system

- name: Remove what the control plane left behind
  bulkhead.mesh.istio_namespace:
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ['create Namespace istio-system']
kept:
  description: Why the namespace that this module had made is still there; empty if it is not, or was not made by it.
  returned: success
  type: str
  sample: ''
failure:
  description: What failed, for programs; RV(ignore:msg) says it in a sentence.
  returned: failure
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils import _argspec, _module
from ansible_collections.bulkhead.mesh.plugins.module_utils._istio._surroundings import Surroundings
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError


def spec() -> dict[str, Any]:
    """The module's argument spec."""
    return _argspec.merge(
        _argspec.auth(),
        {
            "name": {"type": "str", "default": "istio-system"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "delete_crds": {"type": "bool", "default": False},
        },
    )


def main() -> None:
    """Make or clean up, and return."""
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    params = module.params
    _module.prepare(module)
    actions: list[str] = []
    try:
        client = _client.Client(params)
        run = Surroundings(client, client.target, params["name"], module.check_mode, actions)
        if params["state"] == "present":
            run.present()
        else:
            run.absent(params["delete_crds"])
    except KubeError as exc:
        module.fail_json(msg=exc.msg, failure=exc.failure, changed=bool(actions) and not module.check_mode)
    result: dict[str, Any] = {"actions": actions, "kept": run.kept}
    if module._diff and actions:
        result["diff"] = {"before": "", "after": "".join(f"{action}\n" for action in actions)}
    module.exit_json(changed=bool(actions), **result)


if __name__ == "__main__":
    main()
