# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which pods a gateway's policy is for: those of its StatefulSet, not everything that carries its labels."""

from __future__ import annotations

from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._killswitch import _read

GATEWAY = Gateway("north", "vpn", "wg")
WORKLOAD = {"kind": "StatefulSet", "metadata": {"name": "north", "namespace": "vpn"}, "spec": {}}


def pod(name: str, owner: str | None) -> dict[str, Any]:
    owners = [{"kind": "StatefulSet", "name": owner, "controller": True}] if owner else []
    labels = _names.gateway_pod_labels(GATEWAY.name)
    metadata = {"name": name, "namespace": "vpn", "labels": labels, "ownerReferences": owners}
    return {"kind": "Pod", "metadata": metadata}


def names(seen: _read.Seen) -> Any:
    found = _read.own_gateway_pods(GATEWAY, seen)
    return found if isinstance(found, Missing) else [one["metadata"]["name"] for one in found]


def test_a_stranger_with_the_labels_is_not_meant() -> None:
    pods = [pod("north-0", "north"), pod("stranger", None), pod("south-0", "south")]
    seen = _read.Seen([WORKLOAD, *pods], {})
    assert names(seen) == ["north-0"]
    assert len(_read.gateway_pods(GATEWAY, seen)) == 3


def test_without_a_workload_no_pod_is_meant() -> None:
    assert names(_read.Seen([pod("north-0", "north")], {})) == []


def test_what_could_not_be_read_is_missing() -> None:
    for kind in ("StatefulSet", "Pod"):
        seen = _read.Seen([WORKLOAD, pod("north-0", "north")], {(kind, "vpn"): "status 403"})
        assert names(seen) == Missing("status 403")
        assert isinstance(names(seen), Missing)
