# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _gateways, _plan, _pools
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._model import Bgp, Layer2
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._range import parse_range

RANGE = {"name": "arr", "addresses": ["192.0.2.1-192.0.2.9"]}
PEER = {"name": "router", "my_asn": 64512, "peer_asn": 64513, "peer_address": "192.0.2.1"}
ROUTE = {"name": "radarr", "namespace": "core", "port": 7878}


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("192.0.2.7-192.0.2.9", "192.0.2.7", "192.0.2.9"),
        ("192.0.2.7 - 192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("192.0.2.96/27", "192.0.2.96", "192.0.2.127"),
        ("192.0.2.5/32", "192.0.2.5", "192.0.2.5"),
        ("2001:db8::10-2001:db8::1f", "2001:db8::10", "2001:db8::1f"),
        ("2001:db8::/126", "2001:db8::", "2001:db8::3"),
    ],
)
def test_ranges(text, first, last):
    made = parse_range(text)
    assert (str(made.first), str(made.last), made.text) == (first, last, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("192.0.2.9-192.0.2.7", "it ends before it begins"),
        ("192.0.2.9-2001:db8::1", "one end is IPv4 and the other IPv6"),
        ("192.0.2.1/24", "the address has bits behind the prefix"),
        ("192.0.2.1", "it is neither a network in CIDR form nor a range"),
        ("192.0.2.0/33", "it is neither a network in CIDR form nor a range"),
        ("a-b", "a range is two addresses with a dash between them"),
        ("192.0.2.7-", "a range is two addresses with a dash between them"),
        ("", "it is neither a network in CIDR form nor a range"),
    ],
)
def test_bad_ranges(text, reason):
    with pytest.raises(ValueError, match=f"^{reason}$"):
        parse_range(text)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("192.0.2.1-192.0.2.5", "192.0.2.5-192.0.2.9", True),
        ("192.0.2.1-192.0.2.5", "192.0.2.6-192.0.2.9", False),
        ("192.0.2.0/24", "192.0.2.77/32", True),
        ("0.0.0.0/0", "2001:db8::/64", False),
    ],
)
def test_overlap_is_the_same_from_both_sides(one, other, expected):
    assert parse_range(one).overlaps(parse_range(other)) is expected
    assert parse_range(other).overlaps(parse_range(one)) is expected


def test_pool_defaults():
    (pool,), problems = _pools.parse_pools([RANGE])
    assert problems == []
    assert (pool.auto_assign, pool.segment, pool.layer2, pool.bgp) == (False, "", Layer2(), None)


@pytest.mark.parametrize(
    ("advertise", "layer2", "bgp"),
    [
        ({"l2": {"interfaces": ["eth0"]}}, Layer2(("eth0",)), None),
        ({"l2": None}, Layer2(), None),
        ({"bgp": {"peers": ["router"], "local_pref": 0}}, None, Bgp(("router",), local_pref=0)),
        ({"l2": {}, "bgp": {}}, Layer2(), Bgp()),
        ("none", None, None),
        (None, None, None),
    ],
)
def test_announcements(advertise, layer2, bgp):
    (pool,), problems = _pools.parse_pools([{**RANGE, "advertise": advertise}])
    assert (problems, pool.layer2, pool.bgp) == ([], layer2, bgp)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"name": "arr"}, "addresses is not given: a pool without addresses gives none; list ranges or networks."),
        (
            {**RANGE, "auto_assign": "yes"},
            'auto_assign is "yes": a truth value is needed; write true or false.',
        ),
        (
            {**RANGE, "advertise": "ospf"},
            'advertise is "ospf": this announcement does not exist; write {l2: {}}, {bgp: {}} or none.',
        ),
        ({**RANGE, "advertise": {}}, "advertise is {}: it says nothing; write {l2: {}}, {bgp: {}} or none."),
        (
            {**RANGE, "advertise": {"l2": {"nodes": []}}},
            "advertise.l2.nodes: no such key exists; use one of interfaces, node_selectors.",
        ),
        (
            {**RANGE, "address": []},
            "address: no such key exists; write addresses, or one of name, auto_assign, segment, advertise, state.",
        ),
        (
            {**RANGE, "addresses": [7]},
            "addresses[0] is 7: a range of addresses is a string; write it like 192.0.2.100-192.0.2.120 or "
            "192.0.2.96/27.",
        ),
        ({**RANGE, "state": "gone"}, 'state is "gone": this choice does not exist; use present or absent.'),
    ],
)
def test_bad_pools(entry, sentence):
    dummy, problems = _pools.parse_pools([entry])
    assert [str(one) for one in problems] == [f"bulkhead_address_pools entry arr: bulkhead_address_pools[0].{sentence}"]


def test_pool_twice():
    dummy, problems = _pools.parse_pools([RANGE, RANGE])
    assert [str(one) for one in problems] == [
        'bulkhead_address_pools entry arr: bulkhead_address_pools[1].name is "arr": pool names are unique; rename or '
        "remove it or bulkhead_address_pools[0]."
    ]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"password": "s3cret"},
            'password is "(not shown)": a password in the inventory would be shown in logs and diffs; put it into a '
            "Secret of type kubernetes.io/basic-auth and name that with password_secret.",
        ),
        ({"my_asn": 0}, "my_asn is 0: an AS number is a number from 1 to 4294967295; give such a number."),
        (
            {"peer_asn": None},
            "peer_asn is not given: an AS number is a number from 1 to 4294967295; give such a number.",
        ),
        ({"peer_address": "router"}, 'peer_address is "router": an address is needed; give the router\'s address.'),
        ({"hold_time": 90}, "hold_time is 90: a string is needed; put it in quotes."),
    ],
)
def test_bad_peers(changed, sentence):
    dummy, problems = _pools.parse_peers([{**PEER, **changed}])
    assert [str(one) for one in problems] == [f"bulkhead_bgp_peers entry router: bulkhead_bgp_peers[0].{sentence}"]


def test_a_password_is_in_no_problem_at_all():
    dummy, problems = _pools.parse_peers([{**PEER, "password": "s3cret", "peer_address": None}])
    assert len(problems) == 2
    assert not any("s3cret" in str(one) or "s3cret" in str(one.to_dict()) for one in problems)


def test_gateway_defaults():
    (gateway,), problems = _gateways.parse_gateways([{"name": "arr"}])
    assert problems == []
    assert (gateway.namespace, gateway.segment, gateway.class_name, gateway.exposure) == (
        "gateway-arr",
        "arr",
        "istio",
        "lan",
    )
    assert [(one.name, one.port, one.protocol) for one in gateway.listeners] == [("http", 80, "HTTP")]
    assert (gateway.addresses, gateway.routes, gateway.present) == ((), (), True)


def test_gateway_in_full():
    (gateway,), problems = _gateways.parse_gateways(
        [
            {
                "name": "arr",
                "namespace": "edge",
                "segment": "films",
                "address": "192.0.2.7",
                "pool": "arr",
                "class": "other.example.org",
                "listeners": [{"protocol": "HTTPS", "tls_secret": "arr-tls", "hostname": "*.example.org"}],
                "routes": [
                    {**ROUTE, "hostnames": ["a.example.org"], "path": "/r", "rewrite": "/", "listeners": ["https"]}
                ],
            }
        ]
    )
    assert problems == []
    assert gateway.addresses == (ipaddress.ip_address("192.0.2.7"),)
    (listener,), (route,) = gateway.listeners, gateway.routes
    assert (listener.name, listener.port, listener.tls_secret) == ("https", 443, "arr-tls")
    assert (route.service, route.port, route.path, route.rewrite, route.listeners) == (
        "radarr",
        7878,
        "/r",
        "/",
        ("https",),
    )


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"exposure": "wan"}, 'exposure is "wan": this choice does not exist; use lan or tailnet or both or cluster.'),
        (
            {"exposure": "cluster", "address": "192.0.2.1"},
            'address is "192.0.2.1": a gateway with exposure cluster has no address of a pool; remove it, or set exposure '
            "to lan.",
        ),
        (
            {"address": "192.0.2"},
            'address is "192.0.2": an IP address is needed, or one of each family; write it like 192.0.2.101, or one of '
            "each family like [192.0.2.101, 2001:db8::101].",
        ),
        (
            {"address": ["192.0.2.1", "192.0.2.2"]},
            'address is ["192.0.2.1", "192.0.2.2"]: an IP address is needed, or one of each family; write it like '
            "192.0.2.101, or one of each family like [192.0.2.101, 2001:db8::101].",
        ),
        (
            {"address": []},
            "address is []: an IP address is needed, or one of each family; write it like 192.0.2.101, or one of each "
            "family like [192.0.2.101, 2001:db8::101].",
        ),
        (
            {"listeners": []},
            "listeners is []: a gateway without listeners answers nowhere; give it one, or remove the key.",
        ),
        (
            {"listeners": [{"protocol": "HTTPS"}]},
            "listeners[0].tls_secret is not given: HTTPS needs a certificate; name a Secret of type kubernetes.io/tls in "
            "the gateway's namespace.",
        ),
        (
            {"listeners": [{"tls_secret": "x"}]},
            'listeners[0].tls_secret is "x": HTTP uses no certificate; remove it, or set protocol to HTTPS.',
        ),
        (
            {"listeners": [{"protocol": "HTTPS", "tls_secret": "other/x"}]},
            'listeners[0].tls_secret is "other/x": the Secret is read from the gateway\'s own namespace; copy it there and '
            "give its name without a namespace.",
        ),
        (
            {"listeners": [{"protocol": "TCP"}]},
            'listeners[0].protocol is "TCP": this choice does not exist; use HTTP or HTTPS.',
        ),
        (
            {"listeners": [{"name": "a"}, {"name": "b"}]},
            "listeners[1].port is 80: listener a answers on this port for the same hosts; give it another port or hostname.",
        ),
        (
            {"listeners": [{"name": "a"}, {"name": "b", "port": 80, "protocol": "HTTPS", "tls_secret": "x"}]},
            'listeners[1].protocol is "HTTPS": another listener speaks HTTP on port 80; give it another port.',
        ),
        (
            {"listeners": [{"name": "a"}, {"name": "a", "port": 81}]},
            'listeners[1].name is "a": two listeners have this name; rename one of them.',
        ),
        (
            {"listeners": [{"hostname": "Films"}]},
            'listeners[0].hostname is "Films": a host name in lower-case letters is needed; write it like '
            "films.example.org or *.example.org.",
        ),
        (
            {"routes": [{**ROUTE, "listeners": ["https"]}]},
            'routes[0].listeners is "https": gateway arr has no listener of that name; use http.',
        ),
        (
            {"routes": [{**ROUTE, "path": "films"}]},
            'routes[0].path is "films": a path begins with one slash and has no empty or dotted parts; write it like '
            "/films.",
        ),
        (
            {"routes": [{**ROUTE, "path": "/a/../b"}]},
            'routes[0].path is "/a/../b": a path begins with one slash and has no empty or dotted parts; write it like '
            "/films.",
        ),
        (
            {"routes": [{**ROUTE, "hostnames": ["192.0.2.1"]}]},
            'routes[0].hostnames[0] is "192.0.2.1": a host name in lower-case letters is needed; write it like '
            "films.example.org or *.example.org.",
        ),
        (
            {"routes": [{"name": "radarr", "namespace": "core"}]},
            "routes[0].port is not given: the Service's port is a number from 1 to 65535; give such a number.",
        ),
    ],
)
def test_bad_gateways(entry, sentence):
    dummy, problems = _gateways.parse_gateways([{"name": "arr", **entry}])
    assert [str(one) for one in problems] == [
        f"bulkhead_ingress_gateways entry arr: bulkhead_ingress_gateways[0].{sentence}"
    ]


def test_a_name_that_cannot_be_one_is_told_once_for_each_place():
    dummy, problems = _gateways.parse_gateways([{"name": "Arr"}])
    assert str(problems[0]).startswith(
        'bulkhead_ingress_gateways entry Arr: bulkhead_ingress_gateways[0].name is "Arr": '
    )


def test_segments_of_namespaces():
    found, problems = _plan.segments(
        [{"name": "core", "segments": ["arr", "media"]}, {"name": "other"}, {"name": "none", "segments": []}]
    )
    assert found == {"core": frozenset({"arr", "media"}), "other": None, "none": frozenset()}
    assert problems == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("arr", 'segments is "arr": a list is needed; write each entry behind a dash.'),
        (
            ["Arr"],
            'segments[0] is "Arr": a segment\'s name has up to 55 lower-case letters, digits and dashes; write segments: '
            "[arr].",
        ),
    ],
)
def test_bad_segments(given, sentence):
    dummy, problems = _plan.segments([{"name": "core", "segments": given}])
    assert [str(one) for one in problems] == [f"bulkhead_namespaces entry core: bulkhead_namespaces[0].{sentence}"]
