# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import _addons, _discovery

HELM = {"meta.helm.sh/release-name": "istiod", "meta.helm.sh/release-namespace": "istio-system"}
GW = "gateway.networking.k8s.io"


def test_psa_levels(snapshot: Any, obj: Any) -> None:
    namespaces = [obj("a", labels={"pod-security.kubernetes.io/enforce": "baseline"}), obj("b")]
    assert _addons.psa(snapshot(namespaces=namespaces))["value"] == {
        "a": {"enforce": "baseline", "warn": None, "audit": None},
        "b": {"enforce": None, "warn": None, "audit": None},
    }


def test_istio_ambient_by_helm(snapshot: Any, obj: Any, served: Any) -> None:
    plane = obj("istio-system/istiod", labels={"app": "istiod", "istio.io/rev": "default"}, annotations=HELM)
    full = {**plane, "spec": {"template": {"spec": {"containers": [{"image": "docker.io/istio/pilot:1.31.1"}]}}}}
    found = _addons.istio(
        snapshot(
            deployments=[plane],
            daemonsets=[
                obj("istio-system/ztunnel", labels={"app": "ztunnel"}),
                obj("istio-system/istio-cni-node", labels={"k8s-app": "istio-cni-node"}),
            ],
            webhooks=[obj("w", labels={"istio.io/tag": "prod", "istio.io/rev": "1-31"})],
            discovery=served("virtualservices.networking.istio.io"),
            **{"istiod:istio-system/istiod": full},
        )
    )["value"]
    assert found == {
        "installed": "yes",
        "control_planes": [
            {
                "namespace": "istio-system",
                "name": "istiod",
                "revision": "default",
                "version": "1.31.1",
                "owner": "helm:istio-system/istiod",
            }
        ],
        "ztunnel": "istio-system/ztunnel",
        "istio_cni": "istio-system/istio-cni-node",
        "crds": "yes",
        "tags": {"prod": "1-31"},
    }


def test_istio_crds_alone_are_no_istio(snapshot: Any, served: Any) -> None:
    found = _addons.istio(
        snapshot(deployments=[], daemonsets=[], webhooks="403", discovery=served("virtualservices.networking.istio.io"))
    )["value"]
    assert (found["installed"], found["crds"], found["tags"]) == ("no", "yes", "unknown")


@pytest.mark.parametrize(
    "labels, annotations, owner",
    [
        ({}, HELM, "helm:istio-system/istiod"),
        ({"install.operator.istio.io/owning-resource": "unknown"}, {}, "istioctl"),
        ({"app.kubernetes.io/managed-by": "kustomize"}, {}, "kustomize"),
        ({}, {}, "unknown"),
    ],
)
def test_owner(obj: Any, labels: Any, annotations: Any, owner: str) -> None:
    assert _addons.owner(obj("a/b", labels=labels, annotations=annotations)) == owner


def test_linkerd(snapshot: Any, obj: Any) -> None:
    plane = obj(
        "linkerd/linkerd-destination",
        labels={"linkerd.io/control-plane-component": "destination"},
        annotations={"linkerd.io/created-by": "linkerd/helm edge-26.1.1"},
    )
    assert _addons.linkerd(snapshot(deployments=[plane]))["value"]["version"] == "edge-26.1.1"
    assert _addons.linkerd(snapshot(deployments=[]))["value"] == {"installed": "no"}


def crd(obj: Any, name: str, version: Any = "v1.6.0", channel: Any = "standard") -> Any:
    return obj(f"{name}.{GW}", annotations={f"{GW}/bundle-version": version, f"{GW}/channel": channel})


def test_gateway_api(snapshot: Any, obj: Any) -> None:
    classes = [obj("istio", spec={"controllerName": "istio.io/gateway-controller"})]
    crds = [crd(obj, "httproutes"), crd(obj, "gateways"), obj("foos.example.com")]
    found = _addons.gateway_api(snapshot(crds=crds, gateway_classes=classes))["value"]
    assert found["crds"] == ["gateways", "httproutes"]
    assert (found["bundle_version"], found["channel"]) == ("v1.6.0", "standard")
    assert found["classes"] == [{"name": "istio", "controller": "istio.io/gateway-controller"}]


def test_gateway_api_of_two_bundles(snapshot: Any, obj: Any) -> None:
    found = _addons.gateway_api(snapshot(crds=[crd(obj, "a"), crd(obj, "b", "v1.2.0")]))["value"]
    assert found["bundle_version"] == "mixed"


def test_no_gateway_api(snapshot: Any, obj: Any) -> None:
    found = _addons.gateway_api(snapshot(crds=[obj("foos.example.com")]))["value"]
    assert found == {"installed": "no", "crds": [], "bundle_version": None, "channel": None, "classes": []}


def test_metallb(snapshot: Any, obj: Any) -> None:
    labels = {"app.kubernetes.io/name": "metallb", "app.kubernetes.io/version": "v0.15.2"}
    seen = snapshot(deployments=[obj("metallb-system/controller", labels=labels)], address_pools="403")
    found = _addons.metallb(seen)["value"]
    assert (found["version"], found["pools"], found["owner"]) == ("v0.15.2", "unknown", "unknown")


def test_a_deployment_called_operator_is_not_tailscale(snapshot: Any, obj: Any, served: Any) -> None:
    other = [obj("somewhere/operator")]
    assert _addons.tailscale(snapshot(deployments=other))["value"]["installed"] == "no"
    seen = snapshot(deployments=other, discovery=served("connectors.tailscale.com"))
    assert _addons.tailscale(seen)["value"]["namespace"] == "somewhere"


@pytest.mark.parametrize(
    "daemonsets, kubelet, arguments, expected",
    [
        (["svclb-traefik-1234"], "v1.35.4+k3s1", "", "yes"),
        ([], "v1.35.4", "", "no"),
        ([], "v1.35.4+k3s1", '["server"]', "yes"),
        ([], "v1.35.4+k3s1", '["server","--disable","servicelb"]', "no"),
        ([], "v1.35.4+k3s1", "", "unknown"),
    ],
)
def test_servicelb(snapshot: Any, obj: Any, daemonsets: Any, kubelet: str, arguments: Any, expected: Any) -> None:
    node = obj("a", annotations={"k3s.io/node-args": arguments}, status={"nodeInfo": {"kubeletVersion": kubelet}})
    seen = snapshot(daemonsets=[obj(f"kube-system/{name}") for name in daemonsets], nodes=[node])
    assert _addons.servicelb(seen)["value"] == expected


def test_traefik_addresses(snapshot: Any, obj: Any) -> None:
    labels = {"app.kubernetes.io/name": "traefik"}
    service = obj("kube-system/traefik", labels=labels, status={"loadBalancer": {"ingress": [{"ip": "10.0.0.5"}]}})
    found = _addons.traefik(snapshot(deployments=[obj("kube-system/traefik", labels=labels)], services=[service]))
    assert found["value"]["addresses"] == ["10.0.0.5"]


def test_policy_kinds(snapshot: Any, served: Any) -> None:
    seen = snapshot(
        discovery=served("networkpolicies.networking.k8s.io", "globalnetworkpolicies.crd.projectcalico.org")
    )
    assert _discovery.policy_kinds(seen)["value"] == [
        "networkpolicies.networking.k8s.io",
        "globalnetworkpolicies.crd.projectcalico.org",
    ]


def test_plain_discovery_is_not_read_as_empty(snapshot: Any) -> None:
    found = _discovery.policy_kinds(snapshot(discovery={"kind": "APIGroupList", "groups": []}))
    assert found["value"] == "unknown"
