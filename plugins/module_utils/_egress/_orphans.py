# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What carries our labels although no list names its client: reported, never touched. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _flow, _names, _registry, _selector
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client

_Object = dict[str, Any]


def orphans(clients: Iterable[Client], held: _flow.Held, registries: Mapping[str, _registry.Registry]) -> list[_Object]:
    """What carries our labels and is in no list: ``{kind, namespace, name, client, reason}``, never touched."""
    listed = {client.id for client in clients}
    found = []
    for one in held.all("StatefulSet", "Deployment"):
        client = _selector.pod_labels(one).get(_names.CLIENT_LABEL)
        if client and client not in listed:
            found.append(_orphan(one, client, "it is attached and stays sealed behind its gateway"))
    for one in held.all("NetworkPolicy", "ValidatingAdmissionPolicy"):
        client = _flow.client_label(one)
        if client and client not in listed:
            found.append(_orphan(one, client, "it protects a client that no list names"))
    for namespace, registry in sorted(registries.items()):
        for name, gateway in sorted((registry.get("gateways") or {}).items()):
            for client in sorted(gateway.get("clients") or {}):
                if client not in listed:
                    entry = {"kind": "ConfigMap", "metadata": {"namespace": namespace, "name": _registry.NAME}}
                    found.append(_orphan(entry, client, f"gateway {name} keeps its addresses"))
    return found


def _orphan(one: Mapping[str, Any], client: str, reason: str) -> _Object:
    kind, namespace, name = _flow.key_of(one)
    return {"kind": kind, "namespace": namespace or None, "name": name, "client": client, "reason": reason}
