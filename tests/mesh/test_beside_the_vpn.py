"""What happens in the mesh does not open the VPN, and what should not be so is seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running_lab import kubectl, until
from whole import CLIENTS, POD, Site, annotation, rollout

REDIRECTION = "ambient.istio.io/redirection"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("daemonset", "ztunnel"),
        pytest.param("daemonset", "istio-cni-node", marks=pytest.mark.slow),
        pytest.param("deployment", "istiod", marks=pytest.mark.slow),
    ],
)
def test_a_part_of_istio_restarts(site: Site, kind: str, name: str) -> None:
    window = site.during(20, lambda: rollout(kind, name))
    print(f"{name}: {window}")
    window.judge()


def test_the_namespace_leaves_the_mesh_and_comes_back(site: Site) -> None:
    def leave_and_return() -> None:
        kubectl("label", "namespace", CLIENTS, "istio.io/dataplane-mode=none", "--overwrite")
        until(lambda: annotation(REDIRECTION) == "", "the pod should leave the mesh")
        kubectl("label", "namespace", CLIENTS, "istio.io/dataplane-mode=ambient", "--overwrite")
        until(lambda: annotation(REDIRECTION) == "enabled", "the pod should come back into the mesh")

    window = site.during(20, leave_and_return)
    print(f"out and in: {window}")
    window.judge()


def _capture_names(value: str | None) -> None:
    """DNS capture on or off for the running pod, as the mesh's agent does when it looks at the pod anew."""
    kubectl(
        "-n",
        CLIENTS,
        "annotate",
        "pod",
        POD,
        f"ambient.istio.io/dns-capture{'-' if value is None else f'={value}'}",
        "--overwrite",
    )
    kubectl("label", "namespace", CLIENTS, "istio.io/dataplane-mode=none", "--overwrite")
    until(lambda: annotation(REDIRECTION) == "", "the pod should leave the mesh")
    kubectl("label", "namespace", CLIENTS, "istio.io/dataplane-mode=ambient", "--overwrite")
    until(lambda: annotation(REDIRECTION) == "enabled", "the pod should come back into the mesh")


def test_capture_of_names_is_seen(site: Site, tmp_path: Path) -> None:
    _capture_names(None)
    try:
        proof = site.verify(tmp_path, "verify with capture of names")
    finally:
        _capture_names("false")
    assert proof.code != 0
    assert proof.checks["dns-capture-off"] == "fail"
    # The guard has no way for it to the cluster's resolver: no name leaves, and no answer comes.
    assert proof.checks["dns-exit"] in ("fail", "unknown")


def test_an_enrolled_gateway_namespace_is_seen(site: Site, tmp_path: Path) -> None:
    kubectl("label", "namespace", "vpn", "istio.io/dataplane-mode=ambient", "--overwrite")
    try:
        proof = site.verify(tmp_path, "verify with the gateway's namespace enrolled")
    finally:
        kubectl("label", "namespace", "vpn", "istio.io/dataplane-mode=none", "--overwrite")
    assert proof.code != 0
    assert {name for name, result in proof.checks.items() if result != "pass"} == {"mesh-gw-none"}


@pytest.mark.slow
def test_a_client_out_of_the_mesh_is_seen(site: Site, tmp_path: Path) -> None:
    kubectl("label", "namespace", CLIENTS, "istio.io/dataplane-mode=none", "--overwrite")
    try:
        until(lambda: annotation(REDIRECTION) == "", "the pod should leave the mesh")
        proof = site.verify(tmp_path, "verify with the client out of the mesh")
    finally:
        kubectl("label", "namespace", CLIENTS, "istio.io/dataplane-mode=ambient", "--overwrite")
        until(lambda: annotation(REDIRECTION) == "enabled", "the pod should come back into the mesh")
    assert proof.code != 0
    assert proof.checks["mesh-enrolled"] == "fail"
    assert proof.checks["mesh-out"] != "pass" and proof.checks["mesh-in"] != "pass"


@pytest.mark.slow
def test_a_wide_service_entry_is_seen(site: Site, tmp_path: Path) -> None:
    entry = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "everything", "namespace": "media"},
        "spec": {
            "hosts": ["everything.example"],
            "addresses": ["0.0.0.0/0"],
            "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
            "location": "MESH_EXTERNAL",
            "resolution": "STATIC",
            "endpoints": [{"address": "203.0.113.10"}],
        },
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(entry))
    try:
        proof = site.verify(tmp_path, "verify with a wide ServiceEntry")
        refused = site.run("site with a wide ServiceEntry", "site", "--tags", "preflight", check=False)
    finally:
        kubectl("-n", "media", "delete", "serviceentry", "everything")
    assert proof.code != 0 and proof.checks["mesh-se-audit"] == "fail"
    assert refused.code != 0 and "has the networks 0.0.0.0/0" in refused.output
