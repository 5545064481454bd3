# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._plan import plan

CONFIG = {
    "pools": [
        {"name": "arr", "segment": "arr", "addresses": ["192.0.2.101-192.0.2.101"]},
        {"name": "media", "segment": "media", "addresses": ["192.0.2.102-192.0.2.103"]},
    ],
    "namespaces": [{"name": "core", "segments": ["arr"]}, {"name": "films", "segments": ["media"]}],
    "gateways": [
        {
            "name": "arr",
            "address": "192.0.2.101",
            "pool": "arr",
            "routes": [{"name": "radarr", "namespace": "core", "port": 7878, "path": "/radarr"}],
        },
        {"name": "media", "address": "192.0.2.102"},
    ],
    "metallb_namespace": "metallb-system",
}
FACTS = {
    "server": "192.0.2.1:6443",
    "metallb": {"controllers": [], "crds": True, "states": True, "pools": []},
    "gateway_api": {"classes": {"istio": True}, "definitions": {}, "policy": True, "objects": []},
    "nodes": [{"name": "one", "addresses": ["192.0.2.10"]}],
    "load_balancers": [],
    "namespaces": {
        "core": {"labels": {"bulkhead.mesh/segment-arr": "true"}, "ours": False, "set": ""},
        "films": {"labels": {"bulkhead.mesh/segment-media": "true"}, "ours": False, "set": ""},
    },
    "secrets": {},
    "services": {"core/radarr": [7878]},
    "contents": {},
}
STRANGE = {"namespace": "metallb-system", "name": "old", "addresses": ["192.0.2.100-192.0.2.101"], "auto_assign": True}


def told(config, facts=None, **more):
    return [(one["rule"], one["msg"], one["missing"]) for one in plan(config, facts, **more)["problems"]]


def changed(**what):
    return {**copy.deepcopy(CONFIG), **what}


def gateway(index, **what):
    made = copy.deepcopy(CONFIG)
    made["gateways"][index].update(what)
    return made


def facts(**what):
    return {**copy.deepcopy(FACTS), **what}


def test_all_is_well():
    assert told(CONFIG) == []
    assert told(CONFIG, FACTS, networks={"pods": ["10.0.0.0/8"], "services": ["2001:db8::/64"]}) == []


ARR, POOL = "bulkhead_ingress_gateways entry arr: ", "bulkhead_address_pools entry "


@pytest.mark.parametrize(
    ("config", "rule", "sentence"),
    [
        (
            changed(pools=[*CONFIG["pools"], {"name": "third", "addresses": ["192.0.2.96/29"]}]),
            "pool-overlap",
            POOL + 'third: addresses is "192.0.2.96/29": it overlaps 192.0.2.101-192.0.2.101 of pool arr; give every '
            "address to one pool only.",
        ),
        (
            changed(pools=[{"name": "arr", "addresses": ["192.0.2.101-192.0.2.102", "192.0.2.102/32"]}], gateways=[]),
            "pool-overlap",
            POOL
            + 'arr: addresses is "192.0.2.102/32": it overlaps 192.0.2.101-192.0.2.102 of the same pool; give every '
            "address to one pool only.",
        ),
        (
            changed(
                pools=[*CONFIG["pools"], {"name": "b", "addresses": ["198.51.100.0/30"], "advertise": {"bgp": {}}}]
            ),
            "bgp-peer",
            POOL
            + 'b: advertise is "bgp": bulkhead_bgp_peers has no router to announce it to; add a peer, or announce the '
            "pool by l2.",
        ),
        (
            changed(
                pools=[
                    *CONFIG["pools"],
                    {"name": "b", "addresses": ["198.51.100.0/30"], "advertise": {"bgp": {"peers": ["x"]}}},
                ],
                peers=[{"name": "r", "my_asn": 1, "peer_asn": 2, "peer_address": "192.0.2.1"}],
            ),
            "bgp-peer",
            POOL + 'b: advertise.bgp.peers is "x": bulkhead_bgp_peers has no peer of that name; use r.',
        ),
        (
            changed(
                peers=[{"name": "r", "my_asn": 1, "peer_asn": 2, "peer_address": "192.0.2.1", "bfd_profile": "fast"}]
            ),
            "bfd-without-frr",
            'bulkhead_bgp_peers entry r: bfd_profile is "fast": MetalLB\'s own BGP speaks no BFD; set bulkhead_metallb.frr '
            "to frr-k8s, or remove the profile.",
        ),
        (
            gateway(1, name="arr", namespace="gateway-arr2", segment="media"),
            "gateway-twice",
            ARR + 'name is "arr": another gateway has this name; rename one of them.',
        ),
        (
            gateway(1, address="192.0.2.101", segment="arr"),
            "address-twice",
            'bulkhead_ingress_gateways entry media: address is "192.0.2.101": gateway arr has this address; give each '
            "gateway an address of its own.",
        ),
        (
            gateway(0, address="192.0.2.200"),
            "address-outside",
            ARR
            + 'address is "192.0.2.200": pool arr has only 192.0.2.101-192.0.2.101; take an address of the pool, or '
            "extend the pool.",
        ),
        (
            gateway(1, address="192.0.2.200"),
            "address-outside",
            'bulkhead_ingress_gateways entry media: address is "192.0.2.200": no address pool has it; take an address of a '
            "pool, or add a pool that has it.",
        ),
        (
            gateway(0, pool="films"),
            "pool-unknown",
            ARR + 'pool is "films": there is no address pool of that name; use arr or media, or add it.',
        ),
        (
            gateway(0, pool="media", address="192.0.2.103"),
            "pool-segment",
            ARR
            + 'pool is "media": pool media belongs to segment media, and the gateway to segment arr; take a pool of its '
            "own segment.",
        ),
        (
            gateway(0, pool=None, address="192.0.2.103"),
            "pool-segment",
            ARR
            + 'address is "192.0.2.103": pool media belongs to segment media, and the gateway to segment arr; take a '
            "pool of its own segment.",
        ),
        (
            gateway(0, pool=None, address=None),
            "no-address",
            ARR
            + 'exposure is "lan": no address pool gives addresses by itself; give the gateway an address or a pool, or '
            "set auto_assign of a pool.",
        ),
        (
            gateway(1, segment="film", address=None, exposure="cluster"),
            "segment-unknown",
            'bulkhead_ingress_gateways entry media: segment is "film": no namespace belongs to this segment, so no route '
            "could attach; use arr or media, or give an entry of bulkhead_namespaces segments: [film].",
        ),
        (
            gateway(0, routes=[{"name": "web", "namespace": "films", "port": 80}]),
            "route-segment",
            ARR
            + 'routes is "films/web": namespace films does not belong to segment arr; attach the route to a gateway of '
            "its own segment, or give the namespace segments: [arr] in bulkhead_namespaces.",
        ),
        (
            gateway(
                0,
                routes=[
                    {"name": "a", "namespace": "core", "port": 1},
                    {"name": "a", "namespace": "core", "port": 2, "path": "/b"},
                ],
            ),
            "route-twice",
            ARR + 'routes is "core/a": this gateway has a route of this name in this namespace; rename one of them.',
        ),
        (
            gateway(
                0, routes=[{"name": "a", "namespace": "core", "port": 1}, {"name": "b", "namespace": "core", "port": 2}]
            ),
            "route-match",
            ARR + 'routes is "core/b": route core/a takes the same requests (every host, /); change path or hostnames.',
        ),
        (
            gateway(
                0,
                listeners=[{"hostname": "*.example.org"}],
                routes=[{"name": "a", "namespace": "core", "port": 1, "hostnames": ["example.net"]}],
            ),
            "route-host",
            ARR
            + 'routes is "core/a": no listener of the gateway answers for example.net; correct the host name, or give a '
            "listener this hostname.",
        ),
        (
            gateway(0, namespace="core"),
            "gateway-namespace",
            ARR
            + 'namespace is "core": route radarr has its application there, whose policies would hold for the gateway '
            "as well; give it a namespace of its own, such as gateway-arr.",
        ),
        (
            gateway(0, namespace="istio-system"),
            "gateway-namespace",
            ARR
            + 'namespace is "istio-system": this namespace belongs to a part of the cluster; give it a namespace of its '
            "own, such as gateway-arr.",
        ),
    ],
)
def test_the_inventory_alone(config, rule, sentence):
    found = told(config)
    assert (rule, sentence, False) in found
    assert {one[0] for one in found} == {rule}


@pytest.mark.parametrize(
    ("config", "seen", "rule", "sentence", "missing"),
    [
        (
            CONFIG,
            facts(metallb={**FACTS["metallb"], "pools": [{**STRANGE, "ours": False}]}),
            "pool-overlap",
            POOL + 'arr: addresses is "192.0.2.101-192.0.2.101": it overlaps 192.0.2.100-192.0.2.101 of IPAddressPool '
            "metallb-system/old, which somebody else made; choose other addresses, or remove that pool.",
            False,
        ),
        (
            CONFIG,
            facts(metallb={**FACTS["metallb"], "pools": [{**STRANGE, "name": "arr", "ours": False}]}),
            "pool-exists",
            POOL
            + 'arr: name is "arr": IPAddressPool metallb-system/arr has this name and somebody else made it; choose '
            "another name.",
            False,
        ),
        (
            CONFIG,
            facts(nodes=[{"name": "two", "addresses": ["192.0.2.103", "2001:db8::1"]}]),
            "node-address",
            POOL + 'media: addresses is "192.0.2.102-192.0.2.103": the address 192.0.2.103 of node two is in it, and a '
            "gateway with that address would cut the node off; leave it out of the range.",
            False,
        ),
        (
            CONFIG,
            facts(load_balancers=[{"namespace": "web", "name": "front", "addresses": ["192.0.2.101"], "gateway": ""}]),
            "address-held",
            ARR
            + 'address is "192.0.2.101": Service web/front has this address; take another address, or give that Service '
            "another one first.",
            False,
        ),
        (
            CONFIG,
            facts(gateway_api={**FACTS["gateway_api"], "classes": {"envoy": True}}),
            "class",
            ARR
            + 'class is "istio": the cluster has no GatewayClass of that name; use envoy, or install what implements it.',
            True,
        ),
        (
            gateway(0, listeners=[{"protocol": "HTTPS", "tls_secret": "arr-tls"}]),
            facts(secrets={"gateway-arr/arr-tls": False}),
            "secret",
            ARR
            + 'listeners.https.tls_secret is "arr-tls": Secret gateway-arr/arr-tls does not exist; make it with kubectl '
            "-n gateway-arr create secret tls arr-tls --cert=FILE --key=FILE.",
            True,
        ),
        (
            CONFIG,
            facts(services={"core/radarr": None}),
            "service",
            ARR
            + 'routes is "core/radarr": Service core/radarr does not exist; install the application first, or correct '
            "the name.",
            True,
        ),
        (
            CONFIG,
            facts(services={"core/radarr": [80, 443]}),
            "service-port",
            ARR + 'routes is "core/radarr": Service core/radarr has no port 7878; use 80 or 443.',
            False,
        ),
        (
            CONFIG,
            facts(namespaces={"films": FACTS["namespaces"]["films"]}),
            "route-namespace",
            ARR
            + 'routes is "core/radarr": namespace core does not exist; create it, or add it to bulkhead_namespaces.',
            True,
        ),
    ],
)
def test_the_cluster_too(config, seen, rule, sentence, missing):
    found = told(config, seen)
    assert (rule, sentence, missing) in found
    assert {one[0] for one in found} == {rule}


def test_a_class_that_misses_for_every_gateway_is_told_for_every_gateway():
    found = told(CONFIG, facts(gateway_api={**FACTS["gateway_api"], "classes": {}}))
    assert [one[0] for one in found] == ["class", "class"]


def test_networks_of_the_cluster():
    found = told(CONFIG, networks={"pods": ["192.0.2.96/29"], "services": []})
    assert [one[0] for one in found] == ["cluster-network", "cluster-network"]
    assert found[0][1] == (
        POOL
        + 'arr: addresses is "192.0.2.101-192.0.2.101": it overlaps 192.0.2.96/29, the cluster\'s network of pods; use '
        "addresses of the LAN that nobody else has."
    )


def test_what_is_ours_is_no_stranger():
    ours = {**STRANGE, "name": "arr", "ours": True}
    own = {"namespace": "gateway-arr", "name": "arr-istio", "addresses": ["192.0.2.101"], "gateway": "arr"}
    assert told(CONFIG, facts(metallb={**FACTS["metallb"], "pools": [ours]}, load_balancers=[own])) == []
    elsewhere = {**own, "namespace": "other"}
    assert [one[0] for one in told(CONFIG, facts(load_balancers=[elsewhere]))] == ["address-held"]


def test_a_pool_of_somebody_else_will_do():
    mine = changed(pools=[], gateways=[{"name": "arr", "pool": "old", "address": "192.0.2.100"}])
    seen = facts(metallb={**FACTS["metallb"], "pools": [{**STRANGE, "ours": False}]})
    assert told(mine, seen) == []
    assert [one[0] for one in told(mine, FACTS)] == ["pool-unknown"]
    # Nobody has looked: it may be there.
    assert told(mine) == []


@pytest.mark.parametrize(("auto", "rules"), [(True, []), (False, ["no-address"])])
def test_addresses_given_by_themselves(auto, rules):
    pool = {"name": "free", "addresses": ["198.51.100.0/30"], "auto_assign": auto}
    mine = changed(pools=[pool], gateways=[{"name": "arr"}])
    assert [one[0] for one in told(mine)] == rules


def test_a_segment_by_the_label_alone_and_the_inventory_wins():
    mine = changed(namespaces=[])
    assert told(mine, FACTS) == []
    mine = changed(namespaces=[{"name": "core", "segments": ["media"]}, {"name": "films", "segments": ["arr"]}])
    assert [one[0] for one in told(mine, FACTS)] == ["route-segment"]
    false = facts(
        namespaces={**FACTS["namespaces"], "core": {"labels": {"bulkhead.mesh/segment-arr": "no"}, "set": ""}}
    )
    assert [one[0] for one in told(changed(namespaces=[{"name": "x", "segments": ["arr"]}]), false)] == [
        "route-segment"
    ]


@pytest.mark.parametrize(
    ("namespaces", "rules"),
    [
        ([{"name": "core"}, {"name": "films", "segments": ["media"]}], ["segment-unknown"]),
        ([{"name": "films", "segments": ["media"]}], ["segment-unknown"]),  # it has left the list
        ([{"name": "films", "segments": ["media", "arr"]}, {"name": "core"}], ["route-segment"]),
        ([], []),  # nothing is kept, and no label goes
    ],
)
def test_a_label_of_ours_that_will_go_lets_nobody_attach(namespaces, rules):
    label = "bulkhead.mesh/segment-arr"
    live = {**FACTS["namespaces"], "core": {"labels": {label: "true"}, "ours": False, "set": "", "given": [label]}}
    assert [one[0] for one in told(changed(namespaces=namespaces), facts(namespaces=live))] == rules


def test_a_label_of_somebody_else_stays():
    label = "bulkhead.mesh/segment-arr"
    live = {**FACTS["namespaces"], "core": {"labels": {label: "true"}, "ours": False, "set": "", "given": []}}
    assert told(changed(namespaces=[{"name": "core"}]), facts(namespaces=live)) == []


def test_an_absent_gateway_stands_in_nobodys_way():
    mine = gateway(1, address="192.0.2.101", segment="nowhere", state="absent")
    made = plan(mine, FACTS)
    assert made["problems"] == []
    assert [one["metadata"]["name"] for one in made["objects"]] == ["arr-options", "arr", "radarr"]
    assert [one["name"] for one in made["expected"]] == ["arr"]


def test_parts():
    both = changed(pools=[*CONFIG["pools"], {"name": "b", "addresses": ["192.0.2.101/32"]}])
    both["gateways"][1]["segment"] = "x"
    # the address is of two pools now, which only the pools' own part tells
    assert {one[0] for one in told(both, parts=["pools"])} == {"pool-overlap"}
    assert {one[0] for one in told(both, parts=["gateways"])} == {"pool-segment", "segment-unknown"}


def test_unreadable_entries_are_told_and_nothing_else():
    assert [one[0] for one in told(changed(pools=[{"name": "arr"}]))] == ["input"]


def test_wildcards_of_hosts():
    for listener, host, rules in [
        ("*.example.org", "a.example.org", []),
        ("*.example.org", "example.org", ["route-host"]),
        ("a.example.org", "*.example.org", []),
        ("", "anything.net", []),
        ("a.example.org", "b.example.org", ["route-host"]),
    ]:
        one = {"name": "a", "namespace": "core", "port": 1, "hostnames": [host]}
        config = gateway(0, listeners=[{"hostname": listener} if listener else {}], routes=[one])
        assert [rule for rule, dummy, dummy in told(config)] == rules, (listener, host)


BOTH = {"name": "both", "addresses": ["192.0.2.101-192.0.2.102", "2001:db8::1/128"]}


@pytest.mark.parametrize(
    ("pools", "rules"),
    [
        ([BOTH], []),
        # Two pools cannot give one Service an address each.
        (
            [{"name": "a", "addresses": ["192.0.2.101/32"]}, {"name": "b", "addresses": ["2001:db8::1/128"]}],
            ["address-outside"],
        ),
    ],
)
def test_one_address_of_each_family_out_of_one_pool(pools, rules):
    mine = {"name": "arr", "address": ["192.0.2.101", "2001:db8::1"]}
    assert [one[0] for one in told(changed(pools=pools, gateways=[mine]))] == rules


def test_two_gateways_on_one_of_two_addresses():
    first = {"name": "arr", "address": ["192.0.2.101", "2001:db8::1"]}
    second = {"name": "b", "segment": "arr", "address": "2001:db8::1"}
    assert [one[0] for one in told(changed(pools=[BOTH], gateways=[first, second]))] == ["address-twice"]


EXCLUDED = {"name": "one", "addresses": ["192.0.2.10"], "excluded": True}
IPVS = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nmode: ipvs\nipvs:\n  strictARP: false\n"


def test_nodes_that_announce_nothing():
    named = changed(metallb_values={})
    label = "node.kubernetes.io/exclude-from-external-load-balancers"
    assert told(named, facts(nodes=[EXCLUDED])) == [
        (
            "nodes-excluded",
            f'Node one: label {label} is "set": MetalLB announces nothing from nodes that have it, and every node has it; '
            f"take it off a node (kubectl label node NAME {label}-), or set bulkhead_metallb.values to "
            "{speaker: {ignoreExcludeLB: true}}.",
            False,
        )
    ]
    # One node is enough, the chart can be told otherwise, and nobody knows how somebody else's MetalLB is set.
    assert told(named, facts(nodes=[EXCLUDED, {**EXCLUDED, "name": "two", "excluded": False}])) == []
    assert told(changed(metallb_values={"speaker": {"ignoreExcludeLB": True}}), facts(nodes=[EXCLUDED])) == []
    assert told(CONFIG, facts(nodes=[EXCLUDED])) == []
    assert told(changed(metallb_values={}, pools=[], gateways=[]), facts(nodes=[EXCLUDED])) == []


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        (IPVS, True),
        (IPVS.replace("false", "true"), False),
        (IPVS.replace("mode: ipvs", "mode: iptables"), False),
        ("{mode: ipvs}", True),
        ('mode: "ipvs" # here', True),
        ("mode: [", False),
        ("text", False),
        ("", False),
        (None, False),
    ],
)
def test_kube_proxy_that_answers_on_every_node(config, wrong):
    found = told(CONFIG, facts(proxy=config))
    assert [one[0] for one in found] == ["strict-arp"] * wrong
    if wrong:
        assert found[0][1].startswith(
            "ConfigMap kube-system/kube-proxy: ipvs.strictARP is false: bulkhead_address_pools "
        )
        assert found[0][1].endswith(
            "; set it to true and restart kube-proxy (kubectl -n kube-system rollout restart daemonset kube-proxy)."
        )


def test_pools_announced_by_bgp_need_no_arp():
    pools = [{**CONFIG["pools"][0], "advertise": {"bgp": {}}}]
    peers = [{"name": "router", "address": "192.0.2.1", "asn": 64512, "my_asn": 64513}]
    found = told(changed(pools=pools, peers=peers, gateways=[]), facts(proxy=IPVS))
    assert "strict-arp" not in {one[0] for one in found}, found
