# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Istio's charts: which, in what order, from where and with which values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh import _platform

VERSION = "1.31.1"
NAMESPACE = "istio-system"
HUB = "docker.io/istio"
REPOSITORY = "https://blob.istio.io/istio-release/charts"
TIMEOUT = 300  # seconds for each chart
RELEASES = {"base": "istio-base", "istiod": "istiod", "cni": "istio-cni", "ztunnel": "ztunnel"}  # in install order
PARTS = {"ambient": ("base", "istiod", "cni", "ztunnel"), "sidecar": ("base", "istiod")}
_AGENTS = ("cni", "ztunnel")
_OCI = "oci://"
_Tree = dict[str, Any]


def settings(given: Mapping[str, Any]) -> _Tree:
    """What the user gave, with a value for everything else; a null counts as not given."""
    version = given.get("version") or VERSION
    defaults: _Tree = {
        "version": version,
        "namespace": NAMESPACE,
        "mode": "ambient",
        "platform": "auto",
        "hub": HUB,
        "tag": version,
        "variant": "distroless",
        "charts": {},
        "chart_repo": REPOSITORY,
        "values": {},
        "wait_timeout": TIMEOUT,
    }
    return {**defaults, **{key: value for key, value in given.items() if value is not None}}


def problems(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with charts and values; ``given`` is the result of ``settings``."""
    found = []
    for option in ("charts", "values"):
        for part in given[option]:
            if part not in RELEASES:
                found.append(
                    f"bulkhead_istio.{option} has {part}, which is no chart of Istio: use {', '.join(RELEASES)}."
                )
    for part in RELEASES:
        values = given["values"].get(part) or {}
        if not isinstance(values, Mapping):
            found.append(f"bulkhead_istio.values.{part} is no mapping: write the chart's values as in a values file.")
            continue
        for place, tree in (("", values), ("global.", values.get("global") or {})):
            platform = tree.get("platform") if isinstance(tree, Mapping) else None
            if platform and platform not in _platform.CHART_PLATFORMS:
                found.append(
                    f"bulkhead_istio.values.{part}.{place}platform is {platform!r}, at which the chart fails: remove "
                    f"it, or use one of {', '.join(_platform.CHART_PLATFORMS)}."
                )
        if values.get("revision"):
            found.append(
                f"bulkhead_istio.values.{part}.revision is {values['revision']!r}, but this role keeps one control "
                "plane without revisions: remove it, or set the component to external and install Istio yourself."
            )
    if not str(given["hub"]).strip("/"):
        found.append("bulkhead_istio.hub is empty: name the registry of Istio's images, such as docker.io/istio.")
    return found


def steps(given: Mapping[str, Any], platform: str) -> list[_Tree]:
    """The charts in install order, each with all that helm needs; ``given`` is the result of ``settings``."""
    made = []
    for part in PARTS[given["mode"]]:
        agent = part in _AGENTS
        made.append(
            {
                "part": part,
                "release": RELEASES[part],
                "namespace": _platform.agent_namespace(platform, given["namespace"]) if agent else given["namespace"],
                **reference(given, part),
                "values": merged(_ours(given, part, platform), given["values"].get(part) or {}),
            }
        )
    return made


def reference(given: Mapping[str, Any], part: str) -> dict[str, str | None]:
    """Chart, repository and version for helm; a path or a file brings its own version."""
    named = given["charts"].get(part)
    if named and not named.startswith(_OCI):
        return {"chart": named, "repository": None, "version": None}
    if named or given["chart_repo"].startswith(_OCI):
        chart = named or f"{given['chart_repo'].rstrip('/')}/{part}"
        return {"chart": chart, "repository": None, "version": given["version"]}
    return {"chart": part, "repository": given["chart_repo"], "version": given["version"]}


def merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> _Tree:
    """Both trees, theirs over ours; lists are replaced as a whole."""
    result = dict(ours)
    for key, value in theirs.items():
        below = result.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def _ours(given: Mapping[str, Any], part: str, platform: str) -> _Tree:
    common: _Tree = {"istioNamespace": given["namespace"]}
    if platform:
        common["platform"] = platform
    if part == "base":
        return {"defaultRevision": "default", "global": common}
    image = {"hub": given["hub"], "tag": given["tag"], "variant": given["variant"]}
    # Some charts read the images from the top, some from global; the ones named there would be of a registry that ends.
    values: _Tree = {**image, "global": {**common, **image}}
    if given["mode"] == "ambient":
        values["profile"] = "ambient"
    if part == "ztunnel":
        values["istioNamespace"] = given["namespace"]
    return values
