# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wiring of topology_info: options and a report in, one result out, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.modules import topology_info
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.topology.cluster import Api


@pytest.fixture
def warnings(monkeypatch: Any) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda self, text: said.append(text))
    return said


@pytest.fixture
def run(monkeypatch: Any, capsys: Any) -> Any:
    def go(api: Any = None, check: bool = False, **params: Any) -> Any:
        def connect(given: Any) -> Any:
            if isinstance(api, Exception):
                raise api
            return api or Api()

        monkeypatch.setattr(_client, "Client", connect)
        with patch_module_args({"_ansible_check_mode": check, **params}), pytest.raises(SystemExit):
            topology_info.main()
        return json.loads(capsys.readouterr().out)

    return go


def test_it_reads_and_never_changes(run: Any) -> None:
    found, again = run(), run(check=True)
    assert found["changed"] is again["changed"] is False
    assert {**found["topology"], "read_at": ""} == {**again["topology"], "read_at": ""}
    assert found["topology"]["server"] == "192.0.2.1:6443"


def test_no_cluster_is_one_sentence(run: Any) -> None:
    found = run(KubeError("it cannot be reached", reason="Unreachable"))
    assert found["failed"] and found["msg"] == "it cannot be reached" and found["failure"]["reason"] == "Unreachable"


def test_bad_input_before_it_connects(run: Any) -> None:
    found = run(AssertionError("connected"), gateways=[{"name": "north"}])
    assert found["failed"] and found["msg"] == "gateways[0] (north) lacks namespace: give it as a text."


def test_reports(run: Any, warnings: list[str], tmp_path: Path) -> None:
    assert run()["topology"]["proof"]["state"] == "none"
    missing = run(report=str(tmp_path / "none.json"))["topology"]["proof"]
    assert missing["state"] == "none" and "none.json" in missing["reason"] and warnings == []
    for content in (b"{", b"\xff\xfe", b"{}"):
        file = tmp_path / "report.json"
        file.write_bytes(content)
        found = run(report=str(file))["topology"]
        assert found["proof"]["state"] == "unreadable" and found["vpn_clients"][0]["state"] == "unknown"
    assert len(warnings) == 3
    assert run(report=str(tmp_path))["topology"]["proof"]["state"] == "unreadable"


def test_stale_after_is_in_hours(run: Any, tmp_path: Path) -> None:
    client = {"kind": "StatefulSet", "namespace": "downloads", "name": "qbittorrent", "gateway": "north"}
    content = {
        "clients": [{**client, "verdict": "protected", "layers": {}}],
        "checks": [],
        "time": "2026-11-21T11:00:00Z",
    }
    file = tmp_path / "report.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    assert run(report=str(file), stale_after=10**6)["topology"]["vpn_clients"][0]["stale"] is False
    assert run(report=str(file), stale_after=0)["topology"]["vpn_clients"][0]["stale"] is True
