"""Images that cannot run: what works goes on, nothing is written, and the run says why in the node's own words."""

from __future__ import annotations

import attached
import misfortunes
import pytest
import stage
from running_lab import kubectl

from bulkhead_lab.paths import Paths

NAME = "proven"
MISSING = "127.0.0.1:9/nothing:1"  # nobody answers there
WITHOUT_TOOLS = "lab.local/coredns:1"


def _generation(kind: str, name: str) -> str:
    """Changes with every write of the object's specification."""
    return kubectl("-n", attached.VPN, "get", kind, name, "-o", "jsonpath={.metadata.generation}")


@pytest.mark.parametrize(
    ("which", "image", "words"),
    [
        ("engine", MISSING, f"image {MISSING} cannot be pulled: "),
        pytest.param("agent", WITHOUT_TOOLS, f"image {WITHOUT_TOOLS} cannot be started: ", marks=pytest.mark.slow),
    ],
)
def test_a_gateway_stays_when_a_new_image_would_not_run(paths: Paths, which: str, image: str, words: str) -> None:
    attached.comes_back()
    objects = [("statefulset", attached.GATEWAY), ("deployment", "bulkhead-endpoints")]
    before = misfortunes.gateway_uid(), [_generation(*one) for one in objects]
    told = stage.vpn_gateway(fails=True, **{which: image})
    assert words in told["msg"] and "stays as it was: on node " in told["msg"], told
    assert (told["failure"]["reason"], told["changed"]) == ("NotProven", False)
    assert (misfortunes.gateway_uid(), [_generation(*one) for one in objects]) == before
    assert attached.by_the_vpn(attached.seen_address(2)), "the gateway that was there still serves"
    assert not kubectl("-n", attached.VPN, "get", "pods", "-l", "bulkhead.mesh/trial", "-o", "name")
    assert stage.vpn_gateway()["changed"] is False, "with the image that runs there is nothing to do"


def test_a_client_stays_when_the_new_agent_image_would_not_run(shapes: Paths) -> None:
    stage.put(stage.stateful_set(NAME))
    try:
        version = stage.get("statefulset", NAME)["metadata"]["generation"]
        told = stage.vpn_client(stage.client(NAME), fails=True, agent_image=MISSING)
        assert f"image {MISSING} cannot be pulled: " in told["msg"] and told["changed"] is False, told
        assert (stage.state(NAME), stage.get("statefulset", NAME)["metadata"]["generation"]) == ("plain", version)
        assert stage.get("networkpolicies")["items"] == [], "what is refused leaves nothing behind"
        stage.vpn_client(stage.client(NAME))
        stage.comes_back(f"{NAME}-0")
        (pod,) = stage.pods(NAME)
        told = stage.vpn_client(stage.client(NAME), fails=True, agent_image=MISSING)
        assert f"image {MISSING} cannot be pulled: " in told["msg"], told
        assert [one["metadata"]["uid"] for one in stage.pods(NAME)] == [pod["metadata"]["uid"]]
        assert stage.vpn_client(stage.client(NAME))["changed"] is False
    finally:
        stage.clear()


def test_a_missing_key_ends_the_wait(shapes: Paths) -> None:
    container = {**stage.sender(), "envFrom": [{"secretRef": {"name": "of-the-app"}}]}
    secret = ("-n", stage.NAMESPACE, "secret", "generic", "of-the-app")
    kubectl(*secret[:2], "create", *secret[2:], "--from-literal=a=b")
    stage.put(stage.stateful_set(NAME, [container]))
    try:
        kubectl(*secret[:2], "delete", "secret", "of-the-app")
        told = stage.vpn_client(stage.client(NAME), fails=True)
        assert 'will not get ready: pod proven-0, container app: secret "of-the-app" not found; create' in told["msg"]
    finally:
        stage.clear()
