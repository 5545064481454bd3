# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a Service leads: its own pods are fine, everything else is named. What is refused: ``invalid/service_*``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _backends

Object = dict[str, Any]
Make = Callable[..., Any]
OWN = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}


def endpoints(
    *addresses: str, pod: str = "", service: str = "radarr", namespace: str = "core", **labels: str
) -> Object:
    target = {"targetRef": {"kind": "Pod", "name": pod}} if pod else {}
    return {
        "metadata": {
            "name": "radarr-x",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service, **labels},
        },
        "endpoints": [{"addresses": list(addresses), **target}],
    }


def pod(address: str, app: str = "radarr", namespace: str = "core", phase: str = "Running", **spec: Any) -> Object:
    return {
        "kind": "Pod",
        "metadata": {"name": f"{app}-0", "namespace": namespace, "labels": {"app": app}},
        "spec": spec,
        "status": {"phase": phase, "podIP": address, "podIPs": [{"ip": address}, {"ip": "fd00::7"}]},
    }


def leads(service: Object, slices: list[Object], *pool: Object) -> list[str]:
    return [one.reason for one in _backends.audit(service, slices, pool).leads]


@pytest.mark.parametrize("labels", [OWN, {}], ids=["the cluster's own", "by hand"])
def test_its_own_pods_are_fine_whoever_names_them(labels: Object, service: Make) -> None:
    assert leads(service(), [endpoints("10.244.0.7", "fd00::7", **labels)], pod("10.244.0.7")) == []


@pytest.mark.parametrize("type_", ["ClusterIP", "NodePort", "LoadBalancer"])
def test_how_others_reach_it_is_no_matter(type_: str, service: Make) -> None:
    held = service(spec={"type": type_, "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster"})
    assert _backends.unfit(held, [], []) is None and leads(held, []) == []


@pytest.mark.parametrize(
    "other",
    [
        pod("10.244.0.7", app="other"),
        pod("10.244.0.7", namespace="elsewhere"),
        pod("10.244.0.7", phase="Succeeded"),
        pod("10.244.0.8"),
    ],
    ids=["another selector", "another namespace", "ended", "another address"],
)
@pytest.mark.parametrize("labels", [OWN, {}], ids=["the cluster's own", "by hand"])
def test_an_address_of_no_selected_pod_leads_elsewhere(labels: Object, other: Object, service: Make) -> None:
    assert leads(service(), [endpoints("10.244.0.7", pod="radarr-0" if labels else "", **labels)], other, pod("")) == [
        "EndpointSlice core/radarr-x leads it to 10.244.0.7, which is no pod that it selects"
    ]


def test_slices_of_other_services_do_not_count(service: Make) -> None:
    slices = [endpoints("203.0.113.10", service="other"), endpoints("203.0.113.10", namespace="elsewhere")]
    assert leads(service(), slices) == []


def test_a_name_leads_elsewhere(service: Make) -> None:
    assert len(leads(service(), [{**endpoints("nas.example.org"), "addressType": "FQDN"}])) == 1


def test_a_pod_that_has_just_gone_is_not_settled(service: Make) -> None:
    """Only where the cluster's own controller says so: it takes the endpoint away. By hand it stays."""
    found = _backends.audit(service(), [endpoints("10.244.0.7", pod="radarr-9", **OWN)], [pod("10.244.0.8")])
    assert found.leads == () and len(found.unsettled) == 1
    ended = _backends.audit(
        service(), [endpoints("10.244.0.7", pod="radarr-0", **OWN)], [pod("10.244.0.7", phase="Failed")]
    )
    assert ended.leads == () and len(ended.unsettled) == 1
    assert len(leads(service(), [endpoints("10.244.0.7", pod="radarr-9")], pod("10.244.0.8"))) == 1
    other = endpoints("10.244.0.7", **OWN)
    other["endpoints"][0]["targetRef"] = {"kind": "Node", "name": "radarr-9"}
    assert len(leads(service(), [other], pod("10.244.0.8"))) == 1


def test_pods_on_the_node_are_named_by_their_workload(service: Make) -> None:
    on_node = pod("192.0.2.10", hostNetwork=True)
    slices = [endpoints("192.0.2.10", **OWN)]
    assert leads(service(), slices, on_node) == [
        "Pod core/radarr-0 behind it uses the node's network, which no policy by labels selects"
    ]
    template = {"metadata": {"labels": {"app": "radarr"}}, "spec": {"hostNetwork": True}}
    workload = {"kind": "DaemonSet", "metadata": {"name": "r", "namespace": "core"}, "spec": {"template": template}}
    assert leads(service(), slices, on_node, workload)[0].startswith("DaemonSet core/r behind it")
    assert leads(service(), [], {**workload, "metadata": {"name": "r", "namespace": "other"}}) == []
    assert leads(service(), [], pod("192.0.2.10", phase="Failed", hostNetwork=True)) == []


def test_without_a_selector_pods_are_no_hosts(service: Make) -> None:
    held = service(spec={"selector": None})
    found = _backends.unfit(held, [endpoints("10.244.0.7")], [pod("10.244.0.7")])
    assert found is not None and found.remedy == "give it the selector of the pods it is for"
