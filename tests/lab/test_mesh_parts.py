"""What the lab hands to those who install a mesh on it: charts, clients, images, a computer on the home LAN."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from running_lab import LAB, kubectl, lab

from bulkhead_lab import charts, plan, topology

ANNOUNCED4, ANNOUNCED6 = plan.METALLB_RANGE.split("-")[1], plan.METALLB_RANGE6.split("-")[1]
LISTENER = """
import http.server, os, socket
print(os.getpid())
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6
Server(("::", 18091), http.server.BaseHTTPRequestHandler).serve_forever()
"""


@pytest.fixture(scope="module")
def folder() -> Path:
    """The charts of this checkout."""
    return Path(lab("charts").strip())


def helm(*words: str) -> str:
    """Run the lab's helm, which the search path of the suites ends with."""
    path = f"{os.environ['PATH']}{os.pathsep}{lab('programs').strip()}"
    done = subprocess.run(["helm", *words], env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted(charts.ISTIO_CHARTS))
def test_istios_charts_render_with_the_labs_images(folder: Path, name: str) -> None:
    values = f"hub={plan.ISTIO_HUB},tag={plan.ISTIO_VERSION},variant="
    scoped = ",".join(f"global.{value}" for value in values.split(","))
    words = ["--set", f"profile=ambient,{values}"] if name != "gateway" else []
    words += ["--set", scoped] if name in ("istiod", "cni") else []
    rendered = helm("template", name, str(folder / charts.ISTIO / name), "--namespace", "istio-system", *words)
    objects = [one for one in yaml.safe_load_all(rendered) if one]
    assert objects
    images = {
        container["image"]
        for one in objects
        if one["kind"] in ("Deployment", "DaemonSet")
        for container in one["spec"]["template"]["spec"]["containers"]
    }
    image = {"istiod": "pilot", "cni": "install-cni", "ztunnel": "ztunnel"}.get(name)
    assert images == {"base": set(), "gateway": {"auto"}}.get(name, {plan.istio_image(str(image))})
    chart = yaml.safe_load((folder / charts.ISTIO / name / "Chart.yaml").read_text())
    assert (chart["name"], chart["version"]) == (name, plan.ISTIO_VERSION)


def test_metallbs_chart_brings_its_definitions(folder: Path) -> None:
    rendered = helm("template", "metallb", str(folder / charts.METALLB), "--namespace", "metallb-system")
    kinds = {
        one["spec"]["names"]["kind"]
        for one in yaml.safe_load_all(rendered)
        if one and one["kind"] == "CustomResourceDefinition"
    }
    assert {"IPAddressPool", "L2Advertisement"} <= kinds


def test_gateway_api_is_the_standard_channel_of_the_planned_version(folder: Path) -> None:
    objects = list(yaml.safe_load_all((folder / charts.GATEWAY_API).read_text()))
    marks = {
        (
            one["metadata"]["annotations"]["gateway.networking.k8s.io/bundle-version"],
            one["metadata"]["annotations"]["gateway.networking.k8s.io/channel"],
        )
        for one in objects
    }
    assert marks == {(f"v{plan.GATEWAY_API_VERSION}", "standard")}
    names = {one["metadata"]["name"] for one in objects}
    assert {"gateways.gateway.networking.k8s.io", "httproutes.gateway.networking.k8s.io"} <= names
    assert "safe-upgrades.gateway.networking.k8s.io" in names
    # As the API server reads it, not only as YAML.
    kubectl("apply", "--server-side", "--dry-run=server", "-f", str(folder / charts.GATEWAY_API))


def test_every_image_is_on_the_node() -> None:
    on_node = set(lab("node-exec", "--", "ctr", "-n", "k8s.io", "images", "ls", "-q").split())
    wanted = {plan.istio_image(name) for name in plan.ISTIO_IMAGES}
    wanted |= {plan.metallb_image(name) for name in ("controller", "speaker")}
    assert wanted <= on_node, wanted - on_node


def lan(*words: str, check: bool = True) -> str:
    """Run a command on the computer of the home LAN."""
    return lab("exec", plan.NS_LAN, "--", *words, check=check)


@pytest.fixture
def announced() -> Iterator[None]:
    """A server on the node, on addresses that a load balancer could announce there."""
    for address, prefix in ((ANNOUNCED4, 32), (ANNOUNCED6, 128)):
        lab("node-exec", "--", "ip", "address", "replace", f"{address}/{prefix}", "dev", plan.NODE_DEVICE, "nodad")
    argv = [*LAB, "node-exec", "--", "python3", "-u", "-c", LISTENER]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout
        pid = server.stdout.readline().strip()
        yield
        lab("node-exec", "--", "kill", pid)
    for address, prefix in ((ANNOUNCED4, 32), (ANNOUNCED6, 128)):
        lab("node-exec", "--", "ip", "address", "delete", f"{address}/{prefix}", "dev", plan.NODE_DEVICE)


@pytest.mark.usefixtures("announced")
@pytest.mark.parametrize(("address", "host"), [(ANNOUNCED4, ANNOUNCED4), (ANNOUNCED6, f"[{ANNOUNCED6}]")])
def test_the_lan_reaches_what_the_node_announces(address: str, host: str) -> None:
    """Without a router between: the neighbour entry is the node's, so ARP or neighbour discovery found it."""
    retry = ("--retry", "20", "--retry-connrefused", "--retry-delay", "1", "--max-time", "25")
    code = lan("curl", "-s", "-g", *retry, "-o", "/dev/null", "-w", "%{http_code}", f"http://{host}:18091/")
    assert code == "501"  # of a server without a GET: it was ours that answered
    entries = json.loads(lan("ip", "-json", "neighbour", "show", address))
    assert [entry.get("lladdr") for entry in entries] == [topology.NODE_MAC]


def test_nobody_answers_for_an_address_that_is_not_announced() -> None:
    assert lan("curl", "-s", "-m", "4", f"http://{ANNOUNCED4}:18091/", "-w", "%{http_code}", check=False) == "000"


def test_the_lan_reaches_the_internet_through_the_router() -> None:
    code = lan("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", f"http://{plan.TARGET4}/")
    assert code == "200"
