"""Every inventory that the documentation holds."""

from __future__ import annotations

from typing import Any

import documents
import outside
import yaml

SETTINGS = ("bulkhead_components", "bulkhead_gateway_api", "bulkhead_istio", "bulkhead_metallb")
# What the example says of the reader's own cluster, files and versions.
OWN = ("bulkhead_kubeconfig", "bulkhead_context")
Inventories = dict[str, dict[str, Any]]


def read(stranger: outside.Outside) -> list[documents.Block]:
    """All code blocks of the installed documentation."""
    return [one for path in documents.documents(stranger.collection) for one in documents.blocks(path)]


def example(stranger: outside.Outside) -> str:
    """The text of the example inventory."""
    path = stranger.collection / "inventories" / "example" / "group_vars" / "all" / "bulkhead.yml"
    return path.read_text(encoding="utf-8")


def written(stranger: outside.Outside) -> Inventories:
    """By where they stand."""
    blocks = [one for one in read(stranger) if one.is_inventory and one.kind in ("", "with")]
    return {
        **dict(documents.together(blocks)),
        "the example": yaml.safe_load(example(stranger)),
        "the example without comments": yaml.safe_load(documents.uncommented(example(stranger))),
    }


def on_the_lab(given: dict[str, Any], stranger: outside.Outside) -> dict[str, Any]:
    """The same with charts and definitions from where the lab has them, for the cluster of the lab."""
    mine = {name: value for name, value in given.items() if name not in OWN}
    return documents.merged(mine, stranger.sources())


def namespaces(stranger: outside.Outside) -> list[str]:
    """Those that a reader makes."""
    every = [one for given in written(stranger).values() for one in outside.named(given, "")]
    return sorted({one["metadata"]["name"] for one in every if one["kind"] == "Namespace"} | {"downloads", "vpn"})
