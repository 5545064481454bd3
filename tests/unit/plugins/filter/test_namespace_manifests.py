# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.filter.namespace_manifests import namespace_manifests


def labels(*entries, privileged=()):
    return {one["metadata"]["name"]: one["metadata"].get("labels") for one in namespace_manifests(entries, privileged)}


def test_a_sealed_namespace_lets_no_pod_out():
    made = namespace_manifests([{"name": "a", "egress": "sealed"}, {"name": "b", "egress": "open"}, {"name": "c"}])
    assert [(one["kind"], one["metadata"]["name"]) for one in made] == [
        ("Namespace", "a"),
        ("NetworkPolicy", "bulkhead-sealed"),
        ("Namespace", "b"),
        ("Namespace", "c"),
    ]
    assert made[1]["metadata"]["namespace"] == "a"
    assert made[1]["spec"] == {"podSelector": {}, "policyTypes": ["Egress"]}


def test_a_sealed_namespace_that_the_inventory_forgot_stays_sealed():
    """Its labels are kept while a protected workload is there, and one of them says that it is sealed."""
    (sealed, policy), (opened,) = (namespace_manifests([{"name": "a", "egress": one}]) for one in ("sealed", "open"))
    assert namespace_manifests([], kept={"a": sealed["metadata"]["labels"]}) == [sealed, policy]
    assert namespace_manifests([], kept={"a": opened["metadata"].get("labels") or {}})[1:] == []


@pytest.mark.parametrize("value", ["Sealed", "closed", True, None])
def test_how_a_namespace_is_left_is_one_of_two_words(value):
    with pytest.raises(
        AnsibleFilterError,
        match=r"bulkhead_namespaces\[0\]\.egress is .*: this choice does not exist; use open or sealed\.$",
    ):
        namespace_manifests([{"name": "a", "egress": value}])


def test_labels():
    enforce = "pod-security.kubernetes.io/enforce"
    found = labels(
        {"name": "core", "mesh": "ambient"},
        {"name": "old", "mesh": "sidecar"},
        {"name": "vpn", "mesh": "none"},
        {"name": "downloads", "mesh": "ambient"},
        {"name": "mine", "mesh": "unmanaged"},
        {"name": "plain"},
        privileged=["vpn", "downloads", "elsewhere"],
    )
    assert found == {
        "core": {"istio.io/dataplane-mode": "ambient"},
        "old": {"istio-injection": "enabled"},
        "vpn": {"istio.io/dataplane-mode": "none", "istio-injection": "disabled", enforce: "privileged"},
        "downloads": {"istio.io/dataplane-mode": "ambient", enforce: "privileged"},
        "mine": None,
        "plain": None,
    }


def test_segments():
    found = labels({"name": "core", "mesh": "ambient", "segments": ["media", "arr"]}, {"name": "b", "segments": []})
    assert found == {
        "core": {
            "istio.io/dataplane-mode": "ambient",
            "bulkhead.mesh/segment-arr": "true",
            "bulkhead.mesh/segment-media": "true",
        },
        "b": None,
    }


def test_what_left_the_list_keeps_what_a_protected_workload_needs():
    psa = {"pod-security.kubernetes.io/enforce": "privileged"}
    kept = {"core": {"istio.io/dataplane-mode": "ambient"}, "downloads": {**psa, "istio.io/dataplane-mode": "ambient"}}
    found = namespace_manifests([{"name": "core", "mesh": "none"}], ["core"], kept)
    assert [(one["metadata"]["name"], one["metadata"]["labels"]) for one in found] == [
        ("core", {"istio.io/dataplane-mode": "none", "istio-injection": "disabled", **psa}),  # the list decides
        ("downloads", {"istio.io/dataplane-mode": "ambient", **psa}),
    ]


def test_bad_segments():
    sentence = r'^bulkhead_namespaces entry a: bulkhead_namespaces\[0\].segments is "arr": a list is needed'
    with pytest.raises(AnsibleFilterError, match=sentence):
        labels({"name": "a", "segments": "arr"})


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("text", "namespace_manifests needs a list of namespaces"),
        (None, "namespace_manifests needs a list of namespaces"),
        ({"name": "a"}, "namespace_manifests needs a list of namespaces"),
        (
            [{"mesh": "none"}],
            "bulkhead_namespaces entry without a name: bulkhead_namespaces[0].name is not given: it is needed; ",
        ),
        (
            ["core"],
            'bulkhead_namespaces entry without a name: bulkhead_namespaces[0] is "core": a mapping is needed; ',
        ),
        (
            [{"name": "a", "mesh": "both"}],
            'bulkhead_namespaces entry a: bulkhead_namespaces[0].mesh is "both": this choice does not exist; '
            "use ambient or sidecar or none or unmanaged.",
        ),
        (
            [{"name": "a", "segment": ["arr"]}],
            "bulkhead_namespaces entry a: bulkhead_namespaces[0].segment: no such key exists; write segments, or one of "
            "name, mesh, egress.",
        ),
        (
            [{"name": "a"}, {"name": "a"}],
            'bulkhead_namespaces entry a: bulkhead_namespaces[1].name is "a": a namespace is listed once; ',
        ),
    ],
)
def test_bad_input_is_one_sentence(value, sentence):
    with pytest.raises(AnsibleFilterError, match="^" + re.escape(sentence)):
        namespace_manifests(value)
