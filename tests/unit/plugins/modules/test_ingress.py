# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from ansible.module_utils.testing import patch_module_args

from ansible_collections.bulkhead.mesh.plugins.module_utils import _ingress_look
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _applyset, _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer
from ansible_collections.bulkhead.mesh.plugins.modules import ingress_check, ingress_info

TARGET = Target("127.0.0.1:6443", "context lab")
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
BINDING = (
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/safe-upgrades.gateway.networking.k8s.io"
)
PROXY = "/api/v1/namespaces/kube-system/configmaps/kube-proxy"
GONE = Answer(404, {"message": "not found"})


def items(*objects: Any) -> Answer:
    return Answer(200, {"items": list(objects)})


def named(name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    metadata.update({key: more.pop(key) for key in ("labels", "annotations", "ownerReferences") if key in more})
    return {"metadata": metadata, **more}


def bare(**changed: Answer) -> dict[str, Any]:
    """The answers of a cluster without anything."""
    script = {
        f"GET {CRDS}": items(),
        f"GET {BINDING}": GONE,
        "GET /apis/gateway.networking.k8s.io/v1/gatewayclasses": GONE,
        "GET /apis/gateway.networking.k8s.io/v1/gateways": GONE,
        "GET /apis/apps/v1/deployments": items(),
        "GET /apis/metallb.io/v1beta1/ipaddresspools": GONE,
        "GET /api/v1/nodes": items(),
        "GET /api/v1/services": items(),
        "GET /api/v1/namespaces": items(),
        "GET /api/v1/namespaces/kube-system/configmaps": items(),
        f"GET {PROXY}": GONE,
    }
    return {**script, **{key.replace("_", " ", 1): value for key, value in changed.items()}}


@pytest.fixture
def run(monkeypatch: Any, capsys: Any, fake_api: Any) -> Any:
    """Run a module against a script; gives its result and the fake."""

    def go(module: Any, calls: Any, **params: Any) -> Any:
        api = fake_api(calls)
        api.target = TARGET
        monkeypatch.setattr(_client, "Client", lambda given: api)
        with patch_module_args(params), pytest.raises(SystemExit):
            module.main()
        api.done()
        return json.loads(capsys.readouterr().out), api

    return go


def test_a_bare_cluster(run: Any) -> None:
    result, api = run(ingress_info, bare())
    assert result["changed"] is False
    found = result["ingress"]
    assert found["gateway_api"] == {"definitions": {}, "policy": False, "classes": {}, "objects": []}
    assert found["metallb"] == {"crds": False, "states": False, "controllers": [], "pools": []}
    assert (found["nodes"], found["proxy"], found["sets"], found["contents"]) == ([], None, [], {})
    assert {call.method for call in api.calls} == {"GET"}


OPERATOR = {"template": {"spec": {"containers": [{"env": [{"name": "PROXY_IMAGE", "value": "x"}]}]}}}
OTHER = {"template": {"spec": {"containers": [{"name": "web"}]}}}


def test_a_tailnet(run: Any) -> None:
    ours = _applyset.ObjectSet("bulkhead-ingress", "kube-system").labels
    helm = {"meta.helm.sh/release-name": "tailscale-operator", "meta.helm.sh/release-namespace": "ts"}
    held = {"finalizers": ["tailscale.com/finalizer"]}
    gateway = {"gateway.networking.k8s.io/gateway-name": "arr"}
    on = {"tailscale.com/expose": "true", "tailscale.com/hostname": "films"}
    calls = bare()
    calls[f"GET {CRDS}"] = items(
        named("proxyclasses.tailscale.com", annotations=helm), named("connectors.tailscale.com", annotations=helm)
    )
    calls["GET /apis/gateway.networking.k8s.io/v1/gateways"] = items(named("arr", "gateway-arr", labels=ours))
    # Once for names and labels, and once whole, because only the environment tells the operator from others.
    calls["GET /apis/apps/v1/deployments"] = [
        items(),
        items(named("operator", "ts", annotations=helm, spec=OPERATOR), named("operator", "other", spec=OTHER)),
    ]
    leaving = named("old", "web", spec={"type": "ClusterIP"})
    leaving["metadata"].update(held)
    calls["GET /api/v1/services"] = items(
        named("arr-istio", "gateway-arr", labels=gateway, annotations=on, spec={"type": "ClusterIP"}),
        named("arr-istio", "elsewhere", labels=gateway, annotations=on, spec={"type": "ClusterIP"}),
        leaving,
        named("plain", "web", spec={"type": "ClusterIP"}),
    )
    ingress = named("films", "web")
    ingress["metadata"].update(held)
    calls["GET /apis/networking.k8s.io/v1/ingresses"] = items(ingress, named("plain", "web"))
    calls["GET /apis/tailscale.com/v1alpha1/connectors"] = items(named("subnet"))
    calls["GET /apis/tailscale.com/v1alpha1/proxyclasses"] = items(named("fast"))
    result, dummy = run(ingress_info, calls)
    found = result["ingress"]["tailnet"]
    assert set(found["definitions"].values()) == {"helm:ts/tailscale-operator"}
    assert [(one["namespace"], one["owner"]) for one in found["operators"]] == [("ts", "helm:ts/tailscale-operator")]
    assert (found["classes"], found["custom"]) == (["fast"], [{"kind": "Connector", "name": "subnet"}])
    assert found["ingresses"] == [{"kind": "Ingress", "namespace": "web", "name": "films", "wanted": True}]
    told = result["ingress"]["exposed"]
    assert [(one["namespace"], one["hostname"], one["wanted"], one["ours"]) for one in told] == [
        ("gateway-arr", "films", True, True),
        ("elsewhere", "films", True, False),
        ("web", "web-old", False, False),
    ]


def test_what_may_not_be_read_is_an_error(run: Any) -> None:
    calls = bare()
    calls["GET /api/v1/nodes"] = Answer(403, {"reason": "Forbidden", "message": "no"})
    result, dummy = run(ingress_info, calls)
    assert result["failed"] is True
    assert result["msg"] == (
        "The API server 127.0.0.1:6443 does not allow context lab to list nodes: grant it by a Role or ClusterRole, or use "
        "another context."
    )


def test_what_is_there(run: Any) -> None:
    ours = _applyset.ObjectSet("bulkhead-gateway-api", "kube-system").labels
    pools = _applyset.ObjectSet("bulkhead-address-pools", "kube-system").labels
    level = {
        "gateway.networking.k8s.io/bundle-version": "v1.6.0",
        "gateway.networking.k8s.io/channel": "standard",
    }
    helm = {"meta.helm.sh/release-name": "metallb", "meta.helm.sh/release-namespace": "lb"}
    calls = bare()
    calls[f"GET {CRDS}"] = items(
        named("httproutes.gateway.networking.k8s.io", annotations=level, labels=ours),
        named("gateways.gateway.networking.k8s.io", annotations={**level, **helm}),
        named("xmeshes.gateway.networking.x-k8s.io", labels={"addonmanager.kubernetes.io/mode": "Reconcile"}),
        named("ipaddresspools.metallb.io"),
        named("gateways.networking.istio.io"),
    )
    calls[f"GET {BINDING}"] = Answer(200, named("safe-upgrades.gateway.networking.k8s.io"))
    calls["GET /apis/gateway.networking.k8s.io/v1/gatewayclasses"] = items(
        named("istio", status={"conditions": [{"type": "Accepted", "status": "True"}]}), named("new")
    )
    calls["GET /apis/apps/v1/deployments"] = items(
        named("metallb-controller", "lb", labels={"app.kubernetes.io/name": "metallb"}, annotations=helm),
        named("metallb-webhook", "lb", labels={"app.kubernetes.io/name": "metallb"}),
        named("web", "web"),
    )
    calls["GET /apis/metallb.io/v1beta1/ipaddresspools"] = items(
        named("mine", "lb", labels=pools, spec={"addresses": ["192.0.2.0/30"], "autoAssign": False}),
        named("theirs", "lb", spec={"addresses": ["192.0.2.8/30"]}),
    )
    calls["GET /api/v1/nodes"] = items(
        named(
            "one",
            labels={"node.kubernetes.io/exclude-from-external-load-balancers": ""},
            status={
                "addresses": [
                    {"type": "InternalIP", "address": "192.0.2.10"},
                    {"type": "Hostname", "address": "one"},
                ]
            },
        )
    )
    calls[f"GET {PROXY}"] = Answer(200, named("kube-proxy", "kube-system", data={"config.conf": "mode: ipvs"}))
    calls["GET /api/v1/services"] = items(
        named(
            "arr-istio",
            "gateway-arr",
            labels={"gateway.networking.k8s.io/gateway-name": "arr"},
            spec={"type": "LoadBalancer", "ports": [{"port": 80}]},
            status={"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
        ),
        named("radarr", "core", spec={"type": "ClusterIP", "ports": [{"port": 7878}, {"port": 80}]}),
    )
    core = named("core", labels={"a": "b", "c": "d"})
    given = {"f:metadata": {"f:labels": {"f:a": {}}}}
    manager = _applyset.ObjectSet("bulkhead-namespaces", "kube-system").manager
    core["metadata"]["managedFields"] = [{"manager": manager, "fieldsV1": given}]
    calls["GET /api/v1/namespaces"] = items(core)
    calls["GET /api/v1/namespaces/kube-system/configmaps"] = items(named("bulkhead-ingress"))
    secret = named("tls", "gateway-arr")
    secret["metadata"]["resourceVersion"] = "7"
    calls["GET /api/v1/namespaces/gateway-arr/secrets/tls"] = Answer(200, secret)
    calls["GET /api/v1/namespaces/gateway-arr/secrets/none"] = GONE
    result, api = run(
        ingress_info,
        calls,
        secrets=["gateway-arr/tls", "gateway-arr/none"],
        services=["core/radarr", "core/none"],
    )
    found = result["ingress"]
    assert found["namespaces"] == {"core": {"labels": {"a": "b", "c": "d"}, "ours": False, "set": "", "given": ["a"]}}
    assert {n: (d["version"], d["ours"], d["owner"]) for n, d in found["gateway_api"]["definitions"].items()} == {
        "httproutes.gateway.networking.k8s.io": ("v1.6.0", True, ""),
        "gateways.gateway.networking.k8s.io": ("v1.6.0", False, "helm:lb/metallb"),
        "xmeshes.gateway.networking.x-k8s.io": (None, False, "addonmanager.kubernetes.io/mode"),
    }
    assert (found["gateway_api"]["policy"], found["gateway_api"]["classes"]) == (True, {"istio": True, "new": False})
    assert found["metallb"]["controllers"] == [
        {"namespace": "lb", "name": "metallb-controller", "owner": "helm:lb/metallb"}
    ]
    assert [(one["name"], one["ours"], one["auto_assign"]) for one in found["metallb"]["pools"]] == [
        ("mine", True, False),
        ("theirs", False, True),
    ]
    assert found["nodes"] == [{"name": "one", "addresses": ["192.0.2.10"], "excluded": True}]
    assert found["proxy"] == "mode: ipvs"
    assert found["load_balancers"] == [
        {"namespace": "gateway-arr", "name": "arr-istio", "addresses": ["192.0.2.1"], "gateway": "arr"}
    ]
    assert found["services"] == {"core/radarr": [7878, 80], "core/none": None}
    assert found["secrets"] == {"gateway-arr/tls": True, "gateway-arr/none": False}
    assert found["secret_versions"] == {"gateway-arr/tls": "7", "gateway-arr/none": ""}
    assert found["sets"] == ["bulkhead-ingress"]
    # Of Secrets only metadata is asked for.
    assert all("PartialObjectMetadata;" in call.accept for call in api.calls if "/secrets/" in call.path)


@pytest.mark.parametrize("answer", [Answer(403, {"message": "forbidden"}), GONE, Answer(200, named("kube-proxy"))])
def test_whoever_may_not_read_kube_proxy_is_not_refused(run: Any, answer: Answer) -> None:
    result, _api = run(ingress_info, {**bare(), f"GET {PROXY}": answer})
    assert not result["ingress"]["proxy"]


def test_contents_are_looked_at_until_nothing_goes_by_itself(fake_api: Any) -> None:
    discovery = {
        "kind": "APIGroupDiscoveryList",
        "items": [
            {
                "metadata": {"name": ""},
                "versions": [
                    {
                        "version": "v1",
                        "resources": [
                            {
                                "resource": plural,
                                "responseKind": {"kind": kind},
                                "scope": "Namespaced",
                                "verbs": ["get", "patch", "delete"],
                            }
                            for plural, kind in (("configmaps", "ConfigMap"), ("pods", "Pod"), ("events", "Event"))
                        ],
                    }
                ],
            }
        ],
    }
    empty = {"kind": "APIGroupDiscoveryList", "items": []}
    pod = named("old", "gw", ownerReferences=[{"kind": "ReplicaSet"}])
    place = "GET /api/v1/namespaces/gw"
    api = fake_api(
        {
            "GET /api": [Answer(200, discovery)] * 2,
            "GET /apis": [Answer(200, empty)] * 2,
            f"{place}/configmaps": [items(named("kube-root-ca.crt", "gw"), named("mine", "gw"))] * 2,
            f"{place}/pods": [items(pod), items()],
        }
    )
    looks = []

    def wait(look: Any, timeout: float, sleep: float) -> Any:
        looks.append(look())
        looks.append(look())
        return looks[-1]

    found = _ingress_look.settled(api, TARGET, ["gw"], 5, 1, wait)
    api.done()
    assert [done for done, dummy in looks] == [False, True]
    assert looks[0][1] == {"gw": {"owned": ["Pod old"], "foreign": ["ConfigMap mine"]}}
    assert found == {"gw": {"owned": [], "foreign": ["ConfigMap mine"]}}


DEPLOYMENT = "/apis/apps/v1/namespaces/lb/deployments/controller"
SPEC = {"replicas": 1, "selector": {"matchLabels": {"app": "x"}}}
READY = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}


def test_a_workload_that_is_ready(run: Any) -> None:
    live = {"metadata": {"name": "controller", "namespace": "lb", "generation": 1}, "spec": SPEC, "status": READY}
    wanted = [{"kind": "Deployment", "namespace": "lb", "name": "controller"}]
    calls = {f"GET {DEPLOYMENT}": Answer(200, live), "GET /api/v1/namespaces/lb/pods": items()}
    result, dummy = run(ingress_check, calls, workloads=wanted)
    assert (result["acceptable"], [one["result"] for one in result["checks"]]) == (True, ["pass"])


def test_between_two_crashes_it_is_not_ready(run: Any) -> None:
    """A status says that all is available, as it does for a moment after each start."""
    live = {"metadata": {"name": "controller", "namespace": "lb", "generation": 1}, "spec": SPEC, "status": READY}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    ended = {"terminated": {"exitCode": 2, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:20Z"}}
    status = {"name": "c", "restartCount": 4, "state": {"running": {"startedAt": now}}, "lastState": ended}
    pod = named("controller-1", "lb", spec={"containers": [{"name": "c"}]})
    pod["status"] = {"containerStatuses": [status], "conditions": [{"type": "Ready", "status": "True"}]}
    calls = {f"GET {DEPLOYMENT}": Answer(200, live), "GET /api/v1/namespaces/lb/pods": items(pod)}
    wanted = [{"kind": "Deployment", "namespace": "lb", "name": "controller"}]
    result, dummy = run(ingress_check, calls, workloads=wanted, wait_timeout=0)
    assert (
        "container c has been started again 4 times, last after exit code 2, and has not lived longer" in result["msg"]
    )


def test_a_certain_failure_ends_the_wait(run: Any) -> None:
    template = {"spec": {"containers": [{"name": "c", "image": "x:1"}]}}
    spec = {**SPEC, "template": template}
    live = {"metadata": {"name": "controller", "namespace": "lb", "generation": 1}, "spec": spec, "status": {}}
    pod = named("controller-1", "lb", spec=template["spec"])
    waiting = {"reason": "ErrImagePull", "message": "x:1: not found"}
    pod["status"] = {"containerStatuses": [{"name": "c", "state": {"waiting": waiting}}]}
    # One look: a second one would be an unexpected call.
    calls = {f"GET {DEPLOYMENT}": Answer(200, live), "GET /api/v1/namespaces/lb/pods": items(pod)}
    wanted = [{"kind": "Deployment", "namespace": "lb", "name": "controller"}]
    result, dummy = run(ingress_check, calls, workloads=wanted, wait_timeout=600)
    assert "not ready after 0 s" in result["msg"] and "image x:1 cannot be pulled: x:1: not found" in result["msg"]


@pytest.mark.parametrize("enforce", [True, False])
def test_a_workload_that_is_not_says_what_was_seen_last(run: Any, enforce: bool) -> None:
    live = {"metadata": {"name": "controller", "namespace": "lb", "generation": 1}, "spec": SPEC, "status": {}}
    pod = named("controller-1", "lb", spec={"containers": [{"name": "c"}]}, status={})
    pod["status"]["containerStatuses"] = [{"name": "c", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]
    calls = {f"GET {DEPLOYMENT}": Answer(200, live), "GET /api/v1/namespaces/lb/pods": items(pod)}
    wanted = [{"kind": "Deployment", "namespace": "lb", "name": "controller"}]
    result, dummy = run(ingress_check, calls, workloads=wanted, wait_timeout=0, enforce=enforce)
    assert result["acceptable"] is False
    assert result["checks"][0]["result"] == "fail"
    assert result.get("failed", False) is enforce
    if enforce:
        assert result["msg"] == (
            "Deployment lb/controller is not ready after 0 s: awaited was all its pods available; seen last: its controller "
            "has seen generation 0 of 1; container c of pod controller-1 is waiting: ImagePullBackOff; look with 'kubectl "
            "-n lb describe deployment controller'."
        )


def test_a_daemon_set_for_no_node_is_not_ready(run: Any) -> None:
    path = "/apis/apps/v1/namespaces/lb/daemonsets/speaker"
    live = {"metadata": {"name": "speaker", "namespace": "lb", "generation": 1}, "spec": SPEC}
    live["status"] = {"observedGeneration": 1, "desiredNumberScheduled": 0}
    calls = {
        f"GET {path}": Answer(200, live),
        "GET /api/v1/namespaces/lb/pods": items(),
        "GET /api/v1/namespaces/lb/events": items(),
    }
    wanted = [{"kind": "DaemonSet", "namespace": "lb", "name": "speaker"}]
    result, dummy = run(ingress_check, calls, workloads=wanted, wait_timeout=0, enforce=False)
    assert result["checks"][0]["observed"] == "no node is to run it"


def test_a_metallb_that_cannot_say_is_not_asked(run: Any) -> None:
    path = "/apis/metallb.io/v1beta1/namespaces/lb/configurationstates"
    result, dummy = run(ingress_check, {f"GET {path}": GONE}, configuration="lb", wait_timeout=0)
    assert (result["checks"], result["acceptable"]) == ([], True)
    result, dummy = run(ingress_check, {f"GET {path}": items()}, configuration="lb", wait_timeout=0, enforce=False)
    assert result["acceptable"] is False


def test_a_gateway_that_does_not_exist(run: Any) -> None:
    path = "/apis/gateway.networking.k8s.io/v1/namespaces/gateway-arr/gateways/arr"
    wanted = [{"namespace": "gateway-arr", "name": "arr"}]
    result, dummy = run(ingress_check, {f"GET {path}": GONE}, gateways=wanted, wait_timeout=0)
    assert result["msg"] == (
        "Gateway gateway-arr/arr is not ready after 0 s: awaited was Accepted and Programmed; seen last: it does not exist; "
        "look with 'kubectl -n gateway-arr describe gateway arr'."
    )
