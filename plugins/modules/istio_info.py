#!/usr/bin/python
# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: istio_info
short_description: Find out what of Istio is on a cluster, and wait until its parts serve
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Reads control plane, node agents, Helm releases, CRDs and everything else that decides whether Istio can be installed,
    upgraded or removed, with one LIST for each kind. Of Helm's Secrets only the metadata are read.
  - What may not be read is an error, because an Istio that is not seen would be taken for none.
extends_documentation_fragment:
  - bulkhead.mesh._auth
  - bulkhead.mesh._wait
  - bulkhead.mesh._attributes
  - bulkhead.mesh._attributes.info_module
  - bulkhead.mesh._attributes.bulkhead
options:
  namespace:
    description:
      - Namespace of Istio.
      - When absent, V(istio-system).
    type: str
    default: istio-system
  agent_namespace:
    description:
      - Namespace of istio-cni and ztunnel.
      - When absent, the one of O(namespace).
    type: str
  ztunnel_name:
    description:
      - Name of the DaemonSet of ztunnel.
      - When absent, V(ztunnel).
    type: str
    default: ztunnel
  wait_for:
    description:
      - Parts to wait for, one after the other, each for O(wait_timeout) seconds. V(base) is ready when its kinds are
        served, V(istiod) when also its webhooks refuse what is wrong and its GatewayClass is accepted, V(cni) and
        V(ztunnel) when they run on every node. A part that is not ready in time fails the task with what was seen last.
      - When absent, and in check mode, nothing is waited for.
    type: list
    elements: str
    choices: [base, istiod, cni, ztunnel]
    default: []
"""

EXAMPLES = r"""
- name: See what of Istio is there
  bulkhead.mesh.istio_info:
  register: result

- name: Wait until the control plane serves
  bulkhead.mesh.istio_info:
    wait_for: [istiod]
    wait_timeout: 300
"""

RETURN = r"""
istio:
  description: What was found.
  returned: success
  type: dict
  contains:
    namespace:
      description: Istio's namespace with C(name), C(exists) and C(pod_security), null where it has no level.
      returned: success
      type: dict
      sample: {name: istio-system, exists: true, pod_security: privileged}
    parts:
      description: >-
        Lists by part, V(istiod), V(cni) and V(ztunnel). Each entry has C(namespace), C(name), C(owner), C(revision),
        C(version), C(ready) and C(evidence).
      returned: success
      type: dict
      sample:
        istiod:
          - namespace: istio-system
            name: istiod
            owner: helm:istio-system/istiod
            revision: default
            version: 1.31.1
            ready: true
            evidence: 1 of 1 replicas updated, 1 available, 0 old
        cni: []
        ztunnel: []
    releases:
      description: Helm releases by the names this collection uses, each with C(namespace), C(name) and C(status).
      returned: success
      type: list
      elements: dict
      sample: [{namespace: istio-system, name: istiod, status: deployed}]
    crds:
      description: Istio's CRDs with C(name) and C(owner).
      returned: success
      type: list
      elements: dict
      sample: [{name: gateways.networking.istio.io, owner: helm:istio-system/istio-base}]
    sail:
      description: Names of objects by which the Sail operator keeps an Istio.
      returned: success
      type: list
      elements: str
      sample: []
    network:
      description: Settings of the pod network that ambient mode depends on; null for a provider that is not there.
      returned: success
      type: dict
      sample: {cilium: null, aws: null}
    injected_namespaces:
      description: Namespaces whose new pods get a sidecar, each with the label that says so.
      returned: success
      type: dict
      sample: {web: istio-injection=enabled}
    enrolled_namespaces:
      description: Namespaces whose label puts their pods into the ambient mesh.
      returned: success
      type: list
      elements: str
      sample: [core]
    gateways:
      description: Gateways of Istio's classes, with C(namespace), C(name) and C(class).
      returned: success
      type: list
      elements: dict
      sample: [{namespace: gateway-arr, name: arr, class: istio}]
    service_entries:
      description: >-
        ServiceEntries with C(namespace), C(name), C(hosts), C(addresses), C(resolution) and C(waypoint), which is empty
        where there is none.
      returned: success
      type: list
      elements: dict
      sample: []
ready:
  description: What was seen of each part that was waited for.
  returned: success
  type: dict
  sample: {istiod: 'Deployment istio-system/istiod: 1 of 1 replicas updated, 1 available, 0 old'}
failure:
  description: What failed, for programs; RV(ignore:msg) says it in a sentence.
  returned: failure
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils import _argspec, _module
from ansible_collections.bulkhead.mesh.plugins.module_utils._istio import _look, _parts
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError


def spec() -> dict[str, Any]:
    """The module's argument spec."""
    return _argspec.merge(
        _argspec.auth(),
        _argspec.wait(),
        {
            "namespace": {"type": "str", "default": "istio-system"},
            "agent_namespace": {"type": "str"},
            "ztunnel_name": {"type": "str", "default": "ztunnel"},
            "wait_for": {
                "type": "list",
                "elements": "str",
                "choices": ["base", "istiod", "cni", "ztunnel"],
                "default": [],
            },
        },
    )


def main() -> None:
    """Wait, read and return."""
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    params = module.params
    _module.prepare(module)
    try:
        client = _client.Client(params)
        agents = params["agent_namespace"] or params["namespace"]
        parts = _parts.Parts(client, client.target, params["namespace"], agents, params["ztunnel_name"])
        wanted = [] if module.check_mode else params["wait_for"]
        ready = {part: parts.wait(part, params["wait_timeout"], params["wait_sleep"]) for part in wanted}
        istio = _look.look(client, client.target, params["namespace"])
    except KubeError as exc:
        module.fail_json(msg=exc.msg, failure=exc.failure, changed=False)
    module.exit_json(changed=False, istio=istio, ready=ready)


if __name__ == "__main__":
    main()
