# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""One HTML page: the graph, and beside it everything as text. Pure.

No script and nothing from elsewhere; a policy in the page forbids both. Light and dark follow the reader's settings.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._topology import _graph, _layout, _svg, _words
from ansible_collections.bulkhead.mesh.plugins.module_utils._topology._words import Badge

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_LEGEND = (
    Badge("✓", "proven or ready", _words.GOOD),
    Badge("?", "not known", _words.UNSURE),
    Badge("!", "needs a look", _words.WARN),
    Badge("✗", "wrong", _words.BAD),
)
_STYLE = """
:root { color-scheme: light dark; --page: #f3f5f8; --card: #fff; --text: #1b2430; --soft: #566173; --line: #d5dbe3;
  --frame: #eaeef4; --road: #8a94a3; --good: #17703a; --unsure: #5b6675; --warn: #8a5a00; --bad: #b91c28;
  --good-bg: #e6f5eb; --unsure-bg: #edf0f4; --warn-bg: #fdf2dc; --bad-bg: #fde8e9; }
@media (prefers-color-scheme: dark) { :root { --page: #0f141b; --card: #1a212b; --text: #e6ebf2; --soft: #9ba7b7;
  --line: #323c4a; --frame: #151b24; --road: #6f7b8c; --good: #4fc47a; --unsure: #a9b4c3; --warn: #e3ad4c; --bad: #ff7a80;
  --good-bg: #16301f; --unsure-bg: #262f3b; --warn-bg: #35290f; --bad-bg: #3b1a1e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 86rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .7rem; }
h3 { font-size: 1rem; margin: 0; } p { margin: .3rem 0; } .soft { color: var(--soft); }
.banner { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; align-items: baseline; margin: 1rem 0; padding: .8rem 1rem;
  border-radius: 10px; border: 1px solid var(--line); border-left: 5px solid var(--tone); background: var(--card); }
.banner strong { font-size: 1.1rem; color: var(--tone); }
.good { --tone: var(--good); --tone-bg: var(--good-bg); } .unsure { --tone: var(--unsure); --tone-bg: var(--unsure-bg); }
.warn { --tone: var(--warn); --tone-bg: var(--warn-bg); } .bad { --tone: var(--bad); --tone-bg: var(--bad-bg); }
.plain { --tone: var(--soft); --tone-bg: var(--unsure-bg); }
.pill { display: inline-block; padding: 0 .55rem; border-radius: 1rem; font-size: .85rem; font-weight: 600;
  color: var(--tone); background: var(--tone-bg); }
figure { margin: 0; border: 1px solid var(--line); border-radius: 10px; background: var(--card); }
.scroll { overflow-x: auto; padding: 1rem; } .scroll:focus-visible { outline: 2px solid var(--soft); }
.scroll svg { display: block; margin: 0 auto; width: 100%; height: auto; }
figcaption { display: flex; flex-wrap: wrap; gap: .3rem .8rem; padding: .6rem 1rem; border-top: 1px solid var(--line);
  font-size: .85rem; color: var(--soft); }
.wide-hint { display: none; } @media (max-width: 70rem) { .wide-hint { display: inline; } }
svg text { font-family: system-ui, sans-serif; font-size: 12px; fill: var(--text); }
svg .heading { font-weight: 700; fill: var(--soft); } svg .title { font-size: 14px; font-weight: 700; }
svg .line, svg .note { fill: var(--soft); } svg .name, svg .badge { font-weight: 700; } svg .badge { fill: var(--tone); }
svg .frame rect { fill: var(--frame); stroke: var(--line); }
svg .node rect { fill: var(--card); stroke: var(--line); stroke-width: 1.5; } svg .node rect { stroke: var(--edge, var(--line)); }
svg .node.good, svg .node.unsure, svg .node.warn, svg .node.bad { --edge: var(--tone); }
svg .way { fill: none; stroke: var(--edge, var(--road)); stroke-width: 1.8; } svg .tip { fill: var(--edge, var(--road)); }
svg .road.good, svg .road.warn, svg .road.bad { --edge: var(--tone); } svg .broken .way { stroke-dasharray: 6 4; }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); }
.card { padding: .8rem 1rem; border: 1px solid var(--line); border-radius: 10px; background: var(--card); }
.card header { display: flex; flex-wrap: wrap; gap: .2rem .6rem; justify-content: space-between; align-items: baseline; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .8rem; margin: .6rem 0 0; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; } ul { margin: 0; padding: 0; list-style: none; }
@media print { body { background: #fff; } .card, figure { break-inside: avoid; } }
"""


def page(topology: Mapping[str, Any]) -> str:
    """The whole page."""
    head = _words.headline(topology)
    sections = [
        _section("VPN clients", map(_client, topology["vpn_clients"])),
        _section("VPN gateways", map(_vpn_gateway, topology["vpn_gateways"])),
        _section("Ingress gateways", map(_ingress, topology["ingress_gateways"])),
        _section("Namespaces", map(_namespace, topology["namespaces"]), " small"),
        _section("Nobody's", map(_nobodys, (*topology["orphans"], *topology["left_behind"]))),
        _section("Not readable", map(_unreadable, topology["unreadable"])),
    ]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_e(head.words)} – bulkhead.mesh</title>",
        f"<style>{_STYLE}</style></head><body><main>",
        "<h1>Who reaches what</h1>",
        f'<p class="soft">Cluster {_e(topology["server"])}, read {_e(_time(topology["read_at"]))}</p>',
        f'<p class="banner {head.tone}"><strong>{_e(str(head))}</strong><span>{_e(_words.proof(topology))}</span></p>',
        _figure(topology),
        *sections,
        "</main></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _e(text: object) -> str:
    return html.escape(str(text))


def _time(text: str) -> str:
    """A time of the API as people read it."""
    return f"{text[:10]} {text[11:16]} UTC"


def _pill(badge: Badge) -> str:
    return f'<span class="pill {badge.tone}">{_e(badge)}</span>'


def _figure(topology: Mapping[str, Any]) -> str:
    graph = _graph.build(topology)
    if not graph.nodes:
        return ""
    titles = {one.id: one.title for one in graph.nodes}
    told = ". ".join(
        f"{titles[one.source]} leads to {titles[one.target]}{' (not sure)' if one.broken else ''}"
        for one in graph.edges
    )
    picture = _svg.svg(_layout.draw(graph), "Who calls, and where traffic leaves", f"{told or 'Nothing is connected'}.")
    legend = "".join(_pill(one) for one in _LEGEND)
    return (
        '<figure><div class="scroll" tabindex="0" role="region" aria-label="The picture, wider than a small screen">'
        f"{picture}</div><figcaption>{legend}<span>A grey line is what objects say; a dashed one is not, or not fully, proven.</span>"
        '<span class="wide-hint">The picture scrolls sideways.</span></figcaption></figure>'
    )


def _section(title: str, cards: Iterable[str], kind: str = "") -> str:
    made = "".join(cards)
    return f'<section><h2>{_e(title)}</h2><div class="cards{kind}">{made}</div></section>' if made else ""


def _card(title: str, badge: Badge, facts: Sequence[tuple[str, object]]) -> str:
    rows = "".join(
        f"<dt>{_e(name)}</dt><dd>{_value(value)}</dd>" for name, value in facts if value not in ("", [], None)
    )
    listed = f"<dl>{rows}</dl>" if rows else ""
    return f'<article class="card"><header><h3>{_e(title)}</h3>{_pill(badge)}</header>{listed}</article>'


def _value(value: object) -> str:
    if isinstance(value, list):
        return "<ul>" + "".join(f"<li>{_e(one)}</li>" for one in value) + "</ul>"
    return _e(value)


def _stranger(one: Mapping[str, Any]) -> str:
    return "" if one["declared"] else "not named"


def _client(one: Mapping[str, Any]) -> str:
    layers = [f"{name.replace('_', ' ')}: {state}" for name, state in one["layers"].items()]
    facts = [
        ("Workload", f"{one['kind']}, {one['pods']} running"),
        ("Gateway", one["gateway"]),
        ("Layers", layers or "unknown"),
        ("Why", one["reason"]),
        ("Inventory", _stranger(one)),
    ]
    return _card(f"{one['namespace']}/{one['name']}", _words.client_badge(one), facts)


def _vpn_gateway(one: Mapping[str, Any]) -> str:
    leaves = one["exit"]
    words = _words.badge(_words.EXIT, leaves["state"])
    facts = [
        ("Leaves by", [*(leaves["addresses"] or ["address not named"]), str(words)]),
        ("Exit", leaves["reason"]),
        ("Overlay", one["network"]),
        ("Why", one["reason"]),
        ("Inventory", _stranger(one)),
    ]
    return _card(f"{one['namespace']}/{one['name']}", _words.badge(_words.GATEWAY, one["state"]), facts)


def _ingress(one: Mapping[str, Any]) -> str:
    facts = [
        ("Exposure", one["exposure"]),
        ("Address", one["addresses"] or "none"),
        ("Tailnet", _tailnet(one["tailnet"])),
        ("Segments", ["every namespace" if name == "*" else name for name in one["segments"]]),
        ("Routes", [route_line(route) for route in one["routes"]] or one["routes_reason"] or "none"),
        ("Why", one["reason"]),
        ("Inventory", _stranger(one)),
    ]
    return _card(f"{one['namespace']}/{one['name']}", _words.badge(_words.GATEWAY, one["state"]), facts)


def _tailnet(found: Mapping[str, Any] | None) -> object:
    if found is None:
        return "not exposed"
    return [found["name"], *found["addresses"]] if found["name"] else f"unknown: {found['reason']}"


def route_line(route: Mapping[str, Any]) -> str:
    """One route in one line."""
    hosts = ", ".join(route["hostnames"])
    ways = "; ".join(f"{one['path']} → {one['service']}:{one['port']}" for one in route["backends"]) or "no backend"
    state = _words.badge(_words.ROUTE, route["state"])
    why = f" ({route['reason']})" if route["reason"] else ""
    return f"{state.sign} {hosts + ' ' if hosts else ''}{ways}{why}"


def _namespace(one: Mapping[str, Any]) -> str:
    facts = [
        ("Capture", _words.capture(one["capture"])),
        ("Pods", pods_line(one["pods"])),
        ("Segments", one["segments"]),
        ("Why", one["reason"]),
    ]
    return _card(one["name"], _words.badge(_words.NAMESPACE, one["state"]), facts)


def pods_line(pods: Mapping[str, int] | None) -> str:
    """Pods of a namespace by their state."""
    if pods is None:
        return "unknown"
    return ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in pods.items()) or "none"


def _nobodys(one: Mapping[str, Any]) -> str:
    """A workload that the inventory does not name, or a pod that no workload owns."""
    bad = one.get("guarded") is False
    badge = Badge("✗" if bad else "!", "without a guard" if bad else "look at it", _words.BAD if bad else _words.WARN)
    return _card(f"{one.get('kind', 'Pod')} {one['namespace']}/{one['name']}", badge, [("Why", one["msg"])])


def _unreadable(one: Mapping[str, Any]) -> str:
    return _card(one["kind"], Badge("?", "not read", _words.UNSURE), [("Why", one["reason"])])
