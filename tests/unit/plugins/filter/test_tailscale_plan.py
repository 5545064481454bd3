# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.bulkhead.mesh.plugins.filter.tailscale_credentials import tailscale_credentials
from ansible_collections.bulkhead.mesh.plugins.filter.tailscale_plan import tailscale_plan

GOOD = {"version": "1.98.10", "oauth_secret": "mine"}
OURS = "helm:tailscale/tailscale-operator"


def facts(**what):
    tailnet = {
        "definitions": {},
        "operators": [],
        "classes": [],
        "ingresses": [],
        "custom": [],
        **what.pop("tailnet", {}),
    }
    base = {"server": "192.0.2.1:6443", "secrets": {"tailscale/mine": True}, "secret_versions": {}, "exposed": []}
    return {**base, "tailnet": tailnet, **what}


def operator(owner=OURS, namespace="tailscale"):
    return {"namespace": namespace, "name": "operator", "owner": owner, "hostname": "", "login_server": ""}


def told(config, seen=None, state="present", check_mode=False):
    return [
        (one["rule"], one["msg"], one["missing"]) for one in tailscale_plan(config, seen, state, check_mode)["problems"]
    ]


def test_values_of_a_plain_installation():
    made = tailscale_plan(GOOD, facts(secret_versions={"tailscale/mine": "7"}))
    assert made["problems"] == []
    assert made["values"] == {
        "oauthSecretVolume": {"secret": {"secretName": "mine"}},
        "operatorConfig": {"podAnnotations": {"bulkhead.mesh/oauth": "7"}},
    }
    assert (made["namespace"], made["name"], made["secret"], made["classes"]) == ("tailscale", "operator", "mine", [])


def test_values_in_full():
    config = {
        **GOOD,
        "oauth_secret": "operator-oauth",
        "login_server": "https://control.example.org/",
        "tags": {"operator": ["tag:op"], "proxies": ["tag:a", "tag:b"]},
        "proxy_class": {"statefulSet": {}},
        "values": {"operatorConfig": {"logging": "debug"}, "proxyConfig": {"defaultTags": "tag:c"}},
    }
    made = tailscale_plan(config, facts(secrets={"tailscale/operator-oauth": True}))
    assert made["problems"] == []
    assert made["values"] == {
        # The chart mounts the Secret of this name by itself.
        "loginServer": "https://control.example.org/",
        "operatorConfig": {
            "defaultTags": ["tag:op"],
            "podAnnotations": {"bulkhead.mesh/oauth": ""},
            "logging": "debug",
        },
        "proxyConfig": {"defaultTags": "tag:c", "defaultProxyClass": "bulkhead"},
    }
    assert [(one["kind"], one["metadata"]["name"], one["spec"]) for one in made["classes"]] == [
        ("ProxyClass", "bulkhead", {"statefulSet": {}})
    ]
    named = tailscale_plan({**GOOD, "proxy_class": "theirs"}, facts())
    assert (named["values"]["proxyConfig"], named["classes"]) == ({"defaultProxyClass": "theirs"}, [])


def test_another_secret_starts_the_operator_anew():
    one, two = (tailscale_plan(GOOD, facts(secret_versions={"tailscale/mine": v}))["values"] for v in ("7", "8"))
    assert one != two


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"version": "latest"}, "bulkhead_tailscale.version: 'latest' is no version: write it like 1.6.1."),
        (
            {"oauth_secret": ""},
            "bulkhead_tailscale: oauth_secret is not given: the operator logs in with an OAuth client; name a Secret of "
            "namespace tailscale with client_id and client_secret, or a file in oauth_file.",
        ),
        (
            {"oauth_file": "oauth.yml"},
            'bulkhead_tailscale: oauth_file is "oauth.yml": oauth_secret is mine as well, and only one can hold the '
            "credentials; remove one of the two.",
        ),
        (
            {"values": {"oauth": {"clientSecret": "tskey-client-x"}}},
            'bulkhead_tailscale: values.oauth.clientSecret is "(hidden)": credentials in values would be in the release and in '
            "every diff; name a Secret in oauth_secret or a file in oauth_file.",
        ),
        (
            {"login_server": "control.example.org"},
            'bulkhead_tailscale: login_server is "control.example.org": the URL of a control server has no path; write it like '
            "https://control.example.org, or leave it out for Tailscale's own.",
        ),
        (
            {"login_server": "https://control.example.org/api"},
            'bulkhead_tailscale: login_server is "https://control.example.org/api": the URL of a control server has no path; '
            "write it like https://control.example.org, or leave it out for Tailscale's own.",
        ),
        (
            {"tags": {"proxies": ["k8s"]}},
            'bulkhead_tailscale: tags.proxies[0] is "k8s": a tag is tag: and letters, digits and dashes, a letter first; write '
            "it like tag:gw-arr.",
        ),
        (
            {"tags": {"proxy": []}},
            "bulkhead_tailscale: tags.proxy: no such key exists; use one of operator, proxies.",
        ),
        (
            {"values": {"operatorConfig": {"extraEnv": [{"name": "OPERATOR_DEFAULT_LOAD_BALANCER", "value": "true"}]}}},
            "bulkhead_tailscale.values sets OPERATOR_DEFAULT_LOAD_BALANCER, with which the operator takes every Service of type "
            "LoadBalancer without a class, also those of MetalLB: leave it out.",
        ),
    ],
)
def test_bad_settings(config, sentence):
    found = told({**GOOD, **config}, facts())
    assert [msg for dummy, msg, missing in found if not missing] == [sentence]


@pytest.mark.parametrize("values", [{"oauth": {"clientId": "x", "audience": "y"}}, {"oauthSecretVolume": {"csi": {}}}])
def test_credentials_that_come_in_another_way(values):
    made = tailscale_plan({"version": "1.98.10", "values": values}, facts())
    assert made["problems"] == [] and made["values"] == values


def test_no_value_of_a_secret_is_shown():
    config = {**GOOD, "values": {"oauth": {"clientId": "s3cret", "clientSecret": "s3cret"}}}
    assert "s3cret" not in str(tailscale_plan(config, facts())["problems"])


def test_a_secret_that_is_missing():
    assert told(GOOD, facts(secrets={"tailscale/mine": False})) == [
        (
            "tailscale-secret",
            "bulkhead_tailscale.oauth_secret: Secret tailscale/mine does not exist: make it from two files that do not end "
            "with a line end, with kubectl -n tailscale create secret generic mine --from-file=client_id=FILE --from-file=client_secret=FILE.",
            True,
        )
    ]


def test_an_operator_of_somebody_else():
    seen = facts(tailnet={"operators": [operator("kubectl")], "definitions": {"proxyclasses.tailscale.com": "kubectl"}})
    assert told(GOOD, seen) == [
        (
            "other-operator",
            "A Tailscale operator that this collection did not install runs on 192.0.2.1:6443 (Deployment tailscale/operator, "
            "owner kubectl): set bulkhead_components.tailscale to external, or remove it.",
            False,
        )
    ]
    assert told(GOOD, seen, "external") == []
    assert tailscale_plan(GOOD, facts(tailnet={"operators": [operator("x", "far")]}), "external")["namespace"] == "far"


def test_our_own_operator_is_no_stranger():
    seen = facts(tailnet={"operators": [operator()], "definitions": {"proxyclasses.tailscale.com": OURS}})
    assert told(GOOD, seen) == []


def test_kinds_of_somebody_else():
    seen = facts(tailnet={"definitions": {"proxyclasses.tailscale.com": "unknown"}})
    assert [rule for rule, dummy, missing in told(GOOD, seen)] == ["other-definitions"]


def test_an_external_one_that_is_not_there():
    assert [rule for rule, dummy, missing in told(GOOD, facts(), "external")] == ["operator-missing"]


SERVICE = {"kind": "Service", "namespace": "web", "name": "front", "wanted": True, "ours": False}


@pytest.mark.parametrize(
    ("exposed", "tailnet", "check_mode", "refused"),
    [
        ([SERVICE], {}, False, True),
        ([SERVICE], {}, True, True),
        ([{**SERVICE, "wanted": False}], {}, False, False),
        ([{**SERVICE, "ours": True}], {}, False, True),
        ([{**SERVICE, "ours": True}], {}, True, False),
        ([], {"ingresses": [{"kind": "Ingress", "namespace": "web", "name": "x", "wanted": True}]}, False, True),
        ([], {"custom": [{"kind": "Connector", "name": "x"}]}, False, True),
        ([], {}, False, False),
    ],
)
def test_removal_of_an_operator_that_is_needed(exposed, tailnet, check_mode, refused):
    seen = facts(exposed=exposed, tailnet={"operators": [operator()], **tailnet})
    assert bool(told(GOOD, seen, "absent", check_mode)) is refused
    # Without an operator nothing can be waited for.
    assert told(GOOD, facts(exposed=exposed, tailnet=tailnet), "absent", check_mode) == []


def test_what_is_on_its_way_out():
    seen = facts(
        exposed=[{**SERVICE, "wanted": False}, {**SERVICE, "name": "stays"}], tailnet={"operators": [operator()]}
    )
    assert tailscale_plan(GOOD, seen, "absent")["leaving"] == [{"namespace": "web", "name": "front"}]


@pytest.mark.parametrize("content", ["client_id: a\nclient_secret: b\n", '{"client_id": "a", "client_secret": "b "}'])
def test_credentials_become_a_secret(content):
    made = tailscale_credentials(content, "ts", "oauth.yml")
    assert (made["kind"], made["metadata"]) == ("Secret", {"name": "operator-oauth", "namespace": "ts"})
    assert made["data"] == {"client_id": "YQ==", "client_secret": "Yg=="}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("client_id: a\n", "has no text client_secret"),
        ("client_id: a\nclient_secret: 12345678\n", "has no text client_secret"),
        ("client_id: a\nclient_secret: ''\n", "has no text client_secret"),
        ("[s3cret]", "has no text client_id"),
        ("client_id: [s3cret", "is neither YAML nor JSON"),
    ],
)
def test_bad_credentials_are_told_without_showing_them(content, words):
    from ansible.errors import AnsibleFilterError

    with pytest.raises(AnsibleFilterError) as caught:
        tailscale_credentials(content, "ts", "oauth.yml")
    assert words in str(caught.value) and "oauth.yml" in str(caught.value)
    assert "s3cret" not in str(caught.value) and "12345678" not in str(caught.value)
