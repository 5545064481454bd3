"""Two gateways are on the tailnet and the third is not; what restarts comes back under its address, what goes is gone."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from running_lab import kubectl, lab
from whole import Site

from bulkhead_lab import demo_tailnet, tailnet

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = ("-n", "tailscale")


def proxy(namespace: str) -> str:
    """The pod behind a gateway's device."""
    labels = f"tailscale.com/managed=true,tailscale.com/parent-resource-ns={namespace}"
    return kubectl(*OPERATOR, "get", "pods", "-l", labels, "-o", "jsonpath={.items[0].metadata.name}")


def test_names_of_the_tailnet(site: Site) -> None:
    demo_tailnet.tailnet(site.paths)


def test_each_gateway_asked_for_its_own_tags(site: Site) -> None:
    asked = [tuple(one["tags"]) for one in json.loads(lab("tailnet", "keys"))]
    assert {("tag:k8s-operator",), ("tag:gw-arr",), ("tag:gw-media",)} <= set(asked)


def test_no_run_showed_a_secret(site: Site) -> None:
    secret = json.loads(tailnet.oauth_file(site.paths.state).read_text())["client_secret"]
    assert secret.startswith("tskey-client-")
    assert [name for name, run in site.runs.items() if secret in run.output] == []
    releases = kubectl(*OPERATOR, "get", "configmaps,deployments,statefulsets,pods", "-o", "json")
    assert secret not in releases


@pytest.mark.parametrize("what", ["proxy", "operator"])
def test_after_a_restart_the_same_address_answers(site: Site, what: str) -> None:
    before = demo_tailnet.resolve(site.paths, "media")
    pod = proxy("gateway-media")
    assert before
    if what == "proxy":
        kubectl(*OPERATOR, "delete", "pod", pod, "--wait=true")
    else:
        kubectl(*OPERATOR, "rollout", "restart", "deployment/operator")
        kubectl(*OPERATOR, "rollout", "status", "deployment/operator", "--timeout=60s")
    code, body = demo_tailnet.patiently(site.paths, "http://media/", "jellyfin")
    assert (code, body.strip()) == (200, "jellyfin")
    assert demo_tailnet.resolve(site.paths, "media") == before
    assert demo_tailnet.nodes(site.paths)["media"][0] == before


def changed(tmp_path: Path, old: str, new: str) -> list[str]:
    """Words for a run with the demo's gateways, one text of them changed."""
    text = (ROOT / "inventories/lab/group_vars/all/bulkhead.yml").read_text()
    assert old in text
    file = tmp_path / "changed.yml"
    file.write_text(text.replace(old, new, 1))
    return ["-e", f"@{file}", "--tags", "ingress_gateways"]


@pytest.mark.slow
def test_a_gateway_leaves_the_tailnet_and_nothing_else_happens(site: Site, tmp_path: Path) -> None:
    media = '    exposure: both\n    tailscale: {tags: ["tag:gw-media"]}\n'
    foretold = site.run("check without media", "site", *changed(tmp_path, media, ""), "--check")
    assert foretold.writes == {} and "media" in demo_tailnet.nodes(site.paths)
    site.run("without media", "site", *changed(tmp_path, media, ""))
    # The run has waited for it: nothing is polled here.
    assert "media" not in demo_tailnet.nodes(site.paths) and "arr" in demo_tailnet.nodes(site.paths)
    service = json.loads(kubectl("-n", "gateway-media", "get", "service", "media-istio", "-o", "json"))
    assert "tailscale.com/finalizer" not in (service["metadata"].get("finalizers") or [])
    assert service["status"]["loadBalancer"]["ingress"]
    site.run("with media again", "site", "--tags", "ingress_gateways")
    demo_tailnet.tailnet(site.paths)


WRONG = {
    "secret": (
        {"oauth_secret": "wrong", "oauth_file": ""},
        "http://172.31.0.2:8088 refuses the OAuth client with 401: check client_id and client_secret in the Secret "
        "(a file that ends with a line end is a usual cause)",
    ),
    "server": (
        {"login_server": "http://172.31.0.77:8088"},
        "http://172.31.0.77:8088 cannot be reached from the cluster: no route to host",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(WRONG))
def test_what_the_operator_cannot_do_is_said(site: Site, tmp_path: Path, case: str) -> None:
    """An operator that is known already needs no key, so it is forgotten first."""
    settings, sentence = WRONG[case]
    words = ["--tags", "tailscale"]
    usual = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/tailnet.yml").read_text())["bulkhead_tailscale"]
    file = tmp_path / "wrong.yml"
    file.write_text(yaml.safe_dump({"bulkhead_tailscale": {**usual, **settings}}))
    literals = ("--from-literal=client_id=lab-client", "--from-literal=client_secret=wrong")
    kubectl(*OPERATOR, "create", "secret", "generic", "wrong", *literals)
    kubectl(*OPERATOR, "delete", "secret", "operator")
    start = time.monotonic()
    try:
        run = site.run(f"wrong {case}", "site", *words, "-e", f"@{file}", check=False)
    finally:
        kubectl(*OPERATOR, "delete", "secret", "wrong")
        site.run(f"right after wrong {case}", "site", *words)
    print(f"{case}: said after {time.monotonic() - start:.0f} s of the whole run")
    assert run.code != 0 and sentence in " ".join(run.output.split())
    demo_tailnet.tailnet(site.paths)
