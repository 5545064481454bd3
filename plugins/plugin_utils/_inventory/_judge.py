# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Everything the inventory says is judged, before anything is asked or changed. Pure.

Shapes come first: names, types and keys by the table of variables. Then the parsers of the lists, then what only the
lists together can tell. A list with a wrong entry takes no part in the last step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._registry import CHECKS
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _gateway_flow, _parse, _registry
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import NOT_GIVEN, UNTOLD, Client, Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import (
    _gateways,
    _model,
    _namespaces,
    _pools,
    _tailnet_policy,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths import _parse as _path_parse
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import KINDS, PATHS
from ansible_collections.bulkhead.mesh.plugins.module_utils._reader import Reader, nearest
from ansible_collections.bulkhead.mesh.plugins.plugin_utils import _components
from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory._field import SITE, TEARDOWN, Field
from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory._table import PREFIX, VARIABLES

VPN_DNS, IMAGES, COMPONENTS = "bulkhead_vpn_dns", "bulkhead_vpn_images", "bulkhead_components"
_SWITCHES = ("true", "false", "yes", "no", "on", "off", "1", "0")
# Variable -> the words that its entries are chosen from, where these are known elsewhere.
_WORDS = {
    "bulkhead_verify_accept_unknown": tuple(dict.fromkeys(one.id for one in CHECKS)),
    "bulkhead_paths_accept_unknown": KINDS,
}
Values = Mapping[str, Any]


def problems(playbook: str, values: Values) -> list[str]:
    """Everything wrong with variables that begin with ``bulkhead_``, one sentence each, for one of the playbooks."""
    found = [*unknown(values), *_shapes(values)]
    told = {one.path.partition("[")[0].partition(".")[0] for one in found}
    lists, parsed = _lists(playbook, {name: value for name, value in values.items() if name not in told}, told)
    found += parsed
    sentences = [str(one) for one in found]
    if playbook == SITE:
        broken = told | {one.path.partition("[")[0] for one in parsed}
        sentences += _together({name: value for name, value in values.items() if name not in broken}, lists)
    return list(dict.fromkeys(sentences))


def unknown(names: Mapping[str, Any]) -> list[Problem]:
    """Names that no playbook reads, without their values."""
    found = []
    for name in names:
        if name in VARIABLES:
            continue
        meant = nearest(name, VARIABLES)
        own = f"give a variable of your own another prefix than {PREFIX}"
        remedy = f"write {meant}, or {own}" if meant else own
        found.append(Problem(name, name, UNTOLD, "no such variable exists", remedy))
    return found


# --- shapes --------------------------------------------------------------------------------------------


def _shapes(values: Values) -> list[Problem]:
    found = []
    for name, variable in VARIABLES.items():
        if name not in values:
            continue
        reader = Reader(name)
        if values[name] is None:
            reader.wrong(name, None, "it has no value", "give it one, or remove the line")
        elif not variable.parsed:
            walk(reader, values[name], variable.value, name)
            if name in _WORDS and not reader.problems:
                reader.list(values[name], name, lambda inner, one, at, words=_WORDS[name]: _word(inner, one, at, words))
        found += reader.problems
    return found


def _word(reader: Reader, value: Any, path: str, words: Sequence[str]) -> str:
    if value not in words:
        meant = nearest(value, words)
        reader.wrong(
            path, value, "no such word is known", f"write {meant}" if meant else f"use one of {', '.join(words)}"
        )
    return str(value)


def walk(reader: Reader, value: Any, field: Field, path: str) -> None:
    """Tell every wrong type, key and choice in a value. What may hold a secret is not shown."""
    if value is None:
        reader.wrong(path, None, "it has no value", "give it one, or remove the key")
        return
    _KINDS[field.kind](reader, value, field, path)


def _dict(reader: Reader, value: Any, field: Field, path: str) -> None:
    known = tuple(field.keys)
    if not isinstance(value, Mapping):
        remedy = f"give it the keys {', '.join(known)}" if known else "write it as key: value"
        reader.wrong(path, UNTOLD, "a mapping is needed", remedy)
        return
    if known:
        reader.keys(value, path, known)
    for key, below in field.keys.items():
        if key in value:
            walk(reader, value[key], below, f"{path}.{key}")
        elif below.needed:
            reader.wrong(f"{path}.{key}", NOT_GIVEN, "it is needed", "add it")
    if field.each is not None:
        for key, one in value.items():
            walk(reader, one, field.each, f"{path}.{key}")


def _list(reader: Reader, value: Any, field: Field, path: str) -> None:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        shown = UNTOLD if isinstance(value, Mapping) else value
        reader.wrong(path, shown, "a list is needed", "write each entry behind a dash")
        return
    for index, one in enumerate(value):
        if field.each is not None:
            walk(reader, one, field.each, f"{path}[{index}]")


def _str(reader: Reader, value: Any, field: Field, path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        reader.wrong(path, value if isinstance(value, bool) else UNTOLD, "a text is needed", "put it in quotes")
    elif field.choices:
        if value not in field.choices:
            meant = nearest(value, field.choices)
            remedy = f"write {meant}, or use" if meant else "use"
            others = " or ".join(one for one in field.choices if one != meant)
            reader.wrong(path, value, "this choice does not exist", f"{remedy} {others}")


def _bool(reader: Reader, value: Any, field: Field, path: str) -> None:
    if not isinstance(value, bool) and str(value).lower() not in _SWITCHES:
        shown = value if isinstance(value, (str, int)) else UNTOLD
        reader.wrong(path, shown, "a truth value is needed", "write true or false")


def _int(reader: Reader, value: Any, field: Field, path: str) -> None:
    if isinstance(value, bool) or not (isinstance(value, int) or isinstance(value, str) and value.isdigit()):
        shown = value if isinstance(value, (str, float, bool)) else UNTOLD
        reader.wrong(path, shown, "a whole number is needed", f"write it like {field.sample}")


def _any(reader: Reader, value: Any, field: Field, path: str) -> None:
    """Whatever reads it judges it."""


_KINDS: dict[str, Callable[[Reader, Any, Field, str], None]] = {
    "dict": _dict,
    "list": _list,
    "str": _str,
    "bool": _bool,
    "int": _int,
    "any": _any,
}


# --- lists, each by its parser -------------------------------------------------------------------------


def _lists(playbook: str, values: Values, unread: set[str]) -> tuple[dict[str, list[Any]], list[Problem]]:
    """What the parsers make of the lists, and what is wrong with these; ``unread`` variables are told already."""
    found: list[Problem] = []
    made: dict[str, list[Any]] = {}

    def read(name: str, parse: Callable[[Any], tuple[list[Any], list[Problem]]], raw: Any = NOT_GIVEN) -> None:
        made[name], wrong = parse(values.get(name) if raw is NOT_GIVEN else raw)
        found.extend(wrong)

    read(_model.NAMESPACES, _namespaces.parse_namespaces)
    read(_model.POOLS, _pools.parse_pools)
    read(_model.PEERS, _pools.parse_peers)
    read(_model.GATEWAYS, _gateways.parse_gateways)
    read(_parse.GATEWAYS, _parse.parse_gateways)
    clients = values.get(_parse.CLIENTS)
    if playbook == TEARDOWN:
        clients = _detached(clients)
    # Without a list of gateways that can be read, nothing is said about which of them a client names.
    readable = _parse.GATEWAYS not in unread and not any(one.path.startswith(_parse.GATEWAYS) for one in found)
    gateways = made[_parse.GATEWAYS] if readable else None
    read(_parse.CLIENTS, lambda raw: _parse.parse_clients(raw, gateways), clients)
    if not found and not unread & {_model.GATEWAYS, _parse.CLIENTS}:
        # Teardown gives all clients back; a path may name one all the same.
        named = [dataclasses.replace(one, state="present") for one in made[_parse.CLIENTS]]
        read(PATHS, lambda raw: _path_parse.parse(raw, made[_model.GATEWAYS], named))
    found += _gateway_flow.bad_options(values.get(VPN_DNS) or (), {}, dns_path=VPN_DNS)
    return made, found


def _detached(clients: Any) -> Any:
    """Clients as teardown hands them on."""
    if isinstance(clients, (str, Mapping)) or not isinstance(clients, Sequence):
        return clients
    return [{**one, "state": "absent"} if isinstance(one, Mapping) else one for one in clients]


# --- what only the lists together can tell -------------------------------------------------------------


def _together(values: Values, lists: Mapping[str, list[Any]]) -> list[str]:
    """For a run that sets up what is wanted; only of variables that can be read."""
    found: list[Problem] = []
    kept = [one for one in lists[_parse.GATEWAYS] if one.state == "present"]
    if _parse.GATEWAYS in values:
        found += _registry.update({}, kept)[1]
        if kept and not (values.get(IMAGES) or {}).get("engine"):
            found.append(_gateway_flow.no_engine_image(f"{IMAGES}.engine"))
    if _parse.CLIENTS in values:
        known = {one.name for one in lists[_model.GATEWAYS] if one.present}
        found += [one for index, client in enumerate(lists[_parse.CLIENTS]) for one in _callers(index, client, known)]
    sentences = [str(one) for one in found]
    policy = values.get(_tailnet_policy.SETTINGS)
    if policy:
        sentences += _tailnet_policy.policy(policy, values.get(_model.GATEWAYS))["problems"]
    return sentences + _states(values)


def _callers(index: int, client: Client, known: set[str]) -> list[Problem]:
    if client.state != "present":
        return []
    remedy = f"use {' or '.join(sorted(known))}" if known else f"add it to {_model.GATEWAYS}, or correct the name"
    return [
        Problem(
            client.object,
            f"{_parse.CLIENTS}[{index}].ingress[{number}].from.ingress_gateway",
            rule.ingress_gateway,
            f"{_model.GATEWAYS} has no gateway of that name",
            remedy,
        )
        for number, rule in enumerate(client.ingress)
        if rule.ingress_gateway is not None and rule.ingress_gateway not in known
    ]


def _states(values: Values) -> list[str]:
    lists = [values.get(name) or [] for name in (_model.NAMESPACES, _model.GATEWAYS, _model.POOLS)]
    try:
        _components.effective(values.get(COMPONENTS) or {}, _components.needs(*lists))
    except ValueError as exc:
        return [str(exc)]
    return []
