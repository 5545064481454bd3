# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Who reaches which segment over the tailnet, as a part of the tailnet's policy file. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import NOT_GIVEN, Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._gateways import parse_gateways, read_tag
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import GATEWAYS, Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._reader import Reader

SETTINGS = "bulkhead_tailnet_policy"
OPERATOR = "tag:k8s-operator"
_GROUP = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]*\Z")
_KEYS = ("segments", "members")
_HEADER = """\
// A part of the tailnet's policy file, made from the inventory. Merge it into the file in the admin console; nothing
// applies it by itself. A grant elsewhere in that file that covers everything, such as the default one with
// "src": ["*"], "dst": ["*"], makes these without effect: take it out.
//
// tagOwners  the operator may give these tags to the proxies of gateways
// grants     each group reaches the gateways of its segments, on their ports, and nothing else of them
// groups     their members, where the inventory names them
// tests      what the admin console tries before it saves the file
"""


@dataclass(frozen=True)
class Group:
    """People and the segments they may reach."""

    name: str
    segments: tuple[str, ...]
    members: tuple[str, ...] = ()


def policy(config: Mapping[str, Any], raw_gateways: Any) -> dict[str, Any]:
    """``problems`` (sentences) and, without any, the ``text`` of the fragment."""
    gateways = [one for one in parse_gateways(raw_gateways)[0] if one.present and one.device]
    reader = Reader(SETTINGS)
    if not isinstance(config.get("file"), str) or not config["file"]:
        reader.wrong(
            "file", config.get("file", NOT_GIVEN), "the policy is written to a file", "name one, such as policy.hujson"
        )
    groups = _groups(reader, config.get("groups"), {one.segment for one in gateways})
    operator = reader.list(config.get("operator_tags") or [OPERATOR], "operator_tags", read_tag)
    problems = [str(one) for one in [*reader.problems, *_tags(gateways)]]
    return {"problems": problems, "text": "" if problems else _HEADER + _json(fragment(gateways, groups, operator))}


def fragment(gateways: Sequence[Gateway], groups: Sequence[Group], operator: Iterable[str]) -> dict[str, Any]:
    """The fragment as a tree; order is that of the inventory."""
    owners: dict[str, list[str]] = {tag: [] for tag in operator}
    for gateway in gateways:
        for tag in gateway.device.tags if gateway.device else ():
            owners.setdefault(tag, list(operator))
    made: dict[str, Any] = {"tagOwners": owners, "grants": _grants(gateways, groups)}
    members = {f"group:{one.name}": list(one.members) for one in groups if one.members}
    if members:
        made["groups"] = members
        made["tests"] = [_test(one, groups, gateways) for one in groups if one.members]
    return made


def _groups(reader: Reader, raw: Any, segments: set[str]) -> list[Group]:
    if not isinstance(raw, Mapping) or not raw:
        reader.wrong("groups", raw, "a mapping of groups to segments is needed", "write it like {family: [arr]}")
        return []
    found = []
    for name, value in raw.items():
        path = f"groups.{name}"
        if not isinstance(name, str) or not _GROUP.match(name):
            reader.wrong("groups", name, "a group has letters, digits and dashes", "write it like family")
            continue
        given = value if isinstance(value, Mapping) else {"segments": value}
        if not reader.keys(given, path, _KEYS):
            continue
        wanted = reader.list(given.get("segments"), f"{path}.segments", _text)
        for one in wanted:
            if one not in segments:
                known = " or ".join(sorted(segments)) or "one of a gateway with exposure tailnet or both"
                reader.wrong(f"{path}.segments", one, "no gateway of this segment is on the tailnet", f"use {known}")
        found.append(Group(name, wanted, reader.list(given.get("members"), f"{path}.members", _member)))
    return found


def _text(reader: Reader, value: Any, path: str) -> str | None:
    return reader.name(value, path) or None


def _member(reader: Reader, value: Any, path: str) -> str | None:
    if not isinstance(value, str) or "@" not in value:
        reader.wrong(path, value, "a member is the name that somebody logs in with", "write it like ada@example.org")
        return None
    return value


def _tags(gateways: Sequence[Gateway]) -> list[Problem]:
    """A grant names tags: a gateway without one of its own cannot be told from other proxies."""
    problems = []
    owners: dict[str, Gateway] = {}
    for gateway in gateways:
        what, tags = f"{GATEWAYS} entry {gateway.name}", gateway.device.tags if gateway.device else ()
        if not tags:
            reason = "a grant cannot tell this gateway from other proxies"
            remedy = f"give it tags: [tag:gw-{gateway.segment}]"
            problems.append(Problem(what, "tailscale.tags", [], reason, remedy))
        for tag in tags:
            other = owners.setdefault(tag, gateway)
            if other.segment != gateway.segment:
                reason = (
                    f"gateway {other.name} of segment {other.segment} has it as well, so who reaches one reaches both"
                )
                problems.append(Problem(what, "tailscale.tags", tag, reason, "give each segment a tag of its own"))
    return problems


def _grants(gateways: Sequence[Gateway], groups: Sequence[Group]) -> list[dict[str, Any]]:
    made = []
    for group in groups:
        for gateway in gateways:
            if gateway.segment in group.segments and gateway.device:
                ports = [f"tcp:{port}" for port in _ports(gateway)]
                made.append({"src": [f"group:{group.name}"], "dst": [gateway.device.tags[0]], "ip": ports})
    return made


def _ports(gateway: Gateway) -> list[int]:
    return sorted({one.port for one in gateway.listeners})


def _test(group: Group, groups: Sequence[Group], gateways: Sequence[Gateway]) -> dict[str, Any]:
    """What the first member reaches by any of their groups, and what not."""
    who = group.members[0]
    open_to = {segment for one in groups if who in one.members for segment in one.segments}
    places: dict[bool, list[str]] = {True: [], False: []}
    for gateway in gateways:
        if gateway.device:
            places[gateway.segment in open_to] += [f"{gateway.device.tags[0]}:{port}" for port in _ports(gateway)]
    return {"src": who, **{key: places[state] for key, state in (("accept", True), ("deny", False)) if places[state]}}


def _json(tree: Mapping[str, Any]) -> str:
    return json.dumps(tree, indent=2) + "\n"
