# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from ansible.module_utils.testing import patch_module_args

from ansible_collections.bulkhead.mesh.plugins.module_utils import _vpn_gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _registry
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _gateway_ready
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer
from ansible_collections.bulkhead.mesh.plugins.modules import vpn_gateway

PRIVATE, PUBLIC = (base64.b64encode(letter * 32).decode() for letter in (b"p", b"q"))
TEXT = f"""[Interface]
PrivateKey = {PRIVATE}
Address = 10.66.0.2/32
DNS = 10.66.0.1
[Peer]
PublicKey = {PUBLIC}
AllowedIPs = 0.0.0.0/0
Endpoint = 198.51.100.2:51820
"""
ARR = {"name": "vpnarr", "namespace": "vpn", "config_secret": "mullvad"}
IMAGES = {"engine": "engine:1"}
REGISTRY = "/api/v1/namespaces/vpn/configmaps/bulkhead-vpn-registry"
STATEFUL_SET = "/apis/apps/v1/namespaces/vpn/statefulsets/vpnarr"
SETS = [("bulkhead-vpn", "kube-system"), ("bulkhead-vpn-namespace", "vpn"), ("bulkhead-vpn-gateway-vpnarr", "vpn")]
POD: dict[str, Any] = {
    "metadata": {
        "name": "vpnarr-0",
        "namespace": "vpn",
        "labels": {"controller-revision-hash": "r1"},
        "ownerReferences": [{"kind": "StatefulSet", "name": "vpnarr", "controller": True}],
    },
    "spec": {"initContainers": [], "containers": [{"name": "engine"}, {"name": "bulkhead-gateway"}]},
}


def pod(ready: bool, **states: Any) -> dict[str, Any]:
    """The gateway's pod; ``states`` are container statuses by name with _ for -."""
    statuses = [{"name": name.replace("_", "-"), **state} for name, state in states.items()]
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {**POD, "status": {"phase": "Running", "conditions": conditions, "containerStatuses": statuses}}


READY = pod(True)
SILENT = pod(False, engine={"state": {"running": {}}, "ready": True}, bulkhead_gateway={"state": {"running": {}}})


class Cluster:
    """Objects by path, lists by path, and everything that was asked; ``denied`` are paths that answer 403."""

    def __init__(self, secret: Any = TEXT, registry: Any = None, found: Any = ..., log: Any = None) -> None:
        self.target = Target("127.0.0.1:6443", "context lab")
        self.objects: dict[str, Any] = {"/api/v1/namespaces/vpn": {}}
        if secret is not None:
            data = {"wg0.conf": base64.b64encode(secret.encode()).decode()}
            metadata = {"uid": "u", "resourceVersion": "5"}
            self.objects["/api/v1/namespaces/vpn/secrets/mullvad"] = {"metadata": metadata, "data": data}
        if registry is not None:
            self.hold(registry)
        self.pods, self.log = [READY if found is ... else found], log or {"event": "tunnel_up"}
        self.writes: list[tuple[str, str, Any]] = []
        self.sets: list[tuple[tuple[str, str], list[str]]] = []
        self.denied: set[str] = set()
        self.lists: dict[str, list[Any]] = {"configmaps": [], "statefulsets": [], "deployments": []}
        self.asked: list[str] = []
        self.warnings: list[str] = []
        self.trials: list[Any] = []  # pods that were tried, each with "deleted" after it
        self.states: dict[str, Any] = {}  # of a tried container, by image
        self.refusal = ""

    def hold(self, registry: Any) -> None:
        held = _registry.config_map("vpn", registry)
        held["metadata"]["resourceVersion"] = "7"
        self.objects[REGISTRY] = held

    def _trial(self, body: Any, dry: bool) -> Answer:
        if self.refusal:
            return Answer(403, {"reason": "Forbidden", "message": self.refusal})
        if not dry:
            self.trials.append(body)
            ended = {"terminated": {"exitCode": 0}}
            statuses = [
                {"name": one["name"], "imageID": "sha256:1", "state": self.states.get(one["image"], ended)}
                for one in body["spec"]["containers"]
            ]
            self.objects[f"/api/v1/namespaces/vpn/pods/{body['metadata']['name']}"] = {
                **body,
                "status": {"phase": "Pending", "containerStatuses": statuses},
            }
        return Answer(201, {})

    def started(self) -> None:
        metadata = {"name": "vpnarr", "namespace": "vpn", "generation": 1}
        status = {"observedGeneration": 1, "updateRevision": "r1"}
        self.objects[STATEFUL_SET] = {"metadata": metadata, "spec": {"replicas": 1}, "status": status}

    def call(self, request: Any) -> Answer:
        self.asked.append(f"{request.method} {request.path}")
        if request.path in self.denied:
            return Answer(403, {"reason": "Forbidden", "message": "no"})
        if request.method != "GET":
            assert not request.query.get("dryRun") or request.query["dryRun"] == "All"
            # With a body the API server looks for it there alone.
            trials = (request.body or {}).get("dryRun", []) if request.method == "DELETE" and request.body else ["All"]
            dry = "dryRun" in request.query and trials == ["All"]
            if request.method == "POST" and request.path.endswith("/pods"):
                return self._trial(request.body, dry)
            if "/pods/bulkhead-trial-" in request.path:
                self.trials.append("deleted")
                return Answer(200, {})
            self.writes.append((f"{'dry ' if dry else ''}{request.method}", request.path, request.body))
            if request.method == "POST" and not dry:
                self.objects[f"{request.path}/{request.body['metadata']['name']}"] = request.body
            return Answer(200, {})
        if request.path == "/api/v1/configmaps":
            assert request.query["labelSelector"] == "bulkhead.mesh/role=vpn-registry"
            return Answer(200, {"items": [self.objects[REGISTRY]] if REGISTRY in self.objects else []})
        if request.path.rpartition("/")[2] in self.lists:
            return Answer(200, {"items": self.lists[request.path.rpartition("/")[2]]})
        if request.path.endswith("/pods"):
            return Answer(200, {"items": self.pods})
        if request.path.endswith("/events"):
            events = [{"involvedObject": {"name": "vpnarr"}, "message": "pods vpnarr-0 is forbidden", "metadata": {}}]
            return Answer(200, {"items": events})
        if request.path.endswith("/log"):
            return Answer(200, self.log)
        found = self.objects.get(request.path)
        return Answer(404, {"message": "not found"}) if found is None else Answer(200, found)


@pytest.fixture
def run(monkeypatch: Any, capsys: Any) -> Any:
    """Run the module on a fake cluster; sets are only recorded. Answers result and everything that was printed."""

    def go(cluster: Cluster, changed: bool = True, **params: Any) -> Any:
        def apply(self: Any, owner: Any, objects: Any) -> None:
            cluster.sets.append((owner, [f"{one['kind']} {one['metadata']['name']}" for one in objects]))
            self.changed = self.changed or changed
            if not self.check and any(one["kind"] == "StatefulSet" for one in objects):
                cluster.started()

        monkeypatch.setattr(_client, "Client", lambda given: cluster)
        # Where Ansible puts warnings depends on what else the process has imported.
        monkeypatch.setattr(vpn_gateway.AnsibleModule, "warn", lambda self, text: cluster.warnings.append(text))
        monkeypatch.setattr(_vpn_gateway.Run, "apply_objects", apply)
        params = {"gateways": [ARR], "images": IMAGES, "wait_timeout": 0, **params}
        with patch_module_args(params), pytest.raises(SystemExit):
            vpn_gateway.main()
        out = capsys.readouterr()
        return json.loads(out.out), out.out + out.err

    return go


def registered(clients: Any = None) -> dict[str, Any]:
    link = {"vni": 7001, "port": 14789, "network": "10.222.1.0/24", "clients": clients or {}}
    return {"gateways": {"vpnarr": link}}


QBIT = {"downloads.qbit": {"namespace": "downloads", "first_index": 2, "size": 1}}


def test_a_gateway_is_set_up_in_the_order_that_protects(run: Any) -> None:
    cluster = Cluster()
    result, printed = run(cluster)
    assert "failed" not in result, result
    assert [owner for owner, dummy in cluster.sets] == SETS
    assert cluster.sets[2][1][-1] == "StatefulSet vpnarr"
    writes = [(method, path) for method, path, dummy in cluster.writes]
    assert writes == [
        ("POST", "/api/v1/namespaces/vpn/configmaps"),
        ("POST", "/api/v1/namespaces/vpn/configmaps"),
    ]
    assert json.loads(cluster.writes[0][2]["data"]["registry.json"]) == registered()
    assert cluster.writes[1][2]["immutable"] is True
    assert (result["changed"], result["orphans"]) == (True, [])
    assert result["gateways"] == [
        {
            "name": "vpnarr",
            "namespace": "vpn",
            "vni": 7001,
            "port": 14789,
            "network": "10.222.1.0/24",
            "endpoint": "198.51.100.2:51820",
            "clients": [],
        }
    ]


def test_second_run_writes_nothing(run: Any) -> None:
    cluster = Cluster()
    run(cluster)
    cluster.hold(registered())
    cluster.writes.clear()
    result, dummy = run(cluster, changed=False)
    assert (result["changed"], cluster.writes) == (False, [])


def test_no_key_is_ever_shown(run: Any) -> None:
    for cluster in (
        Cluster(),
        Cluster(found=SILENT, log={"event": "engine_failed", "detail": f"key {PRIVATE} is bad"}),
    ):
        result, printed = run(cluster, _ansible_diff=True, _ansible_verbosity=4)
        assert PRIVATE not in printed and base64.b64encode(TEXT.encode()).decode() not in printed


def test_check_mode_only_tries(run: Any) -> None:
    cluster = Cluster()
    result, dummy = run(cluster, _ansible_check_mode=True, _ansible_diff=True)
    assert result["changed"] is True
    assert {method for method, dummy, dummy in cluster.writes} == {"dry POST"}
    assert not any(one.startswith("GET /api/v1/namespaces/vpn/pods") for one in cluster.asked)  # nothing to wait for
    assert cluster.trials == [] and any("not proven: no pod is made in check mode" in one for one in cluster.warnings)
    assert result["diff"][0]["after_header"] == "ConfigMap vpn/bulkhead-vpn-registry"


NOT_FOUND = {
    "waiting": {
        "reason": "ErrImagePull",
        "message": 'failed to resolve reference "engine:1": docker.io/library/engine:1: not found',
    }
}


def test_a_wrong_image_is_told_before_anything_is_written(run: Any) -> None:
    cluster = Cluster()
    cluster.states["engine:1"] = NOT_FOUND
    result, dummy = run(cluster)
    assert result["msg"] == (
        "VPN gateway vpn/vpnarr was not set up: image engine:1 cannot be pulled: failed to resolve reference "
        '"engine:1": docker.io/library/engine:1: not found; correct the image\'s name and tag, or let its node pull it, '
        "for example by a pull secret at the service account that the pod runs under."
    )
    assert (result["changed"], cluster.writes, cluster.sets) == (False, [], [])
    assert cluster.trials[-1] == "deleted" and result["failure"]["reason"] == "NotProven"


def test_an_image_without_tools_is_told(run: Any) -> None:
    cluster = Cluster()
    cluster.states["engine:1"] = {"terminated": {"exitCode": 1, "message": "it lacks nft, wg\n"}}
    result, dummy = run(cluster)
    assert "image engine:1 cannot be used: it lacks nft, wg (exit code 1)" in result["msg"] and cluster.sets == []


def test_what_the_server_refuses_is_told_in_its_words(run: Any) -> None:
    cluster = Cluster()
    cluster.refusal = 'pods "x" is forbidden: violates PodSecurity "baseline:latest": non-default capabilities'
    result, dummy = run(cluster)
    assert result["msg"] == (
        f"VPN gateway vpn/vpnarr was not set up: the API server refuses its pod: {cluster.refusal}; allow it there."
    )
    assert (cluster.writes, cluster.sets, cluster.trials) == ([], [], [])
    result, dummy = run(cluster, _ansible_check_mode=True)  # what it depends on may still be made
    assert "failed" not in result and "violates PodSecurity" in "".join(cluster.warnings)


def test_a_running_gateway_is_proven_on_its_node_and_stays(run: Any) -> None:
    cluster = Cluster()
    run(cluster)
    sound = {"containerStatuses": [{"name": "engine", "state": {"running": {}}, "imageID": "sha256:1", "ready": True}]}
    labels = {"bulkhead.mesh/role": "gateway", "bulkhead.mesh/vpn-gateway": "vpnarr", "controller-revision-hash": "r1"}
    spec = {"nodeName": "n1", "containers": [{"name": "engine", "image": "engine:0"}]}
    cluster.pods = [{**READY, "metadata": {**POD["metadata"], "labels": labels}, "spec": spec}]
    cluster.pods[0]["status"] = {**READY["status"], **sound}
    cluster.objects["/api/v1/nodes/n1"] = {
        "metadata": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    cluster.trials.clear(), cluster.sets.clear()
    cluster.states["engine:1"] = NOT_FOUND
    result, dummy = run(cluster)
    where = cluster.trials[0]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert where["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["n1"]
    assert result["msg"].startswith(
        "VPN gateway vpn/vpnarr stays as it was: on node n1, image engine:1 cannot be pulled"
    )
    assert cluster.sets == []


def test_a_gateway_that_stays_as_it_is_needs_no_proof(run: Any) -> None:
    cluster = Cluster()
    run(cluster)
    plan_ = _vpn_gateway._gateway.stateful_set
    made: list[Any] = []
    template = {}

    def keep(plan: Any, shared: Any) -> Any:
        made.append(plan_(plan, shared))
        return made[-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_vpn_gateway._gateway, "stateful_set", keep)
        run(cluster)
    template = made[-1]["spec"]["template"]
    cluster.objects[STATEFUL_SET]["spec"]["template"] = template
    cluster.trials.clear(), cluster.asked.clear()
    run(cluster, changed=False)
    assert cluster.trials == [] and "GET /api/v1/pods" not in cluster.asked


def test_missing_secret(run: Any) -> None:
    result, dummy = run(cluster := Cluster(secret=None))
    assert result["msg"] == (
        'VPN gateway vpn/vpnarr: config_secret is "vpn/mullvad": there is no such Secret; '
        "create it from the provider's file under the key wg0.conf, or correct the name."
    )
    assert (result["changed"], cluster.writes, cluster.sets) == (False, [], [])
    result, dummy = run(cluster := Cluster(secret=None), _ansible_check_mode=True)
    assert result["changed"] is True and "there is no such Secret" in cluster.warnings[0]
    assert result["gateways"][0]["endpoint"] is None
    assert [owner for owner, dummy in cluster.sets] == SETS[:1]


def test_missing_namespace(run: Any) -> None:
    cluster = Cluster(secret=None)
    del cluster.objects["/api/v1/namespaces/vpn"]
    result, dummy = run(cluster)
    assert "there is no such namespace" in result["msg"] and cluster.writes == []
    result, dummy = run(cluster, _ansible_check_mode=True)
    assert "failed" not in result and result["changed"] is True


def test_all_that_is_wrong_is_named_at_once(run: Any) -> None:
    cluster = Cluster()
    gateways = [{**ARR, "vni": 0}, {"name": "Bad", "namespace": "vpn", "config_secret": "a"}]
    result, dummy = run(cluster, gateways=gateways)
    assert [one["path"] for one in result["problems"]] == [
        "bulkhead_vpn_gateways[0].vni",
        "bulkhead_vpn_gateways[1].name",
    ]
    assert cluster.asked == []
    options = {"dns": ["one"], "cluster_networks": {"pods": ["x"]}, "images": {}}
    result, dummy = run(cluster, **options)
    assert [one["object"] for one in result["problems"]] == ["dns", "cluster_networks", "images"]
    assert cluster.asked == []


def test_bad_configuration(run: Any) -> None:
    cluster = Cluster(secret=TEXT.replace(PRIVATE, "nonsense"))
    result, dummy = run(cluster)
    assert "PrivateKey of the WireGuard configuration is not a key" in result["msg"] and "nonsense" not in result["msg"]
    assert cluster.writes == [] and cluster.sets == []


SECOND = {**ARR, "name": "second", "config_secret": "other"}


@pytest.mark.parametrize("order", [1, -1])
def test_one_without_its_secret_holds_up_no_other_one(run: Any, order: int) -> None:
    result, dummy = run(cluster := Cluster(), gateways=[ARR, SECOND][::order])
    assert result["failed"] is True and result["changed"] is True and result["failure"]["reason"] == "Refused"
    assert [one["name"] for one in result["gateways"]] == ["vpnarr"] and SETS[2] in [one for one, dummy in cluster.sets]
    assert result["msg"].endswith("This concerns VPN gateway vpn/second; no other gateway had to wait for that.")
    assert [one["object"] for one in result["problems"]] == ["VPN gateway vpn/second"]
    (made,) = [
        body for method, path, body in cluster.writes if method == "POST" and body["metadata"]["name"] in REGISTRY
    ]
    assert "second" not in made["data"]["registry.json"], "no client may count on it"


def test_one_that_was_set_up_stays_registered_while_it_cannot_be_judged(run: Any) -> None:
    registry = registered(QBIT)
    registry["gateways"]["second"] = {**registry["gateways"]["vpnarr"], "vni": 7002, "network": "10.222.2.0/24"}
    registry["gateways"]["second"]["clients"] = {}
    result, dummy = run(cluster := Cluster(registry=registry), gateways=[SECOND, ARR])
    assert "there is no such Secret" in result["msg"] and result["gateways"][0]["clients"] == ["downloads.qbit"]
    assert not [path for method, path, dummy in cluster.writes if path == REGISTRY]


def test_a_secret_that_may_not_be_read_is_a_matter_of_its_gateway(run: Any) -> None:
    cluster = Cluster()
    cluster.denied.add("/api/v1/namespaces/vpn/secrets/other")
    result, dummy = run(cluster, gateways=[SECOND, ARR])
    assert result["failure"]["code"] == 403 and [one["name"] for one in result["gateways"]] == ["vpnarr"]
    assert "This concerns VPN gateway vpn/second; no other" in result["msg"]


def test_numbers_that_clash_hold_up_no_other_one(run: Any) -> None:
    registry = registered(QBIT)
    moved = {**ARR, "name": "third", "network": "10.222.1.0/25"}
    result, dummy = run(Cluster(registry=registry), gateways=[moved, ARR])
    assert [one["name"] for one in result["gateways"]] == ["vpnarr"]
    assert [one["object"] for one in result["problems"]] == ["VPN gateway vpn/third"]


def test_one_with_clients_stays_and_another_goes(run: Any) -> None:
    registry = registered(QBIT)
    registry["gateways"]["second"] = {**registry["gateways"]["vpnarr"], "vni": 7002, "network": "10.222.2.0/24"}
    registry["gateways"]["second"]["clients"] = {}
    gone = [{"name": name, "namespace": "vpn", "state": "absent"} for name in ("vpnarr", "second")]
    result, dummy = run(cluster := Cluster(registry=registry), gateways=gone, images={})
    assert "clients are behind it: downloads.qbit" in result["msg"]
    assert [(owner[0], bool(objects)) for owner, objects in cluster.sets][1:] == [
        ("bulkhead-vpn-gateway-second", False)
    ]


def test_removal(run: Any) -> None:
    cluster = Cluster(registry=registered())
    result, dummy = run(cluster, gateways=[{"name": "vpnarr", "namespace": "vpn", "state": "absent"}], images={})
    assert "failed" not in result
    assert cluster.sets == [(SETS[2], []), (SETS[1], []), (SETS[0], [])]
    assert [(method, path) for method, path, dummy in cluster.writes] == [("DELETE", REGISTRY)]


def test_removal_takes_agents_that_nobody_uses(run: Any) -> None:
    def uses(kind: str, name: str, agent: str) -> dict[str, Any]:
        volumes = [{"name": "bulkhead-agent", "configMap": {"name": agent}}]
        return {"metadata": {"name": name}, "spec": {"template": {"spec": {"volumes": volumes}}}}

    cluster = Cluster(registry=registered())
    cluster.lists["configmaps"] = [{"metadata": {"name": f"bulkhead-agent-{number}"}} for number in (1, 12, 3)]
    cluster.lists["statefulsets"] = [uses("", "vpnarr", "bulkhead-agent-1"), uses("", "client", "bulkhead-agent-12")]
    cluster.lists["deployments"] = [uses("", "bulkhead-endpoints", "bulkhead-agent-1")]
    run(cluster, gateways=[{"name": "vpnarr", "namespace": "vpn", "state": "absent"}], images={})
    assert [path.rpartition("/")[2] for method, path, dummy in cluster.writes if method == "DELETE"] == [
        "bulkhead-vpn-registry",
        "bulkhead-agent-1",
        "bulkhead-agent-3",
    ]


def test_removal_leaves_what_others_need(run: Any) -> None:
    registry = registered()
    registry["gateways"]["stays"] = {**registry["gateways"]["vpnarr"], "vni": 7002, "network": "10.222.2.0/24"}
    cluster = Cluster(registry=registry)
    result, dummy = run(cluster, gateways=[{"name": "vpnarr", "namespace": "vpn", "state": "absent"}], images={})
    assert [(owner, bool(objects)) for owner, objects in cluster.sets] == [(SETS[0], True), (SETS[2], False)]
    method, path, body = cluster.writes[0]
    assert (method, path, len(cluster.writes)) == ("PATCH", REGISTRY, 1)
    assert body[0] == {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
    assert list(json.loads(body[1]["value"]["registry.json"])["gateways"]) == ["stays"]
    assert result["orphans"] == [{"name": "stays", "namespace": "vpn"}]


def test_removal_with_clients_is_refused(run: Any) -> None:
    cluster = Cluster(registry=registered(QBIT))
    result, dummy = run(cluster, gateways=[{"name": "vpnarr", "namespace": "vpn", "state": "absent"}], images={})
    assert "clients are behind it: downloads.qbit" in result["msg"]
    assert cluster.writes == [] and cluster.sets == []


def test_removal_with_clients_is_predicted(run: Any) -> None:
    """The same play may detach them before, and in check mode they are still there."""
    cluster = Cluster(registry=registered(QBIT))
    gone = [{"name": "vpnarr", "namespace": "vpn", "state": "absent"}]
    result, dummy = run(cluster, gateways=gone, images={}, _ansible_check_mode=True)
    assert "failed" not in result and result["changed"]
    assert [one for one in cluster.warnings if "clients are behind it: downloads.qbit" in one]
    assert (SETS[2], []) in cluster.sets
    assert [method for method, dummy, dummy2 in cluster.writes if not method.startswith("dry ")] == []


def test_clients_stay_registered(run: Any) -> None:
    cluster = Cluster(registry=registered(QBIT))
    result, dummy = run(cluster)
    assert result["gateways"][0]["clients"] == ["downloads.qbit"]
    assert [path for method, path, dummy in cluster.writes if method == "PATCH"] == []


def test_damaged_registry_stops_everything(run: Any) -> None:
    cluster = Cluster(registry=registered(QBIT))
    cluster.objects[REGISTRY]["data"]["registry.json"] = "{"
    result, dummy = run(cluster)
    assert "it is not a registry" in result["msg"] and cluster.writes == [] and cluster.sets == []


def test_forbidden_secret_is_no_missing_secret(run: Any) -> None:
    cluster = Cluster()
    cluster.denied.add("/api/v1/namespaces/vpn/secrets/mullvad")
    result, dummy = run(cluster, _ansible_check_mode=True)
    assert result["failure"]["code"] == 403 and "get secrets mullvad in vpn" in result["msg"]
    assert cluster.writes == []


@pytest.mark.parametrize(
    ("found", "log", "words"),
    [
        (
            SILENT,
            {"event": "tunnel_up"},
            "its tunnel has no handshake: nothing came back from the VPN server 198.51.100.2:51820; "
            "check the keys in Secret vpn/mullvad, and whether the server can be reached from the node.",
        ),
        (SILENT, {"event": "engine_failed", "detail": "wg failed."}, "its engine says: wg failed."),
        (
            pod(False, engine={"state": {"waiting": {"reason": "ImagePullBackOff"}}}),
            None,
            "its container engine is waiting: ImagePullBackOff.",
        ),
    ],
    ids=["wrong key", "engine", "image"],
)
def test_not_ready_says_why(run: Any, found: Any, log: Any, words: str) -> None:
    result, dummy = run(Cluster(found=found, log=log))
    assert result["failed"] is True and result["changed"] is True
    assert result["msg"] == f"VPN gateway vpn/vpnarr is not ready after 0 s: {words}"
    assert result["failure"]["reason"] == "NotReady"


def test_a_certain_failure_is_not_waited_for(run: Any) -> None:
    reason = {
        "reason": "ImagePullBackOff",
        "message": 'Back-off pulling image "engine:1": ErrImagePull: engine:1: not found',
    }
    cluster = Cluster(found=pod(False, engine={"state": {"waiting": reason}}))
    result, dummy = run(cluster, wait_timeout=600)
    assert result["msg"].startswith(
        "VPN gateway vpn/vpnarr will not get ready: its container engine: image ? cannot be pulled: engine:1: not found; "
    )


def test_a_tunnel_that_carries_nothing_may_be_left_to_the_caller(run: Any) -> None:
    cluster = Cluster(found=SILENT, log={"event": "tunnel_up"})
    result, dummy = run(cluster, defer=True)
    assert not result.get("failed") and result["changed"] is True
    assert result["failure"]["reason"] == "NotReady"
    assert result["msg"].startswith("VPN gateway vpn/vpnarr is not ready after 0 s: its tunnel has no handshake")
    assert cluster.warnings[-1] == result["msg"]


def test_so_may_one_without_its_secret(run: Any) -> None:
    result, dummy = run(Cluster(), gateways=[ARR, SECOND], defer=True)
    assert not result.get("failed") and result["failure"]["reason"] == "Refused" and result["problems"]


def test_what_concerns_all_is_not_left_to_the_caller(run: Any) -> None:
    cluster = Cluster()
    cluster.denied.add("/api/v1/configmaps")
    result, dummy = run(cluster, defer=True)
    assert result["failed"] is True and result["failure"]["code"] == 403
    result, dummy = run(Cluster(), defer=True, dns=["one.one.one.one"])
    assert result["failed"] is True
    assert result["msg"] == (
        'dns[0] is "one.one.one.one": a name server is given by its IPv4 address; write it like 10.64.0.1.'
    )


def test_pod_that_was_refused() -> None:
    cluster = Cluster()
    cluster.started()
    cluster.pods = []
    found = _gateway_ready.look(cluster, "vpn", "vpnarr", "server", "vpn/mullvad")
    assert not found.ready and "pods vpnarr-0 is forbidden" in found.evidence and not found.stale


def test_a_pod_of_an_older_template_that_is_not_ready_is_replaced(run: Any) -> None:
    old = json.loads(json.dumps(SILENT))
    old["metadata"]["labels"]["controller-revision-hash"] = "r0"
    old["metadata"]["uid"] = "uid-old"
    cluster = Cluster(found=old)
    run(cluster)
    deletes = [(path, body["preconditions"]) for method, path, body in cluster.writes if method == "DELETE"]
    assert deletes == [("/api/v1/namespaces/vpn/pods/vpnarr-0", {"uid": "uid-old"})]
    cluster = Cluster(found={**old, "status": READY["status"]})  # a Ready one is replaced by its controller
    run(cluster)
    assert not [path for method, path, dummy in cluster.writes if method == "DELETE"]


def test_a_name_without_addresses(monkeypatch: Any) -> None:
    def fail(*args: Any) -> Any:
        raise OSError

    monkeypatch.setattr(_vpn_gateway.socket, "getaddrinfo", fail)
    assert _vpn_gateway.lookup("se-01.example") == []
    answers = [(0, 0, 0, "", (address, 0)) for address in ("198.51.100.10", "198.51.100.9", "198.51.100.10")]
    monkeypatch.setattr(_vpn_gateway.socket, "getaddrinfo", lambda *args: answers)
    assert _vpn_gateway.lookup("se-01.example") == ["198.51.100.9", "198.51.100.10"]
