# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _report

EVIL = "<script>alert('x')</script> \x00\x1b[31m ]]> &amp;"


def check(id_: str, result: str, **more: Any) -> dict[str, Any]:
    plain = {"class": "A", "layer": "guard", "target": "ns/app-0", "observed": "seen", "reason": "", "expected": "good"}
    return {
        **plain,
        "id": id_,
        "result": result,
        "duration_s": 0.5,
        "counter_delta": None,
        "address_class": "none",
        **more,
    }


def report(*checks: Any, verdict: str = "protected", acceptable: bool = True) -> dict[str, Any]:
    client = {
        "kind": "StatefulSet",
        "namespace": "ns",
        "name": "app",
        "verdict": verdict,
        "layers": {"guard": "holds"},
        "reason": "two layers hold",
        "acceptable": acceptable,
        "reasons": [] if acceptable else ["StatefulSet ns/app: np-enforced failed"],
    }
    return {
        "verdict": verdict,
        "acceptable": acceptable,
        "require": "protected",
        "clients": [client],
        "checks": list(checks),
        "invocation": {"module_args": {"api_key": "secret"}},
    }


FOUR = [check("a", "pass"), check("b", "fail"), check("c", "unknown", reason="why"), check("d", "skipped")]


def test_junit_counts() -> None:
    root = ElementTree.fromstring(_report.junit(report(*FOUR, check("gw", "pass", target="vpn/north"))).encode())
    assert root.tag == "testsuites"
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    assert [suite.get("name") for suite in root] == ["ns/app-0", "vpn/north", "verdicts"]
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.get("tests", "")) == len(cases)
        assert float(suite.get("time", "")) == pytest.approx(sum(float(case.get("time", "")) for case in cases))
        for case in cases:
            assert case.get("name") and case.get("classname")
            assert len(case) <= 1
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert cases["c"][0].tag == "error" and cases["c"][0].get("message") == "why"
    assert len(cases["a"]) == 0 and cases["b"][0].tag == "failure" and cases["d"][0].tag == "skipped"


@pytest.mark.parametrize(
    ("verdict", "acceptable", "tag"),
    [
        ("protected", True, None),
        ("unprotected", False, "failure"),
        ("unknown", False, "error"),
        ("protected", False, "failure"),
    ],
)
def test_junit_verdict(verdict: str, acceptable: bool, tag: str | None) -> None:
    root = ElementTree.fromstring(_report.junit(report(verdict=verdict, acceptable=acceptable)).encode())
    (case,) = list(root.iter("testcase"))
    assert [one.tag for one in case] == ([tag] if tag else [])


def test_text_from_elsewhere_cannot_break_out() -> None:
    shown = report(check("a", "fail", observed=EVIL, reason=EVIL, target=EVIL))
    ElementTree.fromstring(_report.junit(shown).encode())
    page = _report.as_html(shown)
    assert "<script" not in page and "&lt;script&gt;" in page


def test_html_stands_alone() -> None:
    page = _report.as_html(report(*FOUR))
    assert "http" not in page and "src=" not in page and "<link" not in page
    assert page.count("<tr>") == 2 + 1 + len(FOUR)


def test_json_has_what_is_documented() -> None:
    text = _report.as_json(report(*FOUR))
    assert set(json.loads(text)) == {"verdict", "acceptable", "require", "clients", "checks"}
    assert "secret" not in text
    timed = json.loads(_report.as_json({**report(), "time": "2026-11-21T17:30:00Z"}))
    assert timed["time"] == "2026-11-21T17:30:00Z"


def test_table() -> None:
    lines = _report.table(report(*FOUR, check("e", "pass", observed="x" * 300), verdict="unknown", acceptable=False))
    assert [line.split()[0] for line in lines.splitlines()[:6]] == ["CHECK", "a", "b", "c", "d", "e"]
    assert "Verdict unknown, required protected: NOT as required." in lines
    assert "np-enforced failed" in lines
    assert max(len(line) for line in lines.splitlines()) < 200
    # A terminal callback prints such text as it is only if no line ends in a space.
    assert all(line == line.rstrip() for line in lines.splitlines())


@pytest.mark.parametrize("name", sorted(_report.FORMATS))
def test_no_checks(name: str) -> None:
    empty = {"verdict": "unknown", "acceptable": False, "require": "protected", "clients": [], "checks": []}
    assert _report.FORMATS[name](empty)


# -- a report of path_check ------------------------------------------------------


def paths(result: str = "pass") -> dict[str, Any]:
    vantage = {
        "name": f"pod {EVIL}",
        "verdict": "as_declared" if result == "pass" else "not_as_declared",
        "reason": f"1 {result}",
        "acceptable": result == "pass",
        "reasons": [] if result == "pass" else ["pod -> Service a/b:1: fail, expected refused"],
    }
    return {
        "verdict": vantage["verdict"],
        "acceptable": vantage["acceptable"],
        "require": "as_declared",
        "vantages": [vantage],
        "paths": [{"from": "pod", "result": result}],
        "checks": [check("path-refused", result, layer="path", target=f"pod {EVIL} -> Service a/b:1")],
        "invocation": {"module_args": {"api_key": "secret"}},
    }


def test_paths_as_text() -> None:
    lines = _report.table(paths("fail")).splitlines()
    assert any(line.startswith("FROM") and "VERDICT" in line for line in lines)
    assert "Verdict not_as_declared, required as_declared: NOT as required." in lines
    assert lines[-1] == "  pod -> Service a/b:1: fail, expected refused"


def test_paths_as_json() -> None:
    told = json.loads(_report.as_json(paths()))
    assert set(told) == {"verdict", "acceptable", "require", "vantages", "paths", "checks"}


@pytest.mark.parametrize(
    ("result", "failures", "errors"), [("pass", "0", "0"), ("fail", "2", "0"), ("unknown", "1", "1")]
)
def test_paths_as_junit(result: str, failures: str, errors: str) -> None:
    root = ElementTree.fromstring(_report.junit(paths(result)).encode())
    assert (root.get("name"), root.get("failures"), root.get("errors")) == ("path_check", failures, errors)
    assert {case.get("classname") for case in root.iter("testcase")} == {"paths.path", "paths.verdict"}


def test_paths_as_a_page() -> None:
    page = _report.as_html(paths())
    assert "<h1>Paths</h1>" in page
    assert "<script" not in page
