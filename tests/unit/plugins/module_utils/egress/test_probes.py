# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No probe of ours starts a program: twenty that do, once a second each, take a small node down."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import config as conf
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _twins
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import _pod
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _gateway, _template
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._patch import apply_patch
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._policy import Endpoint

Object = dict[str, Any]
COLLECTION = Path(_gateway.__file__).resolve().parents[3]
PROBED = {
    ("bulkhead-gateway", "readinessProbe"),
    ("endpoints", "livenessProbe"),
    ("bulkhead-overlay", "startupProbe"),
}


def rendered(workload: Callable[..., Object], settings: Callable[..., Any]) -> list[Object]:
    """Every object with containers that this collection writes; an attached workload has the user's as well."""
    shared = _gateway.Shared({"__init__.py": ""}, _gateway.Images("agent:1", "engine:1", "resolver:1"))
    gateway = Gateway("vpnarr", "vpn", "mullvad", vni=7001, network="10.222.1.0/24")
    plan = _gateway.Plan(gateway, Endpoint("198.51.100.2", 51820), ("10.66.0.1",), None, "wg0.conf", "uid.5")
    link = {"vni": 7001, "port": 14789, "network": "10.222.1.0/24", "clients": {}}
    registry = {"gateways": {"vpnarr": link}}
    made = workload()
    return [
        *_gateway.gateway_objects(plan, registry, shared),
        *_gateway.namespace_objects("vpn", registry, shared),
        apply_patch(made, _template.attach(made, settings())),
        _twins.pod("twin", "run", "open", {"metadata": {"namespace": "vpn"}, "spec": {}}, "agent:1"),
        _pod.manifest("pod", "vpn", "image:1"),
    ]


def containers(value: Any) -> Iterator[Object]:
    """All containers in an object, wherever its pod is."""
    if isinstance(value, dict):
        for key in ("initContainers", "containers", "ephemeralContainers"):
            yield from value.get(key) or []
        for one in value.values():
            yield from containers(one)


@pytest.fixture
def asked(workload: Callable[..., Object], settings: Callable[..., Any]) -> dict[tuple[str, str], Object]:
    """Every probe and hook of ours, by container and kind."""
    found: dict[tuple[str, str], Object] = {}
    for one in rendered(workload, settings):
        for container in containers(one):
            found.update({(container["name"], key): container[key] for key in container if key.endswith("Probe")})
            found.update({(container["name"], key): one for key, one in (container.get("lifecycle") or {}).items()})
    return found


def test_the_agent_answers_and_no_program_is_started(asked: dict[tuple[str, str], Object]) -> None:
    assert set(asked) == PROBED
    for probe in asked.values():
        assert not {"exec", "tcpSocket", "grpc"} & set(probe)
        assert probe["httpGet"] == {"path": conf.HEALTH_PATH, "port": conf.HEALTH_PORT, "scheme": "HTTP"}


def test_the_kubelet_is_more_patient_than_the_overlay(asked: dict[tuple[str, str], Object]) -> None:
    text = (COLLECTION / "plugins" / "module_utils" / "_agent" / "overlay.py").read_text()
    held = re.search(r"^HOLD_SECONDS = ([0-9.]+)", text, re.MULTILINE)
    assert held is not None
    assert float(held[1]) < asked["bulkhead-overlay", "startupProbe"]["timeoutSeconds"] - 1


def test_no_other_file_of_ours_writes_probes() -> None:
    known = {"_agent_files.py", "_gateway.py", "_controller.py", "_pieces.py"}
    written = re.compile(r"""["']?(liveness|readiness|startup)Probe["']?\]?\s*[:=]\s*[^=\s]""")
    found = {
        path.name
        for folder in ("plugins", "roles", "playbooks")
        for path in (COLLECTION / folder).rglob("*")
        if path.suffix in (".py", ".yml", ".yaml", ".j2") and written.search(path.read_text(encoding="utf-8"))
    }
    assert found <= known


def test_ports_of_ours_are_three_that_differ() -> None:
    ports = {conf.HEALTH_PORT, conf.NONCE_PORT, Gateway("a", "b", "c").port}
    assert len(ports) == 3
