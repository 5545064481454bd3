# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from ansible.module_utils.testing import patch_module_args

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer
from ansible_collections.bulkhead.mesh.plugins.modules import object_set

PASSWORD = "correct horse battery staple"
ENCODED = "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ=="
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "s", "namespace": "home"},
    "stringData": {"password": PASSWORD},
}
PLACE = "/api/v1/namespaces/home/secrets"
PARENT = "/api/v1/namespaces/home/configmaps/web"
LABEL = "applyset.kubernetes.io/part-of"
ID = "applyset-ZzAf8QCH8oXSFjlTrKx-tF8io3ptM0WNVMmamNVdIC0-v1"  # kubectl apply --applyset says the same
NOT_FOUND = Answer(404, {"message": "not found"})


def discovery(*kinds: str) -> Answer:
    resources = [
        {
            "resource": kind.lower() + "s",
            "responseKind": {"kind": kind},
            "scope": "Namespaced",
            "verbs": ["get", "list", "patch", "delete"],
        }
        for kind in kinds
    ]
    groups = [{"versions": [{"version": "v1", "resources": resources}]}] if kinds else []
    return Answer(200, {"kind": "APIGroupDiscoveryList", "items": groups})


def applied(value: str) -> dict[str, Any]:
    """The Secret as the server holds it after our apply."""
    fields = {"f:data": {"f:password": {}}, "f:metadata": {"f:labels": {f"f:{LABEL}": {}}}}
    entry = {"manager": "bulkhead.mesh/web", "operation": "Apply", "apiVersion": "v1", "fieldsV1": fields}
    metadata = {"name": "s", "namespace": "home", "uid": "u", "labels": {LABEL: ID}, "managedFields": [entry]}
    return {"metadata": metadata, "data": {"password": value}, "type": "Opaque"}


def record() -> Answer:
    annotations = {
        "applyset.kubernetes.io/tooling": "bulkhead.mesh/v1",
        "applyset.kubernetes.io/contains-group-kinds": "Secret",
    }
    labels = {"applyset.kubernetes.io/id": ID}
    return Answer(200, {"metadata": {"name": "web", "uid": "p", "labels": labels, "annotations": annotations}})


def script(**changed: Any) -> Any:
    first = {"GET /api": discovery("ConfigMap", "Secret"), "GET /apis": discovery()}
    return {**first, f"GET {PARENT}": record(), f"GET {PLACE}": Answer(200, {"items": [applied(ENCODED)]}), **changed}


@pytest.fixture
def run(monkeypatch: Any, capsys: Any, fake_api: Any) -> Any:
    """Run the module against a script; gives its result and the fake."""

    def go(calls: Any, **params: Any) -> Any:
        api = fake_api(calls)
        api.target = Target("127.0.0.1:6443", "context lab")
        monkeypatch.setattr(_client, "Client", lambda given: api)
        with patch_module_args({"name": "web", "namespace": "home", "objects": [SECRET], **params}):
            with pytest.raises(SystemExit):
                object_set.main()
        text = capsys.readouterr().out
        assert PASSWORD not in text
        assert ENCODED not in text
        api.done()
        return json.loads(text), api

    return go


def entry(action: str) -> dict[str, Any]:
    return {
        "kind": "Secret",
        "api_version": "v1",
        "namespace": "home",
        "name": "s",
        "action": action,
        "predicted": False,
    }


def test_no_change(run: Any) -> None:
    result, dummy = run(script())
    result.pop("invocation", None)
    assert result == {
        "changed": False,
        "objects": [entry("unchanged")],
        "requests": {"gets": 3, "lists": 1, "dry_runs": 0, "applies": 0, "deletes": 0},
    }


def test_change_with_diff(run: Any) -> None:
    old = Answer(200, {"items": [applied("b2xk")]})
    new = Answer(200, applied(ENCODED))
    result, api = run(script(**{f"GET {PLACE}": old, f"PATCH {PLACE}/s": [new, new]}), _ansible_diff=True)
    assert result["changed"] is True
    assert result["objects"] == [entry("update")]
    (diff,) = result["diff"]
    assert diff["before"]["data"]["password"] != diff["after"]["data"]["password"]
    assert "b2xk" not in json.dumps(result)
    assert [call.body["data"] for call in api.calls if call.method == "PATCH"] == [{"password": ENCODED}] * 2


def test_check_mode(run: Any) -> None:
    old = Answer(200, {"items": [applied("b2xk")]})
    new = Answer(200, applied(ENCODED))
    result, dummy = run(script(**{f"GET {PLACE}": old, f"PATCH {PLACE}/s": new}), _ansible_check_mode=True)
    assert (result["changed"], result["objects"]) == (True, [entry("update")])
    assert result["requests"]["applies"] == 0
    assert "diff" not in result


def test_failure_has_the_same_keys(run: Any) -> None:
    refused = Answer(422, {"reason": "Invalid", "message": f"data.password: Invalid value: {ENCODED}"})
    old = Answer(200, {"items": [applied("b2xk")]})
    result, dummy = run(script(**{f"GET {PLACE}": old, f"PATCH {PLACE}/s": refused}))
    assert result["failed"] is True
    assert (result["changed"], result["objects"]) == (False, [])
    assert result["requests"]["dry_runs"] == 1
    assert result["failure"]["reason"] == "Invalid"
    assert [problem["object"] for problem in result["failure"]["problems"]] == ["Secret home/s"]


def test_unreachable(run: Any) -> None:
    error = KubeError("One sentence.", reason="Unreachable", object_="127.0.0.1:6443")
    result, dummy = run({**script(), "GET /api": error, f"GET {PLACE}": []})
    assert (result["msg"], result["changed"], result["objects"]) == ("One sentence.", False, [])
    assert result["requests"]["gets"] == 3


def test_wrong_options_show_no_secret(run: Any) -> None:
    result, dummy = run({}, state="gone")
    assert result["msg"] == "value of state must be one of: present, absent, got: gone"
    result, dummy = run({}, objects=None)
    assert result["msg"] == "objects is null: give the list of objects, or [] to prune all of them."


def test_nothing_in_the_system_log(run: Any, monkeypatch: Any) -> None:
    logged = []
    monkeypatch.setattr(object_set.ObjectsModule, "log", lambda self, *args, **kwargs: logged.append((args, kwargs)))
    run(script())
    assert PASSWORD not in str(logged)


def test_defaults_are_those_of_the_documentation() -> None:
    import yaml

    documented = yaml.safe_load(object_set.DOCUMENTATION)["options"]
    for name, option in documented.items():
        assert object_set.spec()[name].get("default") == option.get("default"), name
