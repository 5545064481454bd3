# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Rows and evidence -> results. Pure.

``reached`` is said where the page came back, recognised, from every address that was asked for. ``refused`` is said only where
the page is known, the same gateway or Service answered somebody in this run, something answered the vantage before, and
the page came from no address. Everything else is unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _controls
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._registry import ACTIVE, DISPOSABLE
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import (
    FAIL,
    PASS,
    UNKNOWN,
    Finding,
    Missing,
    Result,
    failed,
    passed,
    skipped,
    unknown,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths import _plan
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._identity import ERROR, Book
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import (
    POD,
    REACHED,
    REFUSED,
    Answer,
    Answers,
    Page,
    Row,
    Try,
    Vantage,
)

AS_DECLARED, NOT_AS_DECLARED = "as_declared", "not_as_declared"
VANTAGE_CHECK, PAGE_CHECK, GATEWAY_CHECK = "ctl-vantage", "ctl-page", "ctl-gateway"
NAMES = {REACHED: "path-reached", REFUSED: "path-refused"}
# What gateways and the mesh's proxies say themselves: there is no such route, or the policy denies it.
NO_ROUTE = (404, 421)
RBAC = hashlib.sha256(b"RBAC: access denied").hexdigest()[:32]
_NO_WAY = ("no_name",)  # outcomes of names that do not exist where they were asked


@dataclass(frozen=True)
class Brought:
    """What one vantage brought back. ``spoke``: something had answered it before the rows were tried. ``patience``: seconds
    after which nothing was taken for no answer."""

    answers: Answers
    spoke: bool = False
    patience: float = 4.0

    @property
    def slowest(self) -> float:
        """Seconds that an answer took at the most."""
        return max((one.seconds for one in self.answers.values() if one.spoke), default=0.0)


@dataclass(frozen=True)
class Evidence:
    """Everything that was seen. ``skipped`` are vantages of classes nobody asked for, with the reason; ``late`` says of rows
    for how many seconds they were otherwise before they were as now."""

    world: _plan.World
    rows: Sequence[Row]
    brought: Mapping[Vantage, Brought | Missing]
    skipped: Mapping[Vantage, str] = field(default_factory=dict)
    late: Mapping[Row, float] = field(default_factory=dict)

    def answers_of(self, vantage: Vantage) -> Answers:
        """What came back to a vantage, nothing if it has no probe."""
        found = self.brought.get(vantage)
        return {} if found is None or isinstance(found, Missing) else found.answers

    @property
    def pages(self) -> list[Page]:
        """Every page of the matrix once."""
        return list(dict.fromkeys(row.page for row in self.rows))


def book(evidence: Evidence) -> Book:
    """Pages as their Services answered pods, and those that are declared to hold a text."""
    made = Book()
    pages = _plan.pages(evidence.rows, evidence.world)
    for vantage in evidence.brought:
        answers = evidence.answers_of(vantage)
        for one, page in _plan.references_of(vantage, pages, evidence.world).items() if answers else ():
            if one in answers:
                made.add(page, answers[one])
    for row in evidence.rows:
        answers = evidence.answers_of(row.source) if row.page.content else {}
        for one in _plan.tries(row, evidence.world) if answers else ():
            if one in answers:
                made.found(row.page, answers[one])
    return made


def judge(evidence: Evidence) -> list[Result]:
    """Controls first, then every row in its order."""
    known = book(evidence)
    results = [_control(VANTAGE_CHECK, str(one), _vantage(one, evidence)) for one in evidence.brought]
    results += [_control(PAGE_CHECK, str(one), _page(one, evidence, known)) for one in _first(evidence.pages)]
    gates = sorted({row.gateway for row in evidence.rows if row.gateway})
    results += [_control(GATEWAY_CHECK, f"gateway {one}", _gateway(one, evidence, known)) for one in gates]
    return results + [result(row, evidence, known) for row in evidence.rows]


def _first(pages: Sequence[Page]) -> list[Page]:
    return list({str(one): one for one in reversed(pages)}.values())[::-1]


def _control(id_: str, target: str, finding: Finding) -> Result:
    expected = {
        VANTAGE_CHECK: "something answers it",
        PAGE_CHECK: "recognised by what the Service itself answers",
        GATEWAY_CHECK: "a page of its own reaches somebody",
    }[id_]
    return Result(
        id_,
        target,
        finding.result,
        "control",
        ACTIVE,
        expected=expected,
        observed=finding.observed,
        reason=finding.reason,
    )


def _vantage(vantage: Vantage, evidence: Evidence) -> Finding:
    if vantage in evidence.skipped:
        return skipped(evidence.skipped[vantage])
    found = evidence.brought[vantage]
    if isinstance(found, Missing):
        return unknown(str(found))
    if found.spoke:
        return passed("something answered it")
    return unknown("nothing answered it, so it may have no network at all")


def _page(page: Page, evidence: Evidence, known: Book) -> Finding:
    if known.known(page):
        return passed("its text came back" if page.content else "its Service answered a pod")
    return unknown(_unrecognised(page, evidence))


def _unrecognised(page: Page, evidence: Evidence) -> str:
    if page.content:
        return f"nobody got a page of {page} with the text {page.content!r}"
    if not _plan.references([page], evidence.world):
        return f"there is no Service {page.namespace}/{page.service} with an address in the cluster"
    seen = [
        evidence.answers_of(vantage)[one]
        for vantage in evidence.brought
        for one in _plan.references_of(vantage, [page], evidence.world)
        if one in evidence.answers_of(vantage)
    ]
    if not seen:
        return f"no pod asked Service {page}: with class C in check_classes, or with content for the row, it is known"
    words = sorted({in_words(one) for one in seen})
    return f"Service {page} is not recognised by what it answered at {page.path}: {', '.join(words)}"


def _gateway(name: str, evidence: Evidence, known: Book) -> Finding:
    who = serving(name, evidence, known)
    if who:
        return passed(f"{who[0]} got a page of its own")
    return unknown("nobody got a page of its own from it")


def serving(name: str, evidence: Evidence, known: Book) -> list[Vantage]:
    """Vantages that got a page of a gateway's own routes from it; without routes, any answer at all."""
    gateway = evidence.world.gateways[name]
    rows = [row for row in evidence.rows if row.gateway == name]
    owned = {(route.namespace, route.service, route.port) for route in gateway.routes}
    found = []
    for vantage in evidence.brought:
        answers = evidence.answers_of(vantage)
        asked = [row for row in rows if row.source == vantage]
        if vantage.kind == POD:
            asked += _plan.own_rows([name], evidence.world)
        for row in asked:
            for one in _plan.tries(row, evidence.world):
                answer = answers.get(one)
                own = row.page.service_key in owned and answer is not None and known.is_page(answer, row.page)
                if own or (answer is not None and not owned and answer.spoke):
                    found.append(vantage)
    return list(dict.fromkeys(found))


def result(row: Row, evidence: Evidence, known: Book) -> Result:
    """One row."""
    finding = find(row, evidence, known)
    late = evidence.late.get(row)
    observed = finding.observed + (f" (otherwise for the first {late:g} s)" if late else "")
    return Result(
        NAMES[row.expect],
        str(row),
        finding.result,
        "path",
        DISPOSABLE if row.source.kind == POD else ACTIVE,
        control=finding.control,
        expected=row.expect,
        observed=observed,
        reason=finding.reason,
    )


def find(row: Row, evidence: Evidence, known: Book) -> Finding:
    """What the evidence says of a row."""
    if row.source in evidence.skipped:
        return skipped(evidence.skipped[row.source])
    brought = evidence.brought.get(row.source, Missing("nobody asked from there"))
    if isinstance(brought, Missing):
        # Why is said once, of the vantage, and not with each of its paths.
        return unknown(f"{row.source} is not available")
    made = _plan.tries(row, evidence.world)
    if not made:
        return unknown(f"{row.target} has no address to ask")
    got = {one: brought.answers.get(one, Answer("tool", detail="it was not asked")) for one in made}
    return (_reached if row.expect == REACHED else _refused)(row, got, brought, evidence, known)


def _reached(row: Row, got: Answers, brought: Brought, evidence: Evidence, known: Book) -> Finding:
    wanted = {one: answer for one, answer in got.items() if one.primary}
    if not known.known(row.page):
        return unknown(_unrecognised(row.page, evidence), _all(wanted))
    if not wanted:
        return unknown(f"{row.target} has no address that {row.source} is to reach it at", _all(got))
    lacking = {one: answer for one, answer in wanted.items() if not known.is_page(answer, row.page)}
    if not lacking:
        return passed(_all(wanted), control=PAGE_CHECK)
    shared = [other for one, answer in lacking.items() for other in known.others(answer, row.page)]
    if all(known.is_page(answer, row.page) is None for answer in lacking.values()):
        return unknown(_alike(row, shared), _all(lacking))
    if any(_not_made(answer) for answer in lacking.values()):
        return unknown("an attempt could not be made", _all(lacking))
    if not brought.spoke and not any(answer.spoke for answer in lacking.values()):
        return unknown("nothing answered this vantage, so it may have no network at all", _all(lacking))
    if any(known.stranger(answer, row.page) for answer in lacking.values()):
        return unknown(_strange(row), _all(lacking))
    instead = f", but that of {', '.join(dict.fromkeys(shared))}" if shared else ""
    return failed(_all(lacking), f"the page did not come back{instead}", control=PAGE_CHECK)


def _refused(row: Row, got: Answers, brought: Brought, evidence: Evidence, known: Book) -> Finding:
    hits = {one: answer for one, answer in got.items() if known.is_page(answer, row.page)}
    if hits:
        return failed(_all(hits), f"{row.page} can be reached from there", control=PAGE_CHECK)
    text = _all(got)
    doubtful = [answer for answer in got.values() if known.is_page(answer, row.page) is None]
    if doubtful:
        return unknown(_alike(row, [one for answer in doubtful for one in known.others(answer, row.page)]), text)
    if any(_not_made(answer) for answer in got.values()):
        return unknown("an attempt could not be made", text)
    if not known.known(row.page):
        return unknown(_unrecognised(row.page, evidence), text)
    if any(_unsettled(answer, row, known) for answer in got.values()):
        return unknown(_strange(row), text)
    if not brought.spoke:
        return unknown("nothing answered this vantage before, so it may have no network at all", text)
    if brought.slowest * 2 > brought.patience and any(answer.outcome == "timeout" for answer in got.values()):
        reason = f"answers took up to {brought.slowest:.1f} s here, so silence may be one that is late"
        return unknown(f"{reason}: raise attempt_timeout", text)
    others = _alive(row, evidence, known)
    if not others:
        return unknown("the same target answered nobody in this run, so it may be down", text)
    return passed(f"{text}; {others[0]} got an answer", control=GATEWAY_CHECK if row.gateway else PAGE_CHECK)


def _alive(row: Row, evidence: Evidence, known: Book) -> list[Vantage]:
    """Who got an answer, with identity, from the gateway or Service of a row; of a Service only others than its source.

    Where nobody else may call a Service, a gateway that serves its page shows that it lives.
    """
    if row.gateway:
        return serving(row.gateway, evidence, known)
    references = _plan.references([row.page], evidence.world)
    direct = [
        vantage
        for vantage in evidence.brought
        if vantage != row.source
        for one, answer in evidence.answers_of(vantage).items()
        if one in references and known.is_page(answer, row.page)
    ]
    return direct or [
        other.source
        for other in evidence.rows
        if other.gateway and other.page.service_key == row.page.service_key
        for one in _plan.tries(other, evidence.world)
        if one in evidence.answers_of(other.source)
        and known.is_page(evidence.answers_of(other.source)[one], other.page)
    ]


def _alike(row: Row, others: Sequence[str]) -> str:
    return f"{row.page} answers the same as {', '.join(dict.fromkeys(others))}: give a path or content that tells them apart"


def _unsettled(answer: Answer, row: Row, known: Book) -> bool:
    """Whether this may be the application after all: a page that nobody knows, or an error that only it would give."""
    if row.page.content or not answer.spoke:
        return False
    if answer.status >= ERROR:
        denied = answer.status == 403 and answer.digest == RBAC
        return not (denied or (row.gateway and (answer.status >= 500 or answer.status in NO_ROUTE)))
    return not known.whose(answer)


def _strange(row: Row) -> str:
    return f"something answered, and nobody can say whether that is {row.page}: give content"


def _not_made(answer: Answer) -> bool:
    if answer.outcome in _NO_WAY or answer.spoke:
        return False
    return _controls.error_class(answer.outcome) == _controls.NOT_MADE


def in_words(answer: Answer) -> str:
    """An answer for people."""
    if answer.outcome == "answered":
        if not answer.status:
            return "another protocol than HTTP"
        return f"HTTP {answer.status}" + (f" {answer.title!r}" if answer.title else "")
    if answer.outcome in _NO_WAY:
        return "no such name"
    kind = _controls.error_class(answer.outcome)
    return f"{answer.outcome} ({kind})" if kind not in (answer.outcome, "answered") else answer.outcome


def _all(got: Mapping[Try, Answer]) -> str:
    """``192.0.2.1:80, 192.0.2.2:80 HTTP 404``: addresses by what came of them."""
    by: dict[str, list[str]] = {}
    for one, answer in got.items():
        by.setdefault(in_words(answer), []).append(str(one))
    return (
        "; ".join(f"{', '.join(dict.fromkeys(places))} {words}" for words, places in by.items()) or "nothing was asked"
    )


def seen_as(one: Result) -> str:
    """What was seen of a row: reached, refused or unknown."""
    if one.result not in (PASS, FAIL):
        return UNKNOWN
    asked = next(expect for expect, id_ in NAMES.items() if id_ == one.id)
    return asked if one.result == PASS else {REACHED: REFUSED, REFUSED: REACHED}[asked]


def verdict(results: Sequence[Result]) -> str:
    """The worst of all rows; no row is unknown."""
    rows = [one.result for one in results if one.layer == "path"]
    if FAIL in rows:
        return NOT_AS_DECLARED
    return AS_DECLARED if rows and set(rows) == {PASS} else UNKNOWN
