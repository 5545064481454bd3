# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What playbooks hand to their roles, worked out by Ansible.

Cases come from stdin, each ``[playbook, inventory]`` and, if you like, what is on the cluster for VPN clients; answers go out
as JSON. A process of its own, because Ansible finds filters of collections only where its loader came first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[3]
NETWORKS = {kind: {"value": ["10.0.0.0/16"]} for kind in ("pod_cidrs", "service_cidrs", "node_cidrs")}
DNS = {"domain": {"value": "cluster.local"}, "service": {"value": "unknown"}}
VPN = {"value": {"clients": [], "gateways": [], "labels": {}}}
CLUSTER = {"networks": NETWORKS, "server": "192.0.2.1:6443", "dns": DNS, "vpn": VPN}
ALWAYS = {
    "preflight_cluster": CLUSTER,
    "__verify_cluster": {"cluster": CLUSTER},
    "ansible_check_mode": False,
    "omit": "__omit__",
}
Task = dict[str, Any]


@cache
def play(name: str) -> Task:
    (found,) = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text(encoding="utf-8"))
    return found  # type: ignore[no-any-return]


def roles(name: str) -> Iterator[tuple[str, str, Task]]:
    """(role, entry point, variables) of every role that a playbook runs."""
    for task in play(name).get("tasks", []):
        if "ansible.builtin.import_role" in task:
            words = task["ansible.builtin.import_role"]
            yield words["name"].rpartition(".")[2], words.get("tasks_from", "main"), task.get("vars", {})
    for role in play(name).get("roles", []):
        yield role["role"].rpartition(".")[2], "main", role["vars"]


def trusted(value: Any) -> Any:
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: trusted(one) for key, one in value.items()}
    return [trusted(one) for one in value] if isinstance(value, list) else value


def templar(name: str, inventory: dict[str, Any], vpn: Any) -> Templar:
    looked = {**CLUSTER, "vpn": {"value": vpn}} if vpn else CLUSTER
    variables = {**ALWAYS, "preflight_cluster": looked, **trusted(play(name).get("vars", {})), **inventory}
    made = Templar(loader=DataLoader(), variables=variables)
    for task in play(name).get("tasks", []):
        for fact, written in task.get("ansible.builtin.set_fact", {}).items():
            variables[fact] = made.template(trusted(written))
    return Templar(loader=DataLoader(), variables=variables)


@cache
def specs(role: str) -> Any:
    text = (ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["argument_specs"]


def handed_on(name: str, inventory: dict[str, Any], vpn: Any) -> dict[str, Any]:
    """Every variable that a playbook hands to its roles; what a role's argument spec refuses fails."""
    made, told = templar(name, inventory, vpn), {}
    for role, entry, given in roles(name):
        worked = {key: made.template(trusted(value)) for key, value in given.items()}
        worked = {key: value for key, value in worked.items() if value != ALWAYS["omit"]}
        spec = specs(role).get(entry)
        if spec is not None:
            result = ArgumentSpecValidator(spec["options"]).validate(worked)
            refused = [one for one in result.error_messages if "upported parameters" not in one]
            if refused:
                raise ValueError(f"role {role}, {entry}: {refused}")
        told.update(worked)
    return told


def answer(name: str, inventory: dict[str, Any], vpn: Any = None) -> dict[str, Any]:
    """Variables that are handed on, or why not."""
    try:
        return {"told": handed_on(name, inventory, vpn)}
    except Exception as exc:  # noqa: BLE001: whatever a template fails with
        return {"error": f"{type(exc).__name__}: {exc}"}


if __name__ == "__main__":
    init_plugin_loader([str(ROOT / ".workspace")])
    print(json.dumps([answer(*case) for case in json.load(sys.stdin)], default=str))
