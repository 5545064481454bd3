# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What carries our labels although no list names its client: reported, never touched. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _flow,
    _names,
    _registry,
    _selector,
    _template,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client

LIST = "bulkhead_vpn_clients"
_Object = dict[str, Any]
_Key = tuple[str, str, str]  # kind, namespace, name


def attached(listed: Collection[_Key], workloads: Iterable[Mapping[str, Any]]) -> list[_Object]:
    """Workloads that are attached and that no list names, as in ``orphans``; ``workloads`` are of the whole cluster.

    A copy of an attached workload under another name is one too: its pods carry the guard and no gateway knows them.
    """
    found = []
    for one in workloads:
        client = _selector.pod_labels(one).get(_names.CLIENT_LABEL)
        whole = bool(_selector.pod_template(one).get("spec"))
        if _flow.key_of(one) in listed or not (client or whole and _template.is_attached(one)):
            continue
        client = client or _names.client_id(one["metadata"]["namespace"], one["metadata"]["name"])
        reason = "it is attached and stays sealed behind its gateway"
        remedy = (
            f"add it to {LIST} again, or give it back: list it with state absent and detach_to open, or delete the "
            "workload and list it with state absent once more"
        )
        what = _selector.reference(one)
        words = f"{what} is attached to a VPN gateway and {LIST} does not name it: it stays as it is; {remedy}."
        found.append({**_orphan(one, client, reason), "msg": words})
    return found


def orphans(clients: Iterable[Client], held: _flow.Held, registries: Mapping[str, _registry.Registry]) -> list[_Object]:
    """What carries our labels and is in no list: ``{kind, namespace, name, client, reason, msg}``, never touched."""
    clients = list(clients)
    listed = {client.id for client in clients}
    found = attached({(one.kind, one.namespace, one.name) for one in clients}, held.all("StatefulSet", "Deployment"))
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
    where = f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
    words = f"{where} is of VPN client {client}, which {LIST} does not name: {reason}."
    return {
        "kind": kind,
        "namespace": namespace or None,
        "name": name,
        "client": client,
        "reason": reason,
        "msg": words,
    }
