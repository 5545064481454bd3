# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every check has a mutation, and every mutation a check."""

from __future__ import annotations

from pathlib import Path

import yaml

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _registry, _verdict

LISTED = yaml.safe_load((Path(__file__).resolve().parents[5] / "tests" / "mutations" / "killswitch.yml").read_text())
KEYS = {"check", "of", "where", "do", "undo", "expect", "with", "class", "also"}


def test_every_check_has_a_mutation() -> None:
    listed = {(one["check"], one.get("of", "client")) for one in LISTED["mutations"]}
    assert listed == {(one.id, one.on) for one in _registry.CHECKS}


def test_no_mutation_expects_a_pass() -> None:
    for one in LISTED["mutations"]:
        assert set(one) <= KEYS, one
        assert one["expect"] in ("fail", "unknown"), one
        assert one["where"] in ("pod", "gateway", "object", "lab", "run"), one
        check = _registry.check(one["check"], one.get("of", "client"))
        assert (check.check_class == "C") == (one.get("class") == "C"), one


def test_what_can_fail_is_made_to_fail() -> None:
    """Controls end as unknown; of every other check there is a mutation that makes it fail."""
    failing = {(one["check"], one.get("of", "client")) for one in LISTED["mutations"] if one["expect"] == "fail"}
    wanted = {(one.id, one.on) for one in _registry.CHECKS if one.layer != "control"}
    assert failing == wanted


def test_verdicts() -> None:
    assert {one["expect"] for one in LISTED["verdicts"]} == set(_verdict.VERDICTS)
    names = {layer.name for layer in _verdict.LAYERS}
    assert all(set(one.get("holding", [])) <= names for one in LISTED["verdicts"])
