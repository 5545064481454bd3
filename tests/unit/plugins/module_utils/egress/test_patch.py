# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""JSON Patch: every difference leads exactly to the other document."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._patch import PatchError, apply_patch, diff


def document(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randint(0, 5 if depth < 3 else 2)
    if kind <= 2:
        return rng.choice([None, True, False, 0, 1, "", "a/b~c", []])
    if kind == 3:
        return {rng.choice(["a", "b/c", "d~1", "e"]): document(rng, depth + 1) for _n in range(rng.randint(0, 3))}
    if kind == 4:
        return [document(rng, depth + 1) for _n in range(rng.randint(0, 3))]
    names = rng.sample("pqrst", rng.randint(1, 4))
    return [{"name": name, "x": document(rng, depth + 2)} for name in names]


def same(one: Any, other: Any) -> bool:
    return repr(ordered(one)) == repr(ordered(other))  # 1 is not True


def ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in sorted(value)}
    return [ordered(one) for one in value] if isinstance(value, list) else value


def test_diff_leads_from_one_to_the_other() -> None:
    for seed in range(3000):
        rng = random.Random(seed)
        before, after = {"root": document(rng)}, {"root": document(rng)}
        kept = copy.deepcopy((before, after))
        operations = diff(before, after)
        assert same(apply_patch(before, operations), after), (before, after, operations)
        assert (before, after) == kept
        assert diff(after, copy.deepcopy(after)) == []


def test_named_items_are_changed_one_by_one() -> None:
    before = {"c": [{"name": "a", "v": 1}, {"name": "gone"}, {"name": "b", "v": 1}]}
    after = {"c": [{"name": "new"}, {"name": "a", "v": 2}, {"name": "b", "v": 1}]}
    assert diff(before, after) == [
        {"op": "remove", "path": "/c/1"},
        {"op": "add", "path": "/c/0", "value": {"name": "new"}},
        {"op": "replace", "path": "/c/1/v", "value": 2},
    ]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/a", "value": True},
        {"op": "remove", "path": "/b"},
        {"op": "replace", "path": "/b", "value": 1},
        {"op": "add", "path": "/l/3", "value": 1},
        {"op": "remove", "path": "/l/-"},
        {"op": "add", "path": "/b/c", "value": 1},
        {"op": "move", "path": "/a"},
    ],
)
def test_what_does_not_fit_is_an_error(operation: Any) -> None:
    with pytest.raises(PatchError):
        apply_patch({"a": 1, "l": [1, 2]}, [operation])


def test_add_to_the_end_and_between() -> None:
    operations = [{"op": "add", "path": "/l/-", "value": 3}, {"op": "add", "path": "/l/0", "value": 0}]
    assert apply_patch({"l": [1, 2]}, operations) == {"l": [0, 1, 2, 3]}
