"""The tool itself is broken: then nothing is known, and nobody is told anything better."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attached
import proof
import pytest
from mutated import Stage
from running_lab import apply, kubectl

from bulkhead_lab.client import lab_call

pytestmark = pytest.mark.slow

EVERYTHING = ["P", "A", "C"]
ACCOUNT = "restricted"
TWIN = "bulkhead.mesh/twin"
PROBED = {"pod-guard-hash", "pod-dev-bind", "pod-direct", "pod-route", "ctl-tools", "ctl-tunnel"}


@pytest.fixture(autouse=True)
def nothing_left(stage: Stage) -> Iterator[None]:
    """What the broken tool could not remove goes, and a whole one is content again."""
    yield
    for namespace in (attached.CLIENTS, attached.VPN):
        kubectl("-n", namespace, "delete", "pods,networkpolicies", "-l", TWIN, "--now")
    stage.recover(EVERYTHING)


def refused(seen: proof.Proof, *unknown: str) -> None:
    """The task failed, the verdict is unknown, and these checks on the client are."""
    assert seen.failed, seen.why()
    assert seen.verdict == "unknown", seen.why()
    lacking = {one for one in unknown if seen.results[proof.CLIENT].get(one) != "unknown"}
    assert not lacking, f"not unknown: {lacking}\n{seen.why()}"


def test_no_python_in_the_agents_image(stage: Stage, tmp_path: Path) -> None:
    away = {
        "do": [{"node": "mv ${client_rootfs}/usr/bin/python3 ${client_rootfs}/usr/bin/python3.away"}],
        "undo": [{"node": "mv ${client_rootfs}/usr/bin/python3.away ${client_rootfs}/usr/bin/python3"}],
    }
    with stage.broken(away):
        seen = attached.verify(tmp_path)
    assert seen.code != 0
    assert seen.verdict == "unknown", seen
    assert PROBED <= seen.checks["unknown"]


def test_no_python_in_the_image_of_twins(stage: Stage) -> None:
    seen = proof.run(EVERYTHING, enforce=True, twin_image=attached.VARIABLES["bulkhead_vpn_images"]["resolver"])
    refused(seen, "np-enforced", "ctl-detect")


def test_a_twin_that_does_not_run_in_time(stage: Stage) -> None:
    refused(proof.run(EVERYTHING, enforce=True, timeout=0), "np-enforced", "ctl-detect")


def test_the_target_is_down(stage: Stage) -> None:
    with stage.broken({"with": ["target down"]}):
        seen = proof.run(EVERYTHING, enforce=True)
    refused(seen, "ctl-target", "ctl-tunnel", "pod-dev-bind", "pod-direct", "np-enforced")


# -- the API server says no --------------------------------------------------------


def rules(*without: str) -> list[dict[str, Any]]:
    """All that the module needs, without some resources."""
    read = {
        "": ["nodes", "namespaces", "pods", "pods/log", "services", "configmaps"],
        "apps": ["statefulsets", "deployments", "replicasets", "daemonsets"],
        "networking.k8s.io": ["networkpolicies"],
        "discovery.k8s.io": ["endpointslices"],
        "networking.istio.io": ["serviceentries"],
    }
    made: list[dict[str, Any]] = [
        {"apiGroups": [group], "resources": [one for one in names if one not in without], "verbs": ["get", "list"]}
        for group, names in read.items()
    ]
    made.append({"apiGroups": ["", "networking.k8s.io"], "resources": ["*"], "verbs": ["create", "delete"]})
    if "pods/exec" in without:
        made[-1]["resources"] = ["pods", "networkpolicies"]
    else:
        made.append({"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]})
    return [one for one in made if one["resources"]]


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Any]:
    """A function: resources that are not allowed -> kubeconfig of an account that may do the rest."""
    api = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    name = {"metadata": {"name": f"bulkhead-test-{ACCOUNT}"}}

    def make(*without: str) -> str:
        subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": attached.CLIENTS}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", **name["metadata"]}
        apply(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": ACCOUNT, "namespace": attached.CLIENTS},
            },
            {**api, "kind": "ClusterRole", **name, "rules": rules(*without)},
            {**api, "kind": "ClusterRoleBinding", **name, "roleRef": role, "subjects": [subject]},
        )
        held = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        token = kubectl("-n", attached.CLIENTS, "create", "token", ACCOUNT).strip()
        held["users"] = [{"name": held["users"][0]["name"], "user": {"token": token}}]
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(held))
        path.chmod(0o600)
        return str(path)

    yield make
    for kind in ("clusterrolebinding", "clusterrole"):
        kubectl("delete", kind, name["metadata"]["name"], "--ignore-not-found")


def test_the_restricted_account_is_enough_when_nothing_is_taken_away(stage: Stage, account: Any) -> None:
    seen = proof.run(EVERYTHING, enforce=True, kubeconfig=account())
    assert (seen.failed, seen.verdict) == (False, "protected"), seen.why()


def test_exec_is_refused(stage: Stage, account: Any) -> None:
    seen = proof.run(EVERYTHING, enforce=True, kubeconfig=account("pods/exec"))
    refused(seen, *PROBED, "np-enforced")
    assert any("pods/exec" in one["reason"] for one in seen.told["checks"]), seen.why()


def test_pods_cannot_be_listed(stage: Stage, account: Any) -> None:
    seen = proof.run(EVERYTHING, enforce=True, kubeconfig=account("pods"))
    refused(seen)
    assert "list pods" in seen.told["msg"], seen.told["msg"]


def test_nodes_cannot_be_read(stage: Stage, account: Any) -> None:
    """Then nobody knows all addresses under which a leak would show."""
    seen = proof.run(EVERYTHING, enforce=True, kubeconfig=account("nodes"))
    refused(seen, "ctl-real", "ctl-tunnel", "dns-exit")
    assert any("list nodes" in one["reason"] for one in seen.told["checks"]), seen.why()


def test_workloads_cannot_be_listed(stage: Stage, account: Any) -> None:
    """What is attached beside the inventory's clients is not known."""
    seen = proof.run(EVERYTHING, enforce=True, kubeconfig=account("deployments"))
    refused(seen, "inv-named", "pod-left-behind")


def test_policies_cannot_be_listed(stage: Stage, account: Any) -> None:
    """The guard is still proven, and only the guard."""
    seen = proof.run(EVERYTHING, enforce=True, kubeconfig=account("networkpolicies"))
    assert seen.failed
    assert seen.verdict == "protected_single_layer", seen.why()
    assert seen.told["clients"][0]["layers"]["policy"] == "unknown"
    assert seen.told["clients"][0]["layers"]["guard"] == "holds"


def test_endpoints_cannot_be_listed(stage: Stage, account: Any) -> None:
    """Nobody knows where the Service leads, so the guard that admits its address is not proven."""
    seen = proof.run(EVERYTHING, enforce=True, kubeconfig=account("endpointslices"))
    assert seen.failed
    assert seen.unlike_pass() == {proof.CLIENT: {"svc-audit": "unknown"}, proof.GATEWAY: {}}, seen.why()
    assert seen.verdict == "protected_single_layer", seen.why()
    assert seen.told["clients"][0]["layers"]["guard"] == "unknown"


# -- the API server does not answer ----------------------------------------------


def test_the_api_server_is_gone(stage: Stage) -> None:
    lab_call(stage.paths, "stop", name="api-forwarder")
    try:
        seen = proof.run(EVERYTHING, enforce=True)
    finally:
        lab_call(stage.paths, "start", name="api-forwarder")
    refused(seen)
    assert "cannot be reached" in seen.told["msg"]


@pytest.mark.parametrize("moment", ["objects are read", "probes run", "twins run"])
def test_the_api_server_goes_meanwhile(stage: Stage, moment: str) -> None:
    found: list[proof.Proof] = []
    run = threading.Thread(target=lambda: found.append(proof.run(EVERYTHING, enforce=True)))
    run.start()
    try:
        wait_for(moment)
        lab_call(stage.paths, "stop", name="api-forwarder")
        run.join(proof.LIMIT)
    finally:
        lab_call(stage.paths, "start", name="api-forwarder")
        run.join(proof.LIMIT)
    (seen,) = found
    refused(seen)


def wait_for(moment: str) -> None:
    """Until a run that was just started is there."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        twins = kubectl("get", "pods", "-A", "-l", TWIN, "-o", "jsonpath={.items[*].status.phase}").split()
        if moment == "objects are read" or (twins and (moment == "probes run" or "Running" in twins)):
            return
        time.sleep(0.1)
    raise AssertionError(f"it did not come so far that {moment}")
