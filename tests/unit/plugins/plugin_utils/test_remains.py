# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a teardown says of what stays."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.filter.teardown_summary import teardown_summary

CLIENTS = [{"kind": "StatefulSet", "namespace": "downloads", "name": "qbittorrent", "gateway": "vpnarr"}]
MANAGED = dict.fromkeys(("gateway_api", "istio", "metallb", "tailscale"), "managed")


@pytest.mark.parametrize(
    ("detach_to", "words"),
    [
        ("sealed", ["at 0 replicas", "policy and admission stay", "bulkhead_detach_to: open"]),
        (
            "stopped",
            ["at 0 replicas", "leave by the node", "`kubectl -n downloads scale statefulset/qbittorrent --replicas=N`"],
        ),
        ("open", ["leaves by the node now"]),
    ],
)
def test_a_client_is_named_with_what_became_of_it(detach_to: str, words: list[str]) -> None:
    (said,) = [
        one for one in teardown_summary(CLIENTS, detach_to) if one.startswith("StatefulSet downloads/qbittorrent ")
    ]
    assert [word for word in words if word not in said] == []


def test_what_stays_is_named_with_how_it_goes() -> None:
    said = "\n".join(teardown_summary([], "stopped", ["core", "vpn"], MANAGED))
    for words in ("core, vpn", "istio_delete_crds: true", "bulkhead_delete_gateway_api: true", "list of the tailnet"):
        assert words in said


def test_what_is_not_ours_or_went_is_not_named() -> None:
    said = "\n".join(teardown_summary([], "stopped", [], dict.fromkeys(MANAGED, "external")))
    assert "CRD" not in said and "tailnet" not in said and "Namespaces" not in said
    assert "Gateway API" not in "\n".join(teardown_summary([], "open", [], MANAGED, True))


def test_the_last_sentence_says_how_to_go_on() -> None:
    assert teardown_summary([], "open")[-1].startswith("site.yml (bulkhead.mesh.site) ")


@pytest.mark.parametrize("value", [None, "text", {"a": 1}])
def test_wrong_input_is_one_sentence(value: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="^teardown_summary needs a list of clients"):
        teardown_summary(value, "open")
