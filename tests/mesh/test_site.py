"""One site.yml brings everything up, says what it would do, and does nothing the second time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from paths_on_lab import INVENTORY
from running_lab import kubectl
from whole import Site

from bulkhead_lab import demo, demo_mesh

NOTHING = ("check on fresh", "site again", "check on converged")


@pytest.mark.parametrize("name", NOTHING)
def test_no_write(site: Site, name: str) -> None:
    assert site.runs[name].writes == {}


def test_the_count_sees_writes(site: Site) -> None:
    written = {verb for verbs in site.runs["site"].writes.values() for verb in verbs}
    assert {"patch namespaces", "patch statefulsets", "create secrets"} <= written


def test_changed_says_the_same(site: Site) -> None:
    assert site.runs["site"].changed > 0
    assert {name: site.runs[name].changed for name in NOTHING[1:]} == dict.fromkeys(NOTHING[1:], 0)


def test_the_summary_shows_the_cluster_as_the_run_leaves_it(site: Site) -> None:
    shown = re.compile(r"(Istio|Gateway API|MetalLB|Tailscale): +([^\s'\"]+)")
    fresh, after = (dict(shown.findall(site.runs[name].output)) for name in ("check on fresh", "site"))
    assert fresh == dict.fromkeys(("Istio", "Gateway API", "MetalLB", "Tailscale"), "no")
    assert fresh.keys() == after.keys() and not {"no", "unknown"} & set(after.values())


def test_a_segment_that_a_route_needs_is_missed_before_anything_is_written(site: Site) -> None:
    listed = yaml.safe_load(INVENTORY.read_text())["bulkhead_namespaces"]
    fewer = [{key: one[key] for key in ("name", "mesh")} if one["name"] == "core" else one for one in listed]
    found = site.run("a segment less", "site", check=False, bulkhead_namespaces=fewer)
    assert found.code != 0 and found.writes == {}
    assert "namespace core does not belong to segment arr" in " ".join(found.output.split())


def test_gateways_serve_their_own_segment(site: Site) -> None:
    demo_mesh.gateways(site.paths)


def test_workloads_talk_inside_the_mesh(site: Site) -> None:
    demo_mesh.mesh(site.paths)


def test_a_download_leaves_by_the_vpn(site: Site) -> None:
    demo.picture(site.paths)


def test_verify(site: Site, tmp_path: Path) -> None:
    proof = site.verify(tmp_path, part="all")
    assert (proof.code, proof.verdict) == (0, "protected")
    assert set(proof.checks.values()) == {"pass"}
    assert set(proof.dataplanes.values()) == {"stand-in"}
    assert {"mesh-out", "mesh-in", "mesh-enrolled", "mesh-gw-none", "dns-capture-off"} <= set(proof.checks)


def test_the_gateway_is_reached_only_from_its_segment(site: Site) -> None:
    """The client's policy names the gateway of its inventory; a pod elsewhere gets nothing."""
    code = "import socket; s = socket.create_connection(('qbittorrent.downloads', 8080), 3); s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')"
    words = ["-n", "media", "exec", "deployment/jellyfin", "--", "python3", "-c", f"{code}; print(len(s.recv(9)))"]
    assert kubectl(*words, check=False).strip() in ("", "0")
    inside = ["-n", "core", "exec", "deployment/radarr", "--", "python3", "-c", f"{code}; print(len(s.recv(9)))"]
    assert int(kubectl(*inside)) > 0
