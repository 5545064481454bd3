"""Istio in other ways, after the other files have left the cluster empty: upgraded, somebody else's, by sidecars."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import elsewhere
import pytest
import whole
from mesh_on_lab import program
from running_lab import kubectl, lab, until

from bulkhead_lab import demo, demo_mesh, plan
from bulkhead_lab.paths import Paths

pytestmark = pytest.mark.slow
PARTS = ("--tags", "preflight,gateway_api,metallb,istio,namespaces,tailscale,ingress_gateways")
OUTAGE = 10.0  # seconds without an answer that an upgrade on one node may cost
SYSTEM = "istio-system"


@pytest.fixture(scope="module")
def other(paths: Paths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[whole.Site]:
    """The older release with the gateways on it, nothing of the VPN."""
    whole.insist_on_a_fresh_cluster()
    folder = tmp_path_factory.mktemp("older") / "charts"
    elsewhere.older_release(folder)
    made = whole.Site(paths)
    demo.prepare(paths)
    try:
        made.run("older", "site", *PARTS, lab_istio=elsewhere.OLDER, lab_charts=str(folder))
        yield made
    finally:
        made.clear()


def images() -> set[str]:
    """Tags of Istio's images in running pods."""
    pods = json.loads(kubectl("get", "pods", "--all-namespaces", "--output=json"))["items"]
    named = [one["image"] for pod in pods for one in pod["spec"]["containers"]]
    return {image.rpartition(":")[2] for image in named if image.startswith(f"{plan.ISTIO_HUB}/")}


def test_an_upgrade_by_one_version_under_requests(other: whole.Site) -> None:
    assert images() == {elsewhere.OLDER}
    address = demo_mesh.addresses(other.paths)["media"]
    with elsewhere.asking(other.paths, address) as asked:
        other.run("upgrade", "site", *PARTS)
        until(lambda: images() == {plan.ISTIO_VERSION}, "all of Istio is of the newer version", 60)
    print(f"upgrade: {len(asked.requests)} requests, failed {asked.failed}, {asked.longest:.1f} s without an answer")
    assert len(asked.requests) > 100 and asked.requests[-1][2] == "200"
    assert asked.longest < OUTAGE
    demo_mesh.gateways(other.paths)


def test_an_older_version_is_refused(other: whole.Site) -> None:
    found = other.run("back", "site", *PARTS, check=False, lab_istio=elsewhere.OLDER)
    assert found.code != 0 and found.writes == {}
    assert f"{plan.ISTIO_VERSION}" in found.output and elsewhere.OLDER in found.output


def test_an_istio_of_somebody_else_is_only_read(other: whole.Site) -> None:
    theirs = {"bulkhead_components": dict.fromkeys(("istio", "metallb", "gateway_api", "tailscale"), "external")}
    before = program("helm", "list", "--all-namespaces", "--output=json")
    found = other.run("external", "site", *PARTS, **theirs)
    assert (found.changed, found.writes) == (0, {})
    other.run("teardown beside external", "teardown", bulkhead_detach_to="open", **theirs)
    assert program("helm", "list", "--all-namespaces", "--output=json") == before
    assert not kubectl("get", "gateways.gateway.networking.k8s.io", "--all-namespaces", "--output=name")


def test_https_with_a_certificate_of_the_users(other: whole.Site, tmp_path: Path) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    name = "dashboard.home.example"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    program(
        "openssl",
        *words,
        "-subj",
        f"/CN={name}",
        "-addext",
        f"subjectAltName=DNS:{name}",
        "-keyout",
        key,
        "-out",
        certificate,
    )
    kubectl("create", "namespace", "gateway-admin", check=False)
    kubectl("-n", "gateway-admin", "create", "secret", "tls", "admin-tls", f"--cert={certificate}", f"--key={key}")
    gateway = {
        "name": "admin",
        "namespace": "gateway-admin",
        "pool": "admin",
        "address": "172.30.0.103",
        "listeners": [{"name": "https", "protocol": "HTTPS", "port": 443, "tls_secret": "admin-tls"}],
        "routes": [{"name": "dashboard", "namespace": "admin", "service": "dashboard", "port": 9000}],
    }
    try:
        other.run("https", "site", *PARTS, bulkhead_ingress_gateways=[gateway])
        trusted = Path(other.paths.state) / "admin-tls.pem"  # the one folder that the home network's machine sees
        trusted.write_text(Path(certificate).read_text())
        try:
            url = ["--resolve", f"{name}:443:172.30.0.103", f"https://{name}/"]
            words = ["exec", "lan", "--", "curl", "-sf", "-m", "5", "--cacert", f"/opt/lab/state/{trusted.name}", *url]
            until(lambda: "dashboard" in lab(*words, check=False), "the page answers by HTTPS", 45)
            assert "dashboard" not in lab(
                *[one for one in words if not one.startswith(("--cacert", "/opt/"))], check=False
            )
        finally:
            trusted.unlink()
    finally:
        kubectl("delete", "namespace", "gateway-admin")


def test_sidecars(other: whole.Site) -> None:
    namespaces = [
        {"name": "core", "mesh": "sidecar", "segments": ["arr"]},
        {"name": "downloads", "mesh": "none", "segments": ["arr"]},
        {"name": "media", "mesh": "none", "segments": ["media"]},
        {"name": "admin", "mesh": "none", "segments": ["admin"]},
        {"name": "vpn", "mesh": "none"},
    ]
    other.run("teardown of ambient", "teardown", bulkhead_detach_to="stopped")
    wanted = {"lab_istio_mode": "sidecar", "bulkhead_namespaces": namespaces}
    told = other.run("sidecars", "site", *PARTS, **wanted)
    assert "restart" in told.output  # of the pods that are older than the label
    lab("mesh-fixups")
    kubectl("-n", "core", "rollout", "restart", "deployment/radarr")
    kubectl("-n", "core", "rollout", "status", "deployment/radarr", "--timeout=120s")
    again = other.run("sidecars again", "site", *PARTS, **wanted)
    assert (again.changed, again.writes) == (0, {})
    assert "istio-cni-node" not in kubectl("-n", SYSTEM, "get", "daemonsets", "--output=name")
    pods = json.loads(kubectl("-n", "core", "get", "pods", "--output=json"))["items"]
    (spec,) = (one["spec"] for one in pods if one["metadata"]["name"].startswith("radarr-") and not _is_going(one))
    assert "istio-proxy" in {one["name"] for one in (*spec["containers"], *spec.get("initContainers", []))}
    demo_mesh.gateways(other.paths)


def _is_going(pod: dict) -> bool:
    return "deletionTimestamp" in pod["metadata"]
