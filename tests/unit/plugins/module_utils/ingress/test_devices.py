# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _devices
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._devices import Judgement, Said

SERVER = "https://control.example.org"
POST = 'creating operator authkey: Post "https://control.example.org/api/v2/tailnet/-/keys": '
TOKEN = POST + 'Post "https://control.example.org/api/v2/oauth/token": '


def line(message, level="info", logger="startup"):
    return json.dumps({"level": level, "ts": "2026-11-21T17:27:47Z", "logger": logger, "msg": message})


def judged(*lines, running=True, seconds=3.0, restarts=0):
    return _devices.judge(Said("\n".join(lines), running, seconds, restarts), SERVER, 25)


BANNER = '2026/11/21 17:27:47 tsnet starting with hostname "tailscale-operator"'
UP = line("Startup complete, operator running, version: 1.98.10", logger="startReconcilers")


def test_an_operator_is_up_when_it_says_so():
    assert judged(BANNER, UP).ready
    # The beginning of a long log is gone one day.
    assert judged(line("exposing service over tailscale", logger="service-reconciler")).ready


@pytest.mark.parametrize(
    "lines", [[], [BANNER], [BANNER, "2026/11/21 AuthLoop: state is Starting; done"], [line("x", logger="tailscaled")]]
)
def test_an_operator_that_runs_is_not_up_yet(lines):
    early, late = judged(*lines), judged(*lines, seconds=26)
    assert (early.ready, early.final) == (False, False)
    assert (late.ready, late.final) == (False, True)
    assert late.words == (
        "for 26 s it has not got as far as to be logged in at https://control.example.org: check that the cluster reaches it, "
        "and the device's approval there"
    )


def test_an_operator_whose_container_has_ended_is_not_up():
    assert not judged(UP, running=False).ready


@pytest.mark.parametrize(
    ("message", "restarts", "words", "final"),
    [
        (
            POST + 'oauth2: cannot fetch token: 401 Unauthorized\nResponse: {"message":"API token invalid"}\n',
            0,
            "https://control.example.org refuses the OAuth client with 401: check client_id and client_secret in the Secret "
            "(a file that ends with a line end is a usual cause)",
            True,
        ),
        (
            TOKEN + "dial tcp 192.0.2.1:443: connect: no route to host",
            1,
            "https://control.example.org cannot be reached from the cluster: no route to host",
            True,
        ),
        (TOKEN + "dial tcp 192.0.2.1:443: connect: connection refused", 0, "connection refused", False),
        (
            TOKEN + "dial tcp: lookup control.example.org on 10.96.0.10:53: no such host",
            1,
            "cannot be reached from the cluster: lookup control.example.org on 10.96.0.10:53: no such host",
            True,
        ),
        (TOKEN + "dial tcp 192.0.2.1:443: i/o timeout", 1, "i/o timeout", True),
        (TOKEN + "tls: failed to verify certificate: x509: unknown authority", 1, "tls: failed to verify", True),
        (
            POST + "requested tags [tag:k8s-operator] are invalid or not permitted (400)",
            0,
            "https://control.example.org gives no auth key: ",
            True,
        ),
        (
            'error creating Tailscale client: reading client secret "/oauth/client_secret": no such file',
            0,
            "the Secret has no client_id or no client_secret: it needs both keys",
            True,
        ),
        ("could not create manager: x", 0, "it ended: could not create manager: x", False),
        ("could not create manager: x", 2, "it ended: could not create manager: x", True),
    ],
)
def test_why_an_operator_gave_up(message, restarts, words, final):
    found = judged(BANNER, line(message, "fatal"), running=False, restarts=restarts)
    assert not found.ready and found.final is final
    assert words in found.words


def test_an_early_success_does_not_hide_the_end():
    assert not judged(UP, line("could not start manager: x", "fatal"), running=False).ready


def proxy_class(status=None, generation=2):
    return {"metadata": {"name": "a", "generation": generation}, "status": {"conditions": status or []}}


@pytest.mark.parametrize(
    ("live", "result"),
    [
        (None, "fail"),
        (proxy_class(), "fail"),
        (proxy_class([{"type": "ProxyClassReady", "status": "True", "observedGeneration": 2}]), "pass"),
        (proxy_class([{"type": "ProxyClassReady", "status": "True", "observedGeneration": 1}]), "fail"),
        (proxy_class([{"type": "ProxyClassReady", "status": "False", "observedGeneration": 2}]), "fail"),
    ],
)
def test_a_proxy_class_counts_for_its_own_generation(live, result):
    assert _devices.proxy_class("a", live).result == result


WANTED = {"namespace": "gateway-arr", "gateway": "arr", "hostname": "arr"}
# The condition is true although nothing has joined: it proves nothing.
SERVICE = {
    "metadata": {"name": "arr-istio"},
    "status": {"conditions": [{"type": "TailscaleProxyReady", "status": "True", "reason": "ProxyCreated"}]},
}
JOINED = {"device": {"fqdn": "arr.example.ts.net.", "ips": ["100.64.0.3"]}}
RUNS = Judgement(True, "1 of 1")


def results(pods=RUNS):
    return [(one.id, one.result) for one in _devices.device(WANTED, SERVICE, JOINED, pods)]


def test_a_device_with_name_and_addresses():
    assert results() == [("device-joined", "pass"), ("device-proxy", "pass")]
    assert _devices.device(WANTED, SERVICE, JOINED, RUNS)[0].observed == "arr.example.ts.net 100.64.0.3"


@pytest.mark.parametrize(
    ("service", "state", "words"),
    [
        (None, None, "it has no Service yet"),
        (SERVICE, None, "the operator has made no proxy for it"),
        (SERVICE, {"device": {}}, "its proxy has not joined the tailnet"),
        (SERVICE, {"device": {"fqdn": "arr.example.ts.net.", "ips": []}}, "its proxy has not joined the tailnet"),
        (
            SERVICE,
            {"device": {"fqdn": "arr-1.example.ts.net.", "ips": ["100.64.0.3"]}},
            "the tailnet calls it arr-1, because another device has the name arr",
        ),
        (
            {
                **SERVICE,
                "status": {
                    "conditions": [{"type": "TailscaleProxyReady", "status": "False", "message": "invalid tag"}]
                },
            },
            None,
            "invalid tag",
        ),
    ],
)
def test_no_device(service, state, words):
    first = _devices.device(WANTED, service, state, RUNS)[0]
    assert (first.id, first.result, first.observed) == ("device-joined", "fail", words)


def test_a_device_whose_proxy_does_not_run():
    assert results(pods=Judgement(False, "0 of 1")) == [("device-joined", "pass"), ("device-proxy", "fail")]


HELD = {"metadata": {"name": "a", "finalizers": ["tailscale.com/finalizer"]}}


@pytest.mark.parametrize(
    ("service", "states", "result"),
    [
        (None, [], "pass"),
        ({"metadata": {"name": "a"}}, [], "pass"),
        (HELD, [], "fail"),
        (None, [JOINED], "fail"),
        ({"metadata": {"name": "a"}}, [JOINED], "fail"),
    ],
)
def test_gone_means_device_and_finalizer(service, states, result):
    assert _devices.gone("web/a", service, states).result == result


@pytest.mark.parametrize(
    ("annotations", "spec", "more", "wanted"),
    [
        ({"tailscale.com/expose": "true"}, {}, {}, True),
        ({"tailscale.com/expose": "false"}, {}, {}, False),
        ({}, {"loadBalancerClass": "tailscale"}, {}, True),
        ({}, {"loadBalancerClass": "other"}, {}, False),
        ({"tailscale.com/expose": "true"}, {}, {"deletionTimestamp": "2026-11-21T17:27:47Z"}, False),
    ],
)
def test_who_wants_to_be_on_the_tailnet(annotations, spec, more, wanted):
    assert _devices.is_exposed({"metadata": {"annotations": annotations, **more}, "spec": spec}) is wanted


def b64(text):
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("addresses", "ips"),
    [(b64('["100.64.0.3"]'), ["100.64.0.3"]), (b64("[not JSON"), []), (b64('{"a": 1}'), []), ("%%", []), (None, [])],
)
def test_state_of_a_proxy(addresses, ips):
    """Addresses that cannot be read do not take the name away, and nothing secret comes along."""
    data = {
        "device_id": b64("n1"),
        "device_fqdn": b64("arr.ts.net."),
        "authkey": b64("secret"),
        "device_ips": addresses,
    }
    assert _devices.decoded(data) == {"id": "n1", "fqdn": "arr.ts.net.", "ips": ips}


def test_state_of_a_proxy_that_has_not_joined():
    assert _devices.decoded({"device_fqdn": "%%"}) == {"id": "", "fqdn": "", "ips": []}
