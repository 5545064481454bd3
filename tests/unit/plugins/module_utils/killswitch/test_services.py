# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""svc-audit: what the cluster says of a client's Services, beside what its pods were told."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _judge_services
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _registry
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, EgressRule, Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._killswitch import _read, _services
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.checks import evidence as e

GATEWAY = Gateway("vpnarr", "vpn", "wg")
CLIENT = Client("StatefulSet", "downloads", "app", "vpnarr", egress=(EgressRule("core", "radarr", (7878,)),))
ROOM = {
    "namespace": "downloads",
    "first_index": 2,
    "size": 2,
    "services": {"radarr.core": "10.96.3.4"},
    "selectors": {"radarr.core": {"app": "radarr"}},
}
LINK = {"vni": 7001, "port": 14789, "network": "10.222.1.0/24", "clients": {CLIENT.id: ROOM}}
SERVICE: Any = {
    "kind": "Service",
    "metadata": {"name": "radarr", "namespace": "core"},
    "spec": {"clusterIP": "10.96.3.4", "selector": {"app": "radarr"}, "ports": [{"port": 7878}]},
}
POD: Any = {
    "kind": "Pod",
    "metadata": {"name": "radarr-0", "namespace": "core", "labels": {"app": "radarr"}},
    "spec": {},
    "status": {"phase": "Running", "podIP": "10.244.0.7"},
}
SLICE: Any = {
    "kind": "EndpointSlice",
    "metadata": {"name": "radarr-x", "namespace": "core", "labels": {"kubernetes.io/service-name": "radarr"}},
    "endpoints": [{"addresses": ["10.244.0.7"]}],
}
OBJECTS = {"service": SERVICE, "pod": POD, "slice": SLICE}


def view(change: Callable[[Any], None] = lambda objects: None, why: Any = None, client: Client = CLIENT) -> Any:
    objects = copy.deepcopy({**OBJECTS, "link": LINK})
    change(objects)
    registry = {"gateways": {"vpnarr": objects.pop("link")}}
    seen = _read.Seen([*objects.values(), _registry.config_map("vpn", registry)], why or {})
    return _services.view(client, GATEWAY, seen)


def result(found: Any) -> str:
    return _judge_services.audit(e.replace(e.GOOD, services=found)).result


def test_all_is_as_it_was_told() -> None:
    assert view().leads == () and result(view()) == "pass"
    nothing = view(
        lambda objects: objects.clear() or objects.update(link=LINK), client=Client("StatefulSet", "d", "a", "v")
    )
    assert result(nothing) == "pass"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda o: o["slice"]["endpoints"].append({"addresses": ["203.0.113.10"]}), "leads it to 203.0.113.10"),
        (lambda o: o["service"]["spec"].update(externalIPs=["203.0.113.1"]), "(externalIPs)"),
        (lambda o: o["service"]["spec"].update(type="ExternalName", externalName="a.b"), "only another name for a.b"),
        (lambda o: o["service"]["spec"].pop("selector"), "it has no selector"),
        (lambda o: o["service"]["spec"].update(clusterIP="None"), "it is headless"),
        (lambda o: o["service"]["spec"].update(clusterIP="10.96.3.5"), "its address is 10.96.3.5, and the client was told 10.96.3.4"),
        (lambda o: o["pod"]["spec"].update(hostNetwork=True), "uses the node's network"),
        (lambda o: o.pop("service"), "it is gone"),
        (
            lambda o: (o["service"]["spec"]["selector"].update(app="b"), o["pod"]["metadata"]["labels"].update(app="b")),
            "its selector is not the one that the client's policy was made for",
        ),
    ],
)  # fmt: skip
def test_later_changes_are_seen(change: Any, said: str) -> None:
    found = view(change)
    assert len(found.leads) == 1 and found.leads[0].startswith("Service core/radarr: ") and said in found.leads[0]
    assert result(found) == "fail"


@pytest.mark.parametrize("kind", ["Service", "EndpointSlice", "Pod"])
def test_what_cannot_be_listed_is_unknown(kind: str) -> None:
    found = view(why={(kind, "core"): "forbidden"})
    assert found == Missing("forbidden") and result(found) == "unknown"


def test_a_client_that_is_not_registered_is_unknown() -> None:
    assert result(view(lambda objects: objects["link"]["clients"].clear())) == "unknown"


def test_an_older_registry_without_selectors_is_no_difference() -> None:
    assert view(lambda objects: objects["link"]["clients"][CLIENT.id].pop("selectors")).leads == ()


def test_a_pod_that_has_just_gone_is_unknown_and_a_lead_is_worse() -> None:
    def gone(objects: Any) -> None:
        objects["slice"]["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] = (
            "endpointslice-controller.k8s.io"
        )
        objects["slice"]["endpoints"].append({"addresses": ["10.244.0.9"], "targetRef": {"kind": "Pod", "name": "b"}})

    def both(objects: Any) -> None:
        gone(objects)
        objects["service"]["spec"]["externalIPs"] = ["203.0.113.1"]

    assert (result(view(gone)), result(view(both))) == ("unknown", "fail")
