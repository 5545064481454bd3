# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _discovery, _input
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._applyset import PART_OF

INVALID = sorted((Path(__file__).parent / "invalid").glob("*.yaml"))
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}}
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "foos.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Cluster",
        "names": {"kind": "Foo", "plural": "foos"},
        "versions": [{"name": "v1", "served": True}, {"name": "v1alpha1", "served": False}],
    },
}


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_invalid(path: Any, kinds: Any, owner: Any) -> None:
    case = yaml.safe_load(path.read_text())
    dummy, problems, warnings = _input.read(case["objects"], kinds, owner, predict=False)
    assert " ".join(problem.msg for problem in problems) == case["message"]
    assert warnings == []


@pytest.mark.parametrize("name", ["", "Web", "a_b", "-a", "a-", "a.b", "x" * 64])
def test_bad_names_of_a_set(name: Any) -> None:
    assert len(_input.names({"name": name, "namespace": "home"})) == 1


@pytest.mark.parametrize("name", ["a", "web-1", "x" * 63])
def test_good_names_of_a_set(name: Any) -> None:
    assert _input.names({"name": name, "namespace": name}) == []


def test_unknown_kind_is_a_warning_when_only_predicting(kinds: Any, owner: Any) -> None:
    custom = {"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a", "namespace": "n"}}
    (desired,), problems, warnings = _input.read([custom], kinds, owner, predict=True)
    assert problems == []
    assert desired.resource.served is False
    assert desired.resource.namespaced is True
    assert warnings == [
        "objects[0] (Foo a): the cluster has no kind Foo of example.com/v1: a real run needs it to be installed before."
    ]


def test_kind_of_a_definition_in_the_input_is_known(kinds: Any, owner: Any) -> None:
    custom = {"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"}}
    known = kinds.plus(_discovery.promised([CRD]))
    (dummy, desired), problems, dummy2 = _input.read([CRD, custom], known, owner, predict=False)
    assert problems == []
    assert desired.resource.served is False
    assert desired.resource.path("", "a") == "/apis/example.com/v1/foos/a"
    unserved = {**custom, "apiVersion": "example.com/v1alpha1"}
    assert len(_input.read([CRD, unserved], known, owner, predict=False)[1]) == 1


def test_what_is_sent(kinds: Any, owner: Any) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "managedFields": []},
        "data": {"old": "bw=="},
        "stringData": {"key": "value"},
    }
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "n"}, "status": {"a": 1}}
    (made, other), problems, dummy = _input.read([secret, service], kinds, owner, predict=False)
    assert problems == []
    assert made.manifest == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a", "namespace": "n", "labels": {PART_OF: owner.id}},
        "data": {"old": "bw==", "key": "dmFsdWU="},
    }
    assert "status" not in other.manifest
    assert secret["stringData"] == {"key": "value"}, "the input itself must stay as it is"
