# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _targets

NAMES = {"stun.example": ["198.51.100.7", "2001:db8::7", "198.51.100.6"]}


def parse(given: Any) -> Any:
    return _targets.parse({"stun": [], "http": [], "dns": [], "bulk": [], **given}, lambda name: NAMES.get(name, []))


def test_addresses_and_names() -> None:
    targets, problems = parse({"stun": [{"address": "203.0.113.10", "port": 19302}, {"address": "stun.example"}]})
    assert problems == []
    assert [(one.id, one.address, one.port) for one in targets] == [
        ("stun1", "203.0.113.10", 19302),
        ("stun2", "198.51.100.6", 3478),
        ("stun2-v6", "2001:db8::7", 3478),
    ]


def test_defaults_only_for_kinds_that_are_not_given() -> None:
    asked = []
    targets, problems = _targets.parse({"stun": []}, lambda name: asked.append(name) or [])
    assert {one.kind for one in targets} == {"http"}
    assert asked == ["ns1.google.com"] and len(problems) == 1
    assert [one for one in _targets.parse(None, lambda name: ["192.0.2.1"])[0] if one.kind == "http"][0].tls


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stun": [{"address": "nowhere.example"}]}, "targets.stun[0].address is 'nowhere.example': this host cannot"),
        ({"http": [{}]}, "targets.http[0].address is None: name a server"),
        ({"dns": [{"address": "203.0.113.10"}]}, "targets.dns[0] names nothing: give it either a zone or a name"),
        ({"dns": [{"address": "203.0.113.10", "zone": "a", "name": "b"}]}, "give it either a zone or a name"),
    ],
)
def test_unusable(given: Any, words: str) -> None:
    targets, problems = parse(given)
    assert targets == [] and words in problems[0]
