# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import _dns

PORTS = ({"port": 53, "protocol": "UDP", "targetPort": 53}, {"port": 53, "protocol": "TCP"})
LABEL = {"k8s-app": "kube-dns"}


def service(obj: Any, name: str, labels: Any = None, address: Any = "10.96.0.10", ports: Any = PORTS) -> Any:
    return obj(name, labels=labels, spec={"clusterIP": address, "clusterIPs": [address], "ports": list(ports)})


def test_found_by_label_wherever_it_is(snapshot: Any, obj: Any) -> None:
    services = [service(obj, "web/dns", address="10.96.0.99"), service(obj, "infra/resolver", LABEL)]
    found = _dns.service(snapshot(services=services))
    assert (found["value"]["namespace"], found["value"]["name"]) == ("infra", "resolver")
    assert found["found_by"] == "label k8s-app=kube-dns"
    assert found["value"]["ports"][0] == {"port": 53, "protocol": "UDP", "target": 53}


def test_upstream_of_the_node_cache_is_not_the_service(snapshot: Any, obj: Any) -> None:
    services = [
        service(obj, "kube-system/kube-dns-upstream", LABEL, "10.96.0.11"),
        service(obj, "kube-system/kube-dns", LABEL),
    ]
    assert _dns.service(snapshot(services=services))["value"]["addresses"] == ["10.96.0.10"]


def test_headless_services_are_no_resolver(snapshot: Any, obj: Any) -> None:
    services = [service(obj, "kube-system/kube-dns", LABEL, "None"), service(obj, "dns/coredns")]
    found = _dns.service(snapshot(services=services))
    assert (found["value"]["namespace"], found["found_by"]) == ("dns", "its name")


def test_found_by_port(snapshot: Any, obj: Any) -> None:
    web = service(obj, "a/web", ports=[{"port": 53, "protocol": "TCP"}])
    found = _dns.service(snapshot(services=[web, service(obj, "infra/resolver")]))
    assert (found["value"]["name"], found["found_by"]) == ("resolver", "port 53")


def test_two_that_fit_are_not_guessed_between(snapshot: Any, obj: Any) -> None:
    found = _dns.service(snapshot(services=[service(obj, "a/one"), service(obj, "b/two")]))
    assert found["value"] == "unknown"
    assert found["reason"] == "several Services fit (port 53): a/one, b/two"


def test_forbidden(snapshot: Any) -> None:
    assert _dns.service(snapshot(services="403"))["reason"] == "not allowed to read services"


@pytest.mark.parametrize(
    "corefile, zone",
    [
        (".:53 {\n    kubernetes cluster.local in-addr.arpa ip6.arpa {\n    }\n}", "cluster.local"),
        (".:53 {\n  kubernetes in-addr.arpa home.example. {\n}\n}", "home.example"),
        (".:53 {\n  kubernetes cluster.local\n}", "cluster.local"),
        (".:53 {\n  forward . 1.1.1.1\n}", None),
        ("", None),
    ],
)
def test_zone(corefile: str, zone: str) -> None:
    assert _dns.zone_of(corefile) == zone


def test_domain_prefers_what_a_pod_saw(snapshot: Any) -> None:
    found = _dns.domain(snapshot(kubeadm=None), {}, ["ns.svc.other.example", "svc.other.example", "other.example"])
    assert found["value"] == "other.example"


def test_domain_from_corefile_and_kubeadm(snapshot: Any) -> None:
    answers = {"corefile:dns/coredns": None}
    corefile = {"data": {"Corefile": ". {\n kubernetes a.example\n}"}}
    assert (
        _dns.domain(snapshot(kubeadm=None, **{"corefile:dns/coredns": corefile}), answers)["found_by"]
        == "ConfigMap dns/coredns"
    )
    kubeadm = {"data": {"ClusterConfiguration": "networking:\n  dnsDomain: b.example\n"}}
    assert _dns.domain(snapshot(kubeadm=kubeadm, **{"corefile:dns/coredns": None}), answers)["value"] == "b.example"


def test_domain_is_not_assumed(snapshot: Any) -> None:
    assert _dns.domain(snapshot(kubeadm=None), {})["value"] == "unknown"
    found = _dns.domain(snapshot(kubeadm=None, **{"corefile:a/b": "403"}), {"corefile:a/b": None})
    assert found["reason"] == "not allowed to read corefile:a/b"


def test_node_local(snapshot: Any, obj: Any) -> None:
    assert _dns.node_local(snapshot(daemonsets=[obj("kube-system/node-local-dns")]))["value"] == "yes"
    assert _dns.node_local(snapshot(daemonsets=[obj("kube-system/other")]))["value"] == "no"
    assert _dns.node_local(snapshot(daemonsets="403"))["value"] == "unknown"
