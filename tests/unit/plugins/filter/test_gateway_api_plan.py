# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.bulkhead.mesh.plugins.filter.gateway_api_plan import gateway_api_plan

HTTP = "httproutes.gateway.networking.k8s.io"
SERVER = "192.0.2.1:6443"
FACTS = {"server": SERVER, "gateway_api": {"definitions": {}, "policy": True, "classes": {}, "objects": []}}


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"text": "a: [", "version": "1.6.1"}, "the file is no YAML: give the Gateway API's installation file."),
        (
            {"text": "- a", "version": "1.6.1"},
            "the file holds something else than objects: give the Gateway API's installation file.",
        ),
        ({"text": "", "version": "new"}, "'new' is no version: write it like 1.6.1."),
        (
            {"text": "", "version": "1.6.1", "channel": "beta"},
            "bulkhead_gateway_api.channel is 'beta': use standard or experimental.",
        ),
    ],
)
def test_the_filter_tells_what_it_cannot_read(asked, sentence):
    made = gateway_api_plan(FACTS, **asked)
    assert [one["msg"] for one in made["problems"]] == [sentence]
    assert (made["objects"], made["lift"]) == ([], False)


def test_the_filter_takes_the_higher_of_two_needs():
    old = {HTTP: {"version": "v1.5.0", "channel": "standard", "ours": False, "owner": ""}}
    seen = {**FACTS, "gateway_api": {**FACTS["gateway_api"], "definitions": old}}
    assert gateway_api_plan(seen, needed="1.5")["problems"] == []
    assert [one["rule"] for one in gateway_api_plan(seen, needed="1.2", istio_version="1.31.1")["problems"]] == [
        "gateway-api-old"
    ]
