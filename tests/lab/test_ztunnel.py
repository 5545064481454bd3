"""The lab's own ztunnel under the unchanged chart: tunnels, identities, policies, DNS capture, life.

What it is judged by is what real programs see and what its log says; the log's form is that of Istio's own.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import mesh_on_lab
import pytest
from running_lab import LAB, apply, kubectl, pod

# It installs Istio for itself; the suite mesh has this ztunnel at work in every run.
pytestmark = pytest.mark.slow
CORE, DOWNLOADS, OUT = "zt-core", "zt-downloads", "zt-out"
AMBIENT = "istio.io/dataplane-mode"
WEB, CLIENT = f"spiffe://cluster.local/ns/{CORE}/sa/web", f"spiffe://cluster.local/ns/{DOWNLOADS}/sa/client"
GATEWAY = f"spiffe://cluster.local/ns/{OUT}/sa/edge-istio"
REDIRECTION = "ambient.istio.io/redirection"
# Answers who serves and who calls.
SERVER = """
import http.server, os, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{socket.gethostname()} {self.client_address[0].removeprefix('::ffff:')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
Server(("::", 8080), Handler).serve_forever()
"""
# One request per connection; prints how many were tried, and what failed.
LOAD = """
import sys, time, urllib.request
url, until, tried, failed = sys.argv[1], time.monotonic() + float(sys.argv[2]), 0, []
while time.monotonic() < until:
    tried += 1
    try:
        urllib.request.urlopen(url, timeout=5).read()
    except Exception as error:
        failed.append(f"{tried}: {error!r}")
    time.sleep(0.05)
print(tried, len(failed), failed[:5])
"""


def workload(namespace: str, name: str) -> dict[str, Any]:
    """A server with a service account of its own and a probe that the kubelet makes every second."""
    made = pod(namespace, name, SERVER, {"app": name, "zt": "server"})
    made["spec"]["serviceAccountName"] = name
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1, "failureThreshold": 2}
    made["spec"]["containers"][0]["readinessProbe"] = probe
    return made


def account(namespace: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}


def service(namespace: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }


@pytest.fixture(scope="module", autouse=True)
def mesh() -> Iterator[None]:
    """The mesh, two enrolled namespaces and one that is not; what this made goes again."""
    ours = mesh_on_lab.install()
    try:
        spaces = ((CORE, {AMBIENT: "ambient"}), (DOWNLOADS, {AMBIENT: "ambient"}), (OUT, {}))
        for name, labels in spaces:
            apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        people = ((CORE, "web"), (DOWNLOADS, "client"), (OUT, "plain"))
        apply(*(make(*who) for who in people for make in (account, service, workload)))
        kubectl("wait", "-A", "-l", "zt=server", "--for=condition=Ready", "pod", "--timeout=60s")
        eventually("the pods are enrolled", lambda: all(enrolled(*who) for who in people[:2]))
        yield
    finally:
        # Its gateways end slowly; their namespace goes while the mesh does.
        kubectl("delete", "namespace", OUT, "--wait=false", "--ignore-not-found")
        kubectl("delete", "namespace", CORE, DOWNLOADS, "--timeout=60s", "--ignore-not-found")
        if ours:
            mesh_on_lab.uninstall()


@pytest.fixture
def policies() -> Iterator[None]:
    """No policy is left behind."""
    yield
    kubectl("-n", CORE, "delete", "peerauthentication,authorizationpolicy", "--all")


def eventually(what: str, holds: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true answer of ``holds``."""
    end = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.3)
    return answer


def enrolled(namespace: str, name: str) -> bool:
    found = json.loads(kubectl("-n", namespace, "get", "pod", name, "-o", "json"))
    return found["metadata"].get("annotations", {}).get(REDIRECTION) == "enabled"


@cache  # no test replaces these pods
def addresses(namespace: str, name: str) -> list[str]:
    found = json.loads(kubectl("-n", namespace, "get", "pod", name, "-o", "json"))
    return [one["ip"] for one in found["status"]["podIPs"]]


def run_in(namespace: str, name: str, *words: str) -> str:
    return kubectl("-n", namespace, "exec", name, "--", *words, check=False)


def call(namespace: str, name: str, host: str, port: int = 80) -> str:
    """Who answered and whom that saw, or nothing."""
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    return run_in(namespace, name, "curl", "-sgf", "-m", "5", url)


def ztunnel() -> str:
    """The youngest ztunnel pod."""
    found = mesh_on_lab.items("pod", "-n", mesh_on_lab.SYSTEM, "-l", "app=ztunnel")
    return max(found, key=lambda one: one["metadata"]["creationTimestamp"])["metadata"]["name"]


class Log:
    """The lines that ztunnels write from now on. Their clock is the machine's."""

    def __init__(self) -> None:
        self.start = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def lines(self) -> list[str]:
        words = ("-l", "app=ztunnel", "--tail=-1", f"--since-time={self.start}")
        return kubectl("-n", mesh_on_lab.SYSTEM, "logs", *words).splitlines()

    def wait(self, *parts: str) -> str:
        """A line that has all parts."""

        def found() -> str:
            return next((line for line in self.lines() if all(part in line for part in parts)), "")

        line: str = eventually(f"a log line with {parts}", found, 10)
        return line


def both(line: str) -> bool:
    return f'src.identity="{CLIENT}"' in line and f'dst.identity="{WEB}"' in line


@pytest.mark.parametrize("way", ["service", "pod", "pod by IPv6"])
def test_enrolled_pods_talk_through_a_tunnel(way: str) -> None:
    """Both ends prove who they are, and the server sees the caller's own address."""
    four, six = addresses(CORE, "web")
    own = addresses(DOWNLOADS, "client")
    host, port, caller = {
        "service": (f"web.{CORE}", 80, own),
        "pod": (four, 8080, own[:1]),
        "pod by IPv6": (six, 8080, own[1:]),
    }[way]
    log = Log()
    who, seen = call(DOWNLOADS, "client", host, port).split()
    assert who == "web"
    assert seen in caller
    outward, inward = log.wait('direction="outbound"', WEB), log.wait('direction="inbound"', CLIENT)
    assert both(outward) and both(inward), (outward, inward)
    assert re.search(r"dst\.addr=\S+:15008 dst\.hbone_addr=\S+:8080", outward), outward
    assert "error=" not in outward + inward


def test_strangers_both_ways_without_a_tunnel() -> None:
    log = Log()
    assert call(OUT, "plain", f"web.{CORE}").split() == ["web", *[one for one in addresses(OUT, "plain") if "." in one]]
    inward = log.wait('direction="inbound"', 'dst.workload="web"', f"src.addr={addresses(OUT, 'plain')[0]}:")
    assert call(CORE, "web", f"plain.{OUT}").split()[0] == "plain"
    outward = log.wait('direction="outbound"', 'dst.workload="plain"')
    assert "identity" not in inward + outward, (inward, outward)


def test_strict_refuses_strangers_and_not_the_kubelet(policies: None) -> None:
    strict = {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication"}
    strict |= {"metadata": {"name": "strict", "namespace": CORE}, "spec": {"mtls": {"mode": "STRICT"}}}
    log = Log()
    apply(strict)
    eventually("a stranger is refused", lambda: not call(OUT, "plain", f"web.{CORE}"))
    log.wait('direction="inbound"', "policy rejection", "istio_converted_static_strict")
    assert call(DOWNLOADS, "client", f"web.{CORE}").startswith("web ")
    late = workload(CORE, "late")
    late["spec"]["serviceAccountName"] = "web"
    apply(late)
    kubectl("-n", CORE, "wait", "--for=condition=Ready", "pod/late", "--timeout=30s")
    time.sleep(3)  # as long as two failed probes take
    ready = kubectl(
        "-n", CORE, "get", "pod", "web", "late", "-o", "jsonpath={.items[*].status.containerStatuses[0].ready}"
    )
    kubectl("-n", CORE, "delete", "pod", "late", "--wait=false")
    assert ready == "true true"


@pytest.mark.parametrize(
    ("action", "account_name", "good"),
    [("DENY", "client", False), ("ALLOW", "client", True), ("ALLOW", "other", False)],
)
def test_policies_by_account(policies: None, action: str, account_name: str, good: bool) -> None:
    rules = [{"from": [{"source": {"principals": [f"cluster.local/ns/{DOWNLOADS}/sa/{account_name}"]}}]}]
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": CORE},
    }
    log = Log()
    apply(policy | {"spec": {"action": action, "rules": rules}})
    # The stranger shows that the policy is in force: ALLOW leaves him out, DENY does not mean him.
    if action == "ALLOW":
        eventually("a stranger is refused", lambda: not call(OUT, "plain", f"web.{CORE}"))
    eventually(
        f"the client's calls end as they should: {good}", lambda: bool(call(DOWNLOADS, "client", f"web.{CORE}")) is good
    )
    if good:
        log.wait("\tinfo\t", 'direction="inbound"', CLIENT)
    else:
        log.wait('direction="inbound"', CLIENT, "policy rejection")
        log.wait("\terror\t", 'direction="outbound"', WEB)
    if action == "DENY":
        assert call(OUT, "plain", f"web.{CORE}")


def test_a_gateway_reaches_the_pod_through_a_tunnel() -> None:
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    edge = {"name": "edge", "namespace": OUT, "annotations": {"networking.istio.io/service-type": "ClusterIP"}}
    kinds = "gateway.networking.k8s.io/v1"
    far = {"kind": "Service", "name": "web", "namespace": CORE, "port": 80}
    source = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": OUT}
    apply(
        {
            "apiVersion": kinds,
            "kind": "Gateway",
            "metadata": edge,
            "spec": {"gatewayClassName": "istio", "listeners": [listener]},
        },
        {
            "apiVersion": kinds,
            "kind": "HTTPRoute",
            "metadata": {"name": "web", "namespace": OUT},
            "spec": {"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [far]}]},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1beta1",
            "kind": "ReferenceGrant",
            "metadata": {"name": "edge", "namespace": CORE},
            "spec": {"from": [source], "to": [{"group": "", "kind": "Service"}]},
        },
    )
    log = Log()
    answer = eventually("the gateway answers", lambda: call(OUT, "plain", f"edge-istio.{OUT}"), 60)
    assert answer.split()[0] == "web"
    inward = log.wait('direction="inbound"', f'src.identity="{GATEWAY}"')
    kubectl("-n", OUT, "delete", "gateway", "edge", "--wait=false")
    assert f'dst.identity="{WEB}"' in inward


def test_captured_questions_go_to_the_clusters_resolver() -> None:
    """To whomever they were sent; a pod that opts out is left alone. This is the leak that the project's checks are about."""
    nobody, name = "198.51.100.99", f"web.{CORE}.svc.cluster.local"
    ask = ("dig", "+short", "+time=2", "+tries=1", f"@{nobody}", name)
    expected = json.loads(kubectl("-n", CORE, "get", "service", "web", "-o", "json"))["spec"]["clusterIP"]
    assert run_in(DOWNLOADS, "client", *ask).strip() == expected
    assert run_in(DOWNLOADS, "client", *ask, "+tcp").strip() == expected
    free = workload(DOWNLOADS, "free")
    free["spec"]["serviceAccountName"] = "client"
    free["metadata"]["annotations"] = {"ambient.istio.io/dns-capture": "false"}
    apply(free)
    kubectl("-n", DOWNLOADS, "wait", "--for=condition=Ready", "pod/free", "--timeout=60s")
    assert enrolled(DOWNLOADS, "free")
    assert expected not in run_in(DOWNLOADS, "free", *ask)
    kubectl("-n", DOWNLOADS, "delete", "pod", "free", "--wait=false")


def test_leaving_and_joining_live() -> None:
    """Without a restart of the pod; a connection is a tunnel exactly while it is enrolled."""
    kubectl("-n", CORE, "label", "pod", "web", f"{AMBIENT}=none", "--overwrite")
    eventually("web has left", lambda: not enrolled(CORE, "web"))
    log = Log()
    eventually("the client calls without a tunnel", lambda: call(DOWNLOADS, "client", f"web.{CORE}"))
    plain = log.wait('direction="outbound"', 'dst.workload="web"')
    kubectl("-n", CORE, "label", "pod", "web", f"{AMBIENT}-")
    eventually("web is back", lambda: enrolled(CORE, "web"))

    def tunnelled() -> bool:
        call(DOWNLOADS, "client", f"web.{CORE}")
        return any(both(line) and "inbound" in line for line in log.lines())

    eventually("the client calls through a tunnel", tunnelled)
    assert "hbone_addr" not in plain, plain


def test_what_checks_read() -> None:
    """istioctl understands the dump; the counters count tunnels apart."""
    named = {"WEB": (CORE, "web"), "PLAIN": (OUT, "plain")}
    listed = json.loads(mesh_on_lab.program("istioctl", "ztunnel-config", "workload", "-o", "json"))
    protocols = {
        key: [one["protocol"] for one in listed if (one["namespace"], one["name"]) == who] for key, who in named.items()
    }
    assert protocols == {"WEB": ["HBONE"], "PLAIN": ["TCP"]}
    certificates = json.loads(mesh_on_lab.program("istioctl", "ztunnel-config", "certificates", "-o", "json"))
    assert {WEB, CLIENT} <= {one["identity"] for one in certificates}

    def opened(security: str) -> float:
        path = f"/api/v1/namespaces/{mesh_on_lab.SYSTEM}/pods/{ztunnel()}:15020/proxy/metrics"
        wanted = [
            line
            for line in kubectl("get", "--raw", path).splitlines()
            if line.startswith("istio_tcp_connections_opened_total{")
            and f'connection_security_policy="{security}"' in line
            and 'reporter="destination"' in line
            and 'destination_workload="web"' in line
        ]
        return sum(float(line.rsplit(" ", 1)[1]) for line in wanted)

    before = opened("mutual_tls"), opened("unknown")
    assert call(DOWNLOADS, "client", f"web.{CORE}")
    assert (opened("mutual_tls"), opened("unknown")) == (before[0] + 1, before[1])
    assert call(OUT, "plain", f"web.{CORE}")
    assert (opened("mutual_tls"), opened("unknown")) == (before[0] + 1, before[1] + 1)


def test_a_rolling_restart_loses_no_request() -> None:
    argv = [*LAB, "kubectl", "--", "-n", DOWNLOADS, "exec", "client", "--"]
    argv += ["python3", "-c", LOAD, f"http://web.{CORE}/", "12"]
    before = ztunnel()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as load:
        time.sleep(1)
        kubectl("-n", mesh_on_lab.SYSTEM, "rollout", "restart", "daemonset/ztunnel")
        kubectl("-n", mesh_on_lab.SYSTEM, "rollout", "status", "daemonset/ztunnel", "--timeout=60s")
        ended_during = load.poll() is not None
        printed = load.communicate(timeout=60)[0]
    tried, failed, what = printed.split(" ", 2)
    assert ztunnel() != before
    assert not ended_during, "the load ended before the restart did"
    assert int(tried) >= 50
    assert int(failed) == 0, what
    log = Log()
    assert call(DOWNLOADS, "client", f"web.{CORE}")
    assert both(log.wait('direction="inbound"', CLIENT))
