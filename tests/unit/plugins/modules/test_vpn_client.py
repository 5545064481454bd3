# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module against a small API server in memory that records every call.

Its StatefulSet controller is as stubborn as the real one: it replaces one pod at a time, and never one that is not Ready.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from ansible.module_utils.testing import patch_module_args

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _flow, _patch, _registry, _selector
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer
from ansible_collections.bulkhead.mesh.plugins.module_utils._vpn_client import _run
from ansible_collections.bulkhead.mesh.plugins.modules import vpn_client

GATEWAY = {"name": "vpnarr", "namespace": "vpn", "config_secret": "mullvad-wg0"}
CLIENT = {"kind": "StatefulSet", "namespace": "downloads", "name": "qbittorrent", "gateway": "vpnarr"}
FULL = {
    **CLIENT,
    "egress": [{"service": "core/radarr", "ports": [7878]}],
    "ingress": [{"from": {"namespace": "core"}, "ports": [8080]}],
}
ABSENT = {key: CLIENT[key] for key in ("kind", "namespace", "name")} | {"state": "absent"}
OPEN, STOPPED = {**ABSENT, "detach_to": "open"}, {**ABSENT, "detach_to": "stopped"}
PLAIN = {
    "kind": "StatefulSet",
    "metadata": {"name": "qbittorrent", "namespace": "downloads"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "qbittorrent"}},
        "template": {
            "metadata": {"labels": {"app": "qbittorrent"}},
            "spec": {"containers": [{"name": "app", "image": "example.org/app:5"}], "dnsPolicy": "ClusterFirst"},
        },
    },
}
SERVICE = {
    "metadata": {"name": "radarr", "namespace": "core"},
    "spec": {
        "clusterIP": "10.96.3.4",
        "selector": {"app": "radarr"},
        "ports": [{"protocol": "TCP", "port": 7878, "targetPort": 7878}],
    },
}
NETPOL = "/apis/networking.k8s.io/v1/namespaces/downloads/networkpolicies/bulkhead-vpn-client-qbittorrent"
RULE = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/bulkhead-vpn-workload.downloads.qbittorrent"
ADMISSION = (
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/bulkhead-vpn-client.downloads.qbittorrent"
)
WORKLOAD = "/apis/apps/v1/namespaces/downloads/statefulsets/qbittorrent"
REGISTRY = "/api/v1/namespaces/vpn/configmaps/bulkhead-vpn-registry"
GATEWAY_POLICY = "/apis/networking.k8s.io/v1/namespaces/vpn/networkpolicies/bulkhead-vpn-gateway-vpnarr"
RESOLVER = "/api/v1/namespaces/vpn/configmaps/bulkhead-resolver-vpnarr"
PODS = "/api/v1/namespaces/downloads/pods"
GATEWAY_SET, GATEWAY_PODS = "/apis/apps/v1/namespaces/vpn/statefulsets/vpnarr", "/api/v1/namespaces/vpn/pods"
_ITEM = re.compile(
    r"(?P<root>/apis?(/[^/]+)?/v\d\w*)(/namespaces/(?P<ns>[^/]+))?/(?P<plural>[a-z]+)(/(?P<name>[^/]+))?(?P<log>/log)?$"
)


class Cluster:
    """Objects by path; ``calls`` are all requests, ``writes`` those that changed something."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.calls: list[Any] = []
        self.writes: list[str] = []
        self.warnings: list[str] = []
        self.target = Target("127.0.0.1:6443", "context lab")
        self.tunnel = True
        self.controller = True
        self.starting = 0  # looks at a new pod before it is Ready
        self.most = 0  # pods that were starting at once
        self.admitted_before_effective = 0
        self.lagging = 0
        self.refused_before_effective = 0
        self.after_write: Any = None
        self.answers: dict[str, Any] = {}
        self.trials: list[Any] = []
        self.trial_state: Any = None
        self.refusal = ""
        self.warnings: list[str] = []
        self.judgement: Any = None
        self._version = 100
        self._lock = threading.Lock()

    def put(self, path: str, one: Any) -> None:
        self._version += 1
        held = copy.deepcopy(dict(one))
        metadata = held.setdefault("metadata", {})
        before = self.objects.get(path, {})
        metadata.setdefault("uid", before.get("metadata", {}).get("uid", f"uid-{self._version}"))
        metadata["resourceVersion"] = str(self._version)
        if "statefulsets" in path:
            same = before.get("spec") == held["spec"]
            metadata["generation"] = before.get("metadata", {}).get("generation", 0) + (not same)
        self.objects[path] = held

    def call(self, request: Any) -> Answer:
        with self._lock:
            self.calls.append(request)
            key = f"{request.method} {request.path}"
            if key in self.answers:
                answer = self.answers[key]
                if isinstance(answer, Exception):
                    raise answer
                return answer.pop(0) if isinstance(answer, list) and answer else answer
            return self._answer(request)

    def _answer(self, request: Any) -> Answer:
        if request.path == "/apis/keda.sh":
            return Answer(200, {"preferredVersion": {"groupVersion": "keda.sh/v1alpha1"}})
        found = _ITEM.match(request.path)
        assert found, request.path
        if request.method == "GET":
            return self._read(request, found)
        if request.method == "POST":
            assert found["plural"] == "pods"
            labels = request.body["metadata"]["labels"]
            if "bulkhead.mesh/trial" in labels:
                return self._trial(request)
            assert request.query == {"dryRun": "All"}
            return self._try_pod(request.body)
        if request.method == "DELETE" and "/bulkhead-trial-" in request.path:
            del self.objects[request.path]
            return Answer(200, {})
        after = self._changed(request)
        if isinstance(after, Answer):
            return after
        body = request.body if isinstance(request.body, dict) else {}
        # With a body the real one does not look at the query of a DELETE.
        dry = body.get("dryRun") == ["All"] if request.method == "DELETE" else request.query.get("dryRun") == "All"
        if not dry:
            self.writes.append(f"{request.method} {request.path}")
            if after is None:
                del self.objects[request.path]
            else:
                self.put(request.path, after)
            if self.after_write:
                self.after_write(self)
        return Answer(200, self.objects.get(request.path, after) or {})

    def _read(self, request: Any, found: Any) -> Answer:
        if found["log"]:
            return Answer(200, {"text": "no answer from the gateway yet\n"})
        if found["name"]:
            held = self.objects.get(request.path)
            return Answer(200, copy.deepcopy(held)) if held else Answer(404, {"message": "not found"})
        if found["plural"] == "pods":
            self.control()
            self.tell()
        selector = request.query.get("labelSelector", "")
        items = []
        for path, one in sorted(self.objects.items()):
            other = _ITEM.match(path)
            if other["plural"] != found["plural"] or found["ns"] not in (None, other["ns"]):
                continue
            labels = one["metadata"].get("labels") or {}
            key, dummy, value = selector.partition("=")
            if not selector or (key in labels and value in ("", labels[key])):
                items.append(copy.deepcopy(one))
        return Answer(200, {"items": items})

    def _changed(self, request: Any) -> Any:
        held = copy.deepcopy(self.objects.get(request.path))
        if request.method == "DELETE":
            if held is None:
                return Answer(404, {"message": "not found"})
            if request.body["preconditions"]["uid"] != held["metadata"]["uid"]:
                return Answer(409, {"message": "another uid"})
            return None
        if request.content_type == "application/json-patch+json":
            try:
                after = _patch.apply_patch(held, request.body)
                return self._by_rule(after) if "/statefulsets/" in request.path else after
            except _patch.PatchError:
                return Answer(422, {"reason": "Invalid", "message": "the server rejected our request", "details": {}})
        if request.content_type == "application/merge-patch+json":
            if request.body["metadata"]["resourceVersion"] != held["metadata"]["resourceVersion"]:
                return Answer(409, {"reason": "Conflict", "message": "modified"})
            held["spec"]["replicas"] = request.body["spec"]["replicas"]
            return held
        assert request.content_type == "application/apply-patch+yaml"
        body = copy.deepcopy(request.body)
        before = (held or {}).get("metadata", {})
        labels = {**(before.get("labels") or {}), **(body["metadata"].get("labels") or {})}
        body["metadata"] = {**before, **body["metadata"], "labels": labels}
        return body

    def _by_rule(self, after: Any) -> Any:
        """What the rule for the workload says to a changed template; ``lagging`` times the one that was just removed."""
        name = f"bulkhead-vpn-workload.{after['metadata']['namespace']}.{after['metadata']['name']}"
        ruled = [path for path in self.objects if path.endswith(f"/validatingadmissionpolicybindings/{name}")]
        self.lagging -= not ruled
        first = (after["spec"]["template"]["spec"].get("initContainers") or [{}])[0]
        if first.get("name") != "bulkhead-guard" and after["spec"]["replicas"] and (ruled or self.lagging >= 0):
            return Answer(403, {"message": f"ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request"})
        return after

    def _try_pod(self, pod: Any) -> Answer:
        if self.judgement:
            return self.judgement
        for path, one in self.objects.items():
            if "/validatingadmissionpolicies/bulkhead-vpn-client." not in path:
                continue
            if _selector.matches(one["spec"]["matchConstraints"]["objectSelector"], pod["metadata"]["labels"]):
                if pod["spec"].get("initContainers"):
                    if not self.refused_before_effective:
                        break
                    self.refused_before_effective -= 1
                elif self.admitted_before_effective:
                    self.admitted_before_effective -= 1
                    break
                return Answer(403, {"message": f"ValidatingAdmissionPolicy '{one['metadata']['name']}' denied request"})
        return Answer(201, pod)

    def _trial(self, request: Any) -> Answer:
        if self.refusal:
            return Answer(403, {"reason": "Forbidden", "message": self.refusal})
        if not request.query:
            self.trials.append(request.body)
            state = self.trial_state or {"terminated": {"exitCode": 0}}
            statuses = [
                {"name": one["name"], "imageID": "sha256:1", "state": state}
                for one in request.body["spec"]["containers"]
            ]
            self.put(f"{request.path}/{request.body['metadata']['name']}", request.body)
            self.objects[f"{request.path}/{request.body['metadata']['name']}"]["status"] = {
                "containerStatuses": statuses
            }
        return Answer(201, {})

    def control(self) -> None:
        """One round of the StatefulSet controller."""
        young = [one for path, one in self.objects.items() if path.startswith(PODS) and one.get("looks")]
        for one in young:
            one["looks"] -= 1
            if not one["looks"]:
                one["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
        for path in [path for path in self.objects if path.startswith(WORKLOAD.rpartition("/")[0])]:
            self._control(self.objects[path])

    def _control(self, held: Any) -> None:
        name = held["metadata"]["name"]
        revision = str(abs(hash(json.dumps(held["spec"]["template"], sort_keys=True))) % 10**8)
        held["status"] = {"observedGeneration": held["metadata"]["generation"], "updateRevision": revision}
        wanted = held["spec"]["replicas"]
        for path in [path for path in self.objects if path.startswith(f"{PODS}/{name}-")]:
            if int(path.rpartition("-")[2]) >= wanted:
                del self.objects[path]
        for number in reversed(range(wanted)):
            path = f"{PODS}/{name}-{number}"
            pod = self.objects.get(path)
            if pod is not None and pod["metadata"]["labels"]["controller-revision-hash"] == revision:
                continue
            if pod is not None and not ready(pod):
                return  # waits for it for ever
            self.put(path, self._pod(held, number, revision))
            if self.starting:
                self.objects[path].update(looks=self.starting, status={"phase": "Pending"})
                young = [one for each, one in self.objects.items() if each.startswith(PODS) and one.get("looks")]
                self.most = max(self.most, len(young))
            return

    def tell(self) -> None:
        """One round of the endpoint controller."""
        registry = json.loads(self.objects.get(REGISTRY, {}).get("data", {}).get("registry.json", "{}"))
        clients = registry.get("gateways", {}).get("vpnarr", {}).get("clients", {})
        for path, one in self.objects.items():
            client = one["metadata"].get("labels", {}).get("bulkhead.mesh/vpn-client")
            if path.startswith(PODS) and "direct" in clients.get(client, {}) and self.controller:
                one["metadata"]["annotations"]["bulkhead.mesh/direct"] = json.dumps(clients[client]["direct"]) + "\n"

    def _pod(self, workload: Any, number: int, revision: str) -> Any:
        template = copy.deepcopy(workload["spec"]["template"])
        inits = template["spec"].get("initContainers") or []
        status: dict[str, Any] = {"conditions": [{"type": "Ready", "status": "True"}]}
        if inits and not self.tunnel:
            done = {"name": inits[0]["name"], "state": {"terminated": {"exitCode": 0}}}
            waiting = {"name": inits[1]["name"], "state": {"running": {}}, "started": False}
            status = {"phase": "Pending", "initContainerStatuses": [done, waiting]}
        return {
            "metadata": {
                "name": f"{workload['metadata']['name']}-{number}",
                "namespace": "downloads",
                "uid": f"pod-{workload['metadata']['name']}-{number}-{revision}",
                "labels": {**template["metadata"]["labels"], "controller-revision-hash": revision},
                "annotations": template["metadata"].get("annotations") or {},
                "ownerReferences": [{"kind": "StatefulSet", "name": workload["metadata"]["name"], "controller": True}],
            },
            "spec": template["spec"],
            "status": status,
        }

    def settle(self) -> None:
        for _round in range(10):
            self.control()

    def stored(self) -> dict[str, Any]:
        """What people or we wrote, without pods and status."""
        kept = {}
        for path, one in self.objects.items():
            if "/pods/" not in path:
                parts = {key: value for key, value in one.items() if key not in ("metadata", "status")}
                kept[path] = copy.deepcopy(parts)
        return kept


def ready(pod: Any) -> bool:
    return any(one["status"] == "True" for one in pod["status"].get("conditions", []))


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    made.put(WORKLOAD, PLAIN)
    made.put("/api/v1/namespaces/core/services/radarr", SERVICE)
    registry = {"gateways": {"vpnarr": {"vni": 7001, "port": 14789, "network": "10.222.1.0/24", "clients": {}}}}
    made.put(REGISTRY, _registry.config_map("vpn", registry))
    manager = {"manager": "bulkhead.mesh/vpn", "operation": "Apply"}
    labels = {"bulkhead.mesh/role": "gateway", "bulkhead.mesh/vpn-gateway": "vpnarr"}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": "bulkhead-vpn-gateway-vpnarr",
            "namespace": "vpn",
            "labels": {**labels, "set": "x"},
            "managedFields": [{**manager, "fieldsV1": {"f:metadata": {"f:labels": {"f:set": {}}}, "f:spec": {}}}],
        },
        "spec": {
            "podSelector": {"matchLabels": labels},
            "policyTypes": ["Egress", "Ingress"],
            "egress": [
                {"to": [{"ipBlock": {"cidr": "198.51.100.2/32"}}], "ports": [{"protocol": "UDP", "port": 51820}]}
            ],
        },
    }
    made.put(GATEWAY_POLICY, policy)
    resolver = {"kind": "ConfigMap", "metadata": {"name": "bulkhead-resolver-vpnarr", "namespace": "vpn"}}
    made.put(RESOLVER, {**resolver, "data": {"Corefile": ".:53 {\n    forward . 10.64.0.1 {\n"}})
    made.settle()
    return made


@pytest.fixture
def run(monkeypatch: Any, capsys: Any, cluster: Cluster) -> Any:
    """Run the module against the cluster; a wait is twenty looks and no sleep."""

    def wait(look: Any, timeout: Any, sleep: Any) -> Any:
        for _look in range(20):
            done, evidence = look()
            if done:
                break
        return done, evidence

    monkeypatch.setattr(_run, "wait_until", wait)
    monkeypatch.setattr(_client, "Client", lambda params: cluster)
    monkeypatch.setattr(vpn_client.AnsibleModule, "warn", lambda self, text: cluster.warnings.append(text))

    def go(*clients: Any, stop: Any = None, **params: Any) -> Any:
        monkeypatch.delenv(vpn_client.STOP_AFTER, raising=False)
        if stop:
            monkeypatch.setenv(vpn_client.STOP_AFTER, stop)
        cluster.writes.clear()
        cluster.calls.clear()
        cluster.warnings.clear()
        arguments = {"clients": list(clients), "gateways": [GATEWAY], "wait_timeout": 9, **params}
        arguments["cluster_networks"] = {"pods": ["10.244.0.0/16"], "services": ["10.96.0.0/16"]}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            vpn_client.main()
        return json.loads(capsys.readouterr().out)

    return go


OTHER = {**CLIENT, "name": "sabnzbd"}
OTHER_ABSENT = {**ABSENT, "name": "sabnzbd"}
OTHER_WORKLOAD, OTHER_NETPOL = WORKLOAD.replace("qbittorrent", "sabnzbd"), NETPOL.replace("qbittorrent", "sabnzbd")


def another(cluster: Cluster, **spec: Any) -> None:
    """A second workload, which wants no pods: the controller looks after the first only."""
    one = copy.deepcopy(PLAIN)
    one["metadata"]["name"] = "sabnzbd"
    one["spec"].update(replicas=0, selector={"matchLabels": {"app": "sabnzbd"}}, **spec)
    one["spec"]["template"]["metadata"]["labels"] = {"app": "sabnzbd"}
    cluster.put(OTHER_WORKLOAD, one)
    cluster.objects[OTHER_WORKLOAD]["status"] = {"observedGeneration": 99, "updateRevision": "x"}


def judged(cluster: Cluster) -> list[Any]:
    """Pods that were sent to see how admission judges them."""
    posts = [call for call in cluster.calls if call.method == "POST"]
    return [call for call in posts if "bulkhead.mesh/trial" not in call.body["metadata"]["labels"]]


def attached(cluster: Cluster) -> bool:
    inits = cluster.objects[WORKLOAD]["spec"]["template"]["spec"].get("initContainers") or [{}]
    return inits[0].get("name") == "bulkhead-guard"


def test_writes_of_an_attach_are_in_order(run: Any, cluster: Cluster) -> None:
    result = run(FULL)
    assert result["changed"] is True and "failed" not in result
    assert [re.sub(r"bulkhead-agent-\w+", "bulkhead-agent", write) for write in cluster.writes] == [
        f"PATCH {NETPOL}",
        f"PATCH {RULE}",
        f"PATCH {RULE.replace('policies/', 'policybindings/')}",
        f"PATCH {ADMISSION}",
        "PATCH /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/"
        "bulkhead-vpn-client.downloads.qbittorrent",
        f"PATCH {REGISTRY}",
        f"PATCH {GATEWAY_POLICY}",
        f"PATCH {RESOLVER}",
        "PATCH /api/v1/namespaces/downloads/configmaps/bulkhead-agent",
        "PATCH /apis/rbac.authorization.k8s.io/v1/namespaces/downloads/roles/bulkhead-endpoints-vpn",
        "PATCH /apis/rbac.authorization.k8s.io/v1/namespaces/downloads/rolebindings/bulkhead-endpoints-vpn",
        f"PATCH {WORKLOAD}",
    ]
    calls = [f"{call.method} {call.path}" for call in cluster.calls]
    assert calls.index(f"GET {NETPOL}") > calls.index(f"PATCH {NETPOL}"), "the policy is read back"
    assert calls.index(f"POST {PODS}") < calls.index(f"PATCH {WORKLOAD}"), "admission is tried before the template"
    (client,) = result["clients"]
    assert client["state"] == "attached" and client["action"] == "attach"
    assert client["inner_addresses"] == ["10.222.1.2", "10.222.1.3"]
    assert [(pod["name"], pod["ready"], pod["inner_address"]) for pod in client["pods"]] == [
        ("qbittorrent-0", True, "10.222.1.2"),
        ("qbittorrent-1", True, "10.222.1.3"),
    ]
    assert [one["step"] for one in result["plan"]][0] == "attach.policy"


def test_the_template_is_patched_with_a_tested_version(run: Any, cluster: Cluster) -> None:
    version = cluster.objects[WORKLOAD]["metadata"]["resourceVersion"]
    run(FULL)
    (patch,) = [call for call in cluster.calls if call.method == "PATCH" and call.path == WORKLOAD]
    assert patch.content_type == "application/json-patch+json"
    assert patch.body[0] == {"op": "test", "path": "/metadata/resourceVersion", "value": version}


def test_what_the_gateway_has_to_know(run: Any, cluster: Cluster) -> None:
    run(FULL)
    registry = json.loads(cluster.objects[REGISTRY]["data"]["registry.json"])
    client = registry["gateways"]["vpnarr"]["clients"]["downloads.qbittorrent"]
    assert client["services"] == {"radarr.core": "10.96.3.4"}
    assert client["selector"] == {"matchLabels": {"app": "qbittorrent"}}
    egress = cluster.objects[GATEWAY_POLICY]["spec"]["egress"]
    assert [peer for rule in egress for peer in rule["to"] if "ipBlock" in peer] == [
        {"ipBlock": {"cidr": "198.51.100.2/32"}}
    ], "where the tunnel goes stays"
    assert [peer["podSelector"] for rule in egress for peer in rule["to"] if "podSelector" in peer] == [
        {"matchLabels": {"app": "qbittorrent"}}
    ]
    assert "10.96.3.4" in cluster.objects[RESOLVER]["data"]["Corefile"]
    assert "forward . 10.64.0.1 {" in cluster.objects[RESOLVER]["data"]["Corefile"]
    (apply,) = [call for call in cluster.calls if call.method == "PATCH" and call.path == GATEWAY_POLICY]
    assert apply.query["fieldManager"] == "bulkhead.mesh/vpn", "or the gateway's next run would find it changed"
    assert apply.body["metadata"]["labels"] == {"set": "x"}, "what that manager applied stays applied"


@pytest.mark.parametrize("again", [FULL, {**FULL, "egress": list(FULL["egress"])}])
def test_second_run_writes_nothing(run: Any, cluster: Cluster, again: Any) -> None:
    run(FULL)
    result = run(again)
    assert result["changed"] is False
    assert cluster.writes == [] and {call.method for call in cluster.calls} == {"GET"}
    assert result["clients"][0]["action"] == "none" and result["clients"][0]["steps"] == []
    assert result["plan"] == []


@pytest.mark.parametrize("clients", [[FULL], [ABSENT], [STOPPED], [OPEN]])
def test_check_mode_writes_nothing_and_predicts(run: Any, cluster: Cluster, clients: Any) -> None:
    if clients != [FULL]:
        run(FULL)
    before = cluster.stored()
    predicted = run(*clients, _ansible_check_mode=True, _ansible_diff=True)
    assert cluster.writes == [] and cluster.stored() == before
    assert predicted["changed"] is True and predicted["diff"]
    real = run(*clients)
    assert [one["steps"] for one in predicted["clients"]] == [one["steps"] for one in real["clients"]]
    assert predicted["clients"][0]["state"] == real["clients"][0]["state"]
    assert predicted["plan"] == real["plan"]


def test_check_mode_predicts_a_gateway_that_is_not_there(run: Any, cluster: Cluster) -> None:
    for path in (REGISTRY, GATEWAY_POLICY, RESOLVER):
        del cluster.objects[path]
    result = run(FULL, _ansible_check_mode=True)
    assert result["changed"] is True and result["clients"][0]["inner_addresses"] == ["10.222.1.2", "10.222.1.3"]
    assert cluster.writes == []
    refused = run(FULL)
    assert cluster.writes == []
    assert refused["msg"] == (
        "VPN gateway vpn/vpnarr: ConfigMap vpn/bulkhead-vpn-registry is not given: the gateway has not been set up; "
        "run bulkhead.mesh.vpn_gateway for it first, as site.yml does.\n"
        "This concerns StatefulSet downloads/qbittorrent."
    )


def test_diff_shows_template_policy_and_registration(run: Any) -> None:
    result = run(FULL, _ansible_check_mode=True, _ansible_diff=True)
    assert [one["before_header"] for one in result["diff"]] == [
        "StatefulSet downloads/qbittorrent",
        "NetworkPolicy downloads/bulkhead-vpn-client-qbittorrent",
        "registrations at the gateways of vpn",
    ]
    template = result["diff"][0]
    assert "bulkhead-guard" in template["after"] and "bulkhead-guard" not in template["before"]


OTHER_ADDRESS = {**SERVICE, "spec": {**SERVICE["spec"], "clusterIP": "10.96.3.99"}}


def test_another_address_of_a_service_is_told_and_replaces_no_pod(run: Any, cluster: Cluster) -> None:
    run(FULL)
    before = [one["metadata"]["uid"] for path, one in cluster.objects.items() if path.startswith(PODS)]
    cluster.put("/api/v1/namespaces/core/services/radarr", OTHER_ADDRESS)
    result = run(FULL)
    assert result["changed"] is True and result["clients"][0]["action"] == "update"
    assert result["clients"][0]["steps"] == ["attach.registration", "attach.told"]
    assert cluster.writes == [f"PATCH {REGISTRY}", f"PATCH {RESOLVER}"]
    assert "10.96.3.99" in cluster.objects[RESOLVER]["data"]["Corefile"]
    pods = [one for path, one in cluster.objects.items() if path.startswith(PODS)]
    assert [one["metadata"]["uid"] for one in pods] == before
    told = [json.loads(one["metadata"]["annotations"]["bulkhead.mesh/direct"]) for one in pods]
    assert told == [[{"protocol": "tcp", "address": "10.96.3.99", "port": 7878}]] * 2
    assert run(FULL)["changed"] is False


def test_pods_that_nobody_tells_are_named_also_by_the_next_run(run: Any, cluster: Cluster) -> None:
    run(FULL)
    cluster.put("/api/v1/namespaces/core/services/radarr", OTHER_ADDRESS)
    cluster.controller = False
    sentence = (
        "StatefulSet downloads/qbittorrent is attached, and after 9 s nobody has told qbittorrent-0, qbittorrent-1 what "
        "may be reached without the VPN now: what was told before holds. Look at: kubectl -n vpn logs "
        "deployment/bulkhead-endpoints."
    )
    for changed in (True, False):
        result = run(FULL)
        assert (result["failed"], result["changed"], result["msg"]) == (True, changed, sentence)
        assert result["failure"]["reason"] == "NotTold"


# --- runs that end in the middle ---------------------------------------------------------------------------------------


def never_open(cluster: Cluster) -> None:
    """After each write: an attached template has policy and admission; without a policy it is not attached."""
    if attached(cluster):
        assert NETPOL in cluster.objects and ADMISSION in cluster.objects


def never_open_when_stopping(cluster: Cluster) -> None:
    never_open(cluster)
    if not attached(cluster):
        assert cluster.objects[WORKLOAD]["spec"]["replicas"] == 0


def always_sealed(cluster: Cluster) -> None:
    never_open(cluster)
    assert attached(cluster)


@pytest.mark.parametrize("step", _flow.ATTACH)
def test_attach_stopped_after_each_step_completes(run: Any, cluster: Cluster, step: str) -> None:
    cluster.after_write = never_open
    image = {}
    if step == "attach.narrow":
        run(FULL)
        image = {"agent_image": "example.org/agent:2"}
    if step == "attach.told":
        run(CLIENT)
    stopped = run(FULL, stop=step, **image)
    assert stopped["failed"] is True and stopped["clients"][0]["steps"][-1] == step
    assert stopped["msg"] == f"Stopped after {step}, as the test asked."
    completed = run(FULL, **image)
    assert "failed" not in completed and completed["clients"][0]["state"] == "attached"
    assert run(FULL, **image)["changed"] is False


@pytest.mark.parametrize(
    ("client", "step"),
    [(STOPPED, step) for step in _flow.DETACH if step not in ("detach.seal", "detach.rollout")]
    + [(OPEN, step) for step in _flow.DETACH if step not in ("detach.scale", "detach.stopped", "detach.seal")],
)
def test_detach_stopped_after_each_step_completes(run: Any, cluster: Cluster, client: Any, step: str) -> None:
    before = cluster.stored()
    run(FULL)
    cluster.after_write = never_open_when_stopping if client is STOPPED else never_open
    stopped = run(client, stop=step)
    assert stopped["failed"] is True and stopped["clients"][0]["steps"][-1] == step
    completed = run(client)
    assert "failed" not in completed
    assert completed["clients"][0]["state"] == ("stopped" if client is STOPPED else "open")
    cluster.after_write = None
    assert run(client)["changed"] is False
    cluster.objects[WORKLOAD]["spec"]["replicas"] = 2
    after = cluster.stored()
    for changed in (REGISTRY, RESOLVER):
        before.pop(changed), after.pop(changed)
    assert after == before


def test_a_rule_that_was_removed_may_hold_for_a_moment(run: Any, cluster: Cluster) -> None:
    run(FULL)
    cluster.lagging = 3
    result = run(OPEN)
    assert "failed" not in result and not attached(cluster)
    assert cluster.writes.index(f"DELETE {RULE}") < len(cluster.writes) - 1 - cluster.writes[::-1].index(
        f"PATCH {WORKLOAD}"
    )


def test_a_rule_that_holds_for_good_ends_the_run_sealed(run: Any, cluster: Cluster) -> None:
    run(FULL)
    cluster.lagging = 10_000
    result = run(OPEN)
    assert result["failed"] is True and "bulkhead-vpn-workload" in result["msg"]
    assert attached(cluster) and NETPOL in cluster.objects and ADMISSION in cluster.objects


def test_check_mode_of_detaching_is_not_stopped_by_the_rule_that_a_real_run_removes(run: Any, cluster: Cluster) -> None:
    run(FULL)
    result = run(OPEN, _ansible_check_mode=True)
    assert "failed" not in result and result["changed"] is True and cluster.writes == []


SEALING = ("detach.scale", "detach.stopped", "detach.seal", "detach.registration", "detach.access")


@pytest.mark.parametrize("step", SEALING)
def test_sealing_stopped_after_each_step_completes(run: Any, cluster: Cluster, step: str) -> None:
    """The default: nothing but the workload's size, its policy and what concerns its gateway changes."""
    before = cluster.stored()
    run(FULL)
    template = copy.deepcopy(cluster.objects[WORKLOAD]["spec"]["template"])
    cluster.after_write = always_sealed
    stopped = run(ABSENT, stop=step)
    assert stopped["failed"] is True and stopped["clients"][0]["steps"][-1] == step
    completed = run(ABSENT)
    assert "failed" not in completed and completed["clients"][0]["state"] == "sealed"
    assert run(ABSENT)["changed"] is False
    held = cluster.objects[WORKLOAD]["spec"]
    assert held["replicas"] == 0 and held["template"] == template
    # What could have let it out was its policy's only egress; with both types and no rule nothing goes either way.
    policy = cluster.objects[NETPOL]
    assert policy["spec"] == {"podSelector": PLAIN["spec"]["selector"], "policyTypes": ["Egress", "Ingress"]}
    assert policy["metadata"]["labels"]["bulkhead.mesh/vpn-gateway"] == "vpnarr", "else the next run would not see it"
    assert json.loads(cluster.objects[REGISTRY]["data"]["registry.json"])["gateways"]["vpnarr"]["clients"] == {}
    cluster.after_write = never_open
    assert run(OPEN)["clients"][0]["state"] == "stopped", "opened, and nobody wants a pod yet"
    cluster.objects[WORKLOAD]["spec"]["replicas"] = 2
    after = cluster.stored()
    for changed in (REGISTRY, RESOLVER, GATEWAY_POLICY):
        before.pop(changed), after.pop(changed)
    assert after == before


def test_a_sealed_client_can_be_attached_again(run: Any, cluster: Cluster) -> None:
    run(FULL)
    run(ABSENT)
    held = cluster.objects[WORKLOAD]
    cluster.put(WORKLOAD, {**held, "spec": {**held["spec"], "replicas": 2}})
    result = run(FULL)
    assert "failed" not in result and result["clients"][0]["state"] == "attached"
    assert cluster.objects[NETPOL]["spec"]["egress"]


def test_sealing_repairs_what_protects(run: Any, cluster: Cluster) -> None:
    """Nothing of the gateway has to be known for it: neither policy nor admission need it."""
    run(FULL)
    before = copy.deepcopy(cluster.objects[ADMISSION]["spec"])
    cluster.objects[NETPOL]["spec"]["egress"].append({})
    binding = ADMISSION.replace("policies", "policybindings")
    del cluster.objects[ADMISSION], cluster.objects[binding]
    run(ABSENT)
    assert "egress" not in cluster.objects[NETPOL]["spec"] and binding in cluster.objects
    # But for the number of inner addresses, of which it has none any more.
    assert cluster.objects[ADMISSION]["spec"]["validations"] == before["validations"][:-1]


def test_whoever_scales_a_sealed_client_up_gets_sealed_pods_and_is_told(run: Any, cluster: Cluster) -> None:
    run(FULL)

    def scaler(one: Cluster) -> None:
        held = one.objects[WORKLOAD]
        if held["spec"]["replicas"] == 0:
            one.put(WORKLOAD, {**held, "spec": {**held["spec"], "replicas": 1}})

    cluster.tunnel, cluster.after_write = False, scaler
    result = run(ABSENT)
    assert "failed" not in result and result["clients"][0]["state"] == "sealed" and attached(cluster)
    assert any("was scaled up again while it was stopped" in one for one in cluster.warnings)
    assert "egress" not in cluster.objects[NETPOL]["spec"] and ADMISSION in cluster.objects


def test_a_workload_that_is_gone_leaves_nothing_of_a_sealed_client(run: Any, cluster: Cluster) -> None:
    run(FULL)
    run(ABSENT)
    del cluster.objects[WORKLOAD]
    result = run(ABSENT)
    assert "failed" not in result and result["clients"][0]["state"] == "missing"
    assert NETPOL not in cluster.objects and ADMISSION not in cluster.objects
    assert not [path for path in cluster.objects if "bulkhead-agent" in path]
    assert run(ABSENT)["changed"] is False


def test_protection_stays_while_pods_of_a_workload_that_is_gone_run_on(run: Any, cluster: Cluster) -> None:
    """As after kubectl delete --cascade=orphan."""
    run(FULL)
    del cluster.objects[WORKLOAD]
    for number in (0, 1):
        del cluster.objects[f"{PODS}/qbittorrent-{number}"]["metadata"]["ownerReferences"]
    result = run(ABSENT)
    assert "failed" not in result and NETPOL in cluster.objects and ADMISSION in cluster.objects
    told = [one for one in cluster.warnings if "is left behind" in one]
    assert len(told) == 2 and "kubectl -n downloads delete pod qbittorrent-0" in told[0]
    assert [one["name"] for one in result["left_behind"]] == ["qbittorrent-0", "qbittorrent-1"]
    refused = run(STOPPED)
    assert cluster.writes == [] and refused["problems"][0]["path"] == "pods"
    for number in (0, 1):
        del cluster.objects[f"{PODS}/qbittorrent-{number}"]
    result = run(ABSENT)
    assert NETPOL not in cluster.objects and result["left_behind"] == [] and cluster.warnings == []


def test_detaching_removes_the_policy_last(run: Any, cluster: Cluster) -> None:
    run(FULL)
    run(STOPPED)
    assert cluster.writes[0] == f"PATCH {WORKLOAD}" and cluster.writes[-1] == f"DELETE {NETPOL}"
    assert cluster.writes.index(f"PATCH {REGISTRY}") < cluster.writes.index(f"DELETE {ADMISSION}")


def test_what_other_clients_of_the_namespace_share_stays(run: Any, cluster: Cluster) -> None:
    run(FULL)
    other = copy.deepcopy(cluster.objects[WORKLOAD])
    other["metadata"].update(name="sabnzbd", labels={})
    other["spec"]["selector"] = {"matchLabels": {"app": "sabnzbd"}}
    other["spec"]["template"]["metadata"]["labels"]["app"] = "sabnzbd"
    cluster.put(WORKLOAD.replace("qbittorrent", "sabnzbd"), other)
    result = run(OPEN)
    assert "detach.access" not in result["clients"][0]["steps"] and "detach.agent" not in result["clients"][0]["steps"]


def test_the_agent_stays_for_a_sealed_client_of_the_namespace(run: Any, cluster: Cluster) -> None:
    another(cluster)
    run(FULL, OTHER)
    run({**OTHER_ABSENT, "detach_to": "sealed"}, OPEN)
    assert [path for path in cluster.objects if "bulkhead-agent" in path], "its template names it"
    assert not [path for path in cluster.objects if "bulkhead-endpoints" in path], "but nobody tells its pods anything"


# --- what goes wrong ----------------------------------------------------------------------------------------------------


NOT_FOUND = {"waiting": {"reason": "ErrImagePull", "message": "docker.io/library/agent:1: not found"}}


def test_a_wrong_agent_image_leaves_the_client_alone(run: Any, cluster: Cluster) -> None:
    cluster.trial_state = NOT_FOUND
    before = cluster.stored()
    result = run(FULL, agent_image="agent:1")
    assert result["failure"]["reason"] == "NotProven" and result["changed"] is False
    words = "stays as it was: image agent:1 cannot be pulled: docker.io/library/agent:1: not found; "
    assert result["msg"].startswith(f"{result['failure']['object']} {words}")
    assert result["msg"].endswith("; no pod of it was changed.")
    assert (cluster.stored(), cluster.writes, attached(cluster)) == (before, [], False)
    cluster.trial_state = None
    assert run(FULL, agent_image="agent:1")["clients"][0]["state"] == "attached"


def test_what_the_server_refuses_about_the_guard_leaves_the_client_alone(run: Any, cluster: Cluster) -> None:
    cluster.refusal = 'pods "x" is forbidden: [minimum cpu usage per Container is 50m, but request is 10m]'
    result = run(FULL)
    assert f"the API server refuses a pod with guard and overlay: {cluster.refusal}; " in result["msg"]
    assert (cluster.writes, cluster.trials, attached(cluster)) == ([], [], False)


def test_the_image_is_proven_once_for_each_node(run: Any, cluster: Cluster) -> None:
    for number in (0, 1):
        cluster.objects[f"{PODS}/qbittorrent-{number}"]["spec"]["nodeName"] = "n1"
    condition = {"type": "Ready", "status": "True"}
    cluster.put("/api/v1/nodes/n1", {"status": {"conditions": [condition]}})
    run(FULL)
    assert len(cluster.trials) == 1
    terms = cluster.trials[0]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["n1"]
    (tried,) = cluster.trials[0]["spec"]["containers"]
    assert tried["command"][-2:] == ["ip", "nft"] and tried["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_what_a_gateway_runs_on_the_node_needs_no_proof(run: Any, cluster: Cluster) -> None:
    run(FULL)
    template = cluster.objects[WORKLOAD]["spec"]["template"]
    overlay = template["spec"]["initContainers"][1]
    status = {"name": overlay["name"], "imageID": "sha256:1", "state": {"running": {}}}
    labels = {"bulkhead.mesh/vpn-gateway": "vpnarr"}
    metadata = {
        "name": "vpnarr-0",
        "namespace": "vpn",
        "labels": labels,
        "annotations": template["metadata"]["annotations"],
    }
    spec = {"initContainers": [], "containers": [overlay]}
    cluster.put(
        f"{GATEWAY_PODS}/vpnarr-0", {"metadata": metadata, "spec": spec, "status": {"containerStatuses": [status]}}
    )
    run(OPEN)
    cluster.trials.clear()
    run(FULL)
    assert cluster.trials == [] and attached(cluster)


def test_check_mode_says_that_nothing_was_proven(run: Any, cluster: Cluster) -> None:
    result = run(FULL, _ansible_check_mode=True)
    assert "failed" not in result and cluster.trials == []
    assert [one for one in cluster.warnings if "no pod is made in check mode" in one]


def test_template_waits_until_admission_is_effective(run: Any, cluster: Cluster) -> None:
    cluster.admitted_before_effective = 3
    assert run(FULL)["clients"][0]["state"] == "attached"
    tried = judged(cluster)
    assert len(tried) == 5


def test_template_waits_until_the_new_guard_is_accepted(run: Any, cluster: Cluster) -> None:
    cluster.refused_before_effective = 2
    assert run(FULL)["clients"][0]["state"] == "attached"
    tried = [call.body["metadata"]["generateName"] for call in judged(cluster)]
    assert tried == ["bulkhead-unguarded-", "bulkhead-guarded-"] * 3


def test_a_new_guard_that_is_never_accepted_stops_before_the_template(run: Any, cluster: Cluster) -> None:
    cluster.refused_before_effective = 1000
    result = run(FULL)
    assert not attached(cluster) and f"PATCH {REGISTRY}" not in cluster.writes
    assert "(one with its guard: ValidatingAdmissionPolicy" in result["msg"]


def test_admission_that_never_gets_effective_stops_before_the_template(run: Any, cluster: Cluster) -> None:
    cluster.admitted_before_effective = 1000
    result = run(FULL)
    assert not attached(cluster) and f"PATCH {REGISTRY}" not in cluster.writes
    assert result["msg"] == (
        "The API server does not judge pods of StatefulSet downloads/qbittorrent as it should after 30 s (an unguarded "
        "one: it would be created): look at the ValidatingAdmissionPolicy and its binding, then run it again; no pod was "
        "changed."
    )


def test_a_refusal_for_another_reason_proves_nothing(run: Any, cluster: Cluster) -> None:
    cluster.judgement = Answer(403, {"message": "exceeded quota"})
    assert run(FULL)["failure"]["reason"] == "NotEffective"
    assert not attached(cluster)


def test_policy_that_reads_back_otherwise_stops_before_the_template(run: Any, cluster: Cluster) -> None:
    def widen(one: Cluster) -> None:
        if one.writes[-1] == f"PATCH {NETPOL}":
            one.objects[NETPOL]["spec"]["egress"].append({})

    cluster.after_write = widen
    result = run(FULL)
    assert result["failure"]["reason"] == "ReadBack" and cluster.writes == [f"PATCH {NETPOL}"]


def test_old_pods_that_are_not_ready_are_replaced(run: Any, cluster: Cluster) -> None:
    for number in (0, 1):
        cluster.objects[f"{PODS}/qbittorrent-{number}"]["status"] = {"phase": "Pending"}
    result = run(FULL)
    assert result["clients"][0]["state"] == "attached"
    assert [write for write in cluster.writes if write.startswith(f"DELETE {PODS}")] == [
        f"DELETE {PODS}/qbittorrent-0",
        f"DELETE {PODS}/qbittorrent-1",
    ]


def test_tunnel_that_is_down_is_told_and_leaves_it_sealed(run: Any, cluster: Cluster) -> None:
    cluster.tunnel = False
    cluster.objects[WORKLOAD]["spec"]["replicas"] = 1
    cluster.answers.update(
        {f"GET {GATEWAY_SET}": Answer(200, gateway_set()), f"GET {GATEWAY_PODS}": Answer(200, {"items": [keeper()]})}
    )
    result = run(FULL)
    assert result["failed"] is True and result["changed"] is True
    assert result["clients"][0]["state"] == "sealed"
    assert result["msg"] == (
        "StatefulSet downloads/qbittorrent is not ready after 9 s: 0 of 1 pods of StatefulSet downloads/qbittorrent are "
        "ready; pod qbittorrent-0, container bulkhead-overlay: not started by its start-up probe; its last line is: "
        "no answer from the gateway yet; the gateway's address on it is not written yet; VPN gateway vpn/vpnarr is not "
        "ready: its tunnel has no handshake: nothing came back from the VPN server of vpnarr; check the keys in Secret "
        "vpn/mullvad-wg0, and whether the server can be reached from the node. Pods with the guard stay sealed until "
        "the tunnel carries traffic, and then start by themselves. Look at: kubectl -n downloads logs "
        "qbittorrent-0 -c bulkhead-overlay, kubectl -n vpn get pods -l bulkhead.mesh/vpn-gateway=vpnarr."
    )
    again = run(FULL)
    assert again["failed"] is True and again["changed"] is False and cluster.writes == []


def gateway_set() -> dict[str, Any]:
    status = {"observedGeneration": 1, "updateRevision": "one"}
    metadata = {"name": "vpnarr", "namespace": "vpn", "generation": 1}
    return {"metadata": metadata, "spec": {"replicas": 1}, "status": status}


def keeper() -> dict[str, Any]:
    """The gateway's pod with everything running and no answer from behind the tunnel."""
    metadata = {
        "name": "vpnarr-0",
        "namespace": "vpn",
        "labels": {"controller-revision-hash": "one"},
        "ownerReferences": [{"kind": "StatefulSet", "name": "vpnarr", "controller": True}],
    }
    one = {"name": "bulkhead-gateway", "state": {"running": {}}, "ready": False}
    return {
        "metadata": metadata,
        "spec": {"containers": [{"name": "bulkhead-gateway"}]},
        "status": {"containerStatuses": [one]},
    }


def test_pods_without_a_guard_do_not_wait_for_a_tunnel_that_is_down(run: Any, cluster: Cluster) -> None:
    cluster.tunnel = False
    result = run(FULL)
    assert result["failed"] is True and result["failure"]["reason"] == "NotReady"
    assert result["clients"][0]["state"] == "sealed", "a rollout would have stopped at the first pod and left the other"
    assert [one["inner_address"] for one in result["clients"][0]["pods"]] == ["10.222.1.2", "10.222.1.3"]
    again = run(FULL)
    assert again["failed"] is True and cluster.writes == [], "pods that are guarded are left alone"


def test_pods_without_a_guard_stay_when_the_workload_is_given_back(run: Any, cluster: Cluster) -> None:
    run(FULL)
    run(OPEN)
    assert not [write for write in cluster.writes if write.startswith("DELETE") and "/pods/" in write]


def test_one_client_that_hangs_does_not_hold_up_a_detach(run: Any, cluster: Cluster) -> None:
    run(FULL)
    cluster.objects[f"{PODS}/qbittorrent-1"]["metadata"]["finalizers"] = ["x"]
    cluster.control = lambda: None  # its pods never go
    result = run(STOPPED)
    assert result["failure"]["reason"] == "NotStopped" and attached(cluster)
    assert cluster.writes == [f"PATCH {WORKLOAD}"], "scaled, and nothing that protects was taken away"


def test_status_that_changes_during_the_run_is_no_conflict(run: Any, cluster: Cluster) -> None:
    def touch(one: Cluster) -> None:
        if one.writes[-1].endswith("bulkhead-endpoints-vpn"):
            one.put(WORKLOAD, one.objects[WORKLOAD])

    cluster.after_write = touch
    assert run(FULL)["clients"][0]["state"] == "attached"


def test_spec_that_changes_during_the_run_is_one(run: Any, cluster: Cluster) -> None:
    def edit(one: Cluster) -> None:
        if one.writes[-1].endswith("bulkhead-endpoints-vpn"):
            edited = copy.deepcopy(one.objects[WORKLOAD])
            edited["spec"]["template"]["spec"]["containers"][0]["image"] = "example.org/other:1"
            one.put(WORKLOAD, edited)

    cluster.after_write = edit
    result = run(FULL)
    assert (
        result["msg"] == "StatefulSet downloads/qbittorrent was changed by somebody else during this run: run it again."
    )
    assert not attached(cluster)


def test_field_of_somebody_else_is_named(run: Any, cluster: Cluster) -> None:
    cause = {"field": ".spec.egress", "message": 'conflict with "argocd"'}
    cluster.answers[f"PATCH {NETPOL}"] = Answer(409, {"message": "1 conflict", "details": {"causes": [cause]}})
    result = run(FULL)
    assert cluster.writes == []
    assert result["msg"] == (
        "NetworkPolicy downloads/bulkhead-vpn-client-qbittorrent has fields that somebody else owns: .spec.egress "
        '(conflict with "argocd"): stop that from writing them, or take them over with force_conflicts.\n'
        "This concerns StatefulSet downloads/qbittorrent."
    )


RETENTION = {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}, "volumeClaimTemplates": [{}]}
HPAS = "/apis/autoscaling/v2/namespaces/downloads/horizontalpodautoscalers"
KEDA = "/apis/keda.sh/v1alpha1/namespaces/downloads/scaledobjects"


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("client", [ABSENT, STOPPED])
def test_nothing_is_scaled_to_0_where_that_would_delete_volumes(
    run: Any, cluster: Cluster, client: Any, check: bool
) -> None:
    run(FULL)
    cluster.objects[WORKLOAD]["spec"].update(RETENTION)
    result = run(client, _ansible_check_mode=check)
    assert cluster.writes == [] and result["changed"] is False and result["clients"][0]["action"] == "refused"
    to = client.get("detach_to", "sealed")
    assert result["msg"] == (
        'StatefulSet downloads/qbittorrent: spec.persistentVolumeClaimRetentionPolicy.whenScaled is "Delete": '
        f"detach_to {to} scales it to 0, which would delete its volumes; set it to Retain, or detach with detach_to open."
    )
    assert "failed" not in run(OPEN, _ansible_check_mode=check)


@pytest.mark.parametrize(
    "change",
    [
        {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Retain"}},
        {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}},
        {"volumeClaimTemplates": []},
        {"replicas": 0},
    ],
)
def test_it_is_where_no_volume_is_in_danger(run: Any, cluster: Cluster, change: Any) -> None:
    run(FULL)
    cluster.objects[WORKLOAD]["spec"].update({**RETENTION, **change})
    assert "failed" not in run(ABSENT)


def scaler(what: str, **target: Any) -> Any:
    metadata = {"name": "up", "namespace": "downloads"}
    ref = {"kind": "StatefulSet", "name": "qbittorrent", **target}
    return {"kind": what, "metadata": metadata, "spec": {"scaleTargetRef": ref}}


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("path", [HPAS, KEDA])
def test_what_something_scales_is_not_stopped_in_the_clear(run: Any, cluster: Cluster, path: str, check: bool) -> None:
    run(FULL)
    kind = "HorizontalPodAutoscaler" if path == HPAS else "ScaledObject"
    cluster.put(f"{path}/up", scaler(kind))
    result = run(STOPPED, _ansible_check_mode=check)
    assert cluster.writes == [] and attached(cluster)
    assert result["msg"] == (
        f'StatefulSet downloads/qbittorrent: detach_to is "stopped": {kind} downloads/up would scale it up again, in the '
        "clear; use detach_to sealed, or pause or remove the scaler first, or use detach_to open."
    )
    for client in (OPEN, ABSENT):
        assert "failed" not in run(client, _ansible_check_mode=True)


@pytest.mark.parametrize(
    "one",
    [
        scaler("ScaledObject", name="another"),
        scaler("ScaledObject", kind="Deployment"),
        scaler("ScaledObject", kind=None),
        scaler("ScaledObject", apiVersion="example.org/v1"),
    ],
)
def test_scalers_of_others_do_not_matter(run: Any, cluster: Cluster, one: Any) -> None:
    run(FULL)
    cluster.put(f"{KEDA}/up", one)
    assert "failed" not in run(STOPPED)


def test_a_paused_scaler_does_not_matter(run: Any, cluster: Cluster) -> None:
    run(FULL)
    one = scaler("ScaledObject", apiVersion="apps/v1")
    for paused in ({"autoscaling.keda.sh/paused": "true"}, {"autoscaling.keda.sh/paused-replicas": "0"}):
        one["metadata"]["annotations"] = paused
        cluster.put(f"{KEDA}/up", one)
        assert "failed" not in run(STOPPED, _ansible_check_mode=True)
    one["metadata"]["annotations"] = {"autoscaling.keda.sh/paused-replicas": "1"}
    cluster.put(f"{KEDA}/up", one)
    assert run(STOPPED)["failure"]["reason"] == "Refused"


@pytest.mark.parametrize("path", [HPAS, KEDA, "/apis/keda.sh"])
def test_scalers_that_cannot_be_read_are_not_taken_for_none(run: Any, cluster: Cluster, path: str) -> None:
    run(FULL)
    cluster.answers[f"GET {path}"] = Answer(403, {"message": "no"})
    result = run(STOPPED)
    assert cluster.writes == [] and "(status 403: no)" in result["msg"] and "is not known" in result["msg"]
    assert "failed" not in run(ABSENT), "and who does not need to know is not held up by it"


def test_a_cluster_without_keda_has_no_scaled_objects(run: Any, cluster: Cluster) -> None:
    run(FULL)
    cluster.answers["GET /apis/keda.sh"] = Answer(404, {"message": "the server could not find the requested resource"})
    assert "failed" not in run(STOPPED)
    assert not [call for call in cluster.calls if call.path == KEDA]


# --- one bad client does not hold up the others ---------------------------------------------------------------------


NONE = {**CLIENT, "kind": "Deployment", "name": "none"}


@pytest.mark.parametrize("check", [False, True])
def test_the_others_are_repaired_and_every_name_is_told(run: Any, cluster: Cluster, check: bool) -> None:
    another(cluster)
    cluster.objects[OTHER_WORKLOAD]["spec"]["template"]["spec"]["hostNetwork"] = True
    before = copy.deepcopy(cluster.objects[OTHER_WORKLOAD]["spec"])
    result = run(OTHER, NONE, FULL, _ansible_check_mode=check)
    assert result["failed"] is True and result["failure"]["reason"] == "Refused" and result["changed"] is True
    assert attached(cluster) is not check and cluster.objects[OTHER_WORKLOAD]["spec"] == before
    assert not [path for path in cluster.writes if "sabnzbd" in path]
    assert [(one["name"], one["action"], one["state"]) for one in result["clients"]] == [
        ("sabnzbd", "refused", "stopped"),
        ("none", "refused", "missing"),
        ("qbittorrent", "attach", "attached"),
    ]
    assert result["msg"].splitlines()[1:] == [
        'Deployment downloads/none: name is "none": there is no such workload; create it first or correct the name.',
        "This concerns StatefulSet downloads/sabnzbd, Deployment downloads/none; no other client had to wait for that.",
    ]
    assert [one["object"] for one in result["problems"]] == [
        "StatefulSet downloads/sabnzbd",
        "Deployment downloads/none",
    ]


def test_what_is_wrong_with_one_may_be_left_to_the_caller(run: Any, cluster: Cluster) -> None:
    result = run(NONE, FULL, defer=True)
    assert "failed" not in result and result["failure"]["reason"] == "Refused" and attached(cluster)
    assert cluster.warnings == [result["msg"]]
    cluster.answers["GET /apis/apps/v1/statefulsets"] = Answer(403, {"message": "no"})
    assert run(FULL, defer=True)["failed"] is True, "what concerns all is not"


def test_a_client_whose_gateway_is_not_set_up_does_not_hold_up_the_others(run: Any, cluster: Cluster) -> None:
    another(cluster)
    gateways = [GATEWAY, {**GATEWAY, "name": "second"}]
    result = run({**OTHER, "gateway": "second"}, FULL, gateways=gateways)
    assert attached(cluster) and "the gateway has not been set up" in result["msg"]
    assert "This concerns StatefulSet downloads/sabnzbd; no other" in result["msg"]


def test_a_client_that_is_refused_keeps_what_it_shares_with_one_that_leaves(run: Any, cluster: Cluster) -> None:
    another(cluster)
    run(FULL, OTHER)
    cluster.objects[OTHER_WORKLOAD]["spec"].update(RETENTION, replicas=1)
    result = run(OTHER_ABSENT, OPEN)
    assert result["failed"] is True and not attached(cluster) and NETPOL not in cluster.objects
    assert OTHER_NETPOL in cluster.objects and [path for path in cluster.objects if "bulkhead-agent" in path]
    assert [path for path in cluster.objects if "bulkhead-endpoints" in path]
    clients = json.loads(cluster.objects[REGISTRY]["data"]["registry.json"])["gateways"]["vpnarr"]["clients"]
    assert list(clients) == ["downloads.sabnzbd"]


def test_no_room_for_one_is_no_matter_of_the_others(run: Any, cluster: Cluster) -> None:
    another(cluster)
    result = run({**OTHER, "replicas": 400}, FULL)
    assert attached(cluster) and "400 consecutive addresses are not free" in result["msg"]
    assert result["clients"][0]["action"] == "refused" and OTHER_NETPOL not in cluster.objects


def test_a_registry_that_cannot_be_read_holds_up_its_own_clients_only(run: Any, cluster: Cluster) -> None:
    another(cluster)
    broken = REGISTRY.replace("/vpn/", "/vpn2/")
    cluster.put(broken, {**_registry.config_map("vpn2", {"gateways": {}}), "data": {"registry.json": "{"}})
    gateways = [GATEWAY, {**GATEWAY, "name": "second", "namespace": "vpn2"}]
    result = run({**OTHER, "gateway": "second"}, FULL, gateways=gateways)
    assert attached(cluster) and "it is not a registry" in result["msg"]
    assert cluster.objects[broken]["data"] == {"registry.json": "{"}


@pytest.mark.parametrize(
    "refused",
    [f"PATCH {OTHER_NETPOL}", f"PATCH {ADMISSION.replace('qbittorrent', 'sabnzbd')}", f"PATCH {OTHER_WORKLOAD}"],
)
def test_a_write_that_fails_for_one_is_no_matter_of_the_others(run: Any, cluster: Cluster, refused: str) -> None:
    another(cluster)
    cluster.answers[refused] = Answer(500, {"message": "not for you"})
    result = run(OTHER, FULL)
    assert attached(cluster) and result["clients"][1]["state"] == "attached"
    assert "not for you" in result["msg"] and result["failed"] is True
    assert "This concerns StatefulSet downloads/sabnzbd; no other client had to wait for that." in result["msg"]
    assert "bulkhead-guard" not in json.dumps(cluster.objects[OTHER_WORKLOAD])


def test_a_write_that_fails_for_all_is_told_once_with_their_names(run: Any, cluster: Cluster) -> None:
    another(cluster)
    cluster.answers[f"PATCH {REGISTRY}"] = Answer(500, {"message": "not for you"})
    result = run(OTHER, FULL)
    assert result["msg"].count("not for you") == 1 and not attached(cluster)
    assert result["msg"].endswith("This concerns StatefulSet downloads/sabnzbd, StatefulSet downloads/qbittorrent.")


def test_the_gateways_own_objects_are_no_secret_failure(run: Any, cluster: Cluster) -> None:
    """Its policy has to follow the registry; who is not concerned by it is told all the same."""
    run(FULL)
    run(ABSENT)
    cluster.put(GATEWAY_POLICY, {**cluster.objects[GATEWAY_POLICY], "spec": {"podSelector": {}}})
    cluster.answers[f"PATCH {GATEWAY_POLICY}"] = Answer(500, {"message": "not for you"})
    another(cluster)
    gateways = [GATEWAY, {**GATEWAY, "name": "second"}]
    registry = {
        "gateways": {
            one: {"vni": 7000 + n, "port": 14789, "network": f"10.222.{n}.0/24", "clients": {}}
            for n, one in enumerate(("vpnarr", "second"))
        }
    }
    cluster.put(REGISTRY, _registry.config_map("vpn", registry))
    result = run({**OTHER, "gateway": "second"}, gateways=gateways)
    assert "not for you" in result["msg"] and result["failed"] is True


def test_without_a_connection_nothing_goes_on(run: Any, cluster: Cluster) -> None:
    another(cluster)
    cluster.answers[f"PATCH {OTHER_NETPOL}"] = KubeError("it is gone", reason="Unreachable")
    result = run(OTHER, FULL)
    assert result["failure"]["reason"] == "Unreachable" and not attached(cluster) and cluster.writes == []


def test_all_problems_at_once_and_nothing_written(run: Any, cluster: Cluster) -> None:
    cluster.objects[WORKLOAD]["spec"]["template"]["spec"]["hostNetwork"] = True
    result = run(
        {**FULL, "egress": [{"service": "core/nothing", "ports": [1]}]},
        {**CLIENT, "kind": "Deployment", "name": "none"},
    )
    assert cluster.writes == [] and result["failure"]["reason"] == "Refused"
    assert [(one["object"], one["path"]) for one in result["problems"]] == [
        ("StatefulSet downloads/qbittorrent", "spec.template.spec.hostNetwork"),
        ("StatefulSet downloads/qbittorrent", "egress[0].service"),
        ("Deployment downloads/none", "name"),
    ]
    assert result["msg"].count("\n") == 2


@pytest.mark.parametrize("clients", [["x"], [{"kind": "DaemonSet"}]])
def test_bad_list_asks_the_cluster_nothing(run: Any, cluster: Cluster, clients: Any) -> None:
    result = run(*clients)
    assert result["failure"]["reason"] == "Refused" and cluster.calls == []


def test_tampered_workload_is_not_detached(run: Any, cluster: Cluster) -> None:
    run(FULL)
    guard = cluster.objects[WORKLOAD]["spec"]["template"]["spec"]["initContainers"][0]
    guard["image"] = "example.org/evil:1"
    for leaving in (STOPPED, OPEN):
        result = run(leaving)
        assert cluster.writes == [] and "somebody changed it after it was attached" in result["msg"]
    run(ABSENT)
    assert cluster.objects[WORKLOAD]["spec"]["replicas"] == 0, "sealing does not touch the template"
    assert "evil" not in json.dumps(cluster.objects[ADMISSION]), "and never accepts an edited guard"
    run(FULL)
    assert "evil" not in json.dumps(cluster.objects[ADMISSION]), "an edited guard is never accepted"


def test_client_that_left_the_list_is_an_orphan_and_stays(run: Any, cluster: Cluster) -> None:
    run(FULL)
    before = cluster.stored()
    result = run()
    assert result["changed"] is False and cluster.stored() == before
    assert [(one["kind"], one["name"], one["client"]) for one in result["orphans"]] == [
        ("StatefulSet", "qbittorrent", "downloads.qbittorrent"),
        ("NetworkPolicy", "bulkhead-vpn-client-qbittorrent", "downloads.qbittorrent"),
        ("ValidatingAdmissionPolicy", "bulkhead-vpn-client.downloads.qbittorrent", "downloads.qbittorrent"),
        ("ValidatingAdmissionPolicy", "bulkhead-vpn-workload.downloads.qbittorrent", "downloads.qbittorrent"),
        ("ConfigMap", "bulkhead-vpn-registry", "downloads.qbittorrent"),
    ]


def test_both_guards_are_accepted_until_all_pods_have_the_new_one(run: Any, cluster: Cluster) -> None:
    run(FULL)
    seen = []
    cluster.after_write = lambda one: seen.append(json.dumps(one.objects[ADMISSION]).count("netshoot"))
    result = run(FULL, agent_image="example.org/agent:2")
    assert result["clients"][0]["action"] == "update"
    assert seen[0] == 2 and seen[-1] == 0, "the old image of guard and overlay"
    assert cluster.writes[-2] == f"PATCH {ADMISSION}"


def test_one_list_for_each_kind(run: Any, cluster: Cluster) -> None:
    run(FULL)
    run(FULL)
    paths = [call.path for call in cluster.calls]
    assert len(paths) == len(set(paths)) and len(paths) <= 20


def names(count: int) -> list[str]:
    return [f"client-{number:03}" for number in range(count)]


def house(cluster: Cluster, count: int) -> list[Any]:
    """So many workloads of one pod each, running; their entries in the list of clients."""
    for name in names(count):
        labels = {"app": name}
        spec = copy.deepcopy(PLAIN["spec"])
        spec.update(replicas=1, selector={"matchLabels": labels})
        spec["template"]["metadata"]["labels"] = dict(labels)
        metadata = {"name": name, "namespace": "downloads"}
        cluster.put(
            f"{WORKLOAD.rpartition('/')[0]}/{name}", {"kind": "StatefulSet", "metadata": metadata, "spec": spec}
        )
    cluster.settle()
    return [{**CLIENT, "name": name} for name in names(count)]


def node(name: str, cpu: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {}, "status": {"allocatable": {"cpu": cpu}}}


def guarded_pods(cluster: Cluster) -> list[str]:
    found = [one for path, one in cluster.objects.items() if path.startswith(PODS) and "client-" in path]
    return sorted(one["metadata"]["name"][:-2] for one in found if one["spec"].get("initContainers"))


def test_requests_grow_by_a_constant_per_client(run: Any, cluster: Cluster) -> None:
    """However long it takes: a wait asks for lists, and not for each client."""
    asked = {}
    for count, looks in ((20, 6), (40, 6), (40, 18)):
        cluster.starting = 0
        clients = house(cluster, count)
        cluster.starting = looks
        result = run(*clients, max_parallel=100)
        assert "failed" not in result and {one["state"] for one in result["clients"]} == {"attached"}
        asked[count, looks] = len(cluster.calls)
        run(*({**one, "state": "absent", "detach_to": "open"} for one in clients))
        for path in [path for path in cluster.objects if "/client-" in path]:
            del cluster.objects[path]
    each = (asked[40, 6] - asked[20, 6]) / 20
    assert each <= 9  # policy written and read, admission (two), two trials, template, and what is there to spare
    assert asked[40, 18] - asked[40, 6] == 2 * 12  # one list of pods and one of workloads for every look


def test_admission_is_asked_for_one_client_until_it_is_in_force(run: Any, cluster: Cluster) -> None:
    clients = house(cluster, 10)
    cluster.admitted_before_effective = 6
    run(*clients)
    trials = judged(cluster)
    assert len(trials) == 6 + 2 * len(clients)


def test_templates_change_in_waves_when_everything_that_protects_is_there(run: Any, cluster: Cluster) -> None:
    clients = house(cluster, 10)
    cluster.objects["/api/v1/nodes/a"] = node("a", "1")
    cluster.starting, cluster.most = 3, 0
    result = run(*clients)
    assert "failed" not in result and guarded_pods(cluster) == names(10)
    assert cluster.most == 4  # for one processor
    patches = [index for index, write in enumerate(cluster.writes) if "/statefulsets/" in write]
    assert all("/statefulsets/" in write or "/pods/" in write for write in cluster.writes[patches[0] :]), (
        "policy, admission and registration of all are there before the first template changes"
    )
    assert len(patches) == 10


def test_a_run_killed_between_waves_leaves_the_rest_untouched_behind_their_protection(
    run: Any, cluster: Cluster
) -> None:
    clients = house(cluster, 5)
    run(*clients, max_parallel=2, stop="attach.template/1")
    changed = [
        path
        for path, one in cluster.objects.items()
        if "/statefulsets/client-" in path and "initContainers" in str(one)
    ]
    assert [path.rpartition("/")[2] for path in changed] == names(2)
    protected = [path for path in cluster.objects if "/networkpolicies/bulkhead-vpn-client-client-" in path]
    refusing = [path for path in cluster.objects if "/validatingadmissionpolicybindings/bulkhead-vpn-client." in path]
    assert len(protected) == len(refusing) == 5
    result = run(*clients, max_parallel=2)
    assert "failed" not in result, result["msg"]
    assert guarded_pods(cluster) == names(5)
    assert run(*clients)["changed"] is False


def test_a_tunnel_that_is_down_holds_up_no_wave(run: Any, cluster: Cluster, monkeypatch: Any) -> None:
    clients = house(cluster, 6)
    cluster.tunnel = False
    clock = iter(range(0, 100000, 3))
    monkeypatch.setattr(_run._rollouts.Rollouts.__init__, "__defaults__", (lambda: float(next(clock)),))
    result = run(*clients, max_parallel=2)
    assert result["failed"] is True and result["failure"]["reason"] == "NotReady"
    assert guarded_pods(cluster) == names(6)
    assert {one["state"] for one in result["clients"]} == {"sealed"}


def test_one_workload_that_changed_does_not_hold_up_the_others(run: Any, cluster: Cluster) -> None:
    clients = house(cluster, 4)
    first = f"{WORKLOAD.rpartition('/')[0]}/{names(1)[0]}"

    def edit(one: Cluster) -> None:
        if one.writes[-1].endswith("bulkhead-endpoints-vpn"):
            edited = copy.deepcopy(one.objects[first])
            edited["spec"]["template"]["spec"]["containers"][0]["image"] = "example.org/other:1"
            one.put(first, edited)

    cluster.after_write = edit
    result = run(*clients, max_parallel=1)
    assert result["failure"]["reason"] == "Changed" and "client-000" in result["msg"]
    assert guarded_pods(cluster) == names(4)[1:]


@pytest.mark.parametrize("number", [0, -1])
def test_a_number_that_lets_nobody_start(run: Any, cluster: Cluster, number: int) -> None:
    result = run(FULL, max_parallel=number)
    assert result["msg"] == (
        f"VPN clients: bulkhead_vpn_max_parallel is {number}: no pod could ever start; give at least 1, or leave it out."
    )
    assert cluster.calls == []
