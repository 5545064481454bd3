"""path_check on the demo's cluster: started as a program, and what is broken under it and put back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import module_run
import yaml
from running_lab import kubectl

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = ROOT / "inventories" / "lab" / "group_vars" / "all" / "bulkhead.yml"
VANTAGES = {name: {"command": [str(ROOT / "lab" / "lab"), "exec", name, "--"]} for name in ("lan", "tailnet")}
TWIN = "bulkhead.mesh/twin"


@dataclass(frozen=True)
class Seen:
    """What the module said; ``results`` by the path's words."""

    failed: bool
    results: Mapping[str, str]
    told: Mapping[str, Any]

    def unlike_pass(self) -> dict[str, str]:
        """Every path that did not pass; a run without paths is none that passed."""
        return {path: one for path, one in self.results.items() if one != "pass"} if self.results else {"": "unknown"}

    def why(self) -> str:
        """One line for each check that did not pass."""
        bad = [one for one in self.told.get("checks", ()) if one["result"] != "pass"]
        lines = [f"{one['result']} {one['id']} {one['target']}: {one['observed']} | {one['reason']}" for one in bad]
        return "\n".join([f"verdict {self.told.get('verdict')} {self.told.get('msg', '')}", *lines])


def listed() -> list[dict[str, Any]]:
    """The list of mutations."""
    return list(yaml.safe_load((ROOT / "tests" / "mutations" / "paths.yml").read_text())["mutations"])


def options(mutation: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the module: the lab's inventory, with what the mutation says of gateways and paths."""
    given = yaml.safe_load(INVENTORY.read_text())
    changed = mutation.get("gateways", {})
    gateways = [{**one, **changed.get(one["name"], {})} for one in given["bulkhead_ingress_gateways"]]
    return {
        "gateways": [{key: value for key, value in one.items() if value is not None} for one in gateways],
        "clients": given["bulkhead_vpn_clients"],
        "vpn_gateways": given["bulkhead_vpn_gateways"],
        "namespaces": given["bulkhead_namespaces"],
        "vantages": VANTAGES,
        "twin_image": given["bulkhead_vpn_images"]["agent"],
        "check_classes": ["P", "A", "C"],
        "attempt_timeout": 1.0,
        "settle": 3,
        "enforce": False,
        **({"paths": mutation["paths"]} if "paths" in mutation else {}),
    }


def look(mutation: Mapping[str, Any], **more: Any) -> Seen:
    """Run the module; ``more`` replaces options."""
    done = module_run.run("path_check", {**options(mutation), **more})
    results = {one["target"]: one["result"] for one in done.told.get("checks", ()) if one["layer"] == "path"}
    return Seen(done.failed, results, done.told)


def do(step: Mapping[str, Any]) -> None:
    """Carry out one step."""
    stdin = json.dumps(step["object"]) if "object" in step else None
    kubectl(*shlex.split(step["kube"]), stdin=stdin)


def saved(what: str) -> Callable[[], None]:
    """Remember an object as it is; calling the result puts it back, or removes it where there was none."""
    namespace, kind, name = what.split()
    text = kubectl("-n", namespace, "get", kind, name, "--ignore-not-found", "-o", "json")
    if not text.strip():
        return partial(_remove, namespace, kind, name)
    held = json.loads(text)
    for key in ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"):
        held["metadata"].pop(key, None)
    held.pop("status", None)
    return lambda: kubectl("replace", "-f", "-", stdin=json.dumps(held)) and None


def _remove(namespace: str, kind: str, name: str) -> None:
    kubectl("-n", namespace, "delete", kind, name, "--ignore-not-found")


def left_behind() -> list[str]:
    """Disposable pods that are still there."""
    return kubectl("get", "pods", "-A", "-l", TWIN, "-o", "name").split()
