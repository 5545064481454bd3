"""What the documentation tells a reader to write is taken as it stands: every inventory in check mode, against the API."""

from __future__ import annotations

import re

import documents
import outside as machine
import pytest
import shown
from outside import Outside

from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory import _judge

RECAP = re.compile(r"^localhost +: .* failed=0 ", re.MULTILINE)


@pytest.fixture(scope="module", autouse=True)
def prepared(outside: Outside) -> None:
    """What they take for granted is there."""
    machine.make(one for given in shown.written(outside).values() for one in machine.named(given, outside.wg0()))


def test_no_block_is_passed_over(outside: Outside) -> None:
    blocks = [one for one in shown.read(outside) if one.is_inventory]
    told = " ".join(shown.written(outside)).split()
    assert len(told) > 5
    left = [one.place for one in blocks if one.place not in told and one.kind not in ("file", "not run")]
    assert left == []
    assert [one.place for one in blocks if one.kind == "not run" and not one.word] == []
    # What is said to be run or written is so by the test of its page.
    assert {one.page for one in shown.read(outside) if one.kind in ("file", "run")} == {"first-use.md"}


def test_one_has_every_component_and_no_setting_that_may_be_absent(outside: Outside) -> None:
    """So that all of them at once are left out in one of the runs below; tests/unit/playbooks leaves them out one by one."""
    bare = [given for given in shown.written(outside).values() if not given.keys() & set(shown.SETTINGS)]
    needed = ("bulkhead_address_pools", "bulkhead_ingress_gateways", "bulkhead_tailscale")
    assert [
        1
        for given in bare
        if all(given.get(one) for one in needed) and list(given["bulkhead_tailscale"]) == ["oauth_secret"]
    ]


@pytest.mark.parametrize("playbook", ["site", "verify", "status", "teardown"])
def test_each_playbook_judges_every_inventory_well(outside: Outside, playbook: str) -> None:
    assert {
        place: _judge.problems(playbook, given) for place, given in shown.written(outside).items()
    } == dict.fromkeys(shown.written(outside), [])


def test_every_inventory_is_taken(outside: Outside, subtests: pytest.Subtests) -> None:
    for place, given in shown.written(outside).items():
        with subtests.test(place):
            run = outside.check(re.sub(r"\W+", "-", place), shown.on_the_lab(given, outside))
            assert run.code == 0 and RECAP.search(run.output), run.output[-4000:]
            # Check mode warns of what does not exist yet.
            warnings = [line for line in run.output.splitlines() if "WARNING" in line]
            told = (": a real run needs it to be ", ": no pod is made in check mode.")
            assert [line for line in warnings if not any(words in line for words in told)] == []


def test_the_example_shows_every_variable_in_use(outside: Outside) -> None:
    """A comment that is no YAML, or is not found, would be tried by nobody."""
    listed = set(re.findall(r"(?m)^#? ?(bulkhead_\w+):", shown.example(outside)))
    tried = shown.written(outside)["the example without comments"]
    assert listed == tried.keys()
    assert [name for name, value in tried.items() if value in ({}, [], None)] == []
    assert documents.uncommented("a: 1\nbulkhead_x: []\n#  - {b: 2}\n#    c\n# text\n") == (
        "a: 1\nbulkhead_x:\n  - {b: 2}\n    c\n# text\n"
    )
