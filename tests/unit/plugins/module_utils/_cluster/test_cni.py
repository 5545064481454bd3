# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import _cni

K3S = {"kubeletVersion": "v1.35.4+k3s1"}


def daemonset(obj: Any, name: str, image: Any = "x:1", args: Any = ()) -> Any:
    container = {"name": "c", "image": image, "args": list(args)}
    return obj(f"kube-system/{name}", spec={"template": {"spec": {"containers": [container]}}})


@pytest.mark.parametrize(
    "names, provider, support",
    [
        (["calico-node"], "calico", "yes"),
        (["canal"], "canal", "yes"),
        (["cilium"], "cilium", "yes"),
        (["kube-flannel-ds"], "flannel", "no"),
        (["kube-flannel-ds", "kube-router"], "flannel", "yes"),
        (["kube-router"], "kube-router", "yes"),
        (["antrea-agent"], "antrea", "yes"),
        (["weave-net"], "weave", "yes"),
        (["ovnkube-node"], "ovn-kubernetes", "yes"),
        (["aws-node"], "aws-vpc-cni", "no"),
        (["aws-node", "calico-node"], "aws-vpc-cni", "yes"),
        (["azure-cns"], "azure-cni", "unknown"),
        (["azure-cns", "azure-npm"], "azure-cni", "yes"),
        (["kindnet"], "kindnet", "unknown"),
        (["kube-proxy"], "unknown", "unknown"),
        ([], "unknown", "unknown"),
    ],
)
def test_by_daemonsets(snapshot: Any, obj: Any, names: Any, provider: str, support: str) -> None:
    seen = snapshot(daemonsets=[daemonset(obj, name) for name in names], nodes=[obj("a")])
    assert _cni.name(seen)["value"] == provider
    assert _cni.policy_support(seen)["value"] == support


@pytest.mark.parametrize(
    "name, image, args, support",
    [
        ("kindnet", "docker.io/kindest/kindnetd:v20240813-c6f155d6", (), "yes"),
        ("kindnet", "docker.io/kindest/kindnetd:v20240513-cd2ac642", (), "no"),
        ("aws-node", "x:1", ("--enable-network-policy=true",), "yes"),
        ("kube-router", "x:1", ("--run-router=true", "--run-firewall=false"), "no"),
    ],
)
def test_settings_decide(snapshot: Any, obj: Any, name: str, image: Any, args: Any, support: str) -> None:
    seen = snapshot(daemonsets=[daemonset(obj, name, image, args)], nodes=[])
    assert _cni.policy_support(seen)["value"] == support


@pytest.mark.parametrize(
    "config, support", [({"data": {"enable-policy": "never"}}, "no"), ("403", "unknown"), ({"data": {}}, "yes")]
)
def test_cilium_mode(snapshot: Any, obj: Any, config: Any, support: str) -> None:
    seen = snapshot(daemonsets=[daemonset(obj, "cilium")], nodes=[], cilium_config=config)
    assert _cni.policy_support(seen)["value"] == support


@pytest.mark.parametrize(
    "config, inside",
    [
        ({"kube-proxy-replacement": "true"}, "yes"),
        ({"kube-proxy-replacement": "strict"}, "yes"),
        ({"bpf-lb-sock": "true"}, "yes"),
        ({"kube-proxy-replacement": "true", "bpf-lb-sock-hostns-only": "true"}, "no"),
        ({"kube-proxy-replacement": "false"}, "no"),
        ({}, "no"),
    ],
)
def test_cilium_translates_services_in_sockets(snapshot: Any, obj: Any, config: Any, inside: str) -> None:
    seen = snapshot(daemonsets=[daemonset(obj, "cilium")], nodes=[], cilium_config={"data": config})
    assert _cni.socket_lb(seen)["value"] == inside


@pytest.mark.parametrize(
    "variables, inside",
    [
        ({"FELIX_BPFENABLED": "true"}, "yes"),
        ({"FELIX_BPFENABLED": "true", "FELIX_BPFCONNECTTIMELOADBALANCING": "Disabled"}, "no"),
        ({"FELIX_BPFENABLED": "false"}, "no"),
    ],
)
def test_calico_translates_services_in_sockets(snapshot: Any, obj: Any, variables: Any, inside: str) -> None:
    made = daemonset(obj, "calico-node")
    env = [{"name": name, "value": value} for name, value in variables.items()]
    made["spec"]["template"]["spec"]["containers"][0]["env"] = env
    assert _cni.socket_lb(snapshot(daemonsets=[made], nodes=[]))["value"] == inside


def test_sockets_where_nothing_can_be_read(snapshot: Any, obj: Any) -> None:
    assert _cni.socket_lb(snapshot(daemonsets="403", nodes=[]))["value"] == "unknown"
    assert _cni.socket_lb(snapshot(daemonsets=[daemonset(obj, "cilium")], cilium_config="403"))["value"] == "unknown"


@pytest.mark.parametrize(
    "arguments, support",
    [
        ("", "yes"),
        ('["server","--disable-network-policy"]', "no"),
        ('["server","--flannel-backend","none"]', "unknown"),
    ],
)
def test_k3s_has_both_inside(snapshot: Any, obj: Any, arguments: Any, support: str) -> None:
    annotations = {"k3s.io/node-args": arguments, "flannel.alpha.coreos.com/backend-type": "vxlan"}
    seen = snapshot(daemonsets=[], nodes=[obj("a", annotations=annotations, status={"nodeInfo": K3S})])
    assert _cni.name(seen)["value"] == "flannel"
    assert _cni.policy_support(seen)["value"] == support


def test_by_node_condition(snapshot: Any, obj: Any) -> None:
    status = {"conditions": [{"type": "NetworkUnavailable", "status": "False", "reason": "CalicoIsUp"}]}
    found = _cni.name(snapshot(daemonsets=[], nodes=[obj("a", status=status)]))
    assert found["value"] == "calico"
    assert found["found_by"] == "condition NetworkUnavailable (CalicoIsUp) of node a"


def test_two_providers_are_not_guessed_between(snapshot: Any, obj: Any) -> None:
    seen = snapshot(daemonsets=[daemonset(obj, "weave-net"), daemonset(obj, "antrea-agent")], nodes=[])
    assert _cni.name(seen)["reason"] == "several providers run: antrea, weave"


def test_crds_prove_nothing(snapshot: Any, obj: Any, served: Any) -> None:
    seen = snapshot(daemonsets=[], nodes=[], discovery=served("globalnetworkpolicies.crd.projectcalico.org"))
    assert _cni.name(seen)["value"] == "unknown"


def test_forbidden_is_unknown(snapshot: Any) -> None:
    seen = snapshot(daemonsets="403", nodes=[])
    assert _cni.name(seen)["value"] == _cni.policy_support(seen)["value"] == "unknown"
