# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _applyset, _managed, _quantity

NAMES = {
    "ConfigMap": "v1",
    "Service": "v1",
    "Deployment": "apps/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
}
PORTS = 'k:{"port":53,"protocol":"UDP"}', 'k:{"port":80,"protocol":"TCP"}'


def manifest(kind: str, **rest: Any) -> Any:
    return {"apiVersion": NAMES[kind], "kind": kind, "metadata": {"name": "a", "namespace": "n"}, **rest}


@pytest.fixture
def same(kinds: Any, owner: Any, stored: Any) -> Any:
    """Compare: input, and the live object as (specification, fields of it that are ours)."""

    def go(kind: str, wanted: Any, live: Any, fields: Any = None) -> bool:
        part = {"ConfigMap": "data"}.get(kind, "spec")
        there = stored(manifest(kind, **{part: live}), fields=fields and {f"f:{part}": fields})
        if fields:
            there["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"] = {
                "f:labels": {f"f:{name}": {} for name in owner.labels}
            }
        desired = manifest(kind, **{part: wanted})
        desired["metadata"]["labels"] = dict(owner.labels)
        resource = kinds.find(NAMES[kind], kind)
        return _managed.plainly_same(resource, owner.manager, desired, there)

    return go


def test_labels_that_only_one_manager_has_given() -> None:
    def entry(manager: str, *names: str) -> Any:
        fields = {"f:metadata": {"f:labels": {".": {}, **{f"f:{name}": {} for name in names}}}}
        return {"manager": manager, "fieldsV1": fields}

    fields = [
        entry("ours", "a", "b", _applyset.PART_OF),
        entry("kubectl-label", "b", "c"),
        {"manager": "ours", "fieldsV1": {"f:spec": {}}},
    ]
    assert _managed.own_labels({"metadata": {"managedFields": fields}}, "ours") == ["a"]
    assert _managed.own_labels({"metadata": {}}, "ours") == []


@pytest.mark.parametrize(
    ("wanted", "live", "expected"),
    [
        ({"a": "1"}, {"a": "1"}, True),
        ({"a": "1"}, {"a": "2"}, False),
        ({"a": "1"}, {"a": "1", "b": "2"}, False),  # b is ours and has left the input
        ({"a": "1", "b": "2"}, {"a": "1"}, False),
        ({"a": "1000m"}, {"a": "1"}, False),  # text, not a quantity
    ],
)
def test_config_map(same: Any, wanted: Any, live: Any, expected: Any) -> None:
    assert same("ConfigMap", wanted, live) is expected


def test_fields_of_others_do_not_count(same: Any) -> None:
    assert same("ConfigMap", {"a": "1"}, {"a": "1", "theirs": "2"}, {"f:a": {}})


def test_a_field_that_is_not_ours_any_more_counts(same: Any) -> None:
    assert not same("ConfigMap", {"a": "1", "b": "2"}, {"a": "1", "b": "2"}, {"f:a": {}})


def port(number: int, protocol: str = "", **rest: Any) -> Any:
    return {"port": number, **({"protocol": protocol} if protocol else {}), **rest}


@pytest.mark.parametrize(
    ("wanted", "live", "expected"),
    [
        ([port(80), port(53, "UDP")], [port(80, "TCP"), port(53, "UDP")], True),
        ([port(80, "TCP"), port(53, "UDP")], [port(80, "TCP", targetPort=80), port(53, "UDP")], True),
        ([port(80), port(53, "UDP")], [port(1, "TCP"), port(80, "TCP"), port(53, "UDP")], True),  # another's item
        ([port(53, "UDP"), port(80)], [port(80, "TCP"), port(53, "UDP")], False),  # the order may matter
        ([port(80), port(53)], [port(80, "TCP"), port(53, "UDP")], False),
        ([port(80)], [port(80, "TCP"), port(53, "UDP")], False),
        ([port(80), port(53, "UDP")], [port(80, "TCP")], False),
    ],
)
def test_list_merged_by_key(same: Any, wanted: Any, live: Any, expected: Any) -> None:
    tcp = {".": {}, "f:port": {}}
    if wanted[0].get("protocol") == "TCP":
        tcp["f:protocol"] = {}
    fields = {"f:ports": {PORTS[1]: tcp, PORTS[0]: {".": {}, "f:port": {}, "f:protocol": {}}}}
    assert same("Service", {"ports": wanted}, {"ports": live}, fields) is expected


def test_list_merged_by_value(same: Any) -> None:
    fields = {"f:externalIPs": {'v:"1.1.1.1"': {}, 'v:"2.2.2.2"': {}}}
    live = {"externalIPs": ["1.1.1.1", "9.9.9.9", "2.2.2.2"]}
    assert same("Service", {"externalIPs": ["1.1.1.1", "2.2.2.2"]}, live, fields)
    assert not same("Service", {"externalIPs": ["2.2.2.2", "1.1.1.1"]}, live, fields)
    assert not same("Service", {"externalIPs": ["1.1.1.1"]}, live, fields)


@pytest.mark.parametrize(
    ("kind", "wanted", "live", "expected"),
    [
        ("NetworkPolicy", [{"port": 53}], [{"port": 53, "protocol": "TCP"}], True),
        ("NetworkPolicy", [{"port": 53}], [{"port": 53, "protocol": "UDP"}], False),
        ("NetworkPolicy", [{"port": 53}], [{"port": 53, "endPort": 54}], False),
        ("NetworkPolicy", [{"port": 53}], [{"port": 53}, {"port": 54}], False),
        ("NetworkPolicy", [{"port": 53}, {"port": 54}], [{"port": 54}, {"port": 53}], False),
        ("NetworkPolicy", [{"port": True}], [{"port": 1}], False),
        ("NetworkPolicy", [{"port": None}], [{"port": None}], False),
        ("RoleBinding", [{"kind": "User"}], [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io"}], True),
        ("Service", [{"port": 53}], [{"port": 53, "protocol": "TCP"}], False),  # no known default there
    ],
)
def test_list_owned_as_a_whole(same: Any, kind: Any, wanted: Any, live: Any, expected: Any) -> None:
    assert same(kind, {"x": wanted}, {"x": live}) is expected


@pytest.mark.parametrize(
    ("wanted", "live", "expected"), [("1000m", "1", True), ("1000m", "2", False), ("0.5", "500m", True)]
)
def test_quantities_where_they_are(same: Any, wanted: Any, live: Any, expected: Any) -> None:
    assert same("Deployment", {"limits": {"cpu": wanted}}, {"limits": {"cpu": live}}) is expected
    assert same("Deployment", {"x": [{"limits": {"cpu": wanted}}]}, {"x": [{"limits": {"cpu": live}}]}) is expected
    assert same("Deployment", {"other": {"cpu": "1000m"}}, {"other": {"cpu": "1"}}) is False


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("1Gi", "1024Mi", True),
        ("1G", "1Gi", False),
        ("1e3", "1k", True),
        ("1E", "1000P", True),
        (2, "2000m", True),
        ("128974848", "123Mi", True),
        ("a", "a", False),
        (True, 1, False),
    ],
)
def test_quantity(one: Any, other: Any, expected: Any) -> None:
    assert _quantity.equal(one, other) is expected


@pytest.mark.parametrize(
    "entry",
    [
        {"manager": "kubectl"},
        {"operation": "Update"},
        {"subresource": "status"},
        {"apiVersion": "v2"},
    ],
)
def test_only_our_own_entry_counts(same: Any, kinds: Any, owner: Any, stored: Any, entry: Any) -> None:
    there = stored(manifest("ConfigMap", data={"a": "1"}))
    desired = manifest("ConfigMap", data={"a": "1"})
    desired["metadata"]["labels"] = dict(owner.labels)
    resource = kinds.find("v1", "ConfigMap")
    assert _managed.plainly_same(resource, owner.manager, desired, there)
    there["metadata"]["managedFields"][0].update(entry)
    assert not _managed.plainly_same(resource, owner.manager, desired, there)


def test_result_of_a_dry_run(owner: Any, stored: Any) -> None:
    before = stored(manifest("ConfigMap", data={"a": "1"}), status={"seen": 1})
    after = copy.deepcopy(before)
    after["metadata"].update(resourceVersion="2", generation=2)
    after["status"] = {"seen": 2}
    after["metadata"]["managedFields"].append({"manager": "other", "operation": "Update"})
    assert _managed.same_result(before, after, owner.manager)
    for change in ({"data": {"a": "2"}}, {"metadata": {**after["metadata"], "annotations": {"x": "y"}}}):
        assert not _managed.same_result(before, {**after, **change}, owner.manager)
    dropped = copy.deepcopy(after)
    del dropped["metadata"]["managedFields"][0]["fieldsV1"]["f:data"]
    assert not _managed.same_result(before, dropped, owner.manager)


def test_project() -> None:
    item = {"spec": {"ports": [port(1, "TCP"), port(80, "TCP", name="x")], "ips": ["a", "b"], "theirs": 1}, "b": 2}
    fields = {"f:spec": {"f:ports": {PORTS[1]: {".": {}, "f:port": {}}}, "f:ips": {'v:"b"': {}}, "f:gone": {}}}
    assert _managed.project(item, fields) == {"spec": {"ports": [{"port": 80}], "ips": ["b"]}}


def test_union() -> None:
    one, other = {"f:a": {"f:b": {}}}, {"f:a": {"f:c": {}}, "f:d": {}}
    assert _managed.union(one, other) == {"f:a": {"f:b": {}, "f:c": {}}, "f:d": {}}
