# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every check has a mutation, and every mutation a check. What they do is tried on the lab (tests/mutations)."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _registry

LIST = Path(__file__).resolve().parents[5] / "tests" / "mutations" / "killswitch.yml"
MUTATIONS = yaml.safe_load(LIST.read_text())["mutations"]
KEYS = {"name", "do", "roll", "with", "classes", "options", "expect", "undo", "restore", "replace", "quick"}
PLACES = {"client", "gateway", "engine", "app", "node", "kube", "renew"}
# Checks of the mesh need one on the lab; their mutations are elsewhere.
# What is about a client or the inventory as a whole stands with the client's.
CHECKS = {
    (one.id, "gateway" if one.on == _registry.GATEWAY else "client"): one
    for one in _registry.CHECKS
    if one.layer != _registry.MESH
}
EXPECTED = {
    one["name"]: {(id_, on): result for on, each in one["expect"].items() for id_, result in each.items()}
    for one in MUTATIONS
}


def test_every_check_has_a_mutation() -> None:
    assert {key for each in EXPECTED.values() for key in each} == set(CHECKS)


def test_what_can_fail_is_made_to_fail() -> None:
    """Controls end as unknown; of every other check there is a mutation that makes it fail."""
    failing = {key for each in EXPECTED.values() for key, result in each.items() if result == "fail"}
    assert {key for key, one in CHECKS.items() if one.layer != "control"} <= failing


def test_every_class_has_a_quick_one() -> None:
    """What ``make test`` runs shows each class of checks at work."""
    quick = [EXPECTED[one["name"]] for one in MUTATIONS if one.get("quick")]
    assert {CHECKS[key].check_class for each in quick for key in each} == set(_registry.CLASSES)


def test_names_are_different() -> None:
    assert len(EXPECTED) == len(MUTATIONS)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one["name"])
def test_form(mutation: dict) -> None:
    expected = EXPECTED[mutation["name"]]
    assert set(mutation) <= KEYS
    assert {"do", "with", "options"} & set(mutation), "nothing is broken"
    assert expected
    assert set(expected.values()) <= {"fail", "unknown"}
    assert {CHECKS[key].check_class for key in expected} <= set(mutation["classes"])
    for step in [*mutation.get("do", ()), *mutation.get("undo", ())]:
        assert len(set(step) & PLACES) == 1
        assert set(step) <= PLACES | {"object"}


def test_what_is_changed_is_put_back() -> None:
    for one in MUTATIONS:
        if "do" in one:
            assert {"undo", "restore", "replace"} & set(one), one["name"]
