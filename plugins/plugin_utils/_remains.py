# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What a teardown leaves on the cluster, and how to go on from there: a sentence for each. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SEALED, STOPPED, OPEN = "sealed", "stopped", "open"
_MANAGED = "managed"


def sentences(
    clients: Sequence[Mapping[str, Any]],
    detach_to: str,
    namespaces: Sequence[str],
    components: Mapping[str, str],
    deletes_gateway_api: bool,
) -> list[str]:
    """Clients first, then what is not theirs; the last one says how to go on."""
    said = [_client(one, detach_to) for one in clients]
    if namespaces:
        said.append(
            f"Namespaces stay, with everything in them that this collection did not make: {', '.join(namespaces)}. "
            "`kubectl delete namespace NAME` removes one that you do not need any more."
        )
    if components.get("istio") == _MANAGED:
        said.append(
            "Istio's definitions (CRDs) stay, because every object of these kinds would go with them: "
            "istio_delete_crds: true removes them."
        )
    if components.get("gateway_api") == _MANAGED and not deletes_gateway_api:
        said.append(
            "The definitions (CRDs) of the Gateway API stay, because they hold the gateways and routes of everybody: "
            "bulkhead_delete_gateway_api: true removes them once no object of these kinds is left."
        )
    if components.get("tailscale") == _MANAGED:
        said.append("The operator's own device stays in the list of the tailnet: its administrator removes it there.")
    said.append(
        "Secrets, workloads and volumes that you made are untouched; reports on this machine stay where they are."
    )
    said.append("site.yml (bulkhead.mesh.site) with the same inventory sets everything up again.")
    return said


def _client(one: Mapping[str, Any], detach_to: str) -> str:
    kind, place, name = str(one.get("kind")), str(one.get("namespace")), str(one.get("name"))
    scale = f"`kubectl -n {place} scale {kind.lower()}/{name} --replicas=N`"
    what = {
        SEALED: (
            "is sealed, at 0 replicas: guard, policy and admission stay, so whoever starts it starts it without a way out. "
            "teardown.yml with bulkhead_detach_to: open (or stopped) ends that."
        ),
        STOPPED: (
            "is stopped, at 0 replicas, and nothing protects it any more: whoever starts it lets it leave by the node. "
            f"{scale} starts it."
        ),
        OPEN: "is given back as it was: it leaves by the node now.",
    }
    return f"{kind} {place}/{name} {what.get(detach_to, f'is {detach_to}.')}"
