# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runs behind istio_info, istio_namespace and mesh_enrolment, on an API server in memory."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._istio._enrol import Enrolment
from ansible_collections.bulkhead.mesh.plugins.module_utils._istio._look import look
from ansible_collections.bulkhead.mesh.plugins.module_utils._istio._parts import Parts
from ansible_collections.bulkhead.mesh.plugins.module_utils._istio._surroundings import Surroundings
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh._enrolment import Wanted

APPS = "/apis/apps/v1/namespaces/istio-system"
HOME = "/api/v1/namespaces/istio-system"
HELM = {"meta.helm.sh/release-namespace": "istio-system"}
MODE = "istio.io/dataplane-mode"
HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
GATEWAY_API = "/apis/gateway.networking.k8s.io/v1"
GOOD_DEPLOYMENT = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
GOOD_DAEMONSET = {
    "observedGeneration": 1,
    "desiredNumberScheduled": 1,
    "updatedNumberScheduled": 1,
    "numberAvailable": 1,
}


def workload(labels: dict[str, str], image: str, release: str, status: Any, **more: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "x", "image": image}]}}
    spec = {"replicas": 1, "template": template, "selector": {"matchLabels": {"app": release}}}
    annotations = {**HELM, "meta.helm.sh/release-name": release}
    return {"metadata": {"labels": labels, "annotations": annotations, "generation": 1}, "spec": spec, "status": status}


def istiod(status: Any = None) -> tuple[str, dict[str, Any]]:
    status = GOOD_DEPLOYMENT if status is None else status
    labels = {"app": "istiod", "istio.io/rev": "default"}
    return f"{APPS}/deployments/istiod", workload(labels, "hub/pilot:1.31.1-distroless", "istiod", status)


def ztunnel(status: Any = None) -> tuple[str, dict[str, Any]]:
    status = GOOD_DAEMONSET if status is None else status
    labels = {"app.kubernetes.io/name": "ztunnel", "app.kubernetes.io/version": "1.31.1"}
    return f"{APPS}/daemonsets/ztunnel", workload(labels, "hub/ztunnel@sha256:00", "ztunnel", status)


def hook(policy: str) -> dict[str, Any]:
    return {"webhooks": [{"failurePolicy": policy}]}


def instantly(look: Any, timeout: float, sleep: float) -> tuple[bool, object]:
    return look()


class TestLook:
    def test_nothing(self, api: Any) -> None:
        server = api(("/api/v1/namespaces/default", {}))
        seen = look(server, server.target, "istio-system")
        assert seen["parts"] == {"istiod": [], "cni": [], "ztunnel": []}
        assert seen["namespace"] == {"name": "istio-system", "exists": False, "pod_security": None}
        assert seen["sail"] == seen["crds"] == seen["gateways"] == seen["service_entries"] == []

    def test_everything(self, api: Any) -> None:
        def release(revision: int, status: str) -> tuple[str, dict[str, Any]]:
            labels = {"owner": "helm", "name": "istiod", "version": str(revision), "status": status}
            return f"{HOME}/secrets/sh.helm.release.v1.istiod.v{revision}", {"metadata": {"labels": labels}}

        server = api(
            ("/api/v1/namespaces/core", {"metadata": {"labels": {MODE: "ambient"}}}),
            ("/api/v1/namespaces/egress", {"metadata": {"labels": {"istio.io/use-waypoint": "wp"}}}),
            istiod(),
            ztunnel({**GOOD_DAEMONSET, "desiredNumberScheduled": 0, "updatedNumberScheduled": 0, "numberAvailable": 0}),
            release(9, "superseded"),
            release(10, "pending-upgrade"),
            (
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gateways.networking.istio.io",
                {"metadata": {"labels": {"install.operator.istio.io/owning-resource": "x"}}},
            ),
            ("/apis/networking.istio.io/v1/namespaces/egress/serviceentries/web", {"spec": {"hosts": ["a.example"]}}),
            (
                "/apis/networking.istio.io/v1/namespaces/egress/serviceentries/free",
                {"metadata": {"labels": {"istio.io/use-waypoint": "none"}}, "spec": {"hosts": ["b.example"]}},
            ),
            (f"{GATEWAY_API}/namespaces/gw/gateways/arr", {"spec": {"gatewayClassName": "istio"}}),
            (f"{GATEWAY_API}/namespaces/gw/gateways/other", {"spec": {"gatewayClassName": "envoy"}}),
        )
        seen = look(server, server.target, "istio-system")
        plane = seen["parts"]["istiod"][0]
        assert (plane["owner"], plane["version"], plane["ready"]) == (
            "helm:istio-system/istiod",
            "1.31.1-distroless",
            True,
        )
        agent = seen["parts"]["ztunnel"][0]
        assert (agent["version"], agent["ready"], agent["evidence"]) == ("1.31.1", False, "no node is to run it")
        assert seen["releases"] == [{"namespace": "istio-system", "name": "istiod", "status": "pending-upgrade"}]
        assert seen["crds"] == [{"name": "gateways.networking.istio.io", "owner": "istioctl"}]
        assert seen["enrolled_namespaces"] == ["core"]
        assert [one["name"] for one in seen["gateways"]] == ["arr"]
        assert {one["name"]: one["waypoint"] for one in seen["service_entries"]} == {"web": "wp", "free": ""}
        assert server.writes == []

    @pytest.mark.parametrize("what", ["deployments", "daemonsets", "customresource", "secrets", "istios", "gateways"])
    def test_what_may_not_be_read_is_never_nothing(self, api: Any, what: str) -> None:
        server = api()
        server.refuse = (what,)
        with pytest.raises(KubeError, match="does not allow context test to list"):
            look(server, server.target, "istio-system")

    def test_only_metadata_of_secrets(self, api: Any) -> None:
        server = api()
        look(server, server.target, "istio-system")
        for request in server.asked:
            if "secrets" in request.path:
                assert "PartialObjectMetadata" in request.accept
                assert request.query["labelSelector"].startswith("owner=helm,name in (")

    def test_the_pod_network(self, api: Any) -> None:
        variables = [{"name": "ENABLE_POD_ENI", "value": "true"}]
        aws = {"spec": {"template": {"spec": {"containers": [{"name": "aws-node", "env": variables}]}}}}
        system = "/apis/apps/v1/namespaces/kube-system/daemonsets"
        settings = "/api/v1/namespaces/kube-system/configmaps/cilium-config"
        server = api(
            (f"{system}/aws-node", aws), (f"{system}/cilium", {}), (settings, {"data": {"cni-exclusive": "true"}})
        )
        network = look(server, server.target, "istio-system")["network"]
        assert network["cilium"] == {"namespace": "kube-system", "settings": {"cni-exclusive": "true"}}
        assert network["aws"] == {"namespace": "kube-system", "enforcing_mode": "strict", "pod_security_groups": True}
        server.refuse = ("cilium-config",)
        with pytest.raises(KubeError, match="cilium-config"):
            look(server, server.target, "istio-system")


class TestParts:
    def parts(self, server: Any) -> Parts:
        return Parts(server, server.target, "istio-system", "istio-system")

    def ready(self, api: Any) -> Any:
        groups = (
            "networking.istio.io/v1",
            "security.istio.io/v1",
            "telemetry.istio.io/v1",
            "extensions.istio.io/v1alpha1",
        )
        accepted = {"status": {"conditions": [{"type": "Accepted", "status": "True"}]}}
        return api(
            *((f"/apis/{group}", {}) for group in groups),
            istiod(),
            ztunnel(),
            (f"{HOOKS}/istio-validator-istio-system", hook("Fail")),
            (f"{HOOKS}/istiod-default-validator", hook("Fail")),
            (GATEWAY_API, {}),
            (f"{GATEWAY_API}/gatewayclasses/istio", accepted),
        )

    @pytest.mark.parametrize("part", ["base", "istiod", "ztunnel"])
    def test_ready(self, api: Any, part: str) -> None:
        assert self.parts(self.ready(api)).wait(part, 0, 0, instantly)

    @pytest.mark.parametrize(
        "path, value, last",
        [
            (
                f"{HOOKS}/istiod-default-validator",
                hook("Ignore"),
                "istiod-default-validator still has failurePolicy Ignore",
            ),
            (f"{GATEWAY_API}/gatewayclasses/istio", {"status": {}}, "GatewayClass istio has no condition Accepted yet"),
            (f"{APPS}/deployments/istiod", istiod({})[1], "its controller has seen generation 0 of 1"),
            (f"{APPS}/deployments/istiod", istiod({**GOOD_DEPLOYMENT, "availableReplicas": 0})[1], "0 available"),
        ],
    )
    def test_istiod_is_not_ready(self, api: Any, path: str, value: Any, last: str) -> None:
        server = self.ready(api)
        server.put(path, value)
        with pytest.raises(KubeError) as caught:
            self.parts(server).wait("istiod", 7, 1, instantly)
        assert caught.value.msg.startswith("istiod is not ready after 7 s: awaited was its Deployment")
        assert last in caught.value.msg
        assert caught.value.msg.endswith("look with 'kubectl -n istio-system describe pods -l app=istiod'.")

    def test_kinds_that_are_not_served(self, api: Any) -> None:
        server = self.ready(api)
        del server.objects["/apis/security.istio.io/v1"]
        with pytest.raises(KubeError, match="seen last: not served: security.istio.io/v1; look with"):
            self.parts(server).wait("base", 1, 1, instantly)

    def test_the_pod_says_why(self, api: Any) -> None:
        server = self.ready(api)
        server.put(*ztunnel({**GOOD_DAEMONSET, "numberAvailable": 0}))
        waiting = {"name": "istio-proxy", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
        server.put(
            f"{HOME}/pods/ztunnel-x",
            {
                "metadata": {"labels": {"app": "ztunnel"}},
                "spec": {"containers": [{"name": "istio-proxy"}]},
                "status": {"containerStatuses": [waiting]},
            },
        )
        with pytest.raises(
            KubeError, match="container istio-proxy of pod ztunnel-x is waiting: ImagePullBackOff; look"
        ):
            self.parts(server).wait("ztunnel", 1, 1, instantly)

    def test_the_last_line_of_what_ended(self, api: Any) -> None:
        server = self.ready(api)
        server.put(*ztunnel({**GOOD_DAEMONSET, "numberAvailable": 0}))
        ended = {"name": "istio-proxy", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
        pod = {
            "metadata": {"labels": {"app": "ztunnel"}},
            "spec": {"containers": [{"name": "istio-proxy"}]},
            "status": {"containerStatuses": [ended]},
        }
        server.put(f"{HOME}/pods/ztunnel-x", pod)
        server.put(f"{HOME}/pods/ztunnel-x/log", {"text": "too many open files\n"})
        with pytest.raises(KubeError, match="CrashLoopBackOff, its last line is 'too many open files'; look with"):
            self.parts(server).wait("ztunnel", 1, 1, instantly)

    def test_agents_that_no_node_runs(self, api: Any) -> None:
        server = self.ready(api)
        server.put(*ztunnel({"observedGeneration": 1}))
        with pytest.raises(KubeError, match="no node is to run it"):
            self.parts(server).wait("ztunnel", 1, 1, instantly)


class TestSurroundings:
    def run(self, server: Any, check: bool = False) -> Surroundings:
        return Surroundings(server, server.target, "istio-system", check)

    def test_made_once(self, api: Any) -> None:
        server = api()
        self.run(server).present()
        assert server.writes == ["POST /api/v1/namespaces"]
        again = self.run(server)
        again.present()
        assert again.actions == [] and len(server.writes) == 1

    def test_check_mode_writes_nothing_and_says_the_same(self, api: Any) -> None:
        server = api()
        run = self.run(server, check=True)
        run.present()
        assert run.actions == ["create Namespace istio-system"] and server.writes == []

    def filled(self, api: Any, **annotations: str) -> Any:
        config = {"metadata": {"labels": {"istio.io/config": "true"}}}
        return api(
            (HOME, {"metadata": {"annotations": annotations}}),
            (f"{HOME}/configmaps/kube-root-ca.crt", {}),
            (f"{HOME}/serviceaccounts/default", {}),
            (f"{HOME}/secrets/istio-ca-secret", {}),
            (f"{HOME}/configmaps/istio-ca-root-cert", config),
            ("/api/v1/namespaces/core/configmaps/istio-ca-root-cert", config),
            ("/api/v1/namespaces/core/configmaps/mine", {}),
            ("/apis/coordination.k8s.io/v1/namespaces/istio-system/leases/istio-leader", {}),
            (f"{GATEWAY_API}/gatewayclasses/istio", {"spec": {"controllerName": "istio.io/gateway-controller"}}),
            (f"{GATEWAY_API}/gatewayclasses/mine", {"spec": {"controllerName": "istio.io/gateway-controller"}}),
            (
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/sidecars.networking.istio.io",
                {"metadata": {"annotations": {**HELM, "meta.helm.sh/release-name": "istio-base"}}},
            ),
            (
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gateways.networking.istio.io",
                {"metadata": {"annotations": {}}},
            ),
        )

    def test_gone_with_all_that_was_made(self, api: Any) -> None:
        server = self.filled(api, **{"bulkhead.mesh/created-by": "istio", "bulkhead.mesh/pod-security-by": "istio"})
        before = dict(server.objects)
        predicted = self.run(server, check=True)
        predicted.absent(crds=False)
        assert server.objects == before
        run = self.run(server)
        run.absent(crds=False)
        assert run.actions == predicted.actions
        left = [path for path in server.objects if not path.startswith(HOME)]
        assert HOME not in server.objects
        assert left == [
            "/api/v1/namespaces/core/configmaps/mine",
            f"{GATEWAY_API}/gatewayclasses/mine",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/sidecars.networking.istio.io",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gateways.networking.istio.io",
        ]

    def test_crds_only_of_our_release(self, api: Any) -> None:
        server = self.filled(api)
        self.run(server).absent(crds=True)
        assert [path.rpartition("/")[2] for path in server.objects if "customresource" in path] == [
            "gateways.networking.istio.io"
        ]

    def test_a_namespace_of_others_stays(self, api: Any) -> None:
        server = self.filled(api)
        self.run(server).absent(crds=False)
        assert HOME in server.objects
        writes = len(server.writes)
        again = self.run(server)
        again.absent(crds=False)
        assert again.actions == [] and len(server.writes) == writes

    def test_a_namespace_with_something_of_others_stays(self, api: Any) -> None:
        server = self.filled(api, **{"bulkhead.mesh/created-by": "istio"})
        server.put(f"{HOME}/secrets/cacerts")
        run = self.run(server)
        run.absent(crds=False)
        assert run.kept == "Namespace istio-system stays, because it holds Secret cacerts"
        assert HOME in server.objects and f"{HOME}/secrets/cacerts" in server.objects
        assert not server.objects[HOME]["metadata"]["annotations"]

    def test_a_namespace_on_its_way_out(self, api: Any) -> None:
        leaving = {"metadata": {"deletionTimestamp": "now", "annotations": {"bulkhead.mesh/created-by": "istio"}}}
        server = api((HOME, leaving))

        def at_last(look: Any, **limits: Any) -> tuple[bool, object]:
            assert look()[0] is False
            del server.objects[HOME]
            return look()

        run = Surroundings(server, server.target, "istio-system", False, wait=at_last)
        run.absent(crds=False)
        assert run.actions == [] and server.writes == [] and HOME not in server.objects
        server.put(HOME, leaving)
        again = Surroundings(server, server.target, "istio-system", False, wait=at_last)
        again.present()
        assert again.actions == ["create Namespace istio-system"]

    def test_a_namespace_that_does_not_go(self, api: Any) -> None:
        server = api((HOME, {"metadata": {"deletionTimestamp": "now"}}))
        run = Surroundings(server, server.target, "istio-system", False, wait=lambda look, **limits: look())
        with pytest.raises(KubeError, match="Namespace istio-system is still being deleted after 120 s"):
            run.absent(crds=False)


class TestEnrolment:
    def pod(self, server: Any, namespace: str, name: str, captured: str | None) -> None:
        annotations = {"ambient.istio.io/redirection": captured} if captured else {}
        server.put(
            f"/api/v1/namespaces/{namespace}/pods/{name}",
            {
                "metadata": {"annotations": annotations},
                "spec": {"nodeName": "n", "containers": [{"name": "app"}]},
                "status": {"podIP": "10.0.0.1", "phase": "Running"},
            },
        )

    def run(self, server: Any, closed: tuple[str, ...] = ("vpn",)) -> Enrolment:
        wanted = [Wanted("core", "ambient"), Wanted("vpn", "none"), Wanted("own", "unmanaged")]
        return Enrolment(server, server.target, wanted, closed)

    def cluster(self, api: Any) -> Any:
        server = api(
            ("/api/v1/namespaces/core", {"metadata": {"labels": {MODE: "ambient", "team": "a"}}}),
            ("/api/v1/namespaces/vpn", {"metadata": {"labels": {MODE: "none"}}}),
            ("/api/v1/namespaces/own", {"metadata": {"labels": {MODE: "ambient"}}}),
        )
        self.pod(server, "core", "a", "enabled")
        self.pod(server, "vpn", "gw", None)
        return server

    def test_all_is_well(self, api: Any) -> None:
        server = self.cluster(api)
        seen = self.run(server).wait(1, 1, instantly)
        assert [(one.name, one.state) for one in seen.judged] == [("a", "in"), ("gw", "out")]
        assert server.writes == []

    def test_late_pods_are_named(self, api: Any) -> None:
        server = self.cluster(api)
        for index in range(7):
            self.pod(server, "core", f"late-{index}", None)
        with pytest.raises(KubeError) as caught:
            self.run(server).wait(9, 1, instantly)
        assert "after 9 s; seen last: pod core/late-0: it has no annotation" in caught.value.msg
        assert "; 2 more pods; look with" in caught.value.msg

    def test_it_waits_for_the_last_one(self, api: Any) -> None:
        server = self.cluster(api)
        self.pod(server, "core", "b", "pending")
        looks = []

        def twice(look: Any, timeout: float, sleep: float) -> tuple[bool, object]:
            looks.append(look())
            self.pod(server, "core", "b", "enabled")
            looks.append(look())
            return looks[-1]

        assert self.run(server).wait(9, 1, twice).done
        assert [done for done, dummy in looks] == [False, True]

    @pytest.mark.parametrize("change", ["pod", "label"])
    def test_a_captured_gateway_is_never_accepted(self, api: Any, change: str) -> None:
        server = self.cluster(api)
        if change == "pod":
            self.pod(server, "vpn", "gw", "enabled")
        else:
            server.objects["/api/v1/namespaces/vpn"]["metadata"]["labels"][MODE] = "ambient"
        with pytest.raises(KubeError, match="must stay out of the mesh"):
            self.run(server).wait(1, 1, instantly)

    def test_what_may_not_be_read_is_an_error(self, api: Any) -> None:
        server = self.cluster(api)
        server.refuse = ("/namespaces/core/pods",)
        with pytest.raises(KubeError, match="does not allow context test to list pods in core"):
            self.run(server).wait(1, 1, instantly)

    def test_out_of_the_mesh(self, api: Any) -> None:
        server = self.cluster(api)
        wanted = [Wanted("core", "ambient"), Wanted("gone", "ambient"), Wanted("own", "unmanaged")]
        run = Enrolment(server, server.target, wanted, ())
        taken, after = run.unlabel(check_mode=True)
        assert taken == ["core"] and server.writes == []
        taken, after = run.unlabel(check_mode=False)
        assert taken == ["core"] and server.writes == ["PATCH /api/v1/namespaces/core"]
        assert server.objects["/api/v1/namespaces/core"]["metadata"]["labels"] == {"team": "a"}
        with pytest.raises(KubeError, match="its annotation ambient.istio.io/redirection is still enabled"):
            after.wait(1, 1, instantly)
        self.pod(server, "core", "a", None)
        assert after.wait(1, 1, instantly).done
        assert run.unlabel(check_mode=False)[0] == []
