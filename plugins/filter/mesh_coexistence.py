# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _sealed
from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh import _coexist, _enrolment

DOCUMENTATION = r"""
name: mesh_coexistence
short_description: What keeps a mesh and VPN clients from living together
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Finds namespaces that must not be enrolled or sealed, ServiceEntries that would lead a client past its VPN, and
    clients whose names would leave beside it. It reads nothing itself.
positional: _input
options:
  _input:
    description:
      - Namespaces, each with C(name), C(mesh) and C(egress), as in the variable C(bulkhead_namespaces).
    type: list
    elements: dict
    required: true
  gateways:
    description:
      - VPN gateways, each with C(name) and C(namespace).
      - When absent, none.
    type: list
    elements: dict
    default: []
  ingress:
    description:
      - Ingress gateways, each with C(name) and C(namespace).
      - When absent, none.
    type: list
    elements: dict
    default: []
  clients:
    description:
      - VPN clients, each with C(kind), C(namespace), C(name) and C(egress).
      - When absent, none.
    type: list
    elements: dict
    default: []
  seen:
    description:
      - RV(bulkhead.mesh.istio_info#module:istio).
      - When absent, there is no mesh, and only the namespaces are judged.
    type: dict
  dns:
    description:
      - The cluster's DNS Service with C(namespace) and C(name).
      - When absent, it is not known.
    type: dict
  socket_lb:
    description:
      - Whether the pod network translates Services inside the sockets of pods, as C(cni.socket_lb) of
        RV(bulkhead.mesh.cluster_info#module:cluster) says.
      - When absent, it does not.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Refuse what would lead past the VPN
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join(' ') }}"
    quiet: true
  vars:
    problems: >-
      {{ bulkhead_namespaces | bulkhead.mesh.mesh_coexistence(
           gateways=bulkhead_vpn_gateways, clients=bulkhead_vpn_clients, seen=found.istio) }}
"""

RETURN = r"""
_value:
  description: Sentences with the remedy; empty where all is well.
  type: list
  elements: str
"""


def mesh_coexistence(
    namespaces: Sequence[Mapping[str, Any]],
    gateways: Sequence[Mapping[str, Any]] = (),
    clients: Sequence[Mapping[str, Any]] = (),
    seen: Mapping[str, Any] | None = None,
    dns: Any = None,
    socket_lb: bool = False,
    ingress: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Checked input for the pure function."""
    lists = {"namespaces": namespaces, "gateways": gateways, "clients": clients, "ingress gateways": ingress}
    for name, value in lists.items():
        if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
            raise AnsibleFilterError(f"mesh_coexistence needs a list of {name}: write each as an entry of a list.")
    known = dns if isinstance(dns, Mapping) else None
    system = _enrolment.forbidden(seen["namespace"]["name"] if seen else "istio-system")
    return [
        *_coexist.problems(namespaces, gateways, clients, seen, known, socket_lb),
        *_sealed.problems(namespaces, gateways, ingress, system),
    ]


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"mesh_coexistence": mesh_coexistence}
