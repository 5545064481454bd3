"""Each check of killswitch_check sees its protection removed, and passes before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import proof
import pytest
from mutated import Stage, listed


def _parameters() -> list[Any]:
    return [pytest.param(one, id=one["name"], marks=[] if one.get("quick") else [pytest.mark.slow]) for one in listed()]


@pytest.mark.parametrize("mutation", _parameters())
def test_mutation(stage: Stage, mutation: Mapping[str, Any]) -> None:
    classes, expected = mutation["classes"], mutation["expect"]
    for on, each in expected.items():
        unseen = set(each) - stage.passed[on]
        assert not unseen, f"{', '.join(sorted(unseen))} did not pass before"
    try:
        with stage.broken(mutation):
            seen = proof.run(classes, **mutation.get("options", {}))
    finally:
        if {"do", "with"} & set(mutation):  # options change nothing on the lab
            stage.recover(classes)
    assert not seen.failed, seen.why()
    # Nothing else may change: a check that fails whatever is broken shows nothing.
    assert seen.unlike_pass() == {on: expected.get(on, {}) for on in (proof.CLIENT, proof.GATEWAY)}, seen.why()
