"""killswitch_check as a program: started on its own for a few check classes, its results by pod and gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import attached
import module_run

CLIENT, GATEWAY = "client", "gateway"
LIMIT = module_run.LIMIT
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
    done = module_run.run("killswitch_check", {**options(classes), **more})
    results: Results = {CLIENT: {}, GATEWAY: {}}
    for one in done.told.get("checks", ()):
        # Checks of the mesh need one; their mutations are elsewhere.
        if one["result"] != "skipped" and one["layer"] != "mesh":
            on = GATEWAY if one["target"].startswith(f"{attached.VPN}/") else CLIENT
            results[on][one["id"]] = one["result"]
    return Proof(done.failed, results, done.told)
