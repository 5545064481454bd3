"""What the runs write, by the API server's own count."""

from __future__ import annotations

import pytest
from story import Story

NOTHING = [
    "check on fresh",
    "site unseen",
    "site again",
    "check on converged",
    "check of teardown",
    "teardown again",
]
SOMETHING = ["site", "teardown", "site after all", "teardown to open"]
UNCHANGED = ["site again", "check on converged", "teardown again"]


@pytest.mark.parametrize("name", NOTHING)
def test_no_write(story: Story, name: str) -> None:
    assert story.runs[name].writes == {}


@pytest.mark.parametrize("name", [name for name in NOTHING if name.startswith("check")])
def test_check_mode_leaves_every_object(story: Story, name: str) -> None:
    """The audit log does not tell a deletion from the trial of one: with a body, only the body says it."""
    assert story.tried[name] == []


@pytest.mark.parametrize("name", SOMETHING)
def test_the_count_sees_writes(story: Story, name: str) -> None:
    written = {verb: count for verbs in story.runs[name].writes.values() for verb, count in verbs.items()}
    assert sum(written.values()) >= 10, written
    assert {"patch namespaces", "patch statefulsets"} <= set(written)


def test_changed_says_the_same(story: Story) -> None:
    changed = {name: run.changed for name, run in story.runs.items()}
    assert {name: changed[name] for name in UNCHANGED} == dict.fromkeys(UNCHANGED, 0)
    foretold = {"check on fresh": "site", "check of teardown": "teardown"}
    assert {name: changed[name] for name in foretold} == {name: changed[real] for name, real in foretold.items()}
    assert min(changed[name] for name in SOMETHING) > 0


def test_no_part_runs_on_a_cluster_that_was_not_looked_at(story: Story) -> None:
    run = story.runs["site unseen"]
    assert run.code != 0
    assert "--skip-tags preflight leaves out the look at the cluster" in run.output
    assert "undefined" not in run.output


def test_check_mode_shows_what_it_would_do(story: Story) -> None:
    for name in ("check on fresh", "check of teardown"):
        assert "+++ after" in story.runs[name].output, name
    assert "+++ after" not in story.runs["check on converged"].output
