"""The tailnet's secret, its programs, and where its computer is entered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bulkhead_lab import laptop, lifecycle, plan, tailnet, topology
from bulkhead_lab.errors import LabError
from bulkhead_lab.paths import Paths


def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    tailnet.write(tmp_path)
    file = tailnet.oauth_file(tmp_path)
    first = json.loads(file.read_text())
    assert set(first) == {"client_id", "client_secret"} and file.stat().st_mode & 0o777 == 0o600
    tailnet.write(tmp_path)
    assert json.loads(file.read_text()) == first
    tailnet.write(tmp_path / "other")
    assert json.loads(tailnet.oauth_file(tmp_path / "other").read_text())["client_secret"] != first["client_secret"]


def test_no_secret_is_an_argument(tmp_path: Path) -> None:
    tailnet.write(tmp_path)
    secret = json.loads(tailnet.oauth_file(tmp_path).read_text())["client_secret"]
    words = [word for service in tailnet.services(tmp_path) for word in service.argv]
    assert f"-oauth={tailnet.oauth_file(tmp_path)}" in words
    assert not [word for word in words if secret in word]


def test_the_computer_is_ready_when_it_is_in_the_tailnet(tmp_path: Path) -> None:
    ready = {service.name: service.ready for service in tailnet.services(tmp_path)}[tailnet.HOST_SERVICE]
    assert ready is not None and not ready()
    laptop.folder(tmp_path).mkdir(parents=True)
    assert not ready()
    (laptop.folder(tmp_path) / "joined").touch()
    assert ready()


def test_control_and_computer_are_on_networks_of_their_own() -> None:
    hosts = {host.netns: host for host in topology.hosts()}
    control, computer = hosts[plan.NS_CONTROL], hosts[plan.NS_TAILNET]
    assert not control.bridge and not computer.bridge
    assert control.router4 != computer.router4 and not control.forwards and not computer.forwards


@pytest.mark.parametrize("pid", [77, None])
def test_the_computer_is_entered_with_its_own_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pid: Any) -> None:
    told = {"state": "up", "phase": "ready", "services": {tailnet.HOST_SERVICE: {"pid": pid}}}
    monkeypatch.setattr(lifecycle, "lab_pid", lambda _: 1)
    monkeypatch.setattr(lifecycle, "status", lambda _: told)
    monkeypatch.setattr(lifecycle, "children", lambda _: [2])
    if pid is None:
        with pytest.raises(LabError, match="is off: run `lab start tailnet-laptop`"):
            lifecycle.enter_command(Paths(tmp_path), plan.NS_TAILNET, ["true"])
        return
    command = lifecycle.enter_command(Paths(tmp_path), plan.NS_TAILNET, ["true"])
    assert command[-6:] == ["nsenter", "--target=77", "--mount", "--net", "--", "true"]
    assert "--net=/run/netns/lan" in lifecycle.enter_command(Paths(tmp_path), plan.NS_LAN, ["true"])


def test_the_road_reaches_the_home_network_only_in_answer() -> None:
    rules = topology.home_firewall()
    assert f'iifname "{topology.LAPTOP_PORT}" oifname "{plan.LAN_BRIDGE}" ct state new drop' in rules
    assert rules.startswith("add table inet home\ndelete table inet home\n")  # may run again
