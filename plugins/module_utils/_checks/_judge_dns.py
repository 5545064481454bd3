# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Judges of name resolution: who is asked, and from where that one asks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _controls
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import PodEvidence
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._judge_controls import step_of
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import (
    Finding,
    Missing,
    failed,
    passed,
    unknown,
)

MAX_NDOTS = 2


def parse(text: str) -> dict[str, Any]:
    """A resolver file: ``{"nameservers": [...], "searches": [...], "ndots": 1}``; the last search line counts."""
    found: dict[str, Any] = {"nameservers": [], "searches": [], "ndots": 1}
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            found["nameservers"].append(words[1])
        elif words[0] in ("search", "domain"):
            found["searches"] = words[1:]
        elif words[0] == "options":
            for word in words[1:]:
                name, colon, value = word.partition(":")
                if name == "ndots" and value.isdigit():
                    found["ndots"] = int(value)
    return found


def conf(evidence: PodEvidence) -> Finding:
    """dns-conf: only the gateway's resolver, only suffixes of the cluster, few dots."""
    wanted = evidence.dns
    if not wanted.get("nameservers"):
        return unknown("it is not known which resolver the pod should have")
    spec = evidence.pod["spec"]
    if spec.get("dnsPolicy") != "None":
        return failed(f"dnsPolicy {spec.get('dnsPolicy')}", "the pod takes its resolver from the cluster or the node")
    held = spec.get("dnsConfig") or {}
    ndots = next((one.get("value") for one in held.get("options") or [] if one.get("name") == "ndots"), "1")
    shown = {
        "nameservers": held.get("nameservers") or [],
        "searches": held.get("searches") or [],
        "ndots": int(ndots) if str(ndots).isdigit() else MAX_NDOTS + 1,
    }
    wrong = _wrong(shown, wanted)
    if wrong:
        return failed(f"dnsConfig: {wrong}", "names would be asked of, or shown to, somebody outside the VPN")
    read = []
    for name, inside in sorted(evidence.inside.items()):
        if isinstance(inside, Missing) or not inside.resolv:
            continue
        wrong = _wrong(parse(inside.resolv), wanted)
        if wrong:
            return failed(f"resolv.conf of {name}: {wrong}", "somebody changed it in the container")
        read.append(name)
    if not read:
        # The kubelet gives every container of a pod the same file.
        resolv = evidence.probe if isinstance(evidence.probe, Missing) else evidence.probe.fact("resolv")
        if isinstance(resolv, Missing):
            return unknown(str(resolv))
        wrong = _wrong(parse(resolv), wanted)
        if wrong:
            return failed(f"resolv.conf: {wrong}", "it is not what the pod's spec says")
        return passed("as set, read in our own container; the user's from the spec")
    return passed(f"as set, read in {', '.join(read)}")


def _wrong(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    if list(held["nameservers"]) != list(wanted["nameservers"]):
        return f"{len(held['nameservers'])} nameservers, not only the gateway's"
    extra = [one for one in held["searches"] if one not in (wanted.get("searches") or [])]
    if extra:
        return f"search list with {len(extra)} foreign suffixes"
    if held["ndots"] > MAX_NDOTS:
        return f"ndots {held['ndots']}"
    return ""


def exit_(evidence: PodEvidence) -> Finding:
    """dns-exit: whoever asks the world for the pod's names does it from the VPN."""
    return _controls.exits(evidence.site, step_of(evidence.probe, "dns-exit"), 1)
