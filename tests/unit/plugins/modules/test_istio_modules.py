# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wiring of istio_info, istio_namespace and mesh_enrolment: options in, one result out."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils._istio.conftest import Api

CORE = "/api/v1/namespaces/core"
LABELS = {"istio.io/dataplane-mode": "ambient"}


def captured(annotations: dict[str, str]) -> dict[str, Any]:
    spec = {"nodeName": "n", "containers": [{"name": "app"}]}
    return {"metadata": {"annotations": annotations}, "spec": spec, "status": {"podIP": "10.0.0.1"}}


@pytest.fixture
def run(monkeypatch: Any, capsys: Any) -> Any:
    def go(name: str, api: Any, check: bool = False, **params: Any) -> Any:
        def connect(given: Any) -> Any:
            if isinstance(api, Exception):
                raise api
            return api

        monkeypatch.setattr(_client, "Client", connect)
        module = importlib.import_module(f"ansible_collections.bulkhead.mesh.plugins.modules.{name}")
        with (
            patch_module_args({"_ansible_check_mode": check, "_ansible_diff": True, **params}),
            pytest.raises(SystemExit),
        ):
            module.main()
        return json.loads(capsys.readouterr().out)

    return go


@pytest.mark.parametrize("name", ["istio_info", "istio_namespace", "mesh_enrolment"])
def test_no_cluster_is_one_sentence(run: Any, name: str) -> None:
    params = {"namespaces": []} if name == "mesh_enrolment" else {}
    result = run(name, KubeError("it cannot be reached", reason="Unreachable"), **params)
    assert result["failed"] and result["msg"] == "it cannot be reached" and not result["changed"]
    assert result["failure"]["reason"] == "Unreachable"


def test_info_waits_only_when_it_may(run: Any) -> None:
    result = run("istio_info", Api(), wait_for=["ztunnel"], wait_timeout=0)
    assert result["failed"] and result["failure"]["reason"] == "NotReady"
    result = run("istio_info", Api(), check=True, wait_for=["ztunnel"], wait_timeout=0)
    assert "failed" not in result and result["ready"] == {} and result["istio"]["parts"]["ztunnel"] == []


def test_namespace_once(run: Any) -> None:
    api = Api()
    result = run("istio_namespace", api, check=True)
    assert result["changed"] and api.writes == [] and result["diff"]["after"] == "create Namespace istio-system\n"
    assert run("istio_namespace", api)["changed"] is True
    assert run("istio_namespace", api)["changed"] is False
    assert run("istio_namespace", api, state="absent")["actions"] == ["delete Namespace istio-system"]
    assert run("istio_namespace", api, state="absent")["changed"] is False


def test_enrolment_refuses_before_it_connects(run: Any) -> None:
    namespaces = [{"name": "vpn", "mesh": "ambient"}]
    result = run("mesh_enrolment", AssertionError("connected"), namespaces=namespaces, forbidden=["vpn"])
    assert result["failed"] and result["failure"]["reason"] == "BadInput"
    assert result["msg"].startswith("Namespace vpn is to be in the mesh (mesh: ambient), but it must stay out")


def test_enrolment(run: Any) -> None:
    api = Api((CORE, {"metadata": {"labels": LABELS}}), (f"{CORE}/pods/a", captured({})))
    params = {"namespaces": [{"name": "core", "mesh": "ambient"}], "wait_timeout": 0}
    result = run("mesh_enrolment", api, check=True, **params)
    assert "failed" not in result and result["complete"] is False and "pod core/a" in result["evidence"]
    result = run("mesh_enrolment", api, **params)
    assert result["failed"] and result["failure"]["reason"] == "NotEnrolled"
    api.put(f"{CORE}/pods/a", captured({"ambient.istio.io/redirection": "enabled"}))
    result = run("mesh_enrolment", api, **params)
    assert result["complete"] and not result["changed"]
    assert result["namespaces"] == [{"name": "core", "mesh": "ambient", "pods": {"in": 1}}]
    assert api.writes == []


def test_pods_without_sidecar_are_reported_and_not_restarted(run: Any, monkeypatch: Any) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda self, text: warnings.append(text))
    api = Api((CORE, {"metadata": {"labels": {"istio-injection": "enabled"}}}), (f"{CORE}/pods/a", captured({})))
    result = run("mesh_enrolment", api, namespaces=[{"name": "core", "mesh": "sidecar"}], wait_timeout=0)
    assert result["complete"] and result["restart"] == ["core/a"] and api.writes == []
    assert "restart the workloads of core/a" in warnings[0]


def test_out_of_the_mesh(run: Any) -> None:
    api = Api((CORE, {"metadata": {"labels": LABELS}}))
    params = {"namespaces": [{"name": "core", "mesh": "ambient"}], "state": "absent", "wait_timeout": 0}
    assert run("mesh_enrolment", api, check=True, **params)["unlabelled"] == ["core"] and api.writes == []
    assert run("mesh_enrolment", api, **params)["changed"] is True
    assert run("mesh_enrolment", api, **params)["changed"] is False
