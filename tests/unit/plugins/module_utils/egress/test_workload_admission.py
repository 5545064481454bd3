# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules against slipping out: what they match. The lab's API server evaluates their expressions (``vpn_admission``)."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _admission, _cel, _workload_admission
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client

MARK = _admission.GuardMark("0123456789abcdef", "example.org/agent:1", "[]", "[]", "[]", "httpGet")
SELECTOR = {"matchLabels": {"app": "q"}}


def rule(kind: str = "StatefulSet") -> Any:
    client = Client(kind, "downloads", "qbittorrent", "vpnarr")
    return _workload_admission.workload_admission(client, SELECTOR, [MARK])[0]


def test_the_workloads_name_is_matched_whatever_its_kind_and_labels() -> None:
    constraints = rule()["spec"]["matchConstraints"]
    (one,) = constraints["resourceRules"]
    assert one["resources"] == ["daemonsets", "deployments", "statefulsets"], "and no subresource: it may be scaled"
    assert one["resourceNames"] == ["qbittorrent"] and one["operations"] == ["CREATE", "UPDATE"]
    assert constraints["objectSelector"] == {}
    assert constraints["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "downloads"}}


@pytest.mark.parametrize(("kind", "resource"), [("StatefulSet", "statefulsets"), ("Deployment", "deployments")])
def test_what_leaves_the_template_alone_is_not_judged(kind: str, resource: str) -> None:
    (condition,) = rule(kind)["spec"]["matchConditions"]
    assert f'request.resource.resource == "{resource}"' in condition["expression"]
    assert "object.spec.template != oldObject.spec.template" in condition["expression"]


def test_without_replicas_only_the_labels_are_judged() -> None:
    validations = rule()["spec"]["validations"]
    free = [one for one in validations if not one["expression"].startswith("variables.none || (")]
    assert [one["expression"] for one in free] == [_cel.selects(SELECTOR, "variables.labels")]
    assert len(validations) > 10


@pytest.mark.parametrize(
    ("expression", "made"),
    [
        ({"operator": "In", "values": ["a", "b"]}, '("k" in l && l["k"] in ["a", "b"])'),
        ({"operator": "NotIn", "values": ["a"]}, '!("k" in l && l["k"] in ["a"])'),
        ({"operator": "Exists"}, '("k" in l)'),
        ({"operator": "DoesNotExist"}, '!("k" in l)'),
    ],
)
def test_selectors_as_expressions(expression: Any, made: str) -> None:
    both = {"matchLabels": {"x": 'y"'}, "matchExpressions": [{"key": "k", **expression}]}
    assert _cel.selects(both, "l") == f'("x" in l && l["x"] in ["y\\""]) && {made}'
    assert _cel.selects({}, "l") == "true"


def test_labels_of_the_collection_are_kept_on_every_pod() -> None:
    spec = _workload_admission.labels_admission()[0]["spec"]
    (one,) = spec["matchConstraints"]["resourceRules"]
    assert one["resources"] == ["pods"] and one["operations"] == ["UPDATE"]
    for label in ("bulkhead.mesh/vpn-client", "bulkhead.mesh/vpn-gateway", "bulkhead.mesh/role"):
        assert label in spec["validations"][0]["expression"] and label in spec["matchConditions"][0]["expression"]
