#!/usr/bin/python
# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_enrolment
short_description: See that every pod is in the mesh as its namespace says, or take namespaces out of it
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Compares the labels of namespaces and each of their pods with what is wanted, and waits until they agree. A pod counts
    as enrolled by the annotation C(ambient.istio.io/redirection=enabled) of the node's agent, not by its namespace's label.
  - With O(state=present) nothing is changed; the labels are set by the role P(bulkhead.mesh.namespaces#role). With
    O(state=absent) the labels go first, and the module waits until every pod has left.
  - Pods with the node's network, with a sidecar, or with a label of their own that keeps them out are exempt.
  - Pods that were made before their namespace was to have sidecars are reported and not restarted.
extends_documentation_fragment:
  - bulkhead.mesh._auth
  - bulkhead.mesh._wait
  - bulkhead.mesh._attributes
  - bulkhead.mesh._attributes.bulkhead
attributes:
  check_mode:
    support: full
    details:
      - There is one look, and what is missing is returned and no failure.
  diff_mode:
    support: full
    details:
      - Shows the labels that go.
  idempotent:
    support: full
options:
  namespaces:
    description:
      - The namespaces.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the namespace.
        type: str
        required: true
      mesh:
        description:
          - How its pods are to be in the mesh. V(none) means out of it; V(unmanaged) is not judged.
          - When absent, V(unmanaged).
        type: str
        choices: [ambient, sidecar, none, unmanaged]
        default: unmanaged
  forbidden:
    description:
      - Further namespaces that must never be in the mesh, such as those of VPN gateways. Istio's own, C(kube-system),
        C(metallb-system) and C(tailscale) always are.
      - When absent, no further ones.
    type: list
    elements: str
    default: []
  istio_namespace:
    description:
      - Namespace of Istio.
      - When absent, V(istio-system).
    type: str
    default: istio-system
  state:
    description:
      - V(present) to see that all is as wanted, V(absent) to take the namespaces out of the mesh.
      - When absent, V(present).
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: See that every pod is where it belongs
  bulkhead.mesh.mesh_enrolment:
    namespaces:
      - {name: core, mesh: ambient}
      - {name: downloads, mesh: ambient}
      - {name: vpn, mesh: none}
    forbidden: [vpn]

- name: Take a namespace out of the mesh before Istio goes
  bulkhead.mesh.mesh_enrolment:
    namespaces:
      - {name: core, mesh: ambient}
    state: absent
"""

RETURN = r"""
complete:
  description: Whether every pod is as wanted. It can be V(false) only in check mode.
  returned: success
  type: bool
  sample: true
evidence:
  description: What is missing, in words.
  returned: success
  type: str
  sample: every pod is as wanted
namespaces:
  description: For each namespace C(name), C(mesh) and C(pods), the number of pods by state.
  returned: success
  type: list
  elements: dict
  sample: [{name: core, mesh: ambient, pods: {in: 3, exempt: 1}}]
pods:
  description: >-
    Every pod that was judged with C(namespace), C(name), C(state) and C(reason). States are V(in), V(out), V(exempt),
    V(not_running), V(needs_restart), V(waiting) and V(wrong).
  returned: success
  type: list
  elements: dict
  sample: [{namespace: core, name: radarr-0, state: in, reason: ''}]
restart:
  description: Pods that need a restart to get their sidecar.
  returned: success
  type: list
  elements: str
  sample: []
unlabelled:
  description: Namespaces whose labels were taken away.
  returned: success
  type: list
  elements: str
  sample: []
failure:
  description: What failed, for programs; RV(ignore:msg) says it in a sentence.
  returned: failure
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils import _argspec, _module
from ansible_collections.bulkhead.mesh.plugins.module_utils._istio._enrol import Enrolment
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh import _enrolment


def spec() -> dict[str, Any]:
    """The module's argument spec."""
    namespace = {
        "name": {"type": "str", "required": True},
        "mesh": {"type": "str", "choices": list(_enrolment.MESHES), "default": "unmanaged"},
    }
    return _argspec.merge(
        _argspec.auth(),
        _argspec.wait(),
        {
            "namespaces": {"type": "list", "elements": "dict", "required": True, "options": namespace},
            "forbidden": {"type": "list", "elements": "str", "default": []},
            "istio_namespace": {"type": "str", "default": "istio-system"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
    )


def main() -> None:
    """Judge the input, change labels where asked, wait and return."""
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    params = module.params
    _module.prepare(module)
    wanted = [_enrolment.Wanted(one["name"], one["mesh"]) for one in params["namespaces"]]
    absent = params["state"] == "absent"
    closed = () if absent else _enrolment.forbidden(params["istio_namespace"], params["forbidden"])
    problems = _enrolment.problems(wanted, closed)
    if problems:
        failure = {"code": None, "reason": "BadInput", "object": None, "details": None}
        module.fail_json(msg=" ".join(problems), failure=failure, changed=False)
    taken: list[str] = []
    try:
        client = _client.Client(params)
        run = Enrolment(client, client.target, wanted, closed)
        if absent:
            taken, run = run.unlabel(module.check_mode)
        seen = run.look() if module.check_mode else run.wait(params["wait_timeout"], params["wait_sleep"])
    except KubeError as exc:
        module.fail_json(msg=exc.msg, failure=exc.failure, changed=bool(taken) and not module.check_mode)
    result: dict[str, Any] = {
        "complete": seen.done,
        "evidence": seen.evidence(),
        "namespaces": _enrolment.summary(run.wanted, seen.judged),
        "pods": [one.to_dict() for one in seen.judged],
        "restart": [f"{one.namespace}/{one.name}" for one in seen.of(_enrolment.RESTART)],
        "unlabelled": taken,
    }
    if result["restart"]:
        module.warn(
            f"{len(result['restart'])} pods have no sidecar, because they are older than their namespace's label: restart "
            f"the workloads of {', '.join(result['restart'][:5])}."
        )
    bare = seen.of(_enrolment.NO_NETWORK)
    if bare:
        module.warn(
            f"{len(bare)} pods have no network yet and were not waited for; they join the mesh when they get one: "
            f"{', '.join(f'{one.namespace}/{one.name}' for one in bare[:5])}."
        )
    if module._diff and taken:
        result["diff"] = {"before": "".join(f"{name}: in the mesh\n" for name in taken), "after": ""}
    module.exit_json(changed=bool(taken), **result)


if __name__ == "__main__":
    main()
