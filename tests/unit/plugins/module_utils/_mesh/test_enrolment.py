# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is in the mesh, who may not be, and what keeps VPN clients and a mesh apart."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh import _coexist, _enrolment, _leftovers
from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh._enrolment import Wanted

MODE, REDIRECTION = _enrolment.MODE, _enrolment.REDIRECTION
ENABLED = {REDIRECTION: "enabled"}


def pod(labels: Any = None, annotations: Any = None, phase: str = "Running", **spec: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": phase, "podIP": "10.0.0.7"}
    if "status" in spec:
        status = spec.pop("status")
    return {
        "metadata": {"namespace": "core", "name": "p", "labels": labels or {}, "annotations": annotations or {}},
        "spec": {"nodeName": "n1", "containers": [{"name": "app"}], **spec},
        "status": status,
    }


NO_SANDBOX = {"type": "PodReadyToStartContainers", "status": "False"}


@pytest.mark.parametrize(
    "one, state",
    [
        (pod(annotations=ENABLED), "in"),
        (pod(), "waiting"),
        (pod(annotations={REDIRECTION: "pending"}), "waiting"),
        (pod(annotations={REDIRECTION: "disabled"}), "waiting"),
        (pod(hostNetwork=True), "exempt"),
        (pod(labels={MODE: "none"}), "exempt"),
        (pod(annotations={_enrolment.SIDECAR: "{}"}), "exempt"),
        (pod(labels={MODE: "none"}, annotations=ENABLED), "waiting"),
        (pod(phase="Succeeded"), "not_running"),
        (pod(nodeName="", status={"phase": "Pending"}), "not_running"),
        (pod(status={"phase": "Pending"}), "waiting"),
        (pod(status={"phase": "Pending", "conditions": [NO_SANDBOX]}), "no_network"),
        (pod(status={"phase": "Pending", "conditions": [{**NO_SANDBOX, "status": "True"}]}), "waiting"),
        # An application that does not start is in the mesh nevertheless.
        (pod(annotations=ENABLED, status={"phase": "Pending"}), "in"),
    ],
)
def test_ambient(one: dict[str, Any], state: str) -> None:
    judged = _enrolment.judge("ambient", one)
    assert judged.state == state
    assert bool(judged.reason) == (state != "in")


def test_pending_means_no_network() -> None:
    judged = _enrolment.judge("ambient", pod(annotations={REDIRECTION: "pending"}))
    assert judged.reason == "it is redirected, but no ztunnel has taken it: it has no network"


@pytest.mark.parametrize(
    "one, state",
    [
        (pod(), "out"),
        (pod(annotations=ENABLED), "waiting"),
        (pod(annotations={REDIRECTION: "pending"}), "waiting"),
        (pod(labels={MODE: "ambient"}, annotations=ENABLED), "wrong"),
    ],
)
def test_out(one: dict[str, Any], state: str) -> None:
    assert _enrolment.judge("none", one).state == state


PROXY = {"name": "istio-proxy"}
READY = {"phase": "Running", "containerStatuses": [{"name": "istio-proxy", "ready": True}]}


@pytest.mark.parametrize(
    "one, state",
    [
        (pod(), "needs_restart"),
        (pod(containers=[PROXY], status=READY), "in"),
        (pod(containers=[PROXY]), "waiting"),
        (pod(initContainers=[PROXY], status={"initContainerStatuses": READY["containerStatuses"]}), "in"),
        (pod(hostNetwork=True), "exempt"),
        (pod(labels={_enrolment.INJECT: "false"}), "exempt"),
        (pod(containers=[PROXY], status=READY, annotations=ENABLED), "waiting"),
    ],
)
def test_sidecar(one: dict[str, Any], state: str) -> None:
    assert _enrolment.judge("sidecar", one).state == state


@pytest.mark.parametrize(
    "mesh, labels, good",
    [
        ("ambient", {MODE: "ambient"}, True),
        ("ambient", {}, False),
        ("ambient", {MODE: "none"}, False),
        ("sidecar", {"istio-injection": "enabled"}, True),
        ("sidecar", {"istio.io/rev": "default"}, True),
        ("sidecar", {"istio-injection": "enabled", "istio.io/rev": "x"}, False),
        ("sidecar", {"istio-injection": "enabled", MODE: "ambient"}, False),
        ("sidecar", {}, False),
        ("none", {}, True),
        ("none", {MODE: "none", "istio-injection": "disabled"}, True),
        ("none", {MODE: "ambient"}, False),
        ("none", {"istio-injection": "enabled"}, False),
    ],
)
def test_labels_of_namespaces(mesh: str, labels: dict[str, str], good: bool) -> None:
    live = {"metadata": {"name": "core", "labels": labels}}
    assert (_enrolment.namespace_problem(Wanted("core", mesh), live) == "") is good


def test_a_namespace_that_is_not_there() -> None:
    assert _enrolment.namespace_problem(Wanted("core", "ambient"), None) == "namespace core does not exist"


CLOSED = _enrolment.forbidden("istio-system", ["vpn"])


@pytest.mark.parametrize("name", ["istio-system", "kube-system", "metallb-system", "tailscale", "vpn"])
@pytest.mark.parametrize("mesh", ["ambient", "sidecar"])
def test_forbidden_by_wish(name: str, mesh: str) -> None:
    assert _enrolment.problems([Wanted(name, mesh)], CLOSED) == [
        f"Namespace {name} is to be in the mesh (mesh: {mesh}), but it must stay out, because the mesh, addresses or a VPN "
        "gateway depend on it: set its mesh to none, or move the workload to a namespace of its own."
    ]
    assert _enrolment.problems([Wanted(name, "none"), Wanted("core", mesh)], CLOSED) == []


def test_twice() -> None:
    wanted = [Wanted("core", "ambient"), Wanted("core", "none")]
    assert _enrolment.problems(wanted, ()) == ["The namespace core is listed twice: remove one of the entries."]


def test_forbidden_and_live() -> None:
    vpn = {"metadata": {"name": "vpn", "labels": {MODE: "ambient"}}}
    captured = pod(annotations=ENABLED)
    captured["metadata"].update(namespace="vpn", name="vpnarr-0")
    assert _enrolment.closed_problems([vpn], [captured], CLOSED) == [
        "namespace vpn must stay out of the mesh, but its label istio.io/dataplane-mode is ambient",
        "pod vpn/vpnarr-0 must stay out of the mesh, but it is captured",
    ]
    assert _enrolment.closed_problems([{"metadata": {"name": "vpn"}}], [pod(annotations=ENABLED)], CLOSED) == []


NAMESPACES = [{"name": "downloads", "mesh": "ambient"}, {"name": "vpn", "mesh": "none"}]
GATEWAYS = [{"name": "vpnarr", "namespace": "vpn"}]
CLIENT = {"kind": "StatefulSet", "namespace": "downloads", "name": "qbittorrent"}
ENTRY = {
    "namespace": "other",
    "name": "web",
    "hosts": ["example.com"],
    "addresses": [],
    "resolution": "STATIC",
    "waypoint": "",
}


def world(*entries: dict[str, Any], enrolled: tuple[str, ...] = ("downloads",)) -> dict[str, Any]:
    return {
        "namespace": {"name": "istio-system"},
        "service_entries": list(entries),
        "enrolled_namespaces": list(enrolled),
        "injected_namespaces": {},
    }


def test_coexistence_where_all_is_well() -> None:
    single = {**ENTRY, "addresses": ["203.0.113.9", "203.0.113.8/32", "2001:db8::1"]}
    assert _coexist.problems(NAMESPACES, GATEWAYS, [CLIENT], world(ENTRY, single)) == []
    assert _coexist.problems([], [], [], None) == []


def test_egress_by_waypoint() -> None:
    entry = {**ENTRY, "waypoint": "egress"}
    assert _coexist.problems(NAMESPACES, GATEWAYS, [CLIENT], world(entry)) == [
        "ServiceEntry other/web (example.com) goes through the waypoint egress, which would lead the traffic of StatefulSet "
        "downloads/qbittorrent past the VPN: label it istio.io/use-waypoint=none, or take the namespaces of these clients "
        "out of the mesh."
    ]
    # A client that is not in the mesh, or not behind the VPN, is not concerned.
    assert _coexist.problems([], GATEWAYS, [CLIENT], world(entry, enrolled=())) == []
    assert _coexist.problems(NAMESPACES, GATEWAYS, [{**CLIENT, "state": "absent"}], world(entry)) == []
    # A namespace that somebody enrolled by hand concerns its client.
    assert _coexist.problems([], GATEWAYS, [CLIENT], world(entry)) != []


@pytest.mark.parametrize("address", ["0.0.0.0/0", "203.0.113.0/24", "2001:db8::/32", "not-an-address"])
def test_a_network_in_a_service_entry(address: str) -> None:
    found = _coexist.problems(NAMESPACES, GATEWAYS, [CLIENT], world({**ENTRY, "addresses": ["203.0.113.9", address]}))
    assert len(found) == 1
    assert f"has the networks {address}, which can take any traffic" in found[0]


@pytest.mark.parametrize("resolution", ["DNS", "DNS_ROUND_ROBIN"])
def test_names_that_ztunnel_asks_for(resolution: str) -> None:
    found = _coexist.problems(NAMESPACES, GATEWAYS, [CLIENT], world({**ENTRY, "resolution": resolution}))
    assert found == [
        f"ServiceEntry other/web (example.com) has the resolution {resolution}: ztunnel asks for its hosts' addresses beside "
        "the VPN of StatefulSet downloads/qbittorrent: use STATIC with addresses, or NONE."
    ]


def test_an_enrolled_gateway() -> None:
    both = [{"name": "vpn", "mesh": "ambient"}]
    assert _coexist.problems(both, GATEWAYS, [], None)[0].startswith("Namespace vpn is to be in the mesh")
    by_hand = _coexist.problems([], GATEWAYS, [], world(enrolled=("vpn",)))
    assert by_hand == [
        "VPN gateway vpn/vpnarr is in a namespace that is in the mesh by its label istio.io/dataplane-mode=ambient: list "
        "the namespace in bulkhead_namespaces with mesh: none."
    ]
    # Where the inventory says none, the run itself takes the label away.
    assert _coexist.problems(NAMESPACES, GATEWAYS, [], world(enrolled=("vpn",))) == []


def test_a_label_that_asks_for_sidecars() -> None:
    labelled = {
        **world(enrolled=()),
        "injected_namespaces": {"downloads": "istio-injection=enabled", "other": "istio.io/rev=a"},
    }
    assert _coexist.problems([{"name": "downloads", "mesh": "ambient"}], [], [], labelled) == [
        "Namespace downloads is to be in the ambient mesh (mesh: ambient), but it has the label istio-injection=enabled, with "
        "which its new pods get a sidecar and stay out of the ambient mesh: take the label off (kubectl label namespace "
        "downloads istio-injection-), or set its mesh to sidecar."
    ]
    for unmanaged in ([], [{"name": "downloads"}], [{"name": "downloads", "mesh": "unmanaged"}]):
        (found,) = _coexist.problems(unmanaged, GATEWAYS, [CLIENT], labelled)
        assert found.startswith(
            "StatefulSet downloads/qbittorrent is a VPN client in a namespace with the label istio-injection=enabled: "
        )
    assert _coexist.problems([{"name": "downloads", "mesh": "none"}], GATEWAYS, [CLIENT], labelled) == []
    assert _coexist.problems([], GATEWAYS, [{**CLIENT, "state": "absent"}], labelled) == []


@pytest.mark.parametrize(
    ("labels", "label"),
    [
        ({"istio-injection": "enabled"}, "istio-injection=enabled"),
        ({"istio.io/rev": "stable"}, "istio.io/rev=stable"),
        ({"istio.io/rev": "stable", "istio-injection": "disabled"}, ""),
        ({"istio-injection": "disabled"}, ""),
        ({}, ""),
    ],
)
def test_which_label_injects(labels: dict[str, str], label: str) -> None:
    assert _enrolment.injected_by(labels) == label


def test_services_that_the_guard_cannot_see() -> None:
    client = {**CLIENT, "egress": [{"service": "core/radarr", "ports": [7878]}]}
    (found,) = _coexist.problems([], GATEWAYS, [client], None, socket_lb=True)
    assert found.startswith(
        "StatefulSet downloads/qbittorrent has egress to Services (core/radarr), but the pod network "
    )
    assert "socketLB.hostNamespaceOnly=true" in found
    assert _coexist.problems([], GATEWAYS, [client], None) == []
    assert _coexist.problems([], GATEWAYS, [CLIENT, {**client, "state": "absent"}], None, socket_lb=True) == []


def test_egress_to_the_dns_of_the_cluster() -> None:
    client = {**CLIENT, "egress": [{"service": "kube-system/kube-dns", "ports": [53]}]}
    dns = {"namespace": "kube-system", "name": "kube-dns"}
    found = _coexist.problems(NAMESPACES, GATEWAYS, [client], world(), dns)
    assert len(found) == 1 and "has an egress to the cluster's DNS (kube-system/kube-dns)" in found[0]
    assert _coexist.problems(NAMESPACES, GATEWAYS, [CLIENT], world(), dns) == []


def left(kind: str, name: str, namespace: str = "istio-system", **more: Any) -> bool:
    metadata = {"name": name, "namespace": namespace, **more.pop("metadata", {})}
    return _leftovers.is_left(kind, {"metadata": metadata, **more}, "istio-system")


def test_what_the_control_plane_leaves() -> None:
    config = {"metadata": {"labels": {"istio.io/config": "true"}}}
    lock = {"metadata": {"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}}}
    assert left("ConfigMap", "istio-ca-root-cert", "core", **config)
    assert left("ConfigMap", "istio-leader", **lock)
    assert left("Lease", "istio-gateway-deployment-default")
    assert left("Secret", "istio-ca-secret")
    assert left("GatewayClass", "istio", spec={"controllerName": "istio.io/gateway-controller"})
    # What is the user's, or might be.
    assert not left("ConfigMap", "istio-ca-root-cert", "core")
    assert not left("ConfigMap", "mine", "core", **config)
    assert not left("ConfigMap", "istio-leader", "core", **lock)
    assert not left("ConfigMap", "istio-mine")
    assert not left("Secret", "cacerts")
    assert not left("Secret", "istio-ca-secret", "core")
    assert not left("Lease", "mine")
    assert not left("GatewayClass", "istio", spec={"controllerName": "example.com/controller"})
    assert not left("GatewayClass", "mine", spec={"controllerName": "istio.io/gateway-controller"})


def test_marks_on_the_namespace() -> None:
    made = _leftovers.namespace_patch(None)
    assert made is not None
    level = {"pod-security.kubernetes.io/enforce": "privileged"}
    assert made["metadata"]["labels"] == level
    live = {"metadata": {"name": "istio-system", **made["metadata"]}}
    assert _leftovers.namespace_patch(live) is None
    assert _leftovers.release_patch(live) == {
        "metadata": {
            "annotations": {_leftovers.CREATED: None, _leftovers.LEVELLED: None},
            "labels": {"pod-security.kubernetes.io/enforce": None},
        }
    }
    theirs = {"metadata": {"name": "istio-system", "labels": level}}
    assert _leftovers.namespace_patch(theirs) is None and _leftovers.release_patch(theirs) is None
    bare = {"metadata": {"name": "istio-system"}}
    assert _leftovers.namespace_patch(bare) == {
        "metadata": {"labels": level, "annotations": {_leftovers.LEVELLED: "istio"}}
    }


def test_strangers() -> None:
    usual = [("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")]
    assert _leftovers.strangers(usual) == []
    assert _leftovers.strangers([*usual, ("Secret", "cacerts")]) == ["Secret cacerts"]
