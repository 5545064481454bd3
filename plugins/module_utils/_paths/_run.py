# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""One run of ``path_check``: read, ask from everywhere at once, judge."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _gather
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import Probe
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._registry import ACTIVE, DISPOSABLE
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import FAIL, PASS, UNKNOWN, Missing, Result
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names
from ansible_collections.bulkhead.mesh.plugins.module_utils._killswitch import _wanted
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._exec import Place
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths import _judge, _plan, _vantage
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import (
    CLIENT,
    HOSTS,
    POD,
    REFUSED,
    Page,
    Row,
    Try,
    Vantage,
)

PARALLEL = 12
PAUSE = 1.0  # seconds between two rounds


@dataclass(frozen=True)
class Options:
    """How to check. ``hosts`` are vantages outside the cluster, ``routes`` this machine's routing table."""

    classes: Collection[str] = (ACTIVE,)
    hosts: Mapping[str, _vantage.Host] = field(default_factory=dict)
    routes: str = ""
    attempt_timeout: float = 2.0
    settle: float = 10.0  # seconds that new pods may take to be known to policies and mesh
    accept_unknown: Collection[str] = ()


class Run:
    """Checks of these rows."""

    def __init__(
        self,
        runner: _gather.Runner,
        yard: _vantage.Yard,
        shell: _vantage.Shell,
        world: _plan.World,
        rows: Sequence[Row],
        options: Options,
    ) -> None:
        self.runner, self.yard, self.shell, self.world, self.options = runner, yard, shell, world, options
        self.rows = list(rows)
        self.pages = _plan.pages(rows, world)
        self.vantages = list(dict.fromkeys([*(row.source for row in rows), *referees(rows, self.pages, world)]))
        self.places: dict[Vantage, Place | _vantage.Host | Missing] = {}
        self.late: dict[Row, float] = {}

    def go(self) -> dict[str, Any]:
        """The result, as the module returns it."""
        skipped = {one: why for one in self.vantages if (why := self._skipped(one))}
        asked = [one for one in self.vantages if one not in skipped]
        try:
            with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
                if any(one.kind == POD for one in asked):
                    for namespace in sorted({one.namespace for one in asked if one.kind == POD}):
                        _gather.sweep(self.runner.api, namespace, datetime.now(timezone.utc))
                brought = {
                    **dict(zip(asked, pool.map(self._first, asked))),
                    **dict.fromkeys(skipped, Missing("skipped")),
                }
                evidence = self._settled(pool.map, brought, skipped)
        finally:
            self.yard.clear()
        results = _judge.judge(evidence)
        missing = {
            one: found for one, found in evidence.brought.items() if isinstance(found, Missing) and one not in skipped
        }
        return report(self.rows, results, self.options.accept_unknown, missing)

    def _skipped(self, vantage: Vantage) -> str:
        wanted = DISPOSABLE if vantage.kind == POD else ACTIVE
        return "" if wanted in self.options.classes else f"class {wanted} was not asked for"

    # -- asking ----------------------------------------------------------------

    def _first(self, vantage: Vantage) -> _judge.Brought | Missing:
        self.places[vantage] = self._place(vantage)
        return self._ask(vantage)

    def _place(self, vantage: Vantage) -> Place | _vantage.Host | Missing:
        if vantage.kind == POD:
            return self.yard.start(vantage)
        if vantage.kind == CLIENT:
            return _vantage.overlay_of(self._pods(vantage))
        addresses = [str(address) for one in self.world.gateways.values() for address in one.addresses]
        return _vantage.host_of(vantage.kind, self.options.hosts, addresses, self.options.routes)

    def _pods(self, vantage: Vantage) -> Sequence[Mapping[str, Any]]:
        return self.world.seen.clients.get(_names.client_id(vantage.namespace, vantage.name), ())

    def _ask(self, vantage: Vantage) -> _judge.Brought | Missing:
        place = self.places[vantage]
        if isinstance(place, Missing):
            return place
        rows = [row for row in self.rows if row.source == vantage]
        first: Sequence[Try] = _plan.controls(vantage, rows, self.world)
        then = _plan.requests(vantage, rows, self.pages, self.world)
        steps = _plan.steps(vantage, first, then, self.options.attempt_timeout, self._resolver(vantage))
        probe: Probe | Missing
        if isinstance(place, Place):
            probe = _vantage.in_pod(self.runner, place, steps)
        else:
            probe = _vantage.on_host(self.shell, place, vantage.kind, steps, self.runner)
        found = _plan.answers(probe, first, then)
        patience = self.options.attempt_timeout * _plan.PATIENCE
        return found if isinstance(found, Missing) else _judge.Brought(*found, patience=patience)

    def _resolver(self, vantage: Vantage) -> str:
        """Where a client asks for names: it answers whatever else the client may reach."""
        for pod in self._pods(vantage)[:1] if vantage.kind == CLIENT else ():
            config = _wanted.config_of(pod, _names.GUARD)
            return "" if isinstance(config, Missing) else str(config.get("resolver") or "")
        return ""

    # -- settling ----------------------------------------------------------------

    def _settled(
        self,
        each: Callable[..., Any],
        brought: dict[Vantage, _judge.Brought | Missing],
        skipped: Mapping[Vantage, str],
    ) -> _judge.Evidence:
        """Ask again where a new pod may not be known yet, until all is as declared or the time is over."""
        started = self.runner.clock()
        while True:
            evidence = _judge.Evidence(self.world, self.rows, brought, skipped, dict(self.late))
            results = dict(zip(self.rows, _judge.judge(evidence)[-len(self.rows) :]))
            elapsed = self.runner.clock() - started
            again = again_from(results, brought) if elapsed < self.options.settle else []
            if not again:
                late = {row: seconds for row, seconds in self.late.items() if results[row].result == PASS}
                return _judge.Evidence(self.world, self.rows, brought, skipped, late)
            self.late.update({row: round(elapsed + PAUSE, 1) for row, one in results.items() if one.result == FAIL})
            self.runner.pause(PAUSE)
            brought = {**brought, **dict(zip(again, each(self._ask, again)))}


def referees(rows: Sequence[Row], pages: Sequence[Page], world: _plan.World) -> list[Vantage]:
    """Vantages without rows of their own, by whom pages come to be known: VPN clients ask themselves, and for every other
    Service there is a pod beside it. Pure."""
    asking = {row.source.namespace for row in rows if row.source.kind == POD}
    recognised = [page for page in pages if not page.content]
    owners = [world.owned[page.service_key][0] for page in recognised if page.service_key in world.owned]
    homes = dict.fromkeys(page.namespace for page in recognised if page.service_key not in world.owned)
    return [*owners, *(Vantage(POD, home) for home in homes if home not in asking)]


def again_from(results: Mapping[Row, Result], brought: Mapping[Vantage, _judge.Brought | Missing]) -> list[Vantage]:
    """Vantages that are worth asking again. Pure.

    Only for new pods a leak may be one that has ended; elsewhere it stays one, and such a vantage is not asked again.
    """
    found = []
    # A page that nobody recognised yet is one that pods asked for too early.
    blind = any(one.result == UNKNOWN for one in results.values())
    for vantage, evidence in brought.items():
        own = {row: one for row, one in results.items() if row.source == vantage}
        leaking = any(row.expect == REFUSED and one.result == FAIL for row, one in own.items())
        content = all(one.result == PASS for one in own.values()) and not (blind and vantage.kind == POD)
        if isinstance(evidence, Missing) or content:
            continue
        if vantage.kind == POD or not leaking:
            found.append(vantage)
    return found


# -- reporting -------------------------------------------------------------------


def report(
    rows: Sequence[Row],
    results: Sequence[Result],
    accept_unknown: Collection[str] = (),
    missing: Mapping[Vantage, Missing] | None = None,
) -> dict[str, Any]:
    """The module's result; ``missing`` are vantages that nobody could ask from. Pure."""
    told = dict(zip(rows, results[-len(rows) :] if rows else ()))
    away = missing or {}
    vantages = [
        _vantage_entry(one, told, accept_unknown, away.get(one)) for one in dict.fromkeys(row.source for row in rows)
    ]
    return {
        "verdict": _judge.verdict(list(told.values())),
        "acceptable": bool(vantages) and all(one["acceptable"] for one in vantages),
        "require": _judge.AS_DECLARED,
        "vantages": vantages,
        "paths": [_path_entry(row, one) for row, one in told.items()],
        "checks": [one.to_dict() for one in results],
    }


def _vantage_entry(
    vantage: Vantage, told: Mapping[Row, Result], accept_unknown: Collection[str], missing: Missing | None
) -> dict[str, Any]:
    own = [one for row, one in told.items() if row.source == vantage]
    accepted = str(vantage) in accept_unknown or vantage.kind in accept_unknown
    bad = [one for one in own if one.result != PASS and not (accepted and one.result == UNKNOWN)]
    reasons = list(dict.fromkeys(f"{one.target}: {_why(one)}" for one in bad))
    if missing is not None and bad:
        reasons = [_nobody_there(vantage, missing, len(bad))]
    counts = {result: sum(one.result == result for one in own) for result in (PASS, FAIL, UNKNOWN, "skipped")}
    return {
        "name": str(vantage),
        "kind": vantage.kind,
        "verdict": _judge.verdict(own),
        "counts": counts,
        "reason": ", ".join(f"{count} {result}" for result, count in counts.items() if count),
        "acceptable": not bad,
        "reasons": reasons,
    }


def _nobody_there(vantage: Vantage, missing: Missing, paths: int) -> str:
    """Once for all paths of a vantage that is not available, with both ways out of it."""
    way_out = f", or accept it with bulkhead_paths_accept_unknown: [{vantage}]" if vantage.kind in HOSTS else ""
    return f"{vantage} is not available, so {paths} paths are unknown: {missing}{way_out}"


def _why(one: Result) -> str:
    seen = f" ({one.observed})" if one.observed else ""
    return f"{one.result}, expected {one.expected}: {one.reason}{seen}"


def _path_entry(row: Row, one: Result) -> dict[str, Any]:
    return {
        "from": str(row.source),
        "gateway": row.gateway or None,
        "service": f"{row.page.namespace}/{row.page.service}",
        "port": row.page.port,
        "path": row.path,
        "route": row.route or None,
        "expect": row.expect,
        "seen": _judge.seen_as(one),
        "result": one.result,
        "origin": row.origin,
    }
