# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where pods of gateways and endpoint controllers run; bad input is in ``invalid/``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _gateway, _parse, _pod_settings
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._pod_settings import PodSettings
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._policy import Endpoint

SHARED = _gateway.Shared({"__init__.py": ""}, _gateway.Images("agent:1", "engine:1", "resolver:1"))
ARR = Gateway("vpnarr", "vpn", "mullvad", vni=7001, network="10.222.1.0/24")
REGISTRY = {"gateways": {"vpnarr": {"vni": 7001, "port": 14789, "network": "10.222.1.0/24", "clients": {}}}}
TAINT = {"key": "dedicated", "operator": "Exists"}
POD = {
    "image_pull_secrets": ["pull"],
    "node_selector": {"disk": "ssd"},
    "tolerations": [TAINT],
    "affinity": {"nodeAffinity": {}},
    "priority_class_name": "high",
    "resources": {"engine": {"limits": {"memory": "1Gi"}}, "firewall": {"requests": {"cpu": "50m"}}},
    "labels": {"team": "media", "bulkhead-of": "x"},
    "annotations": {"example.org/a": "b"},
}


def parsed(pod: Any) -> PodSettings:
    entry = {"name": "vpnarr", "namespace": "vpn", "config_secret": "mullvad", "pod": pod}
    (gateway,), problems = _parse.parse_gateways([entry])
    assert problems == []
    return gateway.pod


def template(settings: PodSettings) -> Any:
    plan = _gateway.Plan(replace(ARR, pod=settings), Endpoint("198.51.100.2", 51820), ("10.66.0.1",), None, "wg0", "1")
    return _gateway.stateful_set(plan, SHARED)["spec"]["template"]


def controller(*settings: PodSettings) -> Any:
    (made,) = [
        one for one in _gateway.namespace_objects("vpn", REGISTRY, SHARED, settings) if one["kind"] == "Deployment"
    ]
    return made["spec"]["template"]


def test_nothing_said_changes_nothing() -> None:
    assert parsed(None) == parsed({}) == PodSettings()
    assert template(PodSettings())["spec"].keys() == template(parsed(POD))["spec"].keys() - {
        "imagePullSecrets",
        "nodeSelector",
        "tolerations",
        "affinity",
        "priorityClassName",
    }
    assert controller() == controller(PodSettings(), PodSettings())


def test_the_pod_of_a_gateway() -> None:
    plain, made = template(PodSettings()), template(parsed(POD))
    spec = made["spec"]
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert (spec["nodeSelector"], spec["tolerations"]) == ({"disk": "ssd"}, [TAINT])
    assert (spec["affinity"], spec["priorityClassName"]) == ({"nodeAffinity": {}}, "high")
    by_name = {one["name"]: one for one in [*spec["initContainers"], *spec["containers"]]}
    assert by_name["engine"]["resources"] == {"limits": {"memory": "1Gi"}}
    assert by_name["bulkhead-firewall"]["resources"] == {"requests": {"cpu": "50m"}}
    assert by_name["resolver"] == plain["spec"]["containers"][2]
    assert made["metadata"]["labels"] == {**POD["labels"], **plain["metadata"]["labels"]}
    assert made["metadata"]["annotations"] == {**POD["annotations"], **plain["metadata"]["annotations"]}
    # What closes the pod stays as it is, whatever is said.
    assert {key: spec[key] for key in ("dnsPolicy", "dnsConfig", "volumes")} == {
        key: plain["spec"][key] for key in ("dnsPolicy", "dnsConfig", "volumes")
    }


def test_labels_that_the_agent_depends_on_win() -> None:
    settings = PodSettings(labels={"bulkhead.mesh/vpn-gateway": "other"})
    assert template(settings)["metadata"]["labels"]["bulkhead.mesh/vpn-gateway"] == "vpnarr"


def test_the_endpoint_controller_follows_its_gateways() -> None:
    one = parsed(POD)
    alone = controller(one)["spec"]
    assert (alone["nodeSelector"], alone["tolerations"], alone["priorityClassName"]) == (
        {"disk": "ssd"},
        [TAINT],
        "high",
    )
    assert "example.org/a" not in (controller(one)["metadata"].get("annotations") or {})
    other = parsed(
        {"image_pull_secrets": ["pull", "more"], "tolerations": [TAINT, {"key": "arm"}], "node_selector": {"a": "b"}}
    )
    both = controller(one, other)["spec"]
    assert both["imagePullSecrets"] == [{"name": "pull"}, {"name": "more"}]
    assert both["tolerations"] == [TAINT, {"key": "arm"}]
    assert not {"nodeSelector", "affinity", "priorityClassName"} & both.keys()


def test_keys_of_the_documentation() -> None:
    assert set(POD) == set(_pod_settings.KEYS)
