# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
import yaml

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._plan import plan

NAMESPACES = [{"name": "core", "segments": ["arr"]}]
ROUTE = {"name": "radarr", "namespace": "core", "port": 7878}


def made(part, **config):
    return plan({"namespaces": NAMESPACES, "metallb_namespace": "lb", **config})[part]


def test_pool_of_a_segment_is_open_to_its_gateways_only():
    pool, announcement = made(
        "addresses",
        pools=[
            {
                "name": "arr",
                "segment": "arr",
                "addresses": ["192.0.2.1-192.0.2.2"],
                "advertise": {"l2": {"interfaces": ["eth1"]}},
            }
        ],
        gateways=[
            {"name": "arr"},
            {"name": "inner", "segment": "arr"},
            {"name": "media"},
            {"name": "x", "segment": "arr", "state": "absent"},
        ],
    )
    assert pool == {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": "arr", "namespace": "lb"},
        "spec": {
            "addresses": ["192.0.2.1-192.0.2.2"],
            "autoAssign": False,
            "serviceAllocation": {"namespaces": ["gateway-arr", "gateway-inner"]},
        },
    }
    assert announcement["kind"] == "L2Advertisement"
    assert announcement["spec"] == {"ipAddressPools": ["arr"], "interfaces": ["eth1"]}


def test_bgp():
    config = {
        "pools": [
            {
                "name": "a",
                "addresses": ["192.0.2.0/24"],
                "auto_assign": True,
                "advertise": {"bgp": {"peers": ["r"], "local_pref": 0, "aggregation_length": 24}},
            },
            {"name": "silent", "addresses": ["198.51.100.0/24"], "advertise": "none"},
            {"name": "old", "addresses": ["203.0.113.0/24"], "state": "absent"},
        ],
        "peers": [
            {
                "name": "r",
                "my_asn": 1,
                "peer_asn": 2,
                "peer_address": "192.0.2.1",
                "password_secret": "bgp",
                "ebgp_multi_hop": True,
            },
            {"name": "gone", "state": "absent"},
        ],
    }
    objects = made("addresses", **config)
    assert [(one["kind"], one["metadata"]["name"]) for one in objects] == [
        ("IPAddressPool", "a"),
        ("IPAddressPool", "silent"),
        ("BGPPeer", "r"),
        ("BGPAdvertisement", "a"),
    ]
    assert objects[0]["spec"] == {"addresses": ["192.0.2.0/24"], "autoAssign": True}
    assert objects[2]["apiVersion"] == "metallb.io/v1beta2"
    assert objects[2]["spec"] == {
        "myASN": 1,
        "peerASN": 2,
        "peerAddress": "192.0.2.1",
        "ebgpMultiHop": True,
        "passwordSecret": {"name": "bgp"},
    }
    assert objects[3]["spec"] == {"ipAddressPools": ["a"], "peers": ["r"], "aggregationLength": 24, "localPref": 0}


def test_gateway_and_route():
    options, gateway, route = made(
        "objects",
        gateways=[
            {"name": "arr", "address": "192.0.2.1", "pool": "arr", "routes": [{**ROUTE, "path": "/r", "rewrite": "/"}]}
        ],
    )
    assert gateway["metadata"] == {"name": "arr", "namespace": "gateway-arr"}
    assert gateway["spec"] == {
        "gatewayClassName": "istio",
        "infrastructure": {
            "annotations": {"metallb.io/loadBalancerIPs": "192.0.2.1", "metallb.io/address-pool": "arr"},
            "parametersRef": {"group": "", "kind": "ConfigMap", "name": "arr-options"},
        },
        "listeners": [
            {
                "name": "http",
                "port": 80,
                "protocol": "HTTP",
                "allowedRoutes": {
                    "namespaces": {
                        "from": "Selector",
                        "selector": {"matchLabels": {"bulkhead.mesh/segment-arr": "true"}},
                    }
                },
            }
        ],
    }
    assert route["metadata"] == {"name": "radarr", "namespace": "core"}
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "gateway-arr", "name": "arr"}
    assert route["spec"] == {
        "parentRefs": [parent],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/r"}}],
                "filters": [
                    {
                        "type": "URLRewrite",
                        "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
                    }
                ],
                "backendRefs": [{"group": "", "kind": "Service", "name": "radarr", "port": 7878, "weight": 1}],
            }
        ],
    }


def test_cluster_exposure_tls_and_single_listeners():
    gateway, route = made(
        "objects",
        gateways=[
            {
                "name": "arr",
                "exposure": "cluster",
                "listeners": [{"protocol": "HTTPS", "tls_secret": "t", "hostname": "*.example.org"}, {}],
                "routes": [
                    {**ROUTE, "service": "r", "hostnames": ["a.example.org"], "listeners": ["https"], "rewrite": "/"}
                ],
            }
        ],
    )
    assert gateway["metadata"]["annotations"] == {"networking.istio.io/service-type": "ClusterIP"}
    assert "infrastructure" not in gateway["spec"]
    secure = gateway["spec"]["listeners"][0]
    assert (secure["port"], secure["hostname"]) == (443, "*.example.org")
    assert secure["tls"] == {"mode": "Terminate", "certificateRefs": [{"group": "", "kind": "Secret", "name": "t"}]}
    assert [one["sectionName"] for one in route["spec"]["parentRefs"]] == ["https"]
    assert route["spec"]["hostnames"] == ["a.example.org"]
    # "/" in place of "/" is no rewrite
    assert "filters" not in route["spec"]["rules"][0]


V4, V6 = "192.0.2.1", "2001:db8::1"


@pytest.mark.parametrize(
    ("what", "family"),
    [
        ({"address": V4}, 4),
        ({"address": V6}, 6),
        ({"address": [V4, V6]}, None),
        ({"pool": "six"}, 6),
        ({"pool": "both"}, None),
        ({"pool": "elsewhere"}, None),
        ({"pool": "others"}, 4),
        ({}, None),
        ({"address": V4, "class": "envoy"}, None),
        ({"exposure": "cluster"}, None),
    ],
)
def test_a_service_asks_for_the_families_it_has_addresses_of(what, family):
    pools = [
        {"name": "six", "addresses": ["2001:db8::/64"]},
        {"name": "both", "addresses": ["192.0.2.0/28", "2001:db8:1::/64"]},
    ]
    others = [
        {"name": "others", "addresses": ["198.51.100.0/24"], "auto_assign": False, "ours": False, "namespace": "lb"}
    ]
    facts = {**live(), "metallb": {"pools": others}}
    objects = plan({"pools": pools, "gateways": [{"name": "arr", **what}]}, facts)["objects"]
    options = [one for one in objects if one["kind"] == "ConfigMap"]
    if family is None:
        assert options == []
        assert "parametersRef" not in objects[0]["spec"].get("infrastructure", {})
        return
    assert yaml.safe_load(options[0]["data"]["service"]) == {
        "spec": {"ipFamilyPolicy": "SingleStack", "ipFamilies": [f"IPv{family}"]}
    }
    assert objects[1]["spec"]["infrastructure"]["parametersRef"]["name"] == options[0]["metadata"]["name"]


def test_both_addresses_are_asked_for_at_once():
    (gateway,) = made("objects", gateways=[{"name": "arr", "address": [V4, V6]}])
    assert gateway["spec"]["infrastructure"]["annotations"] == {"metallb.io/loadBalancerIPs": f"{V4},{V6}"}


def test_no_gateway_lets_everybody_attach():
    gateways = [
        {"name": "a"},
        {"name": "b", "exposure": "cluster", "listeners": [{}, {"protocol": "HTTPS", "tls_secret": "t"}]},
    ]
    found = [one for one in made("objects", gateways=gateways) if one["kind"] == "Gateway"]
    assert len(found) == 2
    for one in found:
        for listener in one["spec"]["listeners"]:
            assert listener["allowedRoutes"]["namespaces"]["from"] == "Selector"
            (label,) = listener["allowedRoutes"]["namespaces"]["selector"]["matchLabels"].items()
            assert label == (f"bulkhead.mesh/segment-{one['metadata']['name']}", "true")


def live(**sets):
    return {"server": "s", "namespaces": {n: {"labels": {}, "ours": bool(s), "set": s} for n, s in sets.items()}}


def test_namespaces_of_gateways():
    ours = "bulkhead-ingress-namespaces"
    facts = live(mine=ours, old=ours, theirs="", other="bulkhead-metallb")
    config = {"gateways": [{"name": n, "namespace": n} for n in ("mine", "theirs", "other", "new")]}
    found = plan(config, facts)
    assert [one["metadata"]["name"] for one in found["namespaces"]] == ["mine", "new"]
    assert found["former"] == ["old"]


def test_namespaces_that_hold_something_stay():
    contents = {
        "a": {"owned": [], "foreign": ["Secret x"]},
        "b": {"owned": ["Pod y"], "foreign": []},
        "c": {"owned": [], "foreign": []},
    }
    found = plan({}, {**live(), "contents": contents})
    assert [one["metadata"]["name"] for one in found["staying"]] == ["a", "b"]


def test_what_has_to_be_looked_for_and_what_is_expected():
    config = {
        "pools": [
            {"name": "arr", "addresses": ["192.0.2.1/32"]},
            {"name": "q", "addresses": ["192.0.2.2/32"], "advertise": "none"},
        ],
        "gateways": [
            {
                "name": "arr",
                "address": "192.0.2.1",
                "listeners": [{}, {"protocol": "HTTPS", "tls_secret": "t"}],
                "routes": [ROUTE, {**ROUTE, "name": "b", "service": "radarr", "path": "/b", "listeners": ["https"]}],
            },
            {"name": "quiet", "pool": "q"},
        ],
    }
    found = plan({**config, "namespaces": NAMESPACES})
    assert (found["secrets"], found["services"]) == (["gateway-arr/t"], ["core/radarr"])
    assert found["expected"] == [
        {
            "namespace": "gateway-arr",
            "name": "arr",
            "exposure": "lan",
            "addresses": ["192.0.2.1"],
            "announced": True,
            "listeners": {"http": 1, "https": 2},
            "routes": ["core/radarr", "core/b"],
        },
        {
            "namespace": "gateway-quiet",
            "name": "quiet",
            "exposure": "lan",
            "addresses": [],
            "announced": False,
            "listeners": {"http": 0},
            "routes": [],
        },
    ]
