# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from ansible.module_utils.testing import patch_module_args

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer
from ansible_collections.bulkhead.mesh.plugins.modules import cluster_info

RECORDED = json.loads((Path(__file__).parent / "fixtures" / "plain.json").read_text())
NODES = {"verb": "list", "group": "", "resource": "nodes"}
PODS = "/api/v1/namespaces/default/pods"
REVIEW = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def script(**changed: Any) -> Any:
    answers = {key: Answer(entry["status"], entry["body"]) for key, entry in RECORDED.items()}
    answers.update(changed)
    return {key: value for key, value in answers.items() if value is not None}


@pytest.fixture
def run(monkeypatch: Any, capsys: Any, fake_api: Any) -> Any:
    """Run the module against a script; gives its result and the fake."""

    def go(calls: Any, **params: Any) -> Any:
        api = fake_api(calls)
        api.target = Target("127.0.0.1:6443", "context lab")
        monkeypatch.setattr(_client, "Client", lambda given: api)
        with patch_module_args(params), pytest.raises(SystemExit):
            cluster_info.main()
        return json.loads(capsys.readouterr().out), api

    return go


def test_recorded_cluster(run: Any) -> None:
    result, api = run(script(), can_i=[NODES])
    api.done()
    cluster = result["cluster"]
    assert result["changed"] is False
    assert cluster["server"] == "127.0.0.1:6443"
    assert cluster["version"] == {"git": "v1.35.4", "major": 1, "minor": 35}
    assert cluster["networks"]["service_cidrs"]["value"] == ["10.96.0.0/16", "fd00:10:96::/112"]
    assert cluster["networks"]["pod_cidrs"] == {
        "value": ["10.244.0.0/24", "fd00:10:244::/64"],
        "found_by": "podCIDRs of nodes",
        "reason": None,
    }
    assert cluster["dns"]["service"]["value"]["addresses"] == ["10.96.0.53"]
    assert cluster["dns"]["domain"]["value"] == "cluster.local"
    assert cluster["cni"]["policy_support"]["value"] == "unknown"
    assert cluster["psa"]["value"]["downloads"]["enforce"] == "baseline"
    assert cluster["vpn"]["value"] == {
        "clients": [{"namespace": "downloads", "client": "downloads.qbittorrent"}],
        "gateways": ["vpn"],
        "labels": {},
    }
    assert cluster["pod"]["mtu"]["value"] == "unknown"
    assert cluster["permissions"] == [{**NODES, "namespace": None, "allowed": "yes", "reason": None}]
    assert cluster["unreadable"] == []


def test_one_request_for_each_kind_and_nothing_written(run: Any) -> None:
    dummy, api = run(script(), can_i=[NODES])
    lists = [call.path for call in api.calls if call.what.startswith("list ")]
    assert len(lists) == len(set(lists))
    allowed = ("/apis/authorization.k8s.io/", "/apis/authentication.k8s.io/")
    assert [c.path for c in api.calls if c.method != "GET" and not c.path.startswith(allowed)] == []


def test_check_mode_makes_no_pod(run: Any) -> None:
    result, api = run(script(), can_i=[NODES], probe=True, _ansible_check_mode=True)
    api.done()
    assert result["cluster"]["pod"]["mtu"]["reason"] == "no probe pod is created in check mode"


def test_failed_probe_is_unknown_with_its_reason(run: Any) -> None:
    calls = script(
        **{f"GET {PODS}": Answer(200, {"items": []}), f"POST {PODS}": Answer(403, {"message": "no pods for you"})}
    )
    result, api = run(calls, can_i=[NODES], probe=True)
    api.done()
    assert result["cluster"]["pod"]["mtu"] == {
        "value": "unknown",
        "found_by": None,
        "reason": "cannot create pods in default: no pods for you",
    }


def test_without_service_cidr_objects_the_range_is_asked_for(run: Any) -> None:
    refused = "The range of valid IPs is 10.43.0.0/16"
    calls = script(
        **{
            "GET /apis/networking.k8s.io/v1/servicecidrs": Answer(403, {"message": "no"}),
            "POST /api/v1/namespaces/default/services": [
                Answer(422, {"message": refused}),
                Answer(422, {"message": "no"}),
            ],
            "GET /api/v1/namespaces/kube-system/pods": Answer(200, {"items": []}),
        }
    )
    result, api = run(calls, can_i=[NODES])
    api.done()
    assert result["cluster"]["networks"]["service_cidrs"]["value"] == ["10.43.0.0/16"]
    assert result["cluster"]["unreadable"] == [
        {
            "request": "list servicecidrs.networking.k8s.io",
            "reason": "not allowed to list servicecidrs.networking.k8s.io",
        }
    ]


def test_unreachable(run: Any) -> None:
    error = KubeError("One sentence.", reason="Unreachable", object_="127.0.0.1:6443")
    result, api = run({"GET /version": error})
    api.done()
    assert result["failed"] is True
    assert (result["msg"], result["changed"]) == ("One sentence.", False)
    assert result["failure"] == {"code": None, "reason": "Unreachable", "object": "127.0.0.1:6443", "details": None}


def test_secrets_of_an_inline_kubeconfig_are_not_shown(run: Any) -> None:
    users = [{"name": "u", "user": {"token": "s3cret-token", "auth-provider": {"config": {"id-token": "s3cret-id"}}}}]
    error = KubeError("The server said s3cret-token.", reason="Unreachable")
    result, dummy = run({"GET /version": error}, kubeconfig={"users": users})
    text = json.dumps(result)
    assert "s3cret" not in text
    assert result["msg"] == "The server said ********."


def test_something_else_answers(run: Any) -> None:
    result, api = run({"GET /version": Answer(200, {"text": "<html>"})})
    assert result["failure"]["reason"] == "NotKubernetes"
    assert result["msg"] == (
        "The server 127.0.0.1:6443 answered /version with status 200 and no version: "
        "check that the address is that of a Kubernetes API server."
    )
