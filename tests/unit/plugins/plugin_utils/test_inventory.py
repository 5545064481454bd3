# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every variable of the inventory, judged by one table: what is right, what is absent, what is unknown, what is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory import _judge
from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory._field import PLAYBOOKS, Field
from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory._table import VARIABLES
from ansible_collections.bulkhead.mesh.tests.unit.plugins.plugin_utils import inventories

ROOT = Path(__file__).resolve().parents[4]
FILES = sorted((Path(__file__).parent / "invalid").glob("*.yml"))
FULL = inventories.full()
BOGUS = "quux"


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_the_table_has_what_each_playbook_reads(playbook: str) -> None:
    written = (ROOT / "playbooks" / f"{playbook}.yml").read_text(encoding="utf-8")
    code = "\n".join(line for line in written.splitlines() if not line.lstrip().startswith("#"))
    read = set(re.findall(r"\bbulkhead_\w+", code))
    assert read == {name for name, one in VARIABLES.items() if playbook in one.used}


def test_the_example_names_every_variable() -> None:
    example = (ROOT / "inventories" / "example" / "group_vars" / "all" / "bulkhead.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"(?m)^(?:# )?(bulkhead_\w+):", example))
    assert named <= set(VARIABLES)
    assert set(VARIABLES) - named == set()


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_everything_at_once(playbook: str) -> None:
    assert _judge.problems(playbook, FULL) == []


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_nothing_at_all(playbook: str) -> None:
    assert _judge.problems(playbook, {}) == []


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_no_key_that_may_be_absent(playbook: str) -> None:
    assert _judge.problems(playbook, inventories.least(FULL)) == []


@pytest.mark.parametrize("place", inventories.optional(FULL), ids=inventories.written)
def test_each_key_that_may_be_absent(place: inventories.Place) -> None:
    found = _judge.problems("site", inventories.without(FULL, place))
    # What is gone may be what another variable names; it is not missed for its own sake.
    assert found == [] or len(place) == 1 or place[-1] in inventories.REFERRED
    assert len(place) == 1 or not any(
        f"{inventories.written(place)} " in one for one in found if "tailscale" not in one
    )


NEEDED = [place for place, one in inventories.every(FULL) if one.needed and len(place) > 1]


@pytest.mark.parametrize("place", NEEDED, ids=inventories.written)
def test_each_key_that_is_needed(place: inventories.Place) -> None:
    found = _judge.problems("site", inventories.without(FULL, place))
    words = place[-1] if place[0] == "bulkhead_tailnet_policy" else inventories.written(place)
    assert any(f"{words} is not given" in one or f"{words} is null" in one for one in found), found


MAPPINGS = [
    (place, one) for place, one in inventories.every(FULL) if one.keys and isinstance(inventories.at(FULL, place), dict)
]


@pytest.mark.parametrize("playbook", PLAYBOOKS)
@pytest.mark.parametrize(
    ("place", "field"), MAPPINGS, ids=lambda one: inventories.written(one) if isinstance(one, tuple) else ""
)
def test_unknown_keys_at_every_level(playbook: str, place: inventories.Place, field: Field) -> None:
    inventory = inventories.without(FULL)
    inventories.at(inventory, place)[BOGUS] = "hunter2"
    found = [one for one in _judge.problems(playbook, inventory) if f"{inventories.written(place)}.{BOGUS}: " in one]
    assert len(found) == 1
    assert "hunter2" not in found[0]
    told = found[0].rpartition("use one of ")[2].rstrip(".").split(", ")
    either = place[0] == "bulkhead_paths" and place[-1] in ("from", "to")  # keys of one of several forms
    assert (set(told) <= set(field.keys)) if either else (told and set(told) == set(field.keys))


@pytest.mark.parametrize("playbook", PLAYBOOKS)
@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_every_misspelt_variable_is_refused(playbook: str, name: str) -> None:
    wrong = name[:-1] if name[:-1] not in VARIABLES else f"{name}x"
    (found,) = _judge.problems(playbook, {wrong: "hunter2"})
    assert found.startswith(f"{wrong}: no such variable exists; write bulkhead_")
    assert found.endswith(", or give a variable of your own another prefix than bulkhead_.")
    assert "hunter2" not in found


@pytest.mark.parametrize("playbook", PLAYBOOKS)
@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_null_is_refused(playbook: str, name: str) -> None:
    found = _judge.problems(playbook, {name: None})
    assert f"{name} is null: it has no value; give it one, or remove the line." in found


@pytest.mark.parametrize("name", sorted(one for one, variable in VARIABLES.items() if variable.value.kind == "list"))
@pytest.mark.parametrize("value", [{"name": "x"}, "x", 7])
def test_a_list_is_a_list(name: str, value: Any) -> None:
    for playbook in PLAYBOOKS:
        assert any(
            one.startswith(name) and "a list is needed" in one for one in _judge.problems(playbook, {name: value})
        )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_sentences_are_exact(path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert _judge.problems(case.get("playbook", "site"), case["inventory"]) == case["sentences"]


def test_all_that_is_wrong_is_told_at_once() -> None:
    inventory = {
        "bulkhead_vpn_client": [],
        "bulkhead_namespaces": [{"name": "core", "mesh": "both"}],
        "bulkhead_address_pools": [{"name": "arr", "addresses": ["nowhere"]}],
        "bulkhead_vpn_dns": ["one.one.one.one"],
        "bulkhead_istio": {"mod": "ambient"},
    }
    found = " ".join(_judge.problems("verify", inventory))
    for name in (
        "bulkhead_vpn_client:",
        "bulkhead_namespaces[0].mesh",
        "bulkhead_address_pools[0]",
        "bulkhead_vpn_dns[0]",
    ):
        assert name in found
    assert "bulkhead_istio.mod: no such key exists; write mode" in found


def test_teardown_takes_clients_of_a_gateway_that_is_not_listed() -> None:
    client = {"kind": "StatefulSet", "namespace": "downloads", "name": "a", "gateway": "north"}
    assert _judge.problems("teardown", {"bulkhead_vpn_clients": [client]}) == []
    assert len(_judge.problems("site", {"bulkhead_vpn_clients": [client]})) == 1
