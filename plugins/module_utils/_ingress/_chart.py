# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""MetalLB's chart: where it is, the values that this collection sets, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._level import level
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._seen import Verdict

FRR = ("none", "frr", "frr-k8s")
BROKEN = {"0.16.0": "0.16.1"}  # charts that do not install, and what does
RELEASE = "metallb"


@dataclass(frozen=True)
class Settings:
    """``bulkhead_metallb``."""

    version: str
    namespace: str = "metallb-system"
    chart: str = "metallb"
    chart_repo: str = ""
    frr: str = "none"
    load_balancer_class: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


def settings(config: Mapping[str, Any]) -> Settings:
    """The settings of a mapping; None and empty values are those of the class."""
    names = Settings.__dataclass_fields__
    return Settings(**{"version": "", **{key: value for key, value in config.items() if value and key in names}})


def values(frr: str, load_balancer_class: str) -> dict[str, Any]:
    """What is set in every case, under the user's own values.

    The defaults of the chart are a different one in each line: 0.15 starts the deprecated FRR mode, 0.16 FRR-K8s. Both
    are written down, so an upgrade of the chart changes nothing that nobody asked for.
    """
    made: dict[str, Any] = {
        "frrk8s": {"enabled": frr == "frr-k8s"},
        "speaker": {"frr": {"enabled": frr == "frr"}},
    }
    if load_balancer_class:
        made["loadBalancerClass"] = load_balancer_class
    return made


def workloads(namespace: str, merged: Mapping[str, Any]) -> list[dict[str, str]]:
    """What must be ready before a pool can be made."""
    wanted = [("Deployment", f"{RELEASE}-controller", ("controller", "enabled"), True)]
    wanted.append(("DaemonSet", f"{RELEASE}-speaker", ("speaker", "enabled"), True))
    wanted.append(("DaemonSet", f"{RELEASE}-frr-k8s", ("frrk8s", "enabled"), False))
    return [
        {"kind": kind, "namespace": namespace, "name": name}
        for kind, name, path, usual in wanted
        if (usual if at(merged, *path) is None else at(merged, *path))
    ]


def home(given: Settings, facts: Mapping[str, Any] | None, state: str) -> str:
    """Where MetalLB's objects belong; one that somebody else installed says so itself."""
    controllers = _controllers(facts)
    return str(controllers[0]["namespace"]) if state == "external" and controllers else given.namespace


def verdicts(given: Settings, facts: Mapping[str, Any] | None, state: str) -> list[Verdict]:
    """What stands in the way; without ``facts`` only the settings are judged."""
    server = facts["server"] if facts else ""
    if state == "external":
        return _missing(facts, server)
    if state == "absent":
        return _others(facts)
    return [*_settings(given), *_contradicted(given.frr, given.values), *_strangers(given, facts, server)]


def _settings(given: Settings) -> list[Verdict]:
    found = []
    try:
        level(given.version)
    except ValueError as exc:
        found.append(Verdict("metallb-version", f"bulkhead_metallb.version: {exc}"))
    if given.version in BROKEN:
        msg = f"bulkhead_metallb.version is {given.version}, whose chart does not install: set it to {BROKEN[given.version]}."
        found.append(Verdict("metallb-version", msg))
    if given.frr not in FRR:
        msg = f"bulkhead_metallb.frr is {given.frr!r}, which does not exist: use {' or '.join(FRR)}."
        found.append(Verdict("metallb-frr", msg))
    return found


def _contradicted(frr: str, user_values: Mapping[str, Any]) -> list[Verdict]:
    """Values that say something else than ``frr``: one of the two must be wrong."""
    set_to = {
        "frrk8s.enabled": (at(user_values, "frrk8s", "enabled"), frr == "frr-k8s"),
        "speaker.frr.enabled": (at(user_values, "speaker", "frr", "enabled"), frr == "frr"),
    }
    return [
        Verdict(
            "metallb-frr",
            f"bulkhead_metallb.values sets {name} to {str(said).lower()}, and bulkhead_metallb.frr is {frr}: leave it "
            "out of the values and choose the mode with frr.",
        )
        for name, (said, wanted) in set_to.items()
        if said is not None and said is not wanted
    ]


def _strangers(given: Settings, facts: Mapping[str, Any] | None, server: str) -> list[Verdict]:
    return [
        Verdict(
            "other-metallb",
            f"A MetalLB that this collection did not install runs on {server} (Deployment {one['namespace']}/{one['name']}"
            f", owner {one['owner']}): set bulkhead_components.metallb to external, or remove it.",
        )
        for one in _controllers(facts)
        if one["owner"] != f"helm:{given.namespace}/{RELEASE}"
    ]


def _missing(facts: Mapping[str, Any] | None, server: str) -> list[Verdict]:
    if facts is None or facts["metallb"]["crds"]:
        return []
    msg = (
        f"MetalLB is not on {server}, but bulkhead_components.metallb is external: install it, or set the component to "
        "managed."
    )
    return [Verdict("metallb-missing", msg)]


def _others(facts: Mapping[str, Any] | None) -> list[Verdict]:
    """The chart takes its CustomResourceDefinitions with it, and they every pool."""
    others = [
        f"{one['namespace']}/{one['name']}"
        for one in (facts or {"metallb": {"pools": []}})["metallb"]["pools"]
        if not one["ours"]
    ]
    if not others:
        return []
    msg = (
        f"IPAddressPool {', '.join(others)} was made by somebody else and would go with MetalLB: remove it first, or set "
        "bulkhead_components.metallb to external."
    )
    return [Verdict("metallb-used", msg)]


def _controllers(facts: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = facts["metallb"]["controllers"] if facts else ()
    return found


def at(tree: Any, *path: str) -> Any:
    """What lies at a path of keys in nested mappings; None where there is nothing."""
    for part in path:
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


class Chart(Protocol):
    """Settings that say where a chart is."""

    @property
    def chart(self) -> str: ...
    @property
    def chart_repo(self) -> str: ...
    @property
    def version(self) -> str: ...


def place_of(given: Chart) -> dict[str, str]:
    """Options of M(kubernetes.core.helm) that say where the chart is: a folder, an archive, an OCI reference or a name."""
    if given.chart.startswith("oci://"):
        return {"chart_ref": given.chart, "chart_version": given.version}
    if "/" in given.chart or given.chart.endswith(".tgz"):
        return {"chart_ref": given.chart}
    return {"chart_ref": given.chart, "chart_repo_url": given.chart_repo, "chart_version": given.version}
