# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What is asked for, what the cluster is and what runs on it -> the charts to install, or why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh import (
    _charts,
    _foreign,
    _platform,
    _version,
)

_NAMES = {"istiod": "istiod", "cni": "istio-cni", "ztunnel": "ztunnel"}


def plan(given: Mapping[str, Any], cluster: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, Any]:
    """``{settings, platform, platform_found_by, steps, problems}`` for an Istio that this role keeps."""
    settings = _charts.settings(given)
    problems = _charts.problems(settings)
    platform = _platform.detect(settings["platform"], cluster)
    if isinstance(platform, str):
        # Without it neither namespaces nor values are known.
        return {"settings": settings, "platform": "", "steps": [], "problems": [*problems, platform]}
    steps = [] if problems else _charts.steps(settings, platform.chart)
    foreign = _foreign.problems(seen, _namespaces(settings, platform.chart))
    problems += foreign
    if not foreign:
        parts = [{"kind": kind, **one} for part, kind in _foreign.WORKLOADS.items() for one in seen["parts"][part]]
        problems += _version.problems(settings["version"], parts)
        problems += _modes(settings, seen)
    if settings["mode"] == "ambient":
        problems += _platform.network_problems(seen["network"], platform.chart)
    problems += _security(settings, platform.chart, seen)
    return {
        "settings": settings,
        "platform": platform.chart,
        "platform_found_by": platform.why,
        "steps": steps,
        "problems": problems,
    }


def external(given: Mapping[str, Any], seen: Mapping[str, Any]) -> list[str]:
    """Why an Istio of somebody else is not what the inventory counts on; it is only read."""
    settings = _charts.settings(given)
    found = []
    if not seen["parts"]["istiod"]:
        return [
            "Istio is external, but no Deployment with the label app=istiod is on the cluster: install it, or set "
            "bulkhead_components.istio to managed."
        ]
    for part, kind in _foreign.WORKLOADS.items():
        if part != "istiod" and settings["mode"] == "sidecar":
            continue
        if not seen["parts"][part]:
            found.append(
                f"Istio is external and its mode is ambient, but there is no {kind} of {_NAMES[part]}: install it, or "
                "set bulkhead_istio.mode to sidecar."
            )
        for one in seen["parts"][part]:
            if not one["ready"]:
                found.append(
                    f"Istio is external, and its {kind} {one['namespace']}/{one['name']} is not ready: "
                    f"{one['evidence']}; whoever keeps it has to repair it."
                )
    return found


def removal(given: Mapping[str, Any], seen: Mapping[str, Any], unenrolled: list[str]) -> dict[str, Any]:
    """``{settings, steps, problems}`` for taking away what this role installed, last chart first.

    ``unenrolled`` are the namespaces that are taken out of the mesh first. Nothing of somebody else is touched, and
    nothing that still serves somebody.
    """
    settings = _charts.settings(given)
    installed = [one for one in seen["releases"] if one["name"] in _charts.RELEASES.values()]
    steps = [
        {"release": one["name"], "namespace": one["namespace"]}
        for release in reversed(_charts.RELEASES.values())
        for one in installed
        if one["name"] == release and one["namespace"] in (settings["namespace"], *_platform.AGENT_NAMESPACES.values())
    ]
    problems = []
    if steps:
        problems = [
            f"Gateway {one['namespace']}/{one['name']} has the class {one['class']}, which ends with Istio: delete it "
            "first."
            for one in seen["gateways"]
        ]
        problems += [
            f"Namespace {name} is in the mesh by its label istio.io/dataplane-mode=ambient and is not listed with mesh: "
            f"ambient: its pods would lose their network with ztunnel; remove the label with "
            f"'kubectl label namespace {name} istio.io/dataplane-mode-'."
            for name in seen["enrolled_namespaces"]
            if name not in unenrolled
        ]
    return {"settings": settings, "steps": steps, "problems": problems}


def _namespaces(settings: Mapping[str, Any], platform: str) -> dict[str, str]:
    agents = _platform.agent_namespace(platform, settings["namespace"])
    return {"base": settings["namespace"], "istiod": settings["namespace"], "cni": agents, "ztunnel": agents}


def _modes(settings: Mapping[str, Any], seen: Mapping[str, Any]) -> list[str]:
    left = [_NAMES[part] for part in ("cni", "ztunnel") if seen["parts"][part]]
    if settings["mode"] == "ambient" or not left:
        return []
    return [
        f"bulkhead_istio.mode is sidecar, but {' and '.join(left)} of the ambient mode are installed: take the namespaces "
        "out of the mesh and uninstall them first, or set the mode to ambient."
    ]


def _security(settings: Mapping[str, Any], platform: str, seen: Mapping[str, Any]) -> list[str]:
    level = seen["namespace"]["pod_security"]
    if settings["mode"] != "ambient" or level in (None, "privileged"):
        return []
    if _platform.agent_namespace(platform, settings["namespace"]) != settings["namespace"]:
        return []
    return [
        f"Namespace {settings['namespace']} enforces the Pod Security level {level}, which refuses the pods of istio-cni "
        "and ztunnel: set its label pod-security.kubernetes.io/enforce to privileged."
    ]
