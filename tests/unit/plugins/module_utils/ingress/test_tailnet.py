# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _gateways
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._plan import plan

NAMESPACES = [{"name": "core", "segments": ["arr", "media"]}]
POOLS = [{"name": "arr", "addresses": ["192.0.2.101/32"]}]
OPERATOR = {"namespace": "ts", "name": "operator", "hostname": "k8s-home"}
FACTS = {
    "server": "192.0.2.1:6443",
    "metallb": {"controllers": [], "crds": True, "states": True, "pools": []},
    "gateway_api": {"classes": {"istio": True}, "definitions": {}, "policy": True, "objects": []},
    "tailnet": {"definitions": {}, "operators": [OPERATOR], "classes": ["fast"], "ingresses": [], "custom": []},
    "exposed": [],
    "nodes": [],
    "load_balancers": [],
    "namespaces": {"core": {"labels": {}, "ours": False, "set": ""}},
    "secrets": {},
    "services": {},
    "contents": {},
}


def planned(*gateways, **facts):
    config = {"gateways": list(gateways), "namespaces": NAMESPACES, "pools": POOLS}
    return plan(config, {**copy.deepcopy(FACTS), **facts})


def rules(*gateways, **facts):
    return [(one["rule"], one["missing"]) for one in planned(*gateways, **facts)["problems"]]


def exposure(gateway, namespace="web", ours=False, wanted=True, hostname="arr"):
    return {
        "kind": "Service",
        "namespace": namespace,
        "name": f"{gateway or 'front'}-istio",
        "gateway": gateway,
        "hostname": hostname,
        "wanted": wanted,
        "ours": ours,
    }


def annotations(gateway):
    spec = planned(gateway)["objects"][-1]["spec"]
    return (spec.get("infrastructure") or {}).get("annotations") or {}


def service_type(gateway):
    metadata = planned(gateway)["objects"][-1]["metadata"]
    return (metadata.get("annotations") or {}).get("networking.istio.io/service-type", "LoadBalancer")


def test_a_device_is_called_like_its_gateway():
    (gateway,), problems = _gateways.parse_gateways([{"name": "arr", "exposure": "tailnet"}])
    assert problems == []
    assert (gateway.device.hostname, gateway.device.tags, gateway.device.proxy_class) == ("arr", (), "")


@pytest.mark.parametrize("exposed", ["lan", "cluster"])
def test_other_gateways_are_no_device(exposed):
    (gateway,), problems = _gateways.parse_gateways([{"name": "arr", "exposure": exposed}])
    assert problems == [] and gateway.device is None
    assert not [key for key in annotations({"name": "arr", "exposure": exposed}) if "tailscale" in key]


def test_annotations_of_a_gateway_on_both():
    given = {"name": "arr", "exposure": "both", "address": "192.0.2.101"}
    given["tailscale"] = {"hostname": "films", "tags": ["tag:gw-arr", "tag:web"], "proxy_class": "fast"}
    assert annotations(given) == {
        "metallb.io/loadBalancerIPs": "192.0.2.101",
        "tailscale.com/expose": "true",
        "tailscale.com/hostname": "films",
        "tailscale.com/tags": "tag:gw-arr,tag:web",
        "tailscale.com/proxy-class": "fast",
    }
    assert service_type(given) == "LoadBalancer"


def test_a_gateway_on_the_tailnet_alone_has_no_address_of_a_pool():
    given = {"name": "arr", "exposure": "tailnet"}
    assert annotations(given) == {"tailscale.com/expose": "true", "tailscale.com/hostname": "arr"}
    assert service_type(given) == "ClusterIP"
    assert planned(given)["expected"][0]["exposure"] == "cluster"


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            {"tailscale": {"hostname": "x"}},
            'tailscale is {"hostname": "x"}: a gateway with exposure lan is no device of the tailnet; remove it, or set '
            "exposure to tailnet or both.",
        ),
        (
            {"exposure": "tailnet", "pool": "arr"},
            'pool is "arr": a gateway with exposure tailnet has no address of a pool; remove it, or set exposure to both.',
        ),
        (
            {"exposure": "both", "tailscale": {"tags": ["gw-arr"]}},
            'tailscale.tags[0] is "gw-arr": a tag is tag: and letters, digits and dashes, a letter first; write it like '
            "tag:gw-arr.",
        ),
        (
            {"exposure": "both", "tailscale": {"hostname": "a.b"}},
            'tailscale.hostname is "a.b": a Kubernetes name of at most 63 lower-case letters, digits and dashes is needed; '
            "name the object as the cluster does.",
        ),
        (
            {"exposure": "both", "tailscale": {"host": "a"}},
            "tailscale.host: no such key exists; use one of hostname, tags, proxy_class.",
        ),
    ],
)
def test_bad_devices(entry, sentence):
    dummy, problems = _gateways.parse_gateways([{"name": "arr", **entry}])
    assert [str(one) for one in problems] == [
        f"bulkhead_ingress_gateways entry arr: bulkhead_ingress_gateways[0].{sentence}"
    ]


ARR, MEDIA = {"name": "arr", "exposure": "tailnet"}, {"name": "media", "exposure": "tailnet"}


def test_nothing_wrong():
    assert rules(ARR, MEDIA, {"name": "admin", "exposure": "cluster", "segment": "arr"}) == []


@pytest.mark.parametrize(
    ("gateways", "facts", "wanted"),
    [
        ([ARR, {**MEDIA, "tailscale": {"hostname": "arr"}}], {}, [("hostname-twice", False)]),
        ([{**ARR, "tailscale": {"hostname": "k8s-home"}}], {}, [("hostname-twice", False)]),
        ([ARR], {"exposed": [exposure("")]}, [("hostname-twice", False)]),
        ([ARR], {"exposed": [exposure("", wanted=False)]}, []),
        ([ARR], {"exposed": [exposure("arr", "gateway-arr", ours=True)]}, []),
        # A name that moves from one of our gateways to another is free by then.
        ([ARR], {"exposed": [exposure("old", "gateway-old", ours=True)]}, []),
        ([ARR], {"tailnet": {**FACTS["tailnet"], "operators": []}}, [("operator", True)]),
        ([{"name": "arr", "exposure": "cluster"}], {"tailnet": {**FACTS["tailnet"], "operators": []}}, []),
        ([{**ARR, "tailscale": {"proxy_class": "slow"}}], {}, [("proxy-class", True)]),
        ([{**ARR, "tailscale": {"proxy_class": "fast"}}], {}, []),
        ([{**ARR, "state": "absent"}, {**MEDIA, "tailscale": {"hostname": "arr"}}], {}, []),
    ],
)
def test_judged(gateways, facts, wanted):
    assert rules(*gateways, **facts) == wanted


def test_the_sentence_for_a_name_that_is_taken():
    told = planned(ARR, {**MEDIA, "tailscale": {"hostname": "arr"}})["problems"]
    assert [one["msg"] for one in told] == [
        'bulkhead_ingress_gateways entry media: tailscale.hostname is "arr": gateway arr has this name on the tailnet; give '
        "each device a name of its own."
    ]


def test_what_has_to_be_there_and_what_has_to_go():
    seen = [
        exposure("arr", "gateway-arr", ours=True),
        exposure("admin", "gateway-admin", ours=True, hostname="admin"),
        exposure("theirs", "gateway-x", hostname="x"),
    ]
    found = planned(ARR, {"name": "admin", "exposure": "cluster", "segment": "arr"}, exposed=seen)
    assert found["devices"] == [{"namespace": "gateway-arr", "gateway": "arr", "hostname": "arr"}]
    assert found["hidden"] == [{"namespace": "gateway-admin", "name": "admin-istio"}]
    assert found["operator"] == "ts"
    assert plan({}, {**FACTS, "exposed": seen})["hidden"] == [
        {"namespace": "gateway-arr", "name": "arr-istio"},
        {"namespace": "gateway-admin", "name": "admin-istio"},
    ]
    assert plan({})["hidden"] == []
