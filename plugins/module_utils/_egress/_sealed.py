# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Namespaces out of which no pod gets but by a policy of its own: ``egress: sealed`` in the list of namespaces.

Policies add up, so this one takes nothing from a VPN client, whose own policy says what it may do. It is for the
workload that nobody thought of: one that was installed again under another name has no policy and no guard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names

NAME = "bulkhead-sealed"
# On the namespace: one that the inventory forgot and that keeps its labels stays sealed by it.
LABEL = _names.PREFIX + "egress"
OPEN, SEALED = "open", "sealed"
CHOICES = (OPEN, SEALED)
_Entry = Mapping[str, Any]


def policy(namespace: str) -> dict[str, Any]:
    """The NetworkPolicy: every pod, nothing out."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
    }


def is_sealed(entry: _Entry) -> bool:
    """Whether an entry of the list asks for it."""
    return bool(entry.get("egress") == SEALED)


def problems(
    namespaces: Iterable[_Entry], gateways: Sequence[_Entry], ingress: Sequence[_Entry], system: Iterable[str]
) -> list[str]:
    """Namespaces that must not be sealed, as sentences; gateways and ingress gateways as in the inventory."""
    needs = dict.fromkeys(system, "the cluster or the mesh itself needs its pods to reach others")
    needs.update(
        {
            one["namespace"]: f"ingress gateway {one.get('name')} could not reach what it is for"
            for one in ingress
            if one.get("namespace")
        }
    )
    needs.update(
        {
            one["namespace"]: f"the endpoint controller of VPN gateway {one['name']} has to reach the API server"
            for one in gateways
            if one.get("state") != "absent"
        }
    )
    return [
        f"bulkhead_namespaces[{index}].egress is {SEALED} for the namespace {one['name']}: {needs[one['name']]}; leave "
        f"it {OPEN}, and have VPN clients in a namespace of their own."
        for index, one in enumerate(namespaces)
        if is_sealed(one) and one.get("name") in needs
    ]
