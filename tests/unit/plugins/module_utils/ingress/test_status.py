# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _status
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._status import Found

WANTED = {
    "namespace": "gateway-arr",
    "name": "arr",
    "exposure": "lan",
    "addresses": ["192.0.2.101"],
    "announced": True,
    "listeners": {"http": 1},
    "routes": ["core/radarr"],
}


def conditions(*names, generation=2):
    return [{"type": one, "status": "True", "observedGeneration": generation} for one in names]


GATEWAY = {
    "metadata": {"namespace": "gateway-arr", "name": "arr", "generation": 2},
    "status": {
        "conditions": conditions("Accepted", "Programmed"),
        "listeners": [{"name": "http", "attachedRoutes": 1, "conditions": conditions("ResolvedRefs", "Programmed")}],
    },
}
SERVICE = {
    "metadata": {"namespace": "gateway-arr", "name": "arr-istio"},
    "spec": {"type": "LoadBalancer"},
    "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.101"}]}},
}
ROUTE = {
    "metadata": {"namespace": "core", "name": "radarr", "generation": 2},
    "status": {
        "parents": [
            {
                "parentRef": {"namespace": "gateway-arr", "name": "arr"},
                "conditions": conditions("Accepted", "ResolvedRefs"),
            }
        ]
    },
}
ANNOUNCED = {"status": {"node": "one", "serviceNamespace": "gateway-arr", "serviceName": "arr-istio"}}


def found(**what):
    whole = {
        "gateway": GATEWAY,
        "services": [SERVICE],
        "deployments": [(True, "1 available", "Deployment arr-istio")],
        "routes": {"core/radarr": ROUTE},
        "announcements": [ANNOUNCED],
    }
    return Found(**{**copy.deepcopy(whole), **what})


def failed(wanted, seen):
    return [(one.id, one.observed) for one in _status.checks(wanted, seen) if one.result != "pass"]


def test_all_checks_pass():
    checks = _status.checks(WANTED, found())
    assert [(one.id, one.result) for one in checks] == [
        ("gateway-programmed", "pass"),
        ("gateway-listener", "pass"),
        ("gateway-pods", "pass"),
        ("gateway-route", "pass"),
        ("gateway-address", "pass"),
        ("gateway-announced", "pass"),
    ]


def altered(one, *path, value):
    made = copy.deepcopy(one)
    place = made
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return made


FALSE = [
    {"type": "Accepted", "status": "True", "observedGeneration": 2},
    {"type": "Programmed", "status": "False", "observedGeneration": 2, "message": "no\naddress."},
]


@pytest.mark.parametrize(
    ("seen", "check", "observed"),
    [
        (Found(), "gateway-programmed", "it does not exist"),
        (
            found(gateway=altered(GATEWAY, "status", "conditions", value=FALSE)),
            "gateway-programmed",
            "Programmed is False: no address",
        ),
        (
            found(
                gateway=altered(
                    GATEWAY, "status", "conditions", value=conditions("Accepted", "Programmed", generation=1)
                )
            ),
            "gateway-programmed",
            "Accepted is of generation 1, not of 2",
        ),
        (
            found(gateway=altered(GATEWAY, "status", "conditions", value=conditions("Accepted"))),
            "gateway-programmed",
            "it has no condition Programmed yet",
        ),
        (found(gateway=altered(GATEWAY, "status", "listeners", value=[])), "gateway-listener", "it has no status yet"),
        (
            found(gateway=altered(GATEWAY, "status", "listeners", 0, "attachedRoutes", value=0)),
            "gateway-listener",
            "0 routes are attached",
        ),
        (
            found(gateway=altered(GATEWAY, "status", "listeners", 0, "conditions", value=conditions("Programmed"))),
            "gateway-listener",
            "it has no condition ResolvedRefs yet",
        ),
        (found(deployments=[]), "gateway-pods", "no Deployment was made for it yet"),
        (
            found(deployments=[(False, "0 of 1 available", "Deployment arr-istio")]),
            "gateway-pods",
            "Deployment arr-istio: 0 of 1 available",
        ),
        (found(routes={}), "gateway-route", "it does not exist"),
        (
            found(routes={"core/radarr": altered(ROUTE, "status", "parents", 0, "parentRef", "name", value="media")}),
            "gateway-route",
            "the gateway has not answered yet",
        ),
        (
            found(
                routes={
                    "core/radarr": altered(ROUTE, "status", "parents", 0, "conditions", value=conditions("Accepted"))
                }
            ),
            "gateway-route",
            "it has no condition ResolvedRefs yet",
        ),
        (found(services=[]), "gateway-address", "it has no Service yet"),
        (
            found(services=[altered(SERVICE, "status", value={})], warning="no pool"),
            "gateway-address",
            "its Service has no address: no pool",
        ),
        (
            found(services=[altered(SERVICE, "status", "loadBalancer", "ingress", 0, "ip", value="192.0.2.102")]),
            "gateway-address",
            "192.0.2.102",
        ),
        (found(announcements=[]), "gateway-announced", "no node announces it"),
        (
            found(announcements=[], excluded=["one"]),
            "gateway-announced",
            "no node announces it; the label node.kubernetes.io/exclude-from-external-load-balancers keeps out one",
        ),
        (
            found(announcements=[altered(ANNOUNCED, "status", "serviceNamespace", value="other")]),
            "gateway-announced",
            "no node announces it",
        ),
    ],
)
def test_each_point_alone(seen, check, observed):
    assert failed(WANTED, seen)[0] == (check, observed)


def test_a_gateway_that_may_have_any_address_needs_one():
    anyone = {**WANTED, "addresses": []}
    assert failed(anyone, found()) == []
    assert failed(anyone, found(services=[altered(SERVICE, "status", value={})]))[0][0] == "gateway-address"


def test_both_addresses_are_needed():
    both = {**WANTED, "addresses": ["192.0.2.101", "2001:db8::1"]}
    assert failed(both, found()) == [("gateway-address", "192.0.2.101")]


def test_inside_the_cluster_only():
    inner = {**WANTED, "exposure": "cluster", "addresses": [], "announced": False}
    closed = {**SERVICE, "spec": {"type": "ClusterIP"}, "status": {"loadBalancer": {}}}
    assert failed(inner, found(services=[closed])) == []
    assert failed(inner, found()) == [("gateway-address", "type LoadBalancer, addresses 192.0.2.101")]
    assert failed(inner, found(services=[])) == [("gateway-address", "it has no Service yet")]


def test_without_the_kind_nobody_asks_for_an_announcement():
    assert failed(WANTED, found(announcements=None)) == []
    assert failed({**WANTED, "announced": False}, found(announcements=[])) == []


def test_configuration():
    states = [
        {"metadata": {"name": "controller"}, "status": {"result": "Valid"}},
        {"metadata": {"name": "speaker-one"}, "status": {"result": "Invalid", "errorSummary": "bad peer"}},
        {"metadata": {"name": "speaker-two"}},
    ]
    assert [(one.result, one.observed) for one in _status.configuration(states)] == [
        ("pass", "Valid"),
        ("fail", "Invalid: bad peer"),
        ("fail", "Unknown"),
    ]
    # Silence is no consent.
    assert [one.result for one in _status.configuration([])] == ["fail"]
