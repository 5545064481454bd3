# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""A result as a table for terminals, JSON, JUnit and one HTML file. Pure.

All take the module's result: ``{"verdict", "acceptable", "require", "clients": [...], "checks": [...]}``. That of path_check has
``vantages`` and ``paths`` in place of ``clients``.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

COLUMNS = ("check", "result", "class", "layer", "target", "observed")
_KEYS = ("verdict", "acceptable", "reasons", "require", "clients", "vantages", "paths", "checks", "time")
_XML_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WIDE = 100  # characters of the last column
Report = Mapping[str, Any]


def _seen(check: Mapping[str, Any]) -> str:
    """Observation and reason in one line."""
    parts = [check.get("observed") or "", check.get("reason") or ""]
    if check.get("address_class") not in (None, "none"):
        parts.append(f"address: {check['address_class']}")
    if check.get("counter_delta") is not None:
        parts.append(f"counter +{check['counter_delta']}")
    return _text(" ".join("; ".join(part for part in parts if part).split()))


def _rows(report: Report) -> list[tuple[str, ...]]:
    return [
        (one["id"], one["result"], one["class"], one["layer"], one["target"], _seen(one)) for one in report["checks"]
    ]


@dataclass(frozen=True)
class _Words:
    """What one module's report is called, and its subjects: those that have a verdict each."""

    module: str
    title: str
    class_name: str  # of JUnit's test cases
    head: tuple[str, ...]
    subjects: Callable[[Report], list[tuple[str, ...]]]  # name, verdict, more, why
    key: str


def _clients(report: Report) -> list[tuple[str, ...]]:
    return [
        (
            f"{one['kind']} {one['namespace']}/{one['name']}",
            one["verdict"],
            ", ".join(f"{name} {state}" for name, state in one["layers"].items()),
            one["reason"],
        )
        for one in report["clients"]
    ]


def _vantages(report: Report) -> list[tuple[str, ...]]:
    return [(one["name"], one["verdict"], one["reason"]) for one in report["vantages"]]


_KILLSWITCH = _Words(
    "killswitch_check", "Kill switch", "killswitch", ("Client", "Verdict", "Layers", "Why"), _clients, "clients"
)
_PATHS = _Words("path_check", "Paths", "paths", ("From", "Verdict", "Paths"), _vantages, "vantages")


def _words(report: Report) -> _Words:
    return _PATHS if "vantages" in report else _KILLSWITCH


def table(report: Report) -> str:
    """Plain text, one line for each check; what did not pass is shown in full, the rest is cut."""
    rows = [
        (*row[:-1], row[-1] if row[1] in ("fail", "unknown") or len(row[-1]) <= _WIDE else row[-1][: _WIDE - 3] + "...")
        for row in _rows(report)
    ]
    lines = _aligned([tuple(name.upper() for name in COLUMNS), *rows]) + [""]
    words = _words(report)
    lines += _aligned([tuple(name.upper() for name in words.head), *words.subjects(report)])
    word = "as required" if report["acceptable"] else "NOT as required"
    overlooked = report.get("reasons")
    if overlooked == [] and not report["clients"]:
        lines += ["", "No VPN client is named, and no workload is attached."]
    else:
        lines += ["", f"Verdict {report['verdict']}, required {report['require']}: {word}."]
    lines += [f"  {reason}" for reason in overlooked or []]
    lines += [f"  {reason}" for one in report[words.key] for reason in one["reasons"]]
    return "\n".join(lines)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def as_json(report: Report) -> str:
    """The same for programs: only what is documented, sorted keys."""
    return json.dumps({key: report[key] for key in _KEYS if key in report}, indent=2, sort_keys=True) + "\n"


def junit(report: Report) -> str:
    """One test suite for each target, and one for verdicts. Unknown is an error, so that no viewer shows it as good."""
    words = _words(report)
    root = ElementTree.Element("testsuites", name=words.module)
    targets = list(dict.fromkeys(one["target"] for one in report["checks"]))
    for target in targets:
        _suite(root, target, [one for one in report["checks"] if one["target"] == target], words)
    verdicts = [
        {
            "id": subject[0],
            "layer": "verdict",
            "result": "pass" if one["acceptable"] else "unknown" if one["verdict"] == "unknown" else "fail",
            "expected": report["require"],
            "observed": one["verdict"],
            "reason": "\n".join(one["reasons"]),
            "duration_s": 0.0,
        }
        for one, subject in zip(report[words.key], words.subjects(report))
    ]
    _suite(root, "verdicts", verdicts, words)
    totals = {
        key: sum(int(suite.get(key, "0")) for suite in root) for key in ("tests", "failures", "errors", "skipped")
    }
    for key, value in totals.items():
        root.set(key, str(value))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


_TAGS = {"fail": "failure", "unknown": "error", "skipped": "skipped"}


def _suite(root: ElementTree.Element, name: str, checks: Sequence[Mapping[str, Any]], words: _Words) -> None:
    counts = {tag: sum(1 for one in checks if _TAGS.get(one["result"]) == tag) for tag in _TAGS.values()}
    seconds = sum(float(one.get("duration_s") or 0.0) for one in checks)
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=_text(name),
        tests=str(len(checks)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        time=f"{seconds:.3f}",
    )
    for one in checks:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            name=_text(one["id"]),
            classname=_text(f"{words.class_name}.{one['layer']}"),
            time=f"{float(one.get('duration_s') or 0.0):.3f}",
        )
        tag = _TAGS.get(one["result"])
        if tag:
            message = one.get("reason") or one.get("observed") or one["result"]
            found = ElementTree.SubElement(case, tag, message=_text(message))
            if tag != "skipped":
                found.set("type", one["result"])
                found.text = _text(f"expected: {one.get('expected', '')}\nobserved: {_seen(one)}")


def _text(value: str) -> str:
    """Without characters that XML cannot hold."""
    return _XML_FORBIDDEN.sub("?", str(value))


_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem; border-bottom: 1px solid #8886; }
.pass, .protected, .as_declared { color: #1a7f37; } .fail, .unprotected, .not_as_declared { color: #cf222e; font-weight: 600; }
.unknown, .protected_single_layer { color: #9a6700; font-weight: 600; } .skipped { color: #6e7781; }
"""


def as_html(report: Report) -> str:
    """One file without scripts and without anything from elsewhere."""
    head, words = ("Check", "Result", "Class", "Layer", "Target", "Observed"), _words(report)
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(words.title)}</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(words.title)}</h1>",
        f'<p>Verdict <span class="{html.escape(report["verdict"])}">{html.escape(report["verdict"])}</span>, '
        f"required {html.escape(report['require'])}.</p>",
        _html_table(words.head, words.subjects(report)),
        _html_table(head, _rows(report)),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["<table>", "<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    for row in rows:
        cells = [f'<td class="{html.escape(cell)}">' if index == 1 else "<td>" for index, cell in enumerate(row)]
        lines.append("<tr>" + "".join(f"{tag}{html.escape(cell)}</td>" for tag, cell in zip(cells, row)) + "</tr>")
    return "\n".join([*lines, "</table>"])


FORMATS: Mapping[str, Callable[[Report], str]] = {"table": table, "json": as_json, "junit": junit, "html": as_html}
