"""killswitch_check as a program: started on its own for a few check classes, its results by pod and gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import attached

MODULE = "ansible_collections.bulkhead.mesh.plugins.modules.killswitch_check"
CLIENT, GATEWAY = "client", "gateway"
LIMIT = 180  # seconds one run may take at the most
Results = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Proof:
    """What the module said.

    ``results`` holds, for the client's pod and for the gateway, each check that was asked for; ``failed`` whether the
    module failed as such (exit code not 0), and ``told`` all that it returned.
    """

    failed: bool
    results: Results
    told: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """The worst verdict."""
        return str(self.told.get("verdict"))

    def unlike_pass(self) -> Results:
        """Everything that did not pass."""
        return {on: {id_: one for id_, one in each.items() if one != "pass"} for on, each in self.results.items()}

    def why(self) -> str:
        """One line for each check that did not pass."""
        bad = [one for one in self.told.get("checks", ()) if one["result"] in ("fail", "unknown")]
        lines = [f"{one['result']} {one['id']} {one['target']}: {one['observed']} | {one['reason']}" for one in bad]
        return "\n".join([f"verdict {self.verdict} {self.told.get('msg', '')}", *lines])


def options(classes: list[str]) -> dict[str, Any]:
    """Options of the module, from the variables that the playbooks of this suite get."""
    given = attached.VARIABLES
    return {
        "clients": given["bulkhead_vpn_clients"],
        "gateways": given["bulkhead_vpn_gateways"],
        "targets": given["bulkhead_verify_targets"],
        "real_addresses": given["bulkhead_real_addresses"],
        "exit_addresses": given["bulkhead_exit_addresses"],
        "check_classes": classes,
        "attempt_timeout": 1.0,
        "timeout": 20,
        # A verdict needs all classes; what is judged here is each check.
        "enforce": False,
    }


def run(classes: list[str], **more: Any) -> Proof:
    """Run the module for these classes; ``more`` replaces options."""
    environment = {**os.environ, "PYTHONPATH": f"{attached.ROOT / '.workspace'}:{os.environ.get('PYTHONPATH', '')}"}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as arguments:
        json.dump({"ANSIBLE_MODULE_ARGS": {**options(classes), **more}}, arguments)
        arguments.flush()
        command = [sys.executable, "-m", MODULE, arguments.name]
        done = subprocess.run(
            command, env=environment, cwd=attached.ROOT, capture_output=True, text=True, check=False, timeout=LIMIT
        )
    try:
        told = json.loads(done.stdout)
    except ValueError as exc:
        raise AssertionError(f"the module did not answer in JSON: {done.stdout[-500:]}{done.stderr[-1500:]}") from exc
    results: Results = {CLIENT: {}, GATEWAY: {}}
    for one in told.get("checks", ()):
        # Checks of the mesh need one; their mutations are elsewhere.
        if one["result"] != "skipped" and one["layer"] != "mesh":
            on = GATEWAY if one["target"].startswith(f"{attached.VPN}/") else CLIENT
            results[on][one["id"]] = one["result"]
    return Proof(done.returncode != 0, results, told)
