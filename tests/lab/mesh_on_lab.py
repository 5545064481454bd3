"""Istio's ambient mode on the running lab, installed the way users do: charts by helm, in upstream's order."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml
from running_lab import kubectl, lab

from bulkhead_lab import charts, plan

SYSTEM = "istio-system"
VALUES = Path(__file__).resolve().parents[2] / "inventories" / "lab" / "group_vars" / "all" / "mesh.yml"
# Release, its chart, whether it reads the profile.
RELEASES = (("istio-base", "base"), ("istiod", "istiod"), ("istio-cni", "cni"), ("ztunnel", "ztunnel"))
WAIT = 120  # seconds for one release


def program(*words: str) -> str:
    """Run a client that the lab built: helm or istioctl."""
    environment = {
        **os.environ,
        "PATH": f"{os.environ['PATH']}{os.pathsep}{lab('programs').strip()}",
        "KUBECONFIG": lab("kubeconfig").strip(),
    }
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=WAIT + 60)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def install() -> bool:
    """Bring up what is missing. Return whether anything was: then it is ours to take down."""
    present = {release["name"] for release in json.loads(program("helm", "list", "-n", SYSTEM, "-o", "json"))}
    if {name for name, _ in RELEASES} <= present:
        return False
    assert not present, f"only a part of the mesh is installed: {sorted(present)}; remove it or install the rest"
    folder = Path(lab("charts").strip())
    kubectl("apply", "--server-side", "-f", str(folder / charts.GATEWAY_API))
    values = yaml.safe_load(VALUES.read_text())["bulkhead_istio"]["values"]
    images = {"hub": plan.ISTIO_HUB, "tag": plan.ISTIO_VERSION, "variant": ""}
    for name, chart in RELEASES:
        merged = {"profile": "ambient", **values[chart], **images}
        merged["global"] = {**values[chart].get("global", {}), **images}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(merged, file)
            file.flush()
            words = ["helm", "install", name, str(folder / charts.ISTIO / chart), "-n", SYSTEM, "--create-namespace"]
            program(*words, "-f", file.name, "--wait", "--timeout", f"{WAIT}s")
    for daemon in ("istio-cni-node", "ztunnel"):  # helm takes a DaemonSet for ready too early
        kubectl("-n", SYSTEM, "rollout", "status", f"daemonset/{daemon}", "--timeout=60s")
    return True


def uninstall() -> None:
    """Remove all of it, with what charts leave: definitions, root certificates, gateway classes."""
    program("helm", "uninstall", *(name for name, _ in reversed(RELEASES)), "-n", SYSTEM, "--ignore-not-found")
    kubectl("delete", "gatewayclass", "--all", check=False)
    kubectl("delete", "configmap", "-A", "-l", "istio.io/config=true", "--ignore-not-found")
    kubectl("delete", "namespace", SYSTEM, "--ignore-not-found", "--timeout=80s")  # istio-cni takes its plugin along
    kubectl("delete", "-f", str(Path(lab("charts").strip()) / charts.GATEWAY_API), "--ignore-not-found")
    definitions = [name for name in kubectl("get", "crd", "-o", "name").split() if name.endswith(".istio.io")]
    if definitions:
        kubectl("delete", *definitions)


def items(*words: str) -> list[dict[str, Any]]:
    """The objects of a ``kubectl get``."""
    found: list[dict[str, Any]] = json.loads(kubectl("get", *words, "-o", "json"))["items"]
    return found
