# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""``bulkhead_address_pools`` and ``bulkhead_bgp_peers`` as values; everything wrong is told, not only the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import NOT_GIVEN, Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import (
    PEERS,
    POOLS,
    SEGMENT_LENGTH,
    Bgp,
    Layer2,
    Peer,
    Pool,
    Range,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._range import parse_address, parse_range
from ansible_collections.bulkhead.mesh.plugins.module_utils._reader import Reader, entries, twice

STATES = ("present", "absent")
_POOL = ("name", "addresses", "auto_assign", "segment", "advertise", "state")
_PEER = (
    "name",
    "my_asn",
    "peer_asn",
    "peer_address",
    "peer_port",
    "source_address",
    "hold_time",
    "ebgp_multi_hop",
    "password_secret",
    "bfd_profile",
    "node_selectors",
    "state",
)
_BGP = ("peers", "communities", "aggregation_length", "aggregation_length_v6", "local_pref", "node_selectors")
_ASN = 2**32 - 1


def parse_pools(raw: Any) -> tuple[list[Pool], list[Problem]]:
    """Pools and all problems; the pools are complete only without problems."""
    pools, problems = entries(raw, POOLS, _pool)
    return pools, problems + twice(_Named.of(pools, POOLS), POOLS, lambda one: one.name, "pool names are unique")


def parse_peers(raw: Any) -> tuple[list[Peer], list[Problem]]:
    """BGP peers and all problems; the peers are complete only without problems."""
    peers, problems = entries(raw, PEERS, _peer)
    return peers, problems + twice(_Named.of(peers, PEERS), PEERS, lambda one: one.name, "peer names are unique")


class _Named:
    """An entry's name in the words of messages."""

    def __init__(self, name: str, path: str) -> None:
        self.name, self.object = name, f"{path} entry {name}"

    @classmethod
    def of(cls, listed: list[Any], path: str) -> list[_Named]:
        return [cls(one.name, path) for one in listed]


def flag(reader: Reader, value: Any, path: str) -> bool:
    """Yes or no."""
    if not isinstance(value, bool):
        reader.wrong(path, value, "a truth value is needed", "write true or false")
        return False
    return value


def text(reader: Reader, value: Any, path: str) -> str | None:
    """A string that says something."""
    if not isinstance(value, str) or not value:
        reader.wrong(path, value, "a string is needed", "put it in quotes")
        return None
    return value


def selector(reader: Reader, value: Any, path: str) -> Mapping[str, Any] | None:
    """A label selector as Kubernetes writes it."""
    if not reader.keys(value, path, ("matchLabels", "matchExpressions")):
        return None
    return dict(value)


def _pool(reader: Reader, entry: Any, path: str) -> Pool | None:
    if not reader.keys(entry, path, _POOL):
        return None
    state = reader.choice(entry.get("state", "present"), f"{path}.state", STATES)
    ranges = reader.list(entry.get("addresses"), f"{path}.addresses", _range)
    if not entry.get("addresses") and state == "present":
        given = entry.get("addresses", NOT_GIVEN)
        reader.wrong(f"{path}.addresses", given, "a pool without addresses gives none", "list ranges or networks")
    layer2, bgp = _advertise(reader, entry.get("advertise", {"l2": {}}), f"{path}.advertise")
    return Pool(
        name=reader.name(entry.get("name"), f"{path}.name"),
        ranges=ranges,
        auto_assign=flag(reader, entry.get("auto_assign", False), f"{path}.auto_assign"),
        segment=reader.name(entry["segment"], f"{path}.segment", SEGMENT_LENGTH) if entry.get("segment") else "",
        layer2=layer2,
        bgp=bgp,
        state=state,
    )


def _range(reader: Reader, value: Any, path: str) -> Range | None:
    remedy = "write it like 192.0.2.100-192.0.2.120 or 192.0.2.96/27"
    if not isinstance(value, str):
        reader.wrong(path, value, "a range of addresses is a string", remedy)
        return None
    try:
        return parse_range(value)
    except ValueError as exc:
        reader.wrong(path, value, str(exc), remedy)
        return None


def _advertise(reader: Reader, value: Any, path: str) -> tuple[Layer2 | None, Bgp | None]:
    if value is None or value == "none":
        return None, None
    if not isinstance(value, Mapping):
        reader.wrong(path, value, "this announcement does not exist", "write {l2: {}}, {bgp: {}} or none")
        return None, None
    reader.keys(value, path, ("l2", "bgp"))
    if not value:
        reader.wrong(path, {}, "it says nothing", "write {l2: {}}, {bgp: {}} or none")
    layer2 = _layer2(reader, value["l2"] or {}, f"{path}.l2") if "l2" in value else None
    bgp = _bgp(reader, value["bgp"] or {}, f"{path}.bgp") if "bgp" in value else None
    return layer2, bgp


def _layer2(reader: Reader, value: Any, path: str) -> Layer2 | None:
    if not reader.keys(value, path, ("interfaces", "node_selectors")):
        return None
    return Layer2(
        reader.list(value.get("interfaces"), f"{path}.interfaces", text),
        reader.list(value.get("node_selectors"), f"{path}.node_selectors", selector),
    )


def _bgp(reader: Reader, value: Any, path: str) -> Bgp | None:
    if not reader.keys(value, path, _BGP):
        return None
    return Bgp(
        reader.list(value.get("peers"), f"{path}.peers", lambda inner, name, at: inner.name(name, at) or None),
        reader.list(value.get("communities"), f"{path}.communities", text),
        _optional(reader, value, path, "aggregation_length", 32, "the length of an IPv4 prefix"),
        _optional(reader, value, path, "aggregation_length_v6", 128, "the length of an IPv6 prefix"),
        _optional(reader, value, path, "local_pref", _ASN, "a local preference"),
        reader.list(value.get("node_selectors"), f"{path}.node_selectors", selector),
    )


def _optional(reader: Reader, entry: Mapping[str, Any], path: str, key: str, highest: int, what: str) -> int | None:
    if entry.get(key) is None:
        return None
    return reader.number(entry[key], f"{path}.{key}", 0, highest, what)


def _peer(reader: Reader, entry: Any, path: str) -> Peer | None:
    if isinstance(entry, Mapping) and "password" in entry:
        # Told without its value: it may well be the real one.
        reason = "a password in the inventory would be shown in logs and diffs"
        remedy = "put it into a Secret of type kubernetes.io/basic-auth and name that with password_secret"
        reader.wrong(f"{path}.password", "(not shown)", reason, remedy)
        entry = {key: value for key, value in entry.items() if key != "password"}
    if not reader.keys(entry, path, _PEER):
        return None
    state = reader.choice(entry.get("state", "present"), f"{path}.state", STATES)
    address = entry.get("peer_address")
    if state == "present" and parse_address(address) is None:
        value = NOT_GIVEN if address is None else address
        reader.wrong(f"{path}.peer_address", value, "an address is needed", "give the router's address")
    source = entry.get("source_address")
    if source is not None and parse_address(source) is None:
        reader.wrong(f"{path}.source_address", source, "an address is needed", "give one of the node's addresses")
    secret, profile = entry.get("password_secret"), entry.get("bfd_profile")
    return Peer(
        name=reader.name(entry.get("name"), f"{path}.name"),
        my_asn=_asn(reader, entry, path, "my_asn", state),
        peer_asn=_asn(reader, entry, path, "peer_asn", state),
        peer_address=str(address or ""),
        peer_port=reader.number(entry["peer_port"], f"{path}.peer_port", 1, 65535, "a port")
        if entry.get("peer_port") is not None
        else None,
        source_address=str(source or ""),
        hold_time=(text(reader, entry["hold_time"], f"{path}.hold_time") or "") if entry.get("hold_time") else "",
        ebgp_multi_hop=flag(reader, entry.get("ebgp_multi_hop", False), f"{path}.ebgp_multi_hop"),
        password_secret=reader.name(secret, f"{path}.password_secret", 253, dots=True) if secret else "",
        bfd_profile=reader.name(profile, f"{path}.bfd_profile", 253, dots=True) if profile else "",
        node_selectors=reader.list(entry.get("node_selectors"), f"{path}.node_selectors", selector),
        state=state,
    )


def _asn(reader: Reader, entry: Mapping[str, Any], path: str, key: str, state: str) -> int:
    value = entry.get(key)
    if state == "absent" and value is None:
        return 0
    return reader.number(NOT_GIVEN if value is None else value, f"{path}.{key}", 1, _ASN, "an AS number") or 0
