# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Policies of other kinds: asked for where the API server has them, and missing is not none."""

from __future__ import annotations

from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._killswitch import _read, _wanted
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request

CLIENT, GATEWAY = Client("StatefulSet", "downloads", "app", "vpnarr"), Gateway("vpnarr", "vpn", "wg")
CILIUM = {"name": "cilium.io", "preferredVersion": {"groupVersion": "cilium.io/v2"}}
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
