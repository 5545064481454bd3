# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Whether an Istio is there that somebody else keeps; ``seen`` is what ``istio_info`` returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh import _charts

_BUSY = ("pending-install", "pending-upgrade", "pending-rollback", "uninstalling")
WORKLOADS = {"istiod": "Deployment", "cni": "DaemonSet", "ztunnel": "DaemonSet"}


def problems(seen: Mapping[str, Any], namespaces: Mapping[str, str]) -> list[str]:
    """Signs of another owner in one sentence; ``namespaces`` has the namespace of each part's release."""
    signs = [f"the Sail operator's Istio {name}" for name in seen["sail"]]
    for part, kind in WORKLOADS.items():
        ours = f"helm:{namespaces[part]}/{_charts.RELEASES[part]}"
        for one in seen["parts"][part]:
            what = f"{kind} {one['namespace']}/{one['name']}"
            if one["owner"] != ours:
                signs.append(f"{what} of {owner_text(one['owner'])}")
            elif one["revision"] not in ("default", ""):
                signs.append(f"{what} with the revision {one['revision']}")
    if not signs:
        # Those of a whole Istio need no sentence of their own.
        signs = _definitions(seen["crds"], f"helm:{namespaces['base']}/{_charts.RELEASES['base']}")
    found = []
    if signs:
        found.append(
            f"An Istio that this role does not keep is on the cluster ({', '.join(signs)}): set "
            "bulkhead_components.istio to external, or remove it."
        )
    for release in seen["releases"]:
        if release["status"] in _BUSY and release["namespace"] in namespaces.values():
            found.append(
                f"The Helm release {release['namespace']}/{release['name']} is {release['status']}: an earlier run was "
                f"interrupted; end it with 'helm -n {release['namespace']} rollback {release['name']}', or 'uninstall' "
                "where it is the first revision."
            )
    return found


def _definitions(crds: list[Mapping[str, str]], ours: str) -> list[str]:
    """CRDs that Helm would refuse to take over."""
    strangers = [one for one in crds if one["owner"] != ours]
    if not strangers:
        return []
    more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
    return [f"CustomResourceDefinition {strangers[0]['name']}{more} of {owner_text(strangers[0]['owner'])}"]


def owner_text(owner: str) -> str:
    """An owner in words.

    >>> owner_text("helm:mesh/istiod-canary")
    'the Helm release mesh/istiod-canary'
    """
    if owner.startswith("helm:"):
        return f"the Helm release {owner.removeprefix('helm:')}"
    return "an unknown owner" if owner == "unknown" else owner
