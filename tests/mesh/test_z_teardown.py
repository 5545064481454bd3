"""Last: what is left after teardown. It undoes what the other files of this folder stand on."""

from __future__ import annotations

import re

import objects
from whole import Site

# Kinds of others may exist by now, so these stay; docs/mesh.md and docs/ingress.md say how they go.
STAY = re.compile(
    r"CustomResourceDefinition\.apiextensions\.k8s\.io |APIService\.\S+ v\S+\.(gateway\.networking\.k8s|istio)\.io$"
    r"|APIService\.\S+ v\S+\.\w+\.istio\.io$|ValidatingAdmissionPolicy|ConfigMap kube-system/bulkhead-gateway-api$"
)
# Set by hand by the test of an enrolled gateway's namespace: what a person set is not ours to take away.
BY_HAND = ["~ Namespace vpn: metadata.labels.istio.io/dataplane-mode"]


def test_teardown(site: Site) -> None:
    standing = objects.now()
    foretold = site.run("check of teardown", "teardown", "--check", "--diff", bulkhead_detach_to="open")
    assert foretold.writes == {}
    # The audit log does not tell a deletion from the trial of one.
    assert objects.difference(standing, objects.now()) == []
    site.run("teardown", "teardown", bulkhead_detach_to="open")
    found = objects.settled(site.before, BY_HAND, _without_kinds)
    assert found == BY_HAND


def _without_kinds() -> objects.Listing:
    return {name: fields for name, fields in objects.now().items() if not STAY.match(name)}
