"""Teardown leaves every object of the cluster as it was, but for what the user asked for."""

from __future__ import annotations

import attached
import pytest
from objects import difference, listing
from story import MADE, WORKLOAD, Story, left

NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "a", "uid": "u", "resourceVersion": "1", "labels": {"x": "y"}},
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"resourceVersion": "2", "managedFields": [{"manager": "kubectl"}]}, []),
        ({"labels": {"x": "y", "our": "label"}}, ["~ Namespace a: metadata.labels.our"]),
        ({"labels": {"x": "z"}}, ["~ Namespace a: metadata.labels.x"]),
        ({"labels": {}}, ["~ Namespace a: metadata.labels", "~ Namespace a: metadata.labels.x"]),
        ({"annotations": {"a": "b"}}, ["~ Namespace a: metadata.annotations.a"]),
        ({"uid": "another one of this name"}, ["~ Namespace a: metadata.uid"]),
        ({"name": "b"}, ["+ Namespace b", "- Namespace a"]),
    ],
)
def test_the_comparison(change: dict, expected: list[str]) -> None:
    after = {**NAMESPACE, "metadata": {**NAMESPACE["metadata"], **change}}
    assert difference(listing([NAMESPACE]), listing([after])) == expected


def test_an_untouched_cluster_is_equal(story: Story) -> None:
    assert story.untouched == []


def test_the_comparison_sees_ours(story: Story) -> None:
    seen = set(story.attached)
    psa = "metadata.labels.pod-security.kubernetes.io/enforce"
    assert {
        "+ ConfigMap kube-system/bulkhead-namespaces",
        f"+ Namespace {MADE}",
        f"+ StatefulSet.apps {attached.VPN}/{attached.GATEWAY}",
        f"~ Namespace {attached.VPN}: {psa}",
        f"~ Namespace {attached.VPN}: metadata.annotations.bulkhead.mesh/adopted",
    } <= seen
    # the user has this one too, with the same value
    assert f"~ Namespace {attached.VPN}: metadata.labels.istio.io/dataplane-mode" not in seen


def test_after_teardown(story: Story) -> None:
    """The client is sealed: no pod, its layers stay, and its template was not touched."""
    assert story.sealed == left(story.attached)
    assert story.template == [f"~ StatefulSet.apps {WORKLOAD}: spec.replicas"]
    kinds = {line.split()[1].partition(".")[0] for line in story.sealed}
    assert {"NetworkPolicy", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "Namespace"} <= kinds


def test_a_namespace_that_the_run_made_stays_bare(story: Story) -> None:
    assert story.made["labels"] == {"kubernetes.io/metadata.name": MADE}
    assert "annotations" not in story.made
    assert [entry["manager"] for entry in story.made.get("managedFields", [])] == []


def test_after_teardown_to_open(story: Story) -> None:
    assert story.opened == left()
