# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The probe of killswitch_check in real namespaces: a guarded pod passes, and each protection taken away is seen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from world import DIRECT, HERE, INNER_GATEWAY, TARGET4, TARGET6, World

pytest.importorskip("ansible_collections.bulkhead.mesh")

from ansible_collections.bulkhead.mesh.plugins.module_utils import _sources
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _gather, _plan, _registry, _remote, _twins
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import (
    GatewayEvidence,
    Inside,
    PodEvidence,
    Probe,
    Site,
    Twins,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._plan import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _agent_source

REAL4, REAL6, EXIT = "192.0.2.10", "2001:db8:30::10", "198.51.100.5"
TARGETS = [
    Target("stun1", "stun", TARGET4, 3478),
    Target("stun1-v6", "stun", TARGET6, 3478),
    Target("http1", "http", TARGET4, 80, host=TARGET4),
    Target("dns1", "dns", TARGET4, 53, zone="probe.example"),
    Target("bulk1", "bulk", TARGET4, 80, host=TARGET4),
]
SITE = Site(frozenset({REAL4, REAL6}), ("declared",), frozenset({EXIT}))


def run_probe(world: World, pod: str, request: dict[str, Any], confined: bool = True) -> Probe | Missing:
    """As an exec does it: standard input, the capabilities of our containers."""
    line = _gather.sent({"mount": str(world.directory / "bulkhead_agent"), **request}, _agent_source.read())
    limits = ["setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all"] if confined else []
    argv = world.enter(f"pod-{pod}", *limits, sys.executable, "-I", "-c", _remote.BOOT)
    done = subprocess.run(argv, input=line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return _plan.parse(json.loads(done.stdout))


def proof(world: World, pod: str, container: str) -> dict[str, Any]:
    held = json.loads((world.directory / f"proof-{pod}").read_text())
    held["agent"] = _remote_agent(world)
    ended = {"exitCode": 0, "message": json.dumps(held), "finishedAt": "2026-01-01T00:00:00Z"}
    return {"name": container, "state": {"terminated": ended}}


def _remote_agent(world: World) -> str:
    from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _agent_files

    return _agent_files.agent_hash(_agent_source.read())


NO_TWINS = Missing("none")


def client_evidence(world: World, twins: Twins | Missing = NO_TWINS) -> PodEvidence:
    config = json.loads(world.environment("client")["BULKHEAD_CONFIG"])
    request = {
        "facts": list(_plan.CLIENT_FACTS),
        "table": _plan.CLIENT_TABLE,
        "config": config,
        "routes": _plan.looked_up(TARGETS, "172.30.0.10"),
    }
    steps = _plan.client_steps(TARGETS, 1.0, "10.244.0.10", INNER_GATEWAY)
    app = {"name": "app", "securityContext": {"capabilities": {"drop": ["ALL"]}}}
    inits = [{"name": "bulkhead-guard"}, {"name": "bulkhead-overlay", "restartPolicy": "Always"}]
    pod = {
        "metadata": {"namespace": "downloads", "name": "client-0"},
        "spec": {"initContainers": inits, "containers": [app]},
        "status": {"podIP": "10.244.0.10", "initContainerStatuses": [proof(world, "client", "bulkhead-guard")]},
    }
    gateway = GatewayEvidence(
        "vpn/north",
        SITE,
        pods=({"metadata": {"name": "gateway-0"}, "spec": {}, "status": {"podIP": "10.244.0.20"}},),
        probe=run_probe(world, "gateway", {"facts": ["link", "fdb", "neighbours"], "steps": []}),
        clients={"downloads/client-0": "10.244.0.10"},
    )
    probe = run_probe(world, "client", {**request, "steps": steps})
    inside: dict[str, Inside | Missing] = {"app": Missing("no shell")}
    return PodEvidence(
        target="downloads/client-0",
        site=SITE,
        pod=pod,
        config=config,
        direct=DIRECT,
        probe=probe,
        inside=inside,
        twins=twins,
        gateway=gateway,
    )


def gateway_evidence(world: World) -> GatewayEvidence:
    config = json.loads(world.environment("gateway")["BULKHEAD_CONFIG"])
    request = {"facts": list(_plan.GATEWAY_FACTS), "table": _plan.GATEWAY_TABLE, "config": config}
    steps = _plan.gateway_steps(TARGETS, 1.0, "tun0")
    pod = {
        "metadata": {"name": "north-0", "namespace": "vpn"},
        "spec": {},
        "status": {"initContainerStatuses": [proof(world, "gateway", "bulkhead-firewall")]},
    }
    probe = run_probe(world, "gateway", {**request, "steps": steps})
    return GatewayEvidence("vpn/north", SITE, pods=(pod,), config=config, probe=probe)


def results(evidence: Any, on: str, classes: str = "PAC") -> dict[str, Any]:
    return {one.id: one for one in _registry.run(evidence, on, classes)}


def shown(found: dict[str, Any]) -> dict[str, str]:
    return {name: f"{one.result}: {one.observed} | {one.reason}" for name, one in found.items()}


@pytest.fixture(scope="module")
def checked(private_mounts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("checks"))
    try:
        web = made.start("target", [sys.executable, "-B", str(HERE / "web.py")])
        made.attached()
        assert web.stdout and web.stdout.readline() == "ready\n"
        yield made
    finally:
        made.close()


CLIENT_CHECKS = [
    "ctl-tools",
    "ctl-real",
    "ctl-target",
    "ctl-tunnel",
    "ctl-counter",
    "ctl-detect",
    "pod-guard-hash",
    "pod-caps",
    "pod-route",
    "pod-direct",
    "pod-dev-bind",
    "pod-src-bind",
    "pod-v6",
    "pod-icmp",
    "ovl-fdb",
    "ovl-mtu",
]


def test_everything_holds(checked: World) -> None:
    steps = _plan.twin_steps(TARGETS, 1.0, True)
    control = run_probe(checked, "plain", {"facts": ["netns"], "steps": steps})
    assert not isinstance(control, Missing)
    with checked.captured() as seen:
        client = results(client_evidence(checked, Twins(Missing("none"), control)), "client")
        gateway = results(gateway_evidence(checked), "gateway")
    wrong = {name: text for name, text in shown(client).items() if name in CLIENT_CHECKS and text[:4] != "pass"}
    assert wrong == {}
    assert {name: shown(gateway)[name][:4] for name in ("gw-rules", "gw-exit", "gw-clear")} == {
        "gw-rules": "pass",
        "gw-exit": "pass",
        "gw-clear": "pass",
    }, shown(gateway)
    assert seen["clear"] == 0 and seen["link"] == 0
    assert seen["exit"] > 100  # bulk both ways


def test_rules_of_an_older_agent_are_compared_by_its_own_files(checked: World, tmp_path: Path) -> None:
    """Also what stands in its sets, which no hash covers."""
    older = shutil.copytree(checked.directory / "bulkhead_agent", tmp_path / "bulkhead_agent")
    with (older / "rules.py").open("a") as file:
        file.write("# as it was in another version\n")
    config = json.loads(checked.environment("client")["BULKHEAD_CONFIG"])
    request = {"facts": ["rendered"], "table": _plan.CLIENT_TABLE, "config": config, "mount": str(older)}

    def rendered() -> Any:
        found = run_probe(checked, "client", request)
        return found if isinstance(found, Missing) else found.fact("rendered")

    assert rendered() == "older agent"
    element = ["element", "inet", _plan.CLIENT_TABLE, "inside", "{ 203.0.113.0/24 }"]
    for change, expected in (("add", "set inside differs"), ("delete", "older agent")):
        subprocess.run(checked.enter("pod-client", "nft", change, *element), check=True)
        assert rendered() == expected
    request["config"] = {**config, "cluster_networks": ["203.0.113.0/24"]}
    assert rendered() == "set inside differs"
    # What the guard admits directly is read as it is, whatever the agent: the inventory says what it should be.
    found = run_probe(checked, "client", {**request, "facts": ["direct"]})
    assert not isinstance(found, Missing) and found.fact("direct") == DIRECT


def test_the_first_program_of_a_twin_counts_answers_until_they_end(checked: World) -> None:
    """Where packets get out from the first instant on, and where the guard lets none out."""
    source = _sources.read(_remote)["early.py"]
    told = {}
    for pod, enough in (("plain", 3), ("client", 0)):
        targets = [{"id": one.id, "target": one.address, "port": one.port} for one in TARGETS if one.kind == "stun"]
        orders = {**_twins.orders(targets, enough), "quiet": 1.0, "longest": 4.0}
        argv = [sys.executable, "-I", "-c", source, _agent_source.read()["wire.py"], json.dumps(orders)]
        checked.start(f"pod-{pod}", argv)
        found = run_probe(checked, pod, {"facts": ["early", "six"], "steps": []})
        assert not isinstance(found, Missing)
        early = _plan.parse_early(found.fact("early"))
        assert not isinstance(early, Missing), early
        told[pod] = early
        assert found.fact("six") is True
    free = told["plain"].targets["stun1"]
    assert free.answered == free.sent == 3 and free.first is not None and free.last is not None
    # The guarded pod's own way is the tunnel, so IPv4 is answered there; by IPv6 nothing can be sent at all.
    assert told["client"].targets["stun1"].answered > 3
    six = told["client"].targets["stun1-v6"]
    assert (six.sent, six.answered) == (0, 0) and six.unsent > 0


def test_ipv6_default_that_came_back(checked: World) -> None:
    checked.ipv6_default("pod-client")
    found = results(client_evidence(checked), "client")["pod-v6"]
    assert found.result == "pass" and "EPERM" in found.observed, found


def test_flushed_guard_is_seen(checked: World) -> None:
    """Last of the file: the guard is gone afterwards."""
    checked.ipv6_default("pod-client")
    checked.remove_guard()
    found = results(client_evidence(checked), "client")
    assert found["pod-guard-hash"].result == "fail"
    for name in ("pod-direct", "pod-dev-bind", "pod-icmp", "pod-v6"):
        assert (found[name].result, found[name].leak) == ("fail", True), shown(found)[name]
    assert found["pod-dev-bind"].address_class == "real"
    assert found["ctl-counter"].result == "unknown"
