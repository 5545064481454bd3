# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _diff
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._objects import Key
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._plan import Step
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._secrecy import Redactor

SECRET = "aHVudGVyMg=="
REDACTOR = Redactor(b"k" * 16)


@pytest.mark.parametrize(
    "manifest",
    [
        {"kind": "Secret", "data": {"k": SECRET}},
        {"kind": "Secret", "stringData": {"k": SECRET}},
        {"data": {"k": SECRET}},  # somebody forgot the kind
        {"kind": "secret", "data": {"k": SECRET}},
        {"kind": "Secret", "data": SECRET},
        {"kind": "Secret", "data": [SECRET]},
        {"kind": "Secret", "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": SECRET}}},
        SECRET,
    ],
)
def test_options_as_shown(manifest: Any) -> None:
    assert SECRET not in json.dumps(REDACTOR.objects([manifest]))


def test_other_options_are_shown() -> None:
    assert REDACTOR.objects([{"kind": "ConfigMap", "data": {"k": "v"}}]) == [{"kind": "ConfigMap", "data": {"k": "v"}}]


def test_marker_depends_on_value_and_key() -> None:
    assert REDACTOR.marker("a") == REDACTOR.marker("a") != REDACTOR.marker("b")
    assert REDACTOR.marker("a") != Redactor().marker("a")


def secret(value: Any) -> Any:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "n"}, "data": {"k": value}}


def one(kinds: Any, owner: Any, action: Any, **rest: Any) -> Any:
    step = Step(Key("Secret", "", "n", "a"), kinds.find("v1", "Secret"), action, **rest)
    return _diff.diffs([step], owner.manager, REDACTOR)


def test_diff_of_a_secret(kinds: Any, owner: Any, stored: Any) -> None:
    (diff,) = one(kinds, owner, "update", live=stored(secret(SECRET)), after=stored(secret("bmV3")))
    assert diff["before_header"] == "Secret n/a (v1)"
    assert diff["before"]["data"] == {"k": REDACTOR.marker(SECRET)}
    assert diff["after"]["data"] == {"k": REDACTOR.marker("bmV3")}
    assert set(diff["after"]) == {"data", "metadata"}
    assert set(diff["after"]["metadata"]) == {"labels"}


@pytest.mark.parametrize(("action", "shown"), [("prune", 1), ("unchanged", 0), ("kept", 0)])
def test_diff_only_of_what_changes(kinds: Any, owner: Any, stored: Any, action: Any, shown: Any) -> None:
    found = one(kinds, owner, action, live=stored(secret(SECRET)))
    assert len(found) == shown
    assert SECRET not in json.dumps(found)
    assert all(diff["after"] == {} and diff["before"] for diff in found)


def test_diff_of_a_prediction(kinds: Any, owner: Any) -> None:
    (diff,) = one(kinds, owner, "create", manifest=secret(SECRET), predicted=True)
    assert diff["before"] == {}
    assert diff["after"] == {"metadata": {}, "data": {"k": REDACTOR.marker(SECRET)}}


def test_diff_of_adopting_shows_what_was_there(kinds: Any, owner: Any, stored: Any) -> None:
    before = {**stored(secret(SECRET), ours=False), "type": "Opaque"}
    (diff,) = one(kinds, owner, "adopt", live=before, after=stored(secret("bmV3")))
    assert diff["before"]["data"] == {"k": REDACTOR.marker(SECRET)}
    assert "type" not in diff["before"]
