"""Last: what is left after teardown. It undoes what the other files of this folder stand on."""

from __future__ import annotations

import objects
from whole import Site

# Kinds of others may exist by now, so these stay; docs/mesh.md and docs/ingress.md say how they go.
STAY = (
    "+ CustomResourceDefinition.apiextensions.k8s.io ",
    "+ ValidatingAdmissionPolicy",
    "+ ConfigMap kube-system/bulkhead-gateway-api",
)


def test_teardown(site: Site) -> None:
    foretold = site.run("check of teardown", "teardown", "--check", "--diff", bulkhead_detach_to="open")
    assert foretold.writes == {}
    site.run("teardown", "teardown", bulkhead_detach_to="open")
    found = objects.settled(site.before, [], _without_kinds)
    assert found == []


def _without_kinds() -> objects.Listing:
    return {name: fields for name, fields in objects.now().items() if not f"+ {name}".startswith(STAY)}
