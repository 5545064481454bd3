# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad input: each file in ``invalid/`` breaks one rule and has the exact sentences expected.

``judge`` says what looks at it: ``gateways`` and ``clients`` the inventory, ``workload`` a live workload (``pod`` and
``template`` are laid over a good one's, ``spec`` and ``kind`` over the good workload), ``services`` the egress of a
client, ``addresses`` the allocation, ``attached`` an attached workload that somebody changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _address,
    _parse,
    _pieces,
    _refuse,
    _services,
    _template,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._patch import apply_patch

FOLDER = Path(__file__).parent / "invalid"
FILES = sorted(FOLDER.glob("*.yaml"))
GATEWAY = {"name": "vpnarr", "namespace": "vpn", "config_secret": "mullvad-wg0"}
CLIENT = {"kind": "StatefulSet", "namespace": "downloads", "name": "qbittorrent", "gateway": "vpnarr"}
Make = Callable[..., Any]


def judge_gateways(case: Any, **_makers: Make) -> list[Any]:
    return _parse.parse_gateways(case["gateways"])[1]


def judge_clients(case: Any, **_makers: Make) -> list[Any]:
    gateways, problems = _parse.parse_gateways(case.get("gateways", [GATEWAY]))
    assert problems == []
    return _parse.parse_clients(case["clients"], gateways)[1]


def judge_workload(case: Any, *, workload: Make, **_makers: Make) -> list[Any]:
    changes = {key: case[key] for key in ("pod", "template", "spec", "kind") if key in case}
    return _refuse.refusals(workload(**changes), case.get("others", ()))


def judge_services(case: Any, *, service: Make, overlay_on: Make, **_makers: Make) -> list[Any]:
    egress = [{"service": "core/radarr", "ports": [7878]}]
    clients, problems = _parse.parse_clients([{**CLIENT, "egress": case.get("egress", egress)}], _gateways())
    assert problems == []
    held = overlay_on(service(), case["service"]) if case["service"] else None
    seen = [held] if held else [], case.get("backends", ()), case.get("slices", ())
    return [*_services.resolve(clients[0], *seen)[1], *_services.audit(clients[0], *seen)]


def judge_addresses(case: Any, **_makers: Make) -> list[Any]:
    gateways, problems = _parse.parse_gateways(case["gateways"])
    assert problems == []
    demands = [_address.Demand(**demand) for demand in case.get("demands", ())]
    return _address.allocate(gateways, demands, case.get("previous"), case.get("cluster_networks"))[1]


def judge_attached(case: Any, *, workload: Make, settings: Make, overlay_on: Make, **_makers: Make) -> list[Any]:
    made = workload()
    attached = overlay_on(apply_patch(made, _template.attach(made, settings())), case.get("changes", {}))
    inits = attached["spec"]["template"]["spec"].setdefault("initContainers", [])
    if "move" in case:
        inits.insert(case["move"]["to"], inits.pop(case["move"]["from"]))
    if "guard" in case:
        inits[0].update(case["guard"])
    untouched = copy.deepcopy(attached)
    with pytest.raises(_template.Tampered) as caught:
        _template.detach(attached)
    assert attached == untouched
    return caught.value.problems


def _gateways() -> list[Any]:
    return _parse.parse_gateways([GATEWAY])[0]


JUDGES = {
    "gateways": judge_gateways,
    "clients": judge_clients,
    "workload": judge_workload,
    "services": judge_services,
    "addresses": judge_addresses,
    "attached": judge_attached,
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_sentences_are_exact(
    path: Path, workload: Make, service: Make, settings: Callable[..., _pieces.Settings], overlay_on: Make
) -> None:
    case = yaml.safe_load(path.read_text())
    makers = {"workload": workload, "service": service, "settings": settings, "overlay_on": overlay_on}
    assert [str(problem) for problem in JUDGES[case["judge"]](case, **makers)] == case["problems"]


def test_there_are_files() -> None:
    assert len(FILES) >= 25
    assert {yaml.safe_load(path.read_text())["judge"] for path in FILES} == set(JUDGES)


def test_a_good_workload_client_and_service_have_no_problems(workload: Make, service: Make) -> None:
    """Otherwise the files above could break what they do not mean to."""
    clients, problems = _parse.parse_clients(
        [{**CLIENT, "egress": [{"service": "core/radarr", "ports": [7878, "http"]}]}], _gateways()
    )
    assert problems == []
    assert _refuse.refusals(workload(), [workload()]) == []
    assert _services.resolve(clients[0], [service()])[1] == []
