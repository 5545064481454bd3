# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import _pod

# Recorded from a probe pod on the lab: dual-stack, ptp network.
OUTPUT = (Path(__file__).parent / "fixtures" / "probe.txt").read_text()


def test_recorded_output() -> None:
    found = _pod.facts(OUTPUT, "lab-node")
    values = {name: finding["value"] for name, finding in found.items() if name != "node"}
    assert found["node"] == "lab-node"
    assert values == {
        "mtu": 1450,
        "default_routes": [
            {"family": "IPv4", "device": "eth0", "via": "10.244.0.1"},
            {"family": "IPv6", "device": "eth0", "via": "fd00:10:244::1"},
        ],
        "families": ["IPv4", "IPv6"],
        "addresses": ["10.244.0.17", "fd00:10:244::11"],
        "resolv_conf": {
            "nameservers": ["10.96.0.53"],
            "search": ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"],
            "options": ["ndots:5"],
        },
        "rp_filter": 0,
        "kernel": "6.18.44",
        "vxlan": "yes",
        "wireguard": "unknown",
        "tun": "yes",
    }
    assert set(values) == set(_pod.FACTS)


def test_route_straight_to_the_device() -> None:
    found = _pod.facts(OUTPUT.replace("eth0\t00000000\t0100F40A", "eth0\t00000000\t00000000"), None)
    assert found["default_routes"]["value"][0] == {"family": "IPv4", "device": "eth0", "via": None}


@pytest.mark.parametrize("output", ["", OUTPUT.replace("== end\n", ""), OUTPUT[:200]])
def test_a_cut_output_proves_nothing(output: str) -> None:
    found = _pod.facts(output, "a")
    assert {found[name]["value"] for name in _pod.FACTS} == {"unknown"}
    assert found["mtu"]["reason"] == "the probe's output is not complete"


@pytest.mark.parametrize(
    "fact, section",
    [
        ("mtu", "mtu"),
        ("default_routes", "route4"),
        ("addresses", "trie"),
        ("rp_filter", "rp_eth0"),
        ("resolv_conf", "resolv"),
        ("tun", "misc"),
    ],
)
def test_a_missing_file_is_unknown_alone(fact: str, section: str) -> None:
    found = _pod.facts(OUTPUT.replace(f"== {section}\n", "== other\n"), "a")
    assert found[fact]["value"] == "unknown"
    assert found["kernel"]["value"] == "6.18.44"


@pytest.mark.parametrize("everywhere, eth0, effective", [(0, 1, 1), (2, 1, 2), (0, 0, 0)])
def test_the_larger_filter_is_in_effect(everywhere: Any, eth0: Any, effective: Any) -> None:
    output = OUTPUT.replace("== rp_all\n0", f"== rp_all\n{everywhere}").replace("== rp_eth0\n0", f"== rp_eth0\n{eth0}")
    assert _pod.facts(output, "a")["rp_filter"]["value"] == effective


def test_a_pod_without_ipv6() -> None:
    lines = [line for line in OUTPUT.splitlines() if not line.startswith(("fd00", "fe80", "ff00", "0000000000"))]
    found = _pod.facts("\n".join(lines), "a")
    assert found["families"]["value"] == ["IPv4"]
    assert [route["family"] for route in found["default_routes"]["value"]] == ["IPv4"]


def test_tun_not_loaded_is_not_no() -> None:
    assert _pod.facts(OUTPUT.replace("200 tun\n", ""), "a")["tun"]["value"] == "unknown"


def test_manifest_fits_the_restricted_level() -> None:
    pod = _pod.manifest("p", "n", "i:1")
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert spec["automountServiceAccountToken"] is False
    assert spec["activeDeadlineSeconds"] > 0
    assert container["image"] == "i:1"
    assert (pod["metadata"]["name"], pod["metadata"]["namespace"]) == ("p", "n")
