# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Level and channel of the Gateway API: what a bundle holds, and whether it may take the place of what is there.

From 1.5 on the bundle brings an admission policy, safe-upgrades, that refuses older definitions and experimental ones
in place of standard ones. The rules here refuse the same before anything is written, and name the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._seen import Verdict

GROUP = "gateway.networking.k8s.io"
GROUPS = (GROUP, "gateway.networking.x-k8s.io")
VERSION, CHANNEL = f"{GROUP}/bundle-version", f"{GROUP}/channel"
CHANNELS = ("standard", "experimental")
POLICY = f"safe-upgrades.{GROUP}"
POLICY_KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
DEFINITION = "CustomResourceDefinition"
# Istio reads no older level of these kinds, and says so only in its log.
ISTIO_READS = {
    (1, 30): (("grpcroutes", "1.1"), ("backendtlspolicies", "1.4"), ("tlsroutes", "1.5")),
    (1, 31): (("grpcroutes", "1.1"), ("backendtlspolicies", "1.4"), ("tlsroutes", "1.5"), ("tcproutes", "1.6")),
}
LOWEST = "1.1.0"  # Gateway and HTTPRoute v1 as this collection writes them
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?\Z")

Level = "tuple[int, int, int, bool, str]"


def level(text: Any) -> tuple[int, int, int, bool, str]:
    """A version that can be compared; ValueError names a bad one. A preview comes before its release.

    >>> level("v1.6.0-rc.1") < level("1.6")
    True
    """
    match = _VERSION.match(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is no version: write it like 1.6.1.")
    major, minor, patch, preview = match.groups()
    return int(major), int(minor), int(patch or 0), preview is None, preview or ""


def needed_by_istio(version: str) -> str:
    """The level below which an Istio of this version ignores kinds that it could read; unknown ones need the newest."""
    if not version:
        return LOWEST
    minor = level(version)[:2]
    known = [one for one in ISTIO_READS if one <= minor]
    if not known:
        return LOWEST
    return max((text for dummy, text in ISTIO_READS[max(known)]), key=level)


def bundle(documents: Sequence[Any], version: str, channel: str, source: str) -> list[dict[str, Any]]:
    """The objects of an installation file, without what only the server writes; ValueError says why it is no such file.

    Every definition must be of the wanted version and channel: a file of another level would be a silent up- or
    downgrade.
    """
    objects = [dict(one) for one in documents if one is not None]
    for one in objects:
        kind, metadata = one.get("kind"), one.get("metadata")
        name = metadata.get("name") if isinstance(metadata, Mapping) else None
        ours = kind == DEFINITION and str(name).endswith(GROUPS)
        if not ours and not (kind in POLICY_KINDS and name == POLICY):
            raise ValueError(
                f"{source} holds {kind} {name}, which is no part of the Gateway API: give its installation file."
            )
        annotations = metadata.get("annotations") or {}
        found, ring = annotations.get(VERSION), annotations.get(CHANNEL)
        if kind == DEFINITION and (found is None or level(found) != level(version)):
            raise ValueError(
                f"{source} holds Gateway API {_plain(found)}, and bulkhead_gateway_api.version is {_plain(version)}: "
                "give the file of that version, or set the version to what the file holds."
            )
        if kind == DEFINITION and ring != channel:
            raise ValueError(
                f"{source} is of the channel {ring}, and bulkhead_gateway_api.channel is {channel}: "
                "give the file of that channel, or set the channel to what the file holds."
            )
    if not any(one.get("kind") == DEFINITION for one in objects):
        raise ValueError(f"{source} holds no CustomResourceDefinition: give the Gateway API's installation file.")
    for one in objects:
        one.pop("status", None)
    return objects


def verdicts(
    seen: Mapping[str, Any], server: str, version: str, channel: str, needed: str, *, managed: bool, forced: bool
) -> list[Verdict]:
    """What stands in the way.

    ``seen`` is RV(gateway_api) of ingress_info. ``managed``: we bring ``version``; else what is there must reach
    ``needed``. ``forced``: the user has said that the policy may be taken away.
    """
    there = {name: one for name, one in seen["definitions"].items() if name.endswith(f".{GROUP}")}
    if not managed:
        return _external(there, server, needed)
    if level(version) < level(needed):
        msg = (
            f"bulkhead_gateway_api.version is {_plain(version)}, and what is installed with it needs {_plain(needed)} "
            f"or newer: set it to {_plain(needed)} or newer."
        )
        return [Verdict("gateway-api-old", msg)]
    return [
        *_owned(there, server),
        *_downgrade(there, server, version, forced),
        *_switch(there, channel, server, forced),
    ]


def must_lift(seen: Mapping[str, Any], version: str, channel: str) -> bool:
    """Whether the admission policy on the cluster would refuse this version or channel."""
    there = {name: one for name, one in seen["definitions"].items() if name.endswith(f".{GROUP}")}
    return seen["policy"] and bool(_newer(there, version) or (channel == CHANNELS[1] and _standard(there)))


def _external(there: Mapping[str, Any], server: str, needed: str) -> list[Verdict]:
    if not there:
        msg = (
            f"The Gateway API is not on {server}, but bulkhead_components.gateway_api is external: install it, or set "
            "the component to managed."
        )
        return [Verdict("gateway-api-missing", msg)]
    old = sorted((name, one["version"]) for name, one in there.items() if _older(one["version"], needed))
    if not old:
        return []
    name, version = old[0]
    more = f" and {len(old) - 1} more" if len(old) > 1 else ""
    msg = (
        f"The Gateway API on {server} is older than needed: {name}{more} is of version {_plain(version)}, and "
        f"{_plain(needed)} or newer is needed; upgrade it where it comes from, or set bulkhead_components.gateway_api "
        "to managed."
    )
    return [Verdict("gateway-api-old", msg)]


def _owned(there: Mapping[str, Any], server: str) -> list[Verdict]:
    foreign = sorted((one["owner"], name) for name, one in there.items() if one["owner"] and not one["ours"])
    if not foreign:
        return []
    owner, name = foreign[0]
    msg = (
        f"{name} on {server} belongs to {owner}, which would set it back: set bulkhead_components.gateway_api to "
        "external, or take the Gateway API out of there first."
    )
    return [Verdict("gateway-api-owned", msg)]


def _downgrade(there: Mapping[str, Any], server: str, version: str, forced: bool) -> list[Verdict]:
    newer = _newer(there, version)
    if not newer or forced:
        return []
    name, found = newer[0]
    msg = (
        f"{name} on {server} is of Gateway API {_plain(found)}, which is newer than {_plain(version)}, and older "
        f"definitions drop fields of existing routes: set bulkhead_gateway_api.version to {_plain(found)}, or "
        "allow_policy_removal to true if you know that no route uses them."
    )
    return [Verdict("gateway-api-downgrade", msg)]


def _switch(there: Mapping[str, Any], channel: str, server: str, forced: bool) -> list[Verdict]:
    standard = _standard(there)
    if channel != CHANNELS[1] or not standard or forced:
        return []
    msg = (
        f"{standard[0]} on {server} is of the channel standard, and its policy {POLICY} refuses experimental "
        "definitions in its place: set bulkhead_gateway_api.channel to standard, or allow_policy_removal to true."
    )
    return [Verdict("gateway-api-channel", msg)]


def _newer(there: Mapping[str, Any], version: str) -> list[tuple[str, str]]:
    return sorted((name, one["version"]) for name, one in there.items() if _older(version, one["version"]))


def _standard(there: Mapping[str, Any]) -> list[str]:
    return sorted(name for name, one in there.items() if one["channel"] == CHANNELS[0])


def _older(one: Any, than: Any) -> bool:
    """Whether ``one`` is older; what has no version is older than everything and newer than nothing."""
    try:
        right = level(than)
    except ValueError:
        return False
    try:
        return level(one) < right
    except ValueError:
        return True


def _plain(version: Any) -> str:
    return str(version).lstrip("v") if version else "unknown"
