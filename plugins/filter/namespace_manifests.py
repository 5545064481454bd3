# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _sealed
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _model, _namespaces

DOCUMENTATION = r"""
name: namespace_manifests
short_description: Manifests of namespaces with their labels for mesh, segments and Pod Security, and what seals them
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Turns the list of namespaces into objects for O(bulkhead.mesh.object_set#module:objects).
positional: _input
options:
  _input:
    description:
      - Namespaces, each with C(name) and C(mesh), which is V(ambient), V(sidecar), V(none) or V(unmanaged).
      - V(none) keeps its pods out of a mesh; with V(unmanaged), or when C(mesh) is absent, no label says anything.
      - C(egress) is V(open), the default, or V(sealed), which adds a NetworkPolicy that lets no pod of the namespace out
        except by a policy that selects it.
      - C(segments) are names of segments of P(bulkhead.mesh.ingress_gateways#role), whose gateways its routes may attach to.
    type: list
    elements: dict
    required: true
  privileged:
    description:
      - Names of namespaces whose pods need the Pod Security level V(privileged). Those that are not in the list of
        namespaces are left out.
      - When absent, no namespace gets a level.
    type: list
    elements: str
    default: []
  kept:
    description:
      - Namespaces that are not in the list and keep what this collection has given them, each with its labels.
      - When absent, none.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Keep the namespaces
  bulkhead.mesh.object_set:
    name: bulkhead-namespaces
    namespace: kube-system
    objects: "{{ [{'name': 'downloads', 'mesh': 'ambient'}] | bulkhead.mesh.namespace_manifests(['downloads']) }}"
    adopt: [Namespace/downloads]
"""

RETURN = r"""
_value:
  description: One Namespace for each entry, and a NetworkPolicy for each that is sealed.
  type: list
  elements: dict
"""

MESH: dict[str, dict[str, str]] = {
    "ambient": {"istio.io/dataplane-mode": "ambient"},
    "sidecar": {"istio-injection": "enabled"},
    "none": {"istio.io/dataplane-mode": "none", "istio-injection": "disabled"},
    "unmanaged": {},
}
PRIVILEGED = {"pod-security.kubernetes.io/enforce": "privileged"}


def namespace_manifests(
    namespaces: Iterable[Mapping[str, Any]],
    privileged: Iterable[str] = (),
    kept: Mapping[str, Mapping[str, str]] | None = None,
) -> list[dict[str, Any]]:
    """One manifest for each namespace, followed by the policy of a sealed one."""
    if isinstance(namespaces, (str, Mapping)) or not isinstance(namespaces, Iterable):
        raise AnsibleFilterError("namespace_manifests needs a list of namespaces: write - {name: core, mesh: ambient}.")
    wanted, made = set(privileged), []
    parsed, problems = _namespaces.parse_namespaces(namespaces)
    if problems:
        raise AnsibleFilterError(" ".join(str(one) for one in problems))
    for one in parsed:
        attaches = {_model.segment_label(name): _model.ATTACHES for name in sorted(one.segments or ())}
        labels = {**MESH[one.mesh], **attaches, **(PRIVILEGED if one.name in wanted else {})}
        if one.egress == _sealed.SEALED:
            labels[_sealed.LABEL] = _sealed.SEALED
        metadata: dict[str, Any] = {"name": one.name, **({"labels": labels} if labels else {})}
        made.append({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        made += [_sealed.policy(one.name)] if one.egress == _sealed.SEALED else []
    listed = {one.name for one in parsed}
    for name, given in sorted((kept or {}).items()):
        if name not in listed:
            metadata = {"name": name, "labels": dict(given)}
            made.append({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
            made += [_sealed.policy(name)] if given.get(_sealed.LABEL) == _sealed.SEALED else []
    return made


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"namespace_manifests": namespace_manifests}
