# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils import _agent
from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import config as conf
from ansible_collections.bulkhead.mesh.plugins.module_utils._agent.config import ConfigError
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _admission,
    _agent_files,
    _agent_source,
    _controller,
    _gateway,
    _gateway_flow,
    _resolver,
    _tunnel,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Gateway, Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._policy import Endpoint

FILES = {"__init__.py": "", "__main__.py": "print()"}
IMAGES = _gateway.Images("agent:1", "engine:1", "resolver:1")
SHARED = _gateway.Shared(FILES, IMAGES)
ARR = Gateway("vpnarr", "vpn", "mullvad", vni=7001, network="10.222.1.0/24")
PLAN = _gateway.Plan(ARR, Endpoint("198.51.100.2", 51820), ("10.66.0.1",), None, "wg0.conf", "uid.5")
REGISTRY = {
    "gateways": {
        "vpnarr": {
            "vni": 7001,
            "port": 14789,
            "network": "10.222.1.0/24",
            "clients": {
                "downloads.qbit": {
                    "namespace": "downloads",
                    "first_index": 2,
                    "size": 1,
                    "selector": {"matchLabels": {"app": "qbit"}},
                    "services": {"radarr.core": "10.96.3.4"},
                }
            },
        }
    }
}
PRIVATE = base64.b64encode(b"p" * 32).decode()
PUBLIC = base64.b64encode(b"q" * 32).decode()
TEXT = f"""\
[Interface]
PrivateKey = {PRIVATE}
Address = 10.66.0.2/32, fd00:66::2/128
DNS = 10.66.0.1, fd00:66::1
MTU = 1320
[Peer]
PublicKey = {PUBLIC}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = 198.51.100.2:51820 # the server
"""


def pod(plan=PLAN):
    return _gateway.stateful_set(plan, SHARED)["spec"]["template"]["spec"]


def container(name, plan=PLAN):
    spec = pod(plan)
    return next(one for one in [*spec["initContainers"], *spec["containers"]] if one["name"] == name)


def secret(text=TEXT, **keys):
    data = {"wg0.conf": text} if text is not None else {}
    data.update(keys)
    return {
        "metadata": {"uid": "uid", "resourceVersion": "5"},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


# --- the pod ---------------------------------------------------------------------------------------------


def test_at_most_one_pod():
    spec = _gateway.stateful_set(PLAN, SHARED)["spec"]
    assert (spec["replicas"], spec["podManagementPolicy"]) == (1, "Parallel")
    assert spec["template"]["metadata"]["labels"].items() >= spec["selector"]["matchLabels"].items()


def test_the_pod_is_in_no_mesh_and_has_no_token():
    template = _gateway.stateful_set(PLAN, SHARED)["spec"]["template"]
    assert template["metadata"]["labels"] == {
        "bulkhead.mesh/role": "gateway",
        "bulkhead.mesh/vpn-gateway": "vpnarr",
        "istio.io/dataplane-mode": "none",
        "sidecar.istio.io/inject": "false",
    }
    assert template["spec"]["automountServiceAccountToken"] is False
    assert "hostNetwork" not in template["spec"]


def test_nothing_asks_the_name_service_of_the_cluster():
    spec = pod()
    assert (spec["dnsPolicy"], spec["dnsConfig"]) == ("None", {"nameservers": ["10.222.1.1"]})


def test_the_firewall_is_there_before_anything_else():
    spec = pod()
    assert [one["name"] for one in spec["initContainers"]] == ["bulkhead-firewall"]
    assert "restartPolicy" not in spec["initContainers"][0]
    assert spec["initContainers"][0]["command"] == _agent_files.command(SHARED.agent, "firewall")


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("bulkhead-firewall", "NET_ADMIN"),
        ("engine", "NET_ADMIN"),
        ("bulkhead-gateway", "NET_ADMIN"),
        ("resolver", "NET_BIND_SERVICE"),
    ],
)
def test_each_container_has_one_capability(name, capability):
    security = container(name)["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": [capability]}
    assert security["readOnlyRootFilesystem"] is True
    assert (security["privileged"], security["allowPrivilegeEscalation"]) == (False, False)


def test_only_the_engine_sees_keys_and_device():
    spec = pod()
    for one in [*spec["initContainers"], *spec["containers"]]:
        mounted = {mount["name"] for mount in one["volumeMounts"]}
        assert (mounted & {"wireguard", "tun", "sockets"} != set()) is (one["name"] == "engine")
    volumes = {one["name"]: one for one in spec["volumes"]}
    assert volumes["wireguard"]["secret"] == {
        "secretName": "mullvad",
        "items": [{"key": "wg0.conf", "path": "wg0.conf", "mode": 0o400}],
        "defaultMode": 0o400,
    }
    assert volumes["tun"]["hostPath"] == {"path": "/dev/net/tun", "type": "CharDevice"}
    assert volumes["sockets"]["emptyDir"]["medium"] == "Memory"
    assert [name for name, one in volumes.items() if "hostPath" in one] == ["tun"]


def test_every_mount_has_its_volume():
    spec = pod()
    volumes = {one["name"] for one in spec["volumes"]}
    mounts = {mount["name"] for one in [*spec["initContainers"], *spec["containers"]] for mount in one["volumeMounts"]}
    assert mounts == volumes


def test_files_are_where_the_agent_looks():
    engine = {mount["name"]: mount for mount in container("engine")["volumeMounts"]}
    keeper = {mount["name"]: mount for mount in container("bulkhead-gateway")["volumeMounts"]}
    sources = Path(_agent.__file__).parent
    assert f'"{engine["wireguard"]["mountPath"]}/wg0.conf"' in (sources / "engine.py").read_text()
    assert f'"{engine["sockets"]["mountPath"]}"' in (sources / "engine.py").read_text()
    assert f'"{keeper["peers"]["mountPath"]}/peers"' in (sources / "gateway.py").read_text()


def test_the_agent_understands_its_configuration():
    for name in ("bulkhead-firewall", "engine", "bulkhead-gateway"):
        variables = {one["name"]: one.get("value") for one in container(name)["env"]}
        config = conf.from_environment(variables)
        assert isinstance(config, conf.Gateway)
        assert (str(config.endpoint.address), config.endpoint.port) == ("198.51.100.2", 51820)
        assert (config.vni, config.port, str(config.network), config.mtu) == (7001, 14789, "10.222.1.0/24", None)
        assert (config.tunnel_device, config.mark) == ("tun0", 0xCA6C)


@pytest.mark.parametrize(
    ("wanted", "configured", "expected"),
    [(None, 1320, 1320), (1280, 1320, 1280), (1400, 1320, 1320), (1280, None, 1280)],
)
def test_the_smaller_mtu_counts(wanted, configured, expected):
    plan = replace(PLAN, gateway=replace(ARR, mtu=wanted), mtu=configured)
    assert _gateway.agent_config(plan)["mtu"] == expected


def test_ready_is_what_the_agent_says():
    probe = container("bulkhead-gateway")["readinessProbe"]
    assert probe["httpGet"] == {"path": conf.HEALTH_PATH, "port": conf.HEALTH_PORT, "scheme": "HTTP"}
    # The kubelet waits longer than it takes to notice a silent tunnel twice; one lost look is none.
    assert probe["failureThreshold"] > 1


def test_a_changed_secret_rolls_the_pod():
    def annotations(version):
        made = _gateway.stateful_set(replace(PLAN, secret_version=version), SHARED)
        return made["spec"]["template"]["metadata"]["annotations"]

    assert annotations("a") != annotations("b")


def test_live_endpoint_is_read_back():
    assert _gateway.live_endpoint(_gateway.stateful_set(PLAN, SHARED)) == "198.51.100.2"
    assert _gateway.live_endpoint(None) is None
    assert _gateway.live_endpoint({"spec": {"template": {"spec": {"containers": [{"env": []}]}}}}) is None


# --- what stands around it -------------------------------------------------------------------------------


def test_limits_come_before_the_pod():
    kinds = [one["kind"] for one in _gateway.gateway_objects(PLAN, REGISTRY, SHARED)]
    assert kinds == [
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "NetworkPolicy",
        "ConfigMap",
        "StatefulSet",
    ]


def test_policy_is_the_endpoint_and_the_registered_clients():
    policy = _gateway.gateway_objects(PLAN, REGISTRY, SHARED)[2]["spec"]
    client = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "downloads"}},
        "podSelector": {"matchLabels": {"app": "qbit"}},
    }
    carrier = [{"protocol": "UDP", "port": 14789}]
    assert policy["ingress"] == [{"from": [client], "ports": carrier}]
    assert {json.dumps(rule, sort_keys=True) for rule in policy["egress"]} == {
        json.dumps(rule, sort_keys=True)
        for rule in (
            {"to": [client], "ports": carrier},
            {"to": [{"ipBlock": {"cidr": "198.51.100.2/32"}}], "ports": [{"protocol": "UDP", "port": 51820}]},
        )
    }


def test_no_key_is_in_any_object():
    facts = _gateway_flow.facts(ARR, secret())
    assert facts == _tunnel.Facts("198.51.100.2", 51820, ("10.66.0.1",), 1320)
    seen = _gateway_flow.Seen(frozenset(["vpn"]), {}, {"vpnarr": secret()}, {"vpnarr": None})
    work = _gateway_flow.plan([ARR], seen, {}, (), {}, False)
    assert work.problems == []
    objects = [
        *_gateway.gateway_objects(work.plans[0], work.registries["vpn"], SHARED),
        *_gateway.namespace_objects("vpn", REGISTRY, SHARED),
    ]
    text = json.dumps(objects) + repr(work)
    for key in (PRIVATE, PUBLIC):
        assert key not in text
        assert base64.b64encode(key.encode()).decode() not in text


def test_controller_may_do_little():
    objects = _controller.access("vpn", ["downloads", "vpn", "media"], ["vpnarr", "second"])
    roles = {(one["metadata"]["namespace"], one["metadata"]["name"]): one["rules"] for one in objects if "rules" in one}
    pods = {"apiGroups": [""], "resources": ["pods"]}
    assert roles == {
        ("vpn", "bulkhead-endpoints"): [
            {**pods, "verbs": ["get", "list", "patch"]},
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": ["bulkhead-vpn-registry"],
                "verbs": ["get"],
            },
            {**pods, "resourceNames": ["second-0", "vpnarr-0"], "verbs": ["delete"]},
        ],
        ("downloads", "bulkhead-endpoints-vpn"): [{**pods, "verbs": ["list", "patch"]}],
        ("media", "bulkhead-endpoints-vpn"): [{**pods, "verbs": ["list", "patch"]}],
    }
    for one in objects:
        if one["kind"] == "RoleBinding":
            assert one["subjects"] == [{"kind": "ServiceAccount", "name": "bulkhead-endpoints", "namespace": "vpn"}]
    assert _admission.endpoints_user("vpn") == "system:serviceaccount:vpn:bulkhead-endpoints"


def test_without_a_gateway_the_controller_deletes_nothing():
    rules = [rule for one in _controller.access("vpn", ["downloads"]) for rule in one.get("rules", [])]
    assert rules and not [rule for rule in rules if "delete" in rule["verbs"]]


def test_controller_is_confined():
    made = _controller.deployment("vpn", SHARED.agent, FILES, "agent:1", "IfNotPresent")
    template = made["spec"]["template"]
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True
    security = template["spec"]["containers"][0]["securityContext"]
    assert security == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    # Its pods are neither gateway nor client pods.
    assert template["metadata"]["labels"]["bulkhead.mesh/role"] == "vpn-endpoints"
    assert "bulkhead.mesh/vpn-gateway" not in template["metadata"]["labels"]


def test_agent_source_is_the_whole_package():
    files = _agent_source.read()
    assert set(files) == {path.name for path in Path(_agent.__file__).parent.glob("*.py")}
    assert all(files[path.name] == path.read_text() for path in Path(_agent.__file__).parent.glob("*.py"))
    named = Path(_agent_source.__file__).read_text().split("(  # noqa: F401")[1].split(")")[0]
    listed = {name.strip() for name in named.split(",") if name.strip()}
    assert {f"{name}.py" for name in listed} == set(files) - {"__init__.py"}  # what Ansible packs


# --- the resolver ----------------------------------------------------------------------------------------


def test_corefile():
    text = _resolver.corefile("10.222.1.1", {"radarr.core.svc": "10.96.3.4"}, ["10.66.0.1", "10.66.0.3"], "x.local")
    assert "    bind 10.222.1.1\n" in text
    assert "    forward . 10.66.0.1 10.66.0.3 {\n" in text
    assert text.count("{") == text.count("}")
    record = text.index('match "(?i)^radarr[.]core[.]svc[.]x[.]local[.]$"')
    assert text.index('answer "{{ .Name }} 5 IN A 10.96.3.4"') > record
    nothing = text.index("template IN ANY x.local {\n        rcode NXDOMAIN")
    assert record < nothing < text.index("forward")
    assert "/etc/resolv.conf" not in text


def test_records_are_those_of_the_gateways_own_clients():
    registry = {"gateways": {**REGISTRY["gateways"], "other": {"clients": {"a": {"services": {"b.c": "10.96.9.9"}}}}}}
    text = _gateway.resolver_config(PLAN, registry, "cluster.local")["data"]["Corefile"]
    assert "10.96.3.4" in text and "10.96.9.9" not in text


# --- the configuration -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"wg0.conf": "", "wg1.conf": ""}, "wg0.conf"),
        ({"mullvad.conf": "", "note": ""}, "mullvad.conf"),
        ({"a.conf": "", "b.conf": ""}, None),
        ({"config": ""}, None),
    ],
)
def test_key_of_the_secret(keys, found):
    assert _tunnel.secret_key({"data": keys}) == found


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("Endpoint = 198.51.100.2:51820", "Endpoint = 198.51.100.2", "must be host:port"),
        ("Endpoint = 198.51.100.2:51820", "Endpoint = [2001:db8::1]:51820", "needs an IPv4 address"),
        ("Endpoint = 198.51.100.2:51820", "", "is missing"),
        (PRIVATE, "short", "PrivateKey"),
        ("0.0.0.0/0", "10.0.0.0/8", "must cover 0.0.0.0/0"),
        ("MTU = 1320", "PostUp = curl x", "sets postup"),
    ],
)
def test_a_configuration_the_engine_would_refuse_is_refused_here(before, after, words):
    with pytest.raises(ConfigError, match=words) as caught:
        _tunnel.facts(TEXT.replace(before, after))
    assert PRIVATE not in str(caught.value)


def test_server_with_a_name():
    named = TEXT.replace("198.51.100.2", "se-01.example")
    assert _tunnel.facts(named).host == "se-01.example"
    seen = _gateway_flow.Seen(frozenset(["vpn"]), {}, {"vpnarr": secret(named)}, {"vpnarr": None})
    assert _gateway_flow.hosts([ARR], seen) == {"se-01.example"}
    addresses = {"se-01.example": ["198.51.100.10", "198.51.100.9"]}
    assert _gateway_flow.plan([ARR], seen, addresses, (), {}, False).plans[0].endpoint.address == "198.51.100.9"
    live = _gateway.stateful_set(replace(PLAN, endpoint=Endpoint("198.51.100.10", 51820)), SHARED)
    again = replace(seen, live={"vpnarr": live})
    assert _gateway_flow.plan([ARR], again, addresses, (), {}, False).plans[0].endpoint.address == "198.51.100.10"
    addresses = {"se-01.example": ["198.51.100.9"]}
    assert _gateway_flow.plan([ARR], again, addresses, (), {}, False).plans[0].endpoint.address == "198.51.100.9"
    nothing = _gateway_flow.plan([ARR], seen, {}, (), {}, False).problems
    assert "se-01.example has no IPv4 address" in str(nothing[0])


def test_dns_is_needed():
    bare = secret(TEXT.replace("DNS = 10.66.0.1, fd00:66::1", ""))
    seen = _gateway_flow.Seen(frozenset(["vpn"]), {}, {"vpnarr": bare}, {"vpnarr": None})
    assert "names no DNS server" in str(_gateway_flow.plan([ARR], seen, {}, (), {}, False).problems[0])
    assert _gateway_flow.plan([ARR], seen, {}, ("10.66.0.9",), {}, False).plans[0].dns == ("10.66.0.9",)


@pytest.mark.parametrize(
    ("namespaces", "held", "path"),
    [([], None, "namespace"), (["vpn"], None, "config_secret")],
    ids=["no namespace", "no Secret"],
)
def test_what_may_still_come_is_a_warning_in_check_mode(namespaces, held, path):
    seen = _gateway_flow.Seen(frozenset(namespaces), {}, {"vpnarr": held}, {"vpnarr": None})
    real = _gateway_flow.plan([ARR], seen, {}, (), {}, False)
    assert [one.path for one in real.problems] == [path] and real.unknown == {}
    check = _gateway_flow.plan([ARR], seen, {}, (), {}, True)
    assert check.problems == [] and isinstance(check.unknown["vpnarr"], Problem) and check.plans == []


def test_a_bad_secret_is_refused_in_check_mode_too():
    seen = _gateway_flow.Seen(frozenset(["vpn"]), {}, {"vpnarr": secret(None, a="b")}, {"vpnarr": None})
    work = _gateway_flow.plan([ARR], seen, {}, (), {}, True)
    assert [one.path for one in work.problems] == ["config_secret"]


def test_orphans_are_told_and_still_written_for():
    seen = _gateway_flow.Seen(frozenset(["vpn"]), {"old": {"gateways": REGISTRY["gateways"]}}, {}, {})
    work = _gateway_flow.plan([], seen, {}, (), {}, False)
    assert _gateway_flow.orphans([], seen.registries) == [{"name": "vpnarr", "namespace": "old"}]
    assert [(one.name, one.namespace) for one in _gateway_flow.writers(work)] == [("vpnarr", "old")]
