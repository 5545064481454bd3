# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The matrix as it is written: what it means, and every mistake in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulkhead.mesh.plugins.module_utils._paths import _derive, _parse
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import Page, Row, Vantage
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.paths import network as n

INVALID = sorted((Path(__file__).parent / "invalid").glob("*.yml"))


def parsed(*raw: Any) -> list[Row]:
    rows, problems = _parse.parse(list(raw), n.gateways(), n.clients())
    assert not problems, [str(one) for one in problems]
    return rows


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_invalid(path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    dummy, problems = _parse.parse(case["paths"], n.gateways(), n.clients())
    assert [str(one) for one in problems] == case["expected"]


def test_every_rule_has_a_fixture() -> None:
    assert len(INVALID) >= 14


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("lan", Vantage("lan")),
        ("tailnet", Vantage("tailnet")),
        ({"client": "qbit"}, n.QBIT),
        ({"client": "downloads/qbit"}, n.QBIT),
        ({"namespace": "core"}, n.CORE),
        ({"namespace": "default", "mesh": False}, n.OUTSIDER),
        (
            {"namespace": "core", "labels": {"b": "2", "a": "1"}, "service_account": "radarr"},
            Vantage("pod", "core", labels=(("a", "1"), ("b", "2")), account="radarr"),
        ),
    ],
)
def test_vantages(raw: Any, expected: Vantage) -> None:
    (row,) = parsed({"from": raw, "to": {"gateway": "media", "path": "/"}, "expect": "reached"})
    assert row.source == expected


@pytest.mark.parametrize(
    ("to", "gateway", "path", "page"),
    [
        ({"gateway": "arr", "path": "/radarr/"}, "arr", "/radarr/", Page("core", "radarr", 7878, "/")),
        (
            {"gateway": "arr", "path": "/radarr/api/v3"},
            "arr",
            "/radarr/api/v3",
            Page("core", "radarr", 7878, "/api/v3"),
        ),
        ({"gateway": "arr", "path": "/radarr"}, "arr", "/radarr", Page("core", "radarr", 7878, "/")),
        # of another gateway, because this one has no route for it
        ({"gateway": "arr", "path": "/"}, "arr", "/", Page("media", "jellyfin", 8096, "/")),
        # this one has
        ({"gateway": "media", "path": "/radarr/"}, "media", "/radarr/", Page("media", "jellyfin", 8096, "/radarr/")),
        ({"gateway": "media", "route": "core/radarr"}, "media", "/radarr/", Page("core", "radarr", 7878, "/")),
        ({"service": "core/radarr", "port": 7878}, "", "/", Page("core", "radarr", 7878)),
        (
            {
                "service": "core/radarr",
                "port": 443,
                "path": "/x",
                "scheme": "https",
                "host": "r.example",
                "content": "R",
            },
            "",
            "/x",
            Page("core", "radarr", 443, "/x", True, "r.example", "R"),
        ),
    ],
)
def test_targets(to: Any, gateway: str, path: str, page: Page) -> None:
    (row,) = parsed({"from": "lan", "to": to, "expect": "refused"})
    assert (row.gateway, row.path, row.page, row.expect, row.origin) == (gateway, path, page, "refused", "declared")


@pytest.mark.parametrize(
    ("prefix", "path", "expected"),
    [("/", "/x", True), ("/a", "/a", True), ("/a/", "/a/b", True), ("/a", "/ab", False), ("/a", "/", False)],
)
def test_prefixes_are_whole_elements(prefix: str, path: str, expected: bool) -> None:
    assert _parse.covers(prefix, path) is expected


def test_a_declared_row_wins_over_a_derived_one() -> None:
    derived = _derive.derive(n.gateways(), n.clients(), n.NAMESPACES, n.seen())
    (declared,) = parsed({"from": "lan", "to": {"gateway": "media", "route": "core/radarr"}, "expect": "reached"})
    both = _derive.declared_over([declared], derived)
    assert len(both) == len(derived)
    assert [row.expect for row in both if row.key == declared.key] == ["reached"]


def test_rows_of_pods_that_only_some_of_a_namespace_may_are_left_out() -> None:
    raw = {**n.CLIENTS[0], "ingress": [{"from": {"namespace": "core", "pods": {"app": "x"}}, "ports": [8080]}]}
    found, problems = n._vpn.parse_clients([raw], n._vpn.parse_gateways(n.VPN)[0])
    assert not problems
    told = {str(row): row.expect for row in _derive.derive(n.gateways(), found, n.NAMESPACES, n.seen())}
    assert "pod in core -> Service downloads/qbit:8080" not in told
    assert told["pod in media -> Service downloads/qbit:8080"] == "refused"


@pytest.mark.parametrize(("exposure", "given", "expected"), [("lan", False, None), ("lan", True, "refused")])
def test_the_tailnet_is_asked_where_there_is_one(exposure: str, given: bool, expected: str | None) -> None:
    rows = _derive.derive(n.gateways(), [], [], n.seen(), tailnet=given)
    told = {str(row): row.expect for row in rows}
    assert told.get("tailnet -> gateway media / (media/jellyfin:8096)") == expected


def test_nobody_is_expected_to_get_out_of_a_sealed_namespace() -> None:
    def expected(egress: str) -> dict[str, str]:
        listed = [{**one, "egress": egress} if one["name"] == "core" else one for one in n.NAMESPACES]
        return {str(row): row.expect for row in _derive.derive(n.gateways(), n.clients(), listed, n.seen())}

    opened, sealed = expected("open"), expected("sealed")
    lost = opened.keys() - sealed.keys()
    assert lost and {opened[one] for one in lost} == {"reached"} and all("core" in one for one in lost)
    assert sealed.items() <= opened.items()
