# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Policies of other kinds: asked for where the API server has them, and missing is not none."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _policy_foreign
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._killswitch import _read, _wanted
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request

CLIENT, GATEWAY = Client("StatefulSet", "downloads", "app", "vpnarr"), Gateway("vpnarr", "vpn", "wg")
CILIUM = {"name": "cilium.io", "versions": [{"groupVersion": "cilium.io/v2"}]}
ADMIN = {
    "name": "policy.networking.k8s.io",
    "versions": [{"groupVersion": f"policy.networking.k8s.io/{version}"} for version in ("v1alpha2", "v1alpha1")],
    "preferredVersion": {"groupVersion": "policy.networking.k8s.io/v1alpha2"},
}
LISTED = "/apis/cilium.io/v2/namespaces/downloads/ciliumnetworkpolicies"
OPEN = {"metadata": {"name": "x", "namespace": "downloads"}, "spec": {"endpointSelector": {}, "egress": [{}]}}
OWN = {"metadata": {"name": "own", "namespace": "downloads"}, "spec": {"podSelector": {}, "policyTypes": []}}
PODS = [{"metadata": {"name": "app-0", "labels": {}}}]


class Api:
    """Answers as given, else with an empty list."""

    target = Target("127.0.0.1:6443", "context lab")

    def __init__(self, **answers: Answer) -> None:
        self.answers: dict[str, Answer] = {"/apis": Answer(200, {"groups": []}), **answers}
        self.asked: list[str] = []

    def call(self, request: Request) -> Answer:
        self.asked.append(request.path)
        return self.answers.get(request.path, Answer(200, {"items": []}))


def unjudged(api: Api) -> Any:
    view = _wanted.view(OWN, OWN, PODS, PODS, _read.read(api, [CLIENT], [GATEWAY]))
    assert not isinstance(view, Missing)
    return view.unjudged


def test_only_what_the_api_server_has_is_asked_for() -> None:
    api = Api()
    assert unjudged(api) == ()
    assert not any("cilium" in path or "projectcalico" in path for path in api.asked)


def test_what_is_there_is_read() -> None:
    answers = {"/apis": Answer(200, {"groups": [CILIUM]}), LISTED: Answer(200, {"items": [OPEN]})}
    (told,) = unjudged(Api(**answers))
    assert told.startswith("CiliumNetworkPolicy downloads/x ")


def test_a_group_without_that_kind_has_none() -> None:
    answers = {"/apis": Answer(200, {"groups": [CILIUM]}), LISTED: Answer(404, {})}
    assert unjudged(Api(**answers)) == ()


def test_what_cannot_be_read_is_missing() -> None:
    refused = Answer(403, {"message": "forbidden"})
    assert isinstance(unjudged(Api(**{"/apis": refused})), Missing)
    assert isinstance(unjudged(Api(**{"/apis": Answer(200, {"groups": [CILIUM]}), LISTED: refused})), Missing)


def test_a_kind_of_an_older_version_is_read_too() -> None:
    """Of two kinds in one group each may be in a version of its own."""
    one = {"metadata": {"name": "x"}, "spec": {"subject": {"namespaces": {}}, "egress": [{"action": "Allow"}]}}
    older = "/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies"
    newer = "/apis/policy.networking.k8s.io/v1alpha2/adminnetworkpolicies"
    answers = {"/apis": Answer(200, {"groups": [ADMIN]}), newer: Answer(404, {}), older: Answer(200, {"items": [one]})}
    (told,) = unjudged(Api(**answers))
    assert told.startswith("AdminNetworkPolicy x ")
    answers[older] = Answer(403, {"message": "forbidden"})
    assert isinstance(unjudged(Api(**answers)), Missing)


@pytest.mark.parametrize("kind", _policy_foreign.KINDS, ids=lambda one: one.name)
def test_every_kind_is_asked_for_and_missing_when_refused(kind: _policy_foreign.Kind) -> None:
    for group in kind.groups:
        groups = {"groups": [{"name": group, "versions": [{"groupVersion": f"{group}/v1"}]}]}
        room = "namespaces/downloads/" if kind.spaced else ""
        where = f"/apis/{group}/v1/{room}{kind.plural}"
        api = Api(**{"/apis": Answer(200, groups), where: Answer(403, {"message": "forbidden"})})
        assert isinstance(unjudged(api), Missing)
        assert where in api.asked


def test_groups_of_another_form_are_missing() -> None:
    for groups in (None, {}, [{"name": "cilium.io"}], ["x"]):
        assert isinstance(unjudged(Api(**{"/apis": Answer(200, {"groups": groups})})), Missing)
