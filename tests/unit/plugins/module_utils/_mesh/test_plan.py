# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of Istio is planned and what is refused, sentence by sentence."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh import _charts, _plan, _platform, _version


def finding(value: Any) -> dict[str, Any]:
    return {"value": value, "found_by": "a test", "reason": "nobody said"}


def cluster(platform: str = "plain", cni: str = "unknown", runtime: str = "containerd://2") -> dict[str, Any]:
    return {
        "server": "192.0.2.1:6443",
        "platform": finding(platform),
        "cni": {"name": finding(cni)},
        "nodes": finding([{"runtime": runtime}]),
    }


def part(name: str, release: str, version: str = "1.31.1", **more: Any) -> dict[str, Any]:
    one = {"namespace": "istio-system", "name": name, "owner": f"helm:istio-system/{release}", "revision": "default"}
    return {**one, "version": version, "ready": True, "evidence": "1 of 1", **more}


def seen(**more: Any) -> dict[str, Any]:
    empty = {
        "namespace": {"name": "istio-system", "exists": False, "pod_security": None},
        "parts": {"istiod": [], "cni": [], "ztunnel": []},
        "releases": [],
        "crds": [],
        "sail": [],
        "network": {"cilium": None, "aws": None},
        "enrolled_namespaces": [],
        "gateways": [],
        "service_entries": [],
    }
    return {**empty, **more}


def installed(version: str = "1.31.1", **more: Any) -> dict[str, Any]:
    parts = {
        "istiod": [part("istiod", "istiod", version)],
        "cni": [part("istio-cni-node", "istio-cni", version)],
        "ztunnel": [part("ztunnel", "ztunnel", version, revision="")],
    }
    releases = [{"namespace": "istio-system", "name": name, "status": "deployed"} for name in _charts.RELEASES.values()]
    crds = [{"name": "gateways.networking.istio.io", "owner": "helm:istio-system/istio-base"}]
    return seen(parts=parts, releases=releases, crds=crds, **more)


def only(found: dict[str, Any]) -> str:
    assert len(found["problems"]) == 1, found["problems"]
    return found["problems"][0]


def test_a_fresh_cluster_gets_four_charts_in_order() -> None:
    planned = _plan.plan({}, cluster(), seen())
    assert planned["problems"] == []
    assert [step["part"] for step in planned["steps"]] == ["base", "istiod", "cni", "ztunnel"]
    assert [step["release"] for step in planned["steps"]] == ["istio-base", "istiod", "istio-cni", "ztunnel"]
    assert {step["namespace"] for step in planned["steps"]} == {"istio-system"}
    for step in planned["steps"]:
        assert step["chart"] == step["part"] and step["version"] == "1.31.1"
        assert step["repository"] == "https://blob.istio.io/istio-release/charts"
        assert "platform" not in step["values"]["global"]
    for step in planned["steps"][1:]:
        for place in (step["values"], step["values"]["global"]):
            assert (place["hub"], place["tag"], place["variant"]) == ("docker.io/istio", "1.31.1", "distroless")
        assert step["values"]["profile"] == "ambient"
    assert _plan.plan({}, cluster(), installed())["problems"] == []


def test_sidecar_mode_has_two_charts_without_profile() -> None:
    planned = _plan.plan({"mode": "sidecar"}, cluster(), seen())
    assert [step["part"] for step in planned["steps"]] == ["base", "istiod"]
    assert "profile" not in planned["steps"][1]["values"]


def test_the_users_values_win_and_ours_stay_beside_them() -> None:
    values = {"istiod": {"global": {"hub": "mirror.example/istio"}, "env": {"A": "b"}}}
    istiod = _plan.plan({"values": values, "variant": ""}, cluster(), seen())["steps"][1]["values"]
    assert istiod["global"]["hub"] == "mirror.example/istio" and istiod["hub"] == "docker.io/istio"
    assert istiod["global"]["tag"] == "1.31.1" and istiod["env"] == {"A": "b"}
    assert istiod["variant"] == istiod["global"]["variant"] == ""


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"charts": {"base": "/srv/charts/base"}}, ("/srv/charts/base", None, None)),
        ({"charts": {"base": "oci://mirror.example/base"}}, ("oci://mirror.example/base", None, "1.31.1")),
        (
            {"chart_repo": "oci://ghcr.io/istio/release/charts/"},
            ("oci://ghcr.io/istio/release/charts/base", None, "1.31.1"),
        ),
        ({"chart_repo": "https://mirror.example"}, ("base", "https://mirror.example", "1.31.1")),
    ],
)
def test_where_charts_come_from(given: dict[str, Any], expected: tuple[Any, ...]) -> None:
    made = _charts.reference(_charts.settings(given), "base")
    assert (made["chart"], made["repository"], made["version"]) == expected


@pytest.mark.parametrize(
    "wanted, facts, chart",
    [
        ("auto", cluster("plain"), ""),
        ("auto", cluster("kind"), ""),
        ("auto", cluster("eks"), ""),
        ("auto", cluster("rke2"), ""),
        ("auto", cluster("k3s", "flannel"), "k3s"),
        ("auto", cluster("k3s"), "k3s"),
        ("auto", cluster("k3s", "calico"), ""),
        ("auto", cluster("k3d"), "k3d"),
        ("auto", cluster("microk8s"), "microk8s"),
        ("auto", cluster("gke"), "gke"),
        ("auto", cluster("openshift"), "openshift"),
        ("auto", cluster("minikube", runtime="docker://27"), "minikube"),
        ("auto", cluster("minikube"), ""),
        ("plain", cluster("k3s"), ""),
        ("k3s", cluster("unknown"), "k3s"),
    ],
)
def test_platform(wanted: str, facts: dict[str, Any], chart: str) -> None:
    platform = _platform.detect(wanted, facts)
    assert isinstance(platform, _platform.Platform), platform
    assert platform.chart == chart
    # Anything else would make the charts fail.
    assert platform.chart in ("", *_platform.CHART_PLATFORMS)


@pytest.mark.parametrize(
    "wanted, facts, sentence",
    [
        (
            "kind",
            cluster(),
            "bulkhead_istio.platform is 'kind', which Istio's charts do not know: use auto, plain, or one of gke, k3d, "
            "k3s, microk8s, minikube, openshift.",
        ),
        (
            "auto",
            cluster("unknown"),
            "The platform of 192.0.2.1:6443 is unknown (nobody said): set bulkhead_istio.platform to plain, or to one of "
            "gke, k3d, k3s, microk8s, minikube, openshift.",
        ),
        (
            "auto",
            cluster("talos"),
            "The platform of 192.0.2.1:6443 is talos, for which no setting of Istio is known: set "
            "bulkhead_istio.platform to plain, or to one of gke, k3d, k3s, microk8s, minikube, openshift.",
        ),
    ],
)
def test_no_platform(wanted: str, facts: dict[str, Any], sentence: str) -> None:
    planned = _plan.plan({"platform": wanted}, facts, seen())
    assert only(planned) == sentence
    assert planned["steps"] == []


def test_openshift_has_its_agents_elsewhere_and_the_platform_on_every_chart() -> None:
    planned = _plan.plan({"platform": "openshift"}, cluster(), seen())
    assert [step["namespace"] for step in planned["steps"]] == ["istio-system"] * 2 + ["kube-system"] * 2
    assert {step["values"]["global"]["platform"] for step in planned["steps"]} == {"openshift"}
    assert planned["steps"][3]["values"]["istioNamespace"] == "istio-system"


PART = {"kind": "Deployment", "namespace": "istio-system", "name": "istiod"}


@pytest.mark.parametrize("before", ["1.31.1", "1.31.0", "1.30.5", "1.30.5-distroless"])
def test_versions_that_may_follow(before: str) -> None:
    assert _version.problems("1.31.1", [{**PART, "version": before}]) == []


@pytest.mark.parametrize(
    "wanted, before, sentence",
    [
        ("1.31", None, "bulkhead_istio.version is '1.31', which is no version: write it in full, such as 1.31.1."),
        (
            "1.29.4",
            None,
            "bulkhead_istio.version is 1.29.4, but this role knows the charts from 1.30 on: name a newer one.",
        ),
        (
            "1.31.1",
            "1.31.2",
            "Deployment istio-system/istiod has version 1.31.2, which is newer than bulkhead_istio.version 1.31.1, and "
            "Istio does not go back: set bulkhead_istio.version to 1.31.2 or newer.",
        ),
        (
            "1.31.1",
            "1.32.0-distroless",
            "Deployment istio-system/istiod has version 1.32.0-distroless, which is newer than bulkhead_istio.version "
            "1.31.1, and Istio does not go back: set bulkhead_istio.version to 1.32.0 or newer.",
        ),
        (
            "1.32.0",
            "1.30.5",
            "Deployment istio-system/istiod has version 1.30.5, and Istio 1.32.0 may follow only 1.31: go to 1.31 first, "
            "one minor version at a time.",
        ),
        (
            "1.31.1",
            "latest",
            "The version of Deployment istio-system/istiod cannot be told from 'latest', so whether 1.31.1 may follow it "
            "is unknown: let bulkhead_istio.tag begin with the version, such as 1.31.1-custom.",
        ),
    ],
)
def test_versions_that_may_not(wanted: str, before: str | None, sentence: str) -> None:
    parts = [] if before is None else [{**PART, "version": before}]
    assert _version.problems(wanted, parts) == [sentence]


def test_every_part_is_judged_by_its_own_version() -> None:
    found = installed("1.32.0")
    found["parts"]["ztunnel"][0]["version"] = "1.30.0"
    assert only(_plan.plan({"version": "1.32.0"}, cluster(), found)).startswith("DaemonSet istio-system/ztunnel has")


def other(signs: str) -> str:
    return (
        f"An Istio that this role does not keep is on the cluster ({signs}): set bulkhead_components.istio to external, or "
        "remove it."
    )


@pytest.mark.parametrize(
    "change, signs",
    [
        ({"owner": "istioctl"}, "Deployment istio-system/istiod of istioctl"),
        (
            {"owner": "helm:istio-system/my-istiod"},
            "Deployment istio-system/istiod of the Helm release istio-system/my-istiod",
        ),
        (
            {"owner": "helm:mesh/istiod", "namespace": "mesh"},
            "Deployment mesh/istiod of the Helm release mesh/istiod",
        ),
        ({"owner": "unknown"}, "Deployment istio-system/istiod of an unknown owner"),
        ({"revision": "canary"}, "Deployment istio-system/istiod with the revision canary"),
    ],
)
def test_an_istio_of_somebody_else(change: dict[str, Any], signs: str) -> None:
    found = installed()
    found["parts"]["istiod"][0].update(change)
    # Its CRDs are part of the same story.
    found["crds"][0]["owner"] = "istioctl"
    assert only(_plan.plan({}, cluster(), found)) == other(signs)


@pytest.mark.parametrize("which", ["cni", "ztunnel"])
def test_agents_of_somebody_else(which: str) -> None:
    found = installed()
    found["parts"][which][0]["owner"] = "istioctl"
    assert only(_plan.plan({}, cluster(), found)).endswith("remove it.")


def test_other_signs_of_an_owner() -> None:
    assert only(_plan.plan({}, cluster(), seen(sail=["default"]))) == other("the Sail operator's Istio default")
    crds = [{"name": f"{name}.networking.istio.io", "owner": "istioctl"} for name in ("gateways", "sidecars")]
    assert only(_plan.plan({}, cluster(), seen(crds=crds))) == other(
        "CustomResourceDefinition gateways.networking.istio.io and 1 more of istioctl"
    )
    # Those of an earlier installation of ours are taken over by Helm.
    assert _plan.plan({}, cluster(), seen(crds=installed()["crds"]))["problems"] == []


@pytest.mark.parametrize("status", ["pending-install", "pending-upgrade", "pending-rollback", "uninstalling"])
def test_an_interrupted_release(status: str) -> None:
    releases = [{"namespace": "istio-system", "name": "istiod", "status": status}]
    assert only(_plan.plan({}, cluster(), seen(releases=releases))) == (
        f"The Helm release istio-system/istiod is {status}: an earlier run was interrupted; end it with 'helm -n "
        "istio-system rollback istiod', or 'uninstall' where it is the first revision."
    )
    releases[0]["namespace"] = "mesh"
    assert _plan.plan({}, cluster(), seen(releases=releases))["problems"] == []


CILIUM = {"cni-exclusive": "false", "kube-proxy-replacement": "false"}


@pytest.mark.parametrize(
    "settings, start",
    [
        (
            {},
            "Cilium removes the configuration of other CNI plugins (cni-exclusive in ConfigMap kube-system/cilium-config",
        ),
        ({**CILIUM, "cni-exclusive": "true"}, "Cilium removes the configuration of other CNI plugins"),
        ({**CILIUM, "enable-bpf-masquerade": "true"}, "Cilium masquerades by BPF"),
        ({**CILIUM, "kube-proxy-replacement": "true"}, "Cilium replaces kube-proxy inside pods"),
        ({**CILIUM, "kube-proxy-replacement": "true", "bpf-lb-sock-hostns-only": "true"}, None),
        (CILIUM, None),
    ],
)
def test_cilium(settings: dict[str, str], start: str | None) -> None:
    found = seen(network={"cilium": {"namespace": "kube-system", "settings": settings}, "aws": None})
    planned = _plan.plan({}, cluster(), found)
    if start is None:
        assert planned["problems"] == []
    else:
        assert only(planned).startswith(start)
        assert only(planned).endswith("in Cilium's values.")
    # Sidecars do not depend on it, and on GKE it is Google's.
    assert _plan.plan({"mode": "sidecar"}, cluster(), found)["problems"] == []
    assert _plan.plan({"platform": "gke"}, cluster(), found)["problems"] == []


@pytest.mark.parametrize(
    "mode, eni, refused", [("strict", True, True), ("standard", True, False), ("strict", False, False)]
)
def test_aws(mode: str, eni: bool, refused: bool) -> None:
    aws = {"namespace": "kube-system", "enforcing_mode": mode, "pod_security_groups": eni}
    found = seen(network={"cilium": None, "aws": aws})
    assert bool(_plan.plan({}, cluster(), found)["problems"]) is refused


def test_pod_security_of_the_namespace() -> None:
    home = {"name": "istio-system", "exists": True, "pod_security": "baseline"}
    found = seen(namespace=home)
    assert only(_plan.plan({}, cluster(), found)) == (
        "Namespace istio-system enforces the Pod Security level baseline, which refuses the pods of istio-cni and "
        "ztunnel: set its label pod-security.kubernetes.io/enforce to privileged."
    )
    assert _plan.plan({"mode": "sidecar"}, cluster(), found)["problems"] == []
    assert _plan.plan({"platform": "openshift"}, cluster(), found)["problems"] == []


@pytest.mark.parametrize(
    "given, sentence",
    [
        (
            {"values": {"pilot": {}}},
            "bulkhead_istio.values has pilot, which is no chart of Istio: use base, istiod, cni, ztunnel.",
        ),
        (
            {"charts": {"gateway": "x"}},
            "bulkhead_istio.charts has gateway, which is no chart of Istio: use base, istiod, cni, ztunnel.",
        ),
        (
            {"values": {"cni": "x"}},
            "bulkhead_istio.values.cni is no mapping: write the chart's values as in a values file.",
        ),
        (
            {"values": {"cni": {"global": {"platform": "eks"}}}},
            "bulkhead_istio.values.cni.global.platform is 'eks', at which the chart fails: remove it, or use one of gke, "
            "k3d, k3s, microk8s, minikube, openshift.",
        ),
        (
            {"values": {"istiod": {"revision": "canary"}}},
            "bulkhead_istio.values.istiod.revision is 'canary', but this role keeps one control plane without revisions: "
            "remove it, or set the component to external and install Istio yourself.",
        ),
        ({"hub": ""}, "bulkhead_istio.hub is empty: name the registry of Istio's images, such as docker.io/istio."),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], sentence: str) -> None:
    planned = _plan.plan(given, cluster(), seen())
    assert only(planned) == sentence
    assert planned["steps"] == []


def test_sidecar_mode_over_an_ambient_installation() -> None:
    assert only(_plan.plan({"mode": "sidecar"}, cluster(), installed())) == (
        "bulkhead_istio.mode is sidecar, but istio-cni and ztunnel of the ambient mode are installed: take the namespaces "
        "out of the mesh and uninstall them first, or set the mode to ambient."
    )


def test_external_is_only_judged() -> None:
    assert _plan.external({}, installed()) == []
    foreign = installed()
    foreign["parts"]["istiod"][0].update(owner="istioctl", revision="canary")
    assert _plan.external({}, foreign) == []
    assert _plan.external({}, seen())[0].startswith("Istio is external, but no Deployment with the label app=istiod")
    half = installed()
    half["parts"]["ztunnel"] = []
    assert _plan.external({}, half) == [
        "Istio is external and its mode is ambient, but there is no DaemonSet of ztunnel: install it, or set "
        "bulkhead_istio.mode to sidecar."
    ]
    assert _plan.external({"mode": "sidecar"}, half) == []
    ill = installed()
    ill["parts"]["cni"][0].update(ready=False, evidence="0 of 1 pods updated, 0 available")
    assert _plan.external({}, ill) == [
        "Istio is external, and its DaemonSet istio-system/istio-cni-node is not ready: 0 of 1 pods updated, 0 available; "
        "whoever keeps it has to repair it."
    ]


def test_removal_goes_in_reverse() -> None:
    plan = _plan.removal({}, installed(enrolled_namespaces=["core"]), ["core"])
    assert plan["problems"] == []
    assert [step["release"] for step in plan["steps"]] == ["ztunnel", "istio-cni", "istiod", "istio-base"]
    # A release of the same name elsewhere is somebody else's.
    found = seen(releases=[{"namespace": "mesh", "name": "istiod", "status": "deployed"}])
    assert _plan.removal({}, found, [])["steps"] == []


def test_removal_that_would_hurt() -> None:
    gateways = [{"namespace": "gateway-arr", "name": "arr", "class": "istio"}]
    plan = _plan.removal({}, installed(enrolled_namespaces=["core", "other"], gateways=gateways), ["core"])
    assert plan["problems"] == [
        "Gateway gateway-arr/arr has the class istio, which ends with Istio: delete it first.",
        "Namespace other is in the mesh by its label istio.io/dataplane-mode=ambient and is not listed with mesh: "
        "ambient: its pods would lose their network with ztunnel; remove the label with 'kubectl label namespace other "
        "istio.io/dataplane-mode-'.",
    ]
    # With nothing of ours there, nothing of it is hurt by us.
    assert _plan.removal({}, seen(enrolled_namespaces=["other"], gateways=gateways), [])["problems"] == []
