# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The derived matrix over a network in memory: as declared, and then one thing at a time is otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths import _derive, _judge, _plan, _seen
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import REFUSED, Answer, Page, Row, Try
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.paths import network as n

ARR, QBIT_PAGE = "gateway arr /radarr/ (core/radarr:7878)", "gateway arr /qbit/ (downloads/qbit:8080)"
JELLYFIN, DASH = "gateway media / (media/jellyfin:8096)", "gateway admin / (admin/dash:9000)"


def rows(seen: Any = None, changes: Any = None) -> list[Row]:
    return _derive.derive(n.gateways(changes), n.clients(), n.NAMESPACES, seen or n.seen())


def test_as_declared() -> None:
    assert n.results(rows(), n.network()) == {}


def test_the_matrix_has_every_kind_of_row() -> None:
    told = {str(row): row.expect for row in rows()}
    assert told[f"lan -> {ARR}"] == "reached"
    assert told[f"lan -> {DASH}"] == "refused"  # its gateway is for the cluster only
    assert told["lan -> gateway media /radarr/ (core/radarr:7878)"] == "refused"
    assert told["lan -> Service core/radarr:7878"] == "refused"
    assert told["client downloads/qbit -> Service core/radarr:7878"] == "reached"
    assert told["client downloads/qbit -> Service media/jellyfin:8096"] == "refused"
    assert told["pod in core -> Service downloads/qbit:8080"] == "reached"
    assert told["pod in media -> Service downloads/qbit:8080"] == "refused"
    assert told["pod in default outside the mesh -> Service downloads/qbit:8080"] == "refused"
    assert not any(row.source.kind == "tailnet" for row in rows())


def test_a_served_foreign_page_is_seen() -> None:
    net = n.network()
    net.served["gateway media"]["/radarr/"] = "radarr"
    assert n.results(rows(), net) == {"lan -> gateway media /radarr/ (core/radarr:7878)": "fail"}


def test_an_undeclared_route_is_asked_for_and_seen() -> None:
    stray = _seen.Stray("media/stray", frozenset({("gateway-arr", "arr")}), "/x", "/", "", ("media", "jellyfin", 8096))
    seen, net = n.seen(routes=(stray,)), n.network()
    matrix, world = rows(seen), _plan.World({one.name: one for one in n.gateways()}, seen)
    assert n.results(matrix, net, world) == {}
    net.served["gateway arr"]["/x/"] = "jellyfin"
    name = "lan -> gateway arr /x/ (media/jellyfin:8096 by HTTPRoute media/stray)"
    assert n.results(matrix, net, world) == {name: "fail"}


def test_an_address_that_nobody_declared_is_asked_too() -> None:
    seen, net = n.seen(), n.network()
    door = seen.gateways["gateway-admin/admin"]
    seen = n.seen(gateways={**seen.gateways, "gateway-admin/admin": replace(door, outside=("192.0.2.103",))})
    net.addresses["192.0.2.103"] = "gateway admin"
    inner = net.refuse
    net.refuse = lambda vantage, place: place != "gateway admin" and inner(vantage, place)
    world = _plan.World({one.name: one for one in n.gateways()}, seen)
    assert n.results(rows(seen), net, world) == {
        f"lan -> {DASH}": "fail",
        # a client is not let to a gateway of the cluster either
        f"client downloads/qbit -> {DASH}": "fail",
    }


def test_swapped_addresses() -> None:
    net = n.network()
    net.addresses["192.0.2.101"], net.addresses["192.0.2.102"] = "gateway media", "gateway arr"
    told = n.results(rows(), net)
    assert {name: one for name, one in told.items() if one == "fail"} == {
        f"lan -> {ARR}": "fail",
        f"lan -> {QBIT_PAGE}": "fail",
        f"lan -> {JELLYFIN}": "fail",
        "lan -> gateway arr / (media/jellyfin:8096)": "fail",
        "lan -> gateway media /radarr/ (core/radarr:7878)": "fail",
        "lan -> gateway media /qbit/ (downloads/qbit:8080)": "fail",
    }


def test_a_policy_that_lets_everybody_in() -> None:
    net = n.network()
    inner = net.refuse
    net.refuse = lambda vantage, place: (vantage.kind != "pod") and inner(vantage, place)
    assert n.results(rows(), net) == {
        "pod in media -> Service downloads/qbit:8080": "fail",
        "pod in default outside the mesh -> Service downloads/qbit:8080": "fail",
    }


def test_a_backend_that_is_gone_proves_nothing() -> None:
    net = n.network()
    net.down.add("radarr")
    told = n.results(rows(), net)
    assert set(told.values()) == {"unknown"}
    assert {f"lan -> {ARR}", "lan -> gateway media /radarr/ (core/radarr:7878)"} <= set(told)
    assert "ctl-page core/radarr:7878" in told
    assert not any("jellyfin" in name and "lan" in name for name in told)


def test_a_gateway_that_answers_nobody_refuses_nobody() -> None:
    net = n.network()
    net.down.add("gateway media")
    told = n.results(rows(), net)
    assert told[f"lan -> {JELLYFIN}"] == "fail"
    assert told["lan -> gateway media /radarr/ (core/radarr:7878)"] == "unknown"
    assert told["ctl-gateway gateway media"] == "unknown"


def test_a_vantage_without_a_network_is_refused_nothing() -> None:
    net = n.network()
    inner = net.refuse
    net.refuse = lambda vantage, place: vantage == n.MEDIA or inner(vantage, place)
    told = n.results(rows(), net)
    assert told == {
        "ctl-vantage pod in media": "unknown",
        "pod in media -> Service downloads/qbit:8080": "unknown",
    }


def test_a_vantage_that_is_not_available_is_named() -> None:
    missing = {n.LAN_: Missing("no vantage lan is given")}
    found = _judge.judge(n.evidence(rows(), n.network(), brought=missing))
    told = {one.target: one for one in found if one.target.startswith("lan")}
    assert {one.result for one in told.values()} == {"unknown"}
    assert told[f"lan -> {ARR}"].reason == "lan is not available"
    assert told["lan"].reason == "no vantage lan is given"


def test_what_was_not_asked_for_is_skipped() -> None:
    skipped = {n.CORE: "class C was not asked for"}
    told = n.results(rows(), n.network(), skipped=skipped)
    assert told["pod in core -> Service downloads/qbit:8080"] == "skipped"


@pytest.mark.parametrize("outcome", ["tool", "it did not end", "EMFILE"])
def test_an_attempt_that_was_not_made_refuses_nothing(outcome: str) -> None:
    matrix = rows()
    found = n.evidence(matrix, n.network())
    row = next(one for one in matrix if str(one) == "lan -> Service core/radarr:7878")
    answers = dict(found.brought[n.LAN_].answers)  # type: ignore[union-attr]
    answers.update({one: Answer(outcome) for one in _plan.tries(row, found.world)})
    brought = {**found.brought, n.LAN_: _judge.Brought(answers, True)}
    told = _judge.result(row, replace(found, brought=brought), _judge.book(found))
    assert (told.result, told.reason) == ("unknown", "an attempt could not be made")


def test_an_attempt_that_is_lacking_refuses_nothing() -> None:
    matrix = rows()
    found = n.evidence(matrix, n.network())
    row = next(one for one in matrix if str(one) == "lan -> Service core/radarr:7878")
    told = _judge.result(
        row, replace(found, brought={**found.brought, n.LAN_: _judge.Brought({}, True)}), _judge.book(found)
    )
    assert told.result == "unknown"


@pytest.mark.parametrize(("seconds", "expected"), [(1.9, "pass"), (2.1, "unknown")])
def test_silence_among_late_answers_is_unknown(seconds: float, expected: str) -> None:
    matrix = rows()
    found = n.evidence(matrix, n.network())
    answers = {one: replace(answer, seconds=seconds) for one, answer in found.answers_of(n.LAN_).items()}
    found = replace(found, brought={**found.brought, n.LAN_: _judge.Brought(answers, True, patience=4.0)})
    told = {one.target: one.result for one in _judge.judge(found)}
    assert told["lan -> Service core/radarr:7878"] == expected
    assert told[f"lan -> {ARR}"] == "pass"  # late is still there


def test_every_declared_address_has_to_work() -> None:
    changes = {"media": {"address": ["192.0.2.102", "2001:db8::102"]}}
    matrix = rows(changes=changes)
    world = _plan.World({one.name: one for one in n.gateways(changes)}, n.seen())
    told = n.results(matrix, n.network(), world)
    assert told == {f"lan -> {JELLYFIN}": "fail"}


def test_a_client_that_only_its_gateway_may_call() -> None:
    """Its page is known from itself, and its gateway shows that it lives."""
    net, seen = n.network(), n.seen()
    inner = net.refuse
    net.refuse = lambda vantage, place: place == "qbit" or inner(vantage, place)
    matrix = [replace(row, expect=REFUSED) if str(row).startswith("pod in core -> ") else row for row in rows()]
    gateways = {one.name: one for one in n.gateways()}
    assert (
        n.results(matrix, net, _plan.World(gateways, seen))["pod in media -> Service downloads/qbit:8080"] == "unknown"
    )
    world = _plan.World(gateways, seen, _seen.owned(n.clients(), seen))
    assert n.results(matrix, net, world) == {}
    # Without the gateway's service nothing shows that it lives beside its own word.
    net.served["gateway arr"].pop("/qbit/")
    told = n.results(matrix, net, world)
    assert told[f"lan -> {QBIT_PAGE}"] == "fail"
    assert told["pod in media -> Service downloads/qbit:8080"] == "unknown"


# -- pages -------------------------------------------------------------------------


def test_pages_that_are_alike_are_unknown() -> None:
    net = n.network()
    net.pages = {"jellyfin": n.page("Login"), "dash": n.page("Login")}
    told = n.results(rows(), net)
    assert told[f"lan -> {JELLYFIN}"] == "unknown"
    assert told["lan -> gateway media / (admin/dash:9000)"] == "unknown"


def test_a_page_that_is_new_each_time_is_known_by_its_title() -> None:
    net = n.network()
    number = iter(range(10_000))
    inner = net.ask

    def ask(vantage: Any, one: Try) -> Answer:
        answer = inner(vantage, one)
        return replace(answer, digest=f"{next(number)}") if answer.title == "radarr" else answer

    net.ask = ask  # type: ignore[method-assign]
    assert n.results(rows(), net) == {}


def test_an_error_page_is_nobodys() -> None:
    net = n.network()
    net.pages = {"radarr": Answer("answered", 404, digest="404 page not found", title="")}
    told = n.results(rows(), net)
    assert told[f"lan -> {ARR}"] == "unknown"


def test_a_redirect_is_a_page() -> None:
    net = n.network()
    net.pages = {"radarr": Answer("answered", 302, location="/radarr-login")}
    assert n.results(rows(), net) == {}


def test_a_text_tells_pages_apart() -> None:
    net = n.network()
    net.pages = {"jellyfin": n.page("Login of films"), "dash": n.page("Login")}
    of_films = Row(n.LAN_, Page("media", "jellyfin", 8096, content="films"), "reached", "media", "/")
    not_there = replace(of_films, gateway="arr", expect=REFUSED)
    of_radarr = Row(n.LAN_, Page("core", "radarr", 7878, content="radarr"), "reached", "arr", "/radarr/")
    assert n.results([of_films, not_there, of_radarr], net) == {}
    # Nobody got anything from the other gateway.
    assert n.results([of_films, not_there], net)[str(not_there)] == "unknown"
    net.served["gateway arr"]["/"] = "jellyfin"
    assert n.results([of_films, not_there, of_radarr], net) == {str(not_there): "fail"}
    net.down.add("jellyfin")
    told = n.results([of_films, not_there, of_radarr], net)
    assert (told[str(of_films)], told[str(not_there)]) == ("unknown", "unknown")


def test_two_rows_with_the_same_text_are_apart() -> None:
    net = n.network()
    films = Row(n.LAN_, Page("media", "jellyfin", 8096, content="o"), "reached", "media", "/")
    other = Row(n.LAN_, Page("core", "radarr", 7878, content="o"), "reached", "arr", "/radarr/")
    net.pages = {"jellyfin": n.page("Foo"), "radarr": n.page("Bar")}
    assert n.results([films, other], net)[str(other)] == "unknown"  # nobody got it
    assert str(films) not in n.results([films, other], net)


def test_an_application_that_answers_every_path_in_its_own_way() -> None:
    """A redirect that names the path asked for is known, because the application itself was asked for that path."""
    net = n.network()
    login = Answer("answered", 302, location="/login?to=/radarr/")
    net.others[("jellyfin", "/radarr/")] = login
    assert n.results(rows(), net) == {}


@pytest.mark.parametrize("answer", [n.page("who am I"), Answer("answered", 302, location="/x"), Answer("wrong_answer")])
def test_a_page_that_nobody_knows_is_unknown(answer: Answer) -> None:
    net = n.network()
    net.says[("lan", "gateway media")] = answer
    told = n.results(rows(), net)
    assert told["lan -> gateway media /radarr/ (core/radarr:7878)"] == "unknown"
    assert told[f"lan -> {JELLYFIN}"] == "unknown"


@pytest.mark.parametrize(
    ("place", "status", "body", "expected"),
    [
        ("gateway media", 404, "", "pass"),
        ("gateway media", 503, "no healthy upstream", "pass"),
        ("gateway media", 403, _judge.RBAC, "pass"),
        ("gateway media", 401, "log in", "unknown"),  # no gateway says that by itself
        ("gateway media", 403, "not you", "unknown"),
        ("qbit", 403, _judge.RBAC, "pass"),
        ("qbit", 401, "log in", "unknown"),
        ("qbit", 404, "", "unknown"),  # without a gateway this is the application
        ("qbit", 503, "", "unknown"),
    ],
)
def test_whose_error_it_is(place: str, status: int, body: str, expected: str) -> None:
    net, gate = n.network(), place.startswith("gateway")
    inner = net.refuse
    net.refuse = lambda vantage, where: (vantage != n.MEDIA or where != "qbit") and inner(vantage, where)
    who = "lan" if gate else "pod in media"
    net.says[(who, place)] = Answer("answered", status, digest=body)
    found = n.evidence(rows(), net)
    if gate:  # somebody else is served
        others = [row for row in rows() if row.source.kind != "lan"]
        pods = [replace(row, source=n.CORE) for row in rows() if str(row) == f"lan -> {JELLYFIN}"]
        found = n.evidence([*rows(), *others, *pods], net)
    target = (
        "lan -> gateway media /radarr/ (core/radarr:7878)" if gate else "pod in media -> Service downloads/qbit:8080"
    )
    told = {one.target: one.result for one in _judge.judge(found)}
    assert told[target] == expected


def test_a_page_that_changes_without_a_title_is_not_known() -> None:
    first, second = n.page("x"), replace(n.page("x"), digest="other")
    assert _plan.merged(first, first) == first
    changing = _plan.merged(first, second)
    assert (changing.digest, changing.title) == ("", "x")
    assert _plan.merged(None, n.SILENCE) == n.SILENCE
    assert _plan.merged(n.SILENCE, first) == _plan.merged(first, n.SILENCE) == first
    net = n.network()
    net.pages = {"radarr": Answer("answered", 200)}
    assert n.results(rows(), net)[f"lan -> {ARR}"] == "unknown"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (["pass", "pass"], "as_declared"),
        (["pass", "unknown"], "unknown"),
        (["pass", "skipped"], "unknown"),
        (["pass", "unknown", "fail"], "not_as_declared"),
        ([], "unknown"),
    ],
)
def test_verdict(found: list[str], expected: str) -> None:
    told = [_judge.Result("path-reached", "x", one, "path") for one in found]
    assert _judge.verdict([_judge.Result("ctl-page", "x", "unknown", "control"), *told]) == expected
