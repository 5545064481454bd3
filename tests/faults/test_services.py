"""A Service that a client reaches without the VPN: it gets another address, and it leads elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator

import attached
import pytest
import stage
from running_lab import apply, kubectl, netpol, until

from bulkhead_lab import plan
from bulkhead_lab.paths import Paths

NAME = "reader"
POD = f"{NAME}-0"
EGRESS = [{"service": f"{stage.NAMESPACE}/{attached.SERVICE}", "ports": [attached.SERVICE_PORT]}]
CALLS = 8  # the cluster's proxy chooses one of two endpoints for each


@pytest.fixture(scope="module")
def reader(shapes: Paths) -> Iterator[Paths]:
    """An attached workload that reaches a Service, and sends to the internet's target all the time."""
    apply(*attached.served(stage.NAMESPACE))
    stage.put(stage.stateful_set(NAME))
    stage.vpn_client(stage.client(NAME, egress=EGRESS))
    stage.comes_back(POD)
    until(lambda: reached(address()), "the Service is reached")
    yield shapes
    kubectl("-n", stage.NAMESPACE, "delete", "pod,service", attached.SERVICE)
    stage.clear()  # waits until no pod is left


def address(name: str = attached.SERVICE) -> str:
    """The address of a Service."""
    return str(stage.get("service", name)["spec"]["clusterIP"])


def called(to: str, times: int = 1) -> str:
    """What calls to this address brought, one after another; the target's page says who asked."""
    line = f"for i in $(seq {times}); do curl --silent --max-time 1 http://{to}:{attached.SERVICE_PORT}/ip; done"
    words = ("exec", POD, "-c", "app", "--", "sh", "-c", line)
    return kubectl("-n", stage.NAMESPACE, *words, check=False)


def reached(to: str) -> bool:
    """Whether the Service's own pod answers there; it has no such page, and says so."""
    return "404" in called(to)


def by_hand(service: str, name: str = "by-hand") -> None:
    """Lead a Service to the internet's target, as anybody can who may write EndpointSlices."""
    labels = {"kubernetes.io/service-name": service}
    apply(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": stage.NAMESPACE, "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
            "endpoints": [{"addresses": [plan.TARGET4]}],
        }
    )


@pytest.fixture
def led_outside() -> Iterator[None]:
    by_hand(attached.SERVICE)
    yield
    kubectl("-n", stage.NAMESPACE, "delete", "endpointslice", "by-hand")


@pytest.mark.usefixtures("led_outside")
def test_a_service_that_leads_outside_is_held_by_the_policy_alone_and_refused(reader: Paths) -> None:
    with stage.watching(reader) as leaks:
        assert plan.NODE4 not in called(address(), CALLS)
    leaks.none()
    netpol("mode", "off")
    try:
        with stage.watching(reader) as leaks:
            # The guard knows the Service's address and no more.
            until(lambda: plan.NODE4 in called(address(), CALLS), "the target answers in the node's name")
        assert leaks.leaked > 0
    finally:
        netpol("mode", "on")
    told = stage.vpn_client(stage.client(NAME, egress=EGRESS), fails=True)
    assert (
        f"EndpointSlice {stage.NAMESPACE}/by-hand leads it to {plan.TARGET4}, which is no pod that it selects"
        in told["msg"]
    ), told["msg"]
    assert told["changed"] is False


def test_a_service_made_anew_is_reached_by_the_same_pod(reader: Paths) -> None:
    old, before = address(), stage.pods(NAME)[0]
    kubectl("-n", stage.NAMESPACE, "delete", "service", attached.SERVICE)
    squatter = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "squatter", "namespace": stage.NAMESPACE}}
    try:
        # Somebody else's Service gets the address, and leads outside.
        apply({**squatter, "spec": {"clusterIP": old, "ports": [{"port": attached.SERVICE_PORT}]}})
        by_hand("squatter", "squatter")
        apply(attached.served(stage.NAMESPACE)[1])
        assert address() != old
        with stage.watching(reader) as leaks:
            assert called(old, 3) == "", (
                "until the next run the guard lets the old address pass, and the policy does not"
            )
        leaks.none()
        told = stage.vpn_client(stage.client(NAME, egress=EGRESS))
        assert told["clients"][0]["steps"] == ["attach.registration", "attach.told"], told
        until(lambda: reached(address()), "the Service is reached at its new address")
        netpol("mode", "off")
        with stage.watching(reader) as leaks:
            assert called(old, 3) == "", "the guard does not let the old address pass any more"
        leaks.none()
    finally:
        netpol("mode", "on")
        kubectl("-n", stage.NAMESPACE, "delete", "service,endpointslice", "squatter", "--ignore-not-found")
    (after,) = stage.pods(NAME)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    restarts = [one["restartCount"] for one in after["status"]["containerStatuses"]]
    assert restarts == [0], json.dumps(after["status"])
    assert stage.vpn_client(stage.client(NAME, egress=EGRESS))["changed"] is False
