"""The picture of the whole on a live cluster: what the last proof is worth, and what it is not worth any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from running_lab import kubectl
from whole import Site

from bulkhead_lab import plan


@pytest.fixture(scope="module")
def report(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run of verify just now."""
    folder = tmp_path_factory.mktemp("proof")
    assert site.verify(folder, "verify for the picture").verdict == "protected"
    return folder / "report.json"


def status(site: Site, folder: Path, report: Path) -> dict[str, Any]:
    """What the playbook shows, by its JSON view; it neither changes nor writes anything, and leaves a page."""
    views = {"json": str(folder / "status.json"), "html": str(folder / "status.html")}
    run = site.run("status", "status", bulkhead_verify_reports={"json": str(report)}, bulkhead_status=views)
    assert run.changed == 0 and run.writes == {}
    assert Path(views["html"]).read_text().startswith("<!doctype html>") and views["html"] in run.output
    told: dict[str, Any] = json.loads(Path(views["json"]).read_text())
    assert told["unreadable"] == []
    return told


def test_all_is_well(site: Site, tmp_path: Path, report: Path) -> None:
    told = status(site, tmp_path, report)
    (client,), (gateway,) = told["vpn_clients"], told["vpn_gateways"]
    assert (client["state"], client["gateway"], client["pods"]) == ("protected", "north", 1)
    assert set(client["layers"].values()) == {"holds"}
    assert gateway["state"] == "ready"
    assert gateway["exit"] == {"addresses": [plan.VPN_SERVERS[0].exit4], "state": "confirmed", "reason": ""}
    shown = {one["name"]: (one["state"], one["addresses"], len(one["routes"])) for one in told["ingress_gateways"]}
    assert shown == {
        "arr": ("ready", ["172.30.0.101"], 2),
        "media": ("ready", ["172.30.0.102"], 1),
        "admin": ("ready", ["172.30.0.103"], 1),
    }
    assert {one["name"]: one["state"] for one in told["namespaces"] if one["wanted"]} == dict.fromkeys(
        ("core", "downloads", "media", "admin", "vpn"), "as_labelled"
    )


def test_without_a_report_nothing_is_verified(site: Site, tmp_path: Path) -> None:
    told = status(site, tmp_path, tmp_path / "none.json")
    assert [one["state"] for one in told["vpn_clients"]] == ["never_verified"]
    assert [one["exit"]["state"] for one in told["vpn_gateways"]] == ["unknown"]


def test_a_new_gateway_pod_is_not_what_was_proven(site: Site, tmp_path: Path, report: Path) -> None:
    kubectl("-n", "vpn", "delete", "pod", "north-0")
    kubectl("-n", "vpn", "rollout", "status", "statefulset/north", "--timeout=120s")
    told = status(site, tmp_path, report)
    assert [one["state"] for one in told["vpn_clients"]] == ["unknown"]
    assert [one["exit"]["state"] for one in told["vpn_gateways"]] == ["unknown"]
