# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Pods that use what is a VPN client's and run without a guard. Pure.

A workload that was made again under another name or with other labels is not selected by its client's policy and
admission. Its pods still use the same account, volumes or image: by that they are found.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _left_behind, _names

_Object = Mapping[str, Any]
_ENDED = ("Succeeded", "Failed")
_DEFAULT_ACCOUNT = "default"


@dataclass(frozen=True)
class Sibling:
    """One such pod, and what it shares with the client, in words."""

    namespace: str
    name: str
    shares: tuple[str, ...]

    def __str__(self) -> str:
        return f"pod {self.namespace}/{self.name} uses {' and '.join(self.shares)}, and has no guard"


def find(
    workload: _Object, own: Iterable[_Object], pods: Iterable[_Object], accepted: Collection[str] = ()
) -> list[Sibling]:
    """Pods of the client's namespace without a guard that use its account, one of its claims or its image, by name.

    ``own`` are the client's own pods, which are looked at by themselves. ``accepted`` are ``namespace/name`` of pods, or of
    workloads whose pods are named after them, that the user knows to leave without the VPN.
    """
    mine = {one["metadata"]["name"] for one in own}
    namespace = workload["metadata"]["namespace"]
    found = []
    for one in pods:
        name = one["metadata"]["name"]
        if one["metadata"].get("namespace") != namespace or name in mine or _left_behind.is_guarded(one):
            continue
        if (one.get("status") or {}).get("phase") in _ENDED or _is_accepted(namespace, name, accepted):
            continue
        shares = _shared(workload, one)
        if shares:
            found.append(Sibling(namespace, name, tuple(shares)))
    return sorted(found, key=lambda one: one.name)


def _is_accepted(namespace: str, name: str, accepted: Collection[str]) -> bool:
    return any(f"{namespace}/{name}" == one or f"{namespace}/{name}".startswith(f"{one}-") for one in accepted)


def _shared(workload: _Object, pod: _Object) -> list[str]:
    spec = workload["spec"]["template"].get("spec") or {}
    found = []
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or _DEFAULT_ACCOUNT
    if account != _DEFAULT_ACCOUNT and pod["spec"].get("serviceAccountName") == account:
        found.append(f"its ServiceAccount {account}")
    is_claim = _claims(workload)
    found += [f"its volume claim {one}" for one in sorted(_mounted(pod["spec"])) if is_claim(one)]
    found += [f"its image {one}" for one in sorted(_images(spec) & _images(pod["spec"]))]
    return found


def _claims(workload: _Object) -> Any:
    """Whether a claim is one of the workload's: named by its template, or made for one of its pods."""
    spec, name = workload["spec"], workload["metadata"]["name"]
    named = _mounted(spec["template"].get("spec") or {})
    made = [re.escape(one["metadata"]["name"]) for one in spec.get("volumeClaimTemplates") or []]
    pattern = re.compile(rf"(?:{'|'.join(made)})-{re.escape(name)}-\d+") if made else None
    return lambda claim: claim in named or bool(pattern and pattern.fullmatch(claim))


def _mounted(spec: _Object) -> set[str]:
    claims = [(one.get("persistentVolumeClaim") or {}).get("claimName") for one in spec.get("volumes") or []]
    return {one for one in claims if one}


def _images(spec: _Object) -> set[str]:
    """Repositories of the user's containers; versions may differ. The agent's image also runs in pods of ours."""
    every = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    ours = {_repository(one["image"]) for one in every if one["name"] in _names.CONTAINERS and one.get("image")}
    return {_repository(one["image"]) for one in spec.get("containers") or [] if one.get("image")} - ours


def _repository(image: str) -> str:
    """An image's name without tag and digest.

    >>> _repository("registry.example:5000/media/app:1.2@sha256:0a")
    'registry.example:5000/media/app'
    """
    plain = image.partition("@")[0]
    head, slash, last = plain.rpartition("/")
    return head + slash + last.partition(":")[0]
