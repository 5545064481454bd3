"""Somebody who has the installed tarball, a kubeconfig and the documentation, and nothing of this checkout."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from running_lab import LAB, kubectl, lab

from bulkhead_lab import charts, nodeconfig, plan, world
from bulkhead_lab.paths import Paths

LIMIT = 900.0  # seconds
CTR = ("ctr", "--address", nodeconfig.CONTAINERD_SOCKET, "-n", "k8s.io", "images")
TOOLBOX = "lab.local/toolbox:1"
# What documentation and defaults name, and what stands in for it here: the lab pulls nothing.
STAND_INS = {
    "docker.io/nicolaka/netshoot:v0.14": TOOLBOX,
    "docker.io/coredns/coredns:1.14.1": "lab.local/coredns:1",
    "docker.io/library/busybox:1.37.0": TOOLBOX,
    "registry.example.com/wireguard-agent:1": TOOLBOX,
}
HOSTS = """\
all:
  hosts:
    localhost:
      ansible_connection: local
      ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""
LEFT_OUT = ("ANSIBLE_", "MOLECULE_", "PYTHON", "PYTEST_", "K8S_AUTH_", "BULKHEAD_", "XDG_", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Run:
    """Exit code and output of a command."""

    code: int
    output: str


class Outside:
    """The stranger's machine: a home, and folders of projects in it."""

    def __init__(self, home: Path, installed: Path) -> None:
        self.home, self.installed, self.paths = home, installed, Paths.from_environment()
        collections = home / ".ansible" / "collections"
        collections.parent.mkdir(parents=True)
        collections.symlink_to(installed)
        self._program("kubectl", [*LAB, "kubectl", "--"])

    @property
    def collection(self) -> Path:
        """The installed collection."""
        return self.installed / "ansible_collections" / "bulkhead" / "mesh"

    def _program(self, name: str, command: Iterable[str]) -> None:
        path = self.home / "bin" / name
        path.parent.mkdir(exist_ok=True)
        # The lab finds itself by variables that a stranger has not.
        ours = " ".join(f"{key}='{value}'" for key, value in os.environ.items() if key.startswith("BULKHEAD_"))
        path.write_text(f'#!/bin/sh\nexec env {ours} {" ".join(command)} "$@"\n', encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def environment(self) -> dict[str, str]:
        """No setting of Ansible's, and nothing by which the checkout could be found."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
        programs = [str(self.home / "bin"), str(Path(sys.executable).parent), kept["PATH"]]
        return {
            **kept,
            "HOME": str(self.home),
            "KUBECONFIG": str(self.paths.kubeconfig),
            "PATH": os.pathsep.join([*programs, lab("programs").strip()]),
        }

    def project(self, name: str, files: Mapping[str, str]) -> Path:
        """A folder with these files and nothing else."""
        folder = self.home / name
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content, encoding="utf-8")
        return folder

    def run(self, folder: Path, line: str) -> Run:
        """One line of a shell, in a folder."""
        start = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        print(f"{folder.name}$ {line}: {time.monotonic() - start:.1f} s, code {done.returncode}\n{done.stdout}")
        return Run(done.returncode, done.stdout)

    def check(self, name: str, inventory: Mapping[str, Any]) -> Run:
        """``site --check`` with these variables."""
        given = {
            "hosts.yml": HOSTS,
            "group_vars/all.yml": json.dumps(inventory),
            "files/standard-install.yaml": self.bundle(),
        }
        return self.run(self.project(name, given), "ansible-playbook -i hosts.yml bulkhead.mesh.site --check")

    def sources(self) -> dict[str, Any]:
        """Where charts and definitions come from instead of the internet; no values, which a stranger has not either."""
        folder = Path(lab("charts").strip())
        istio = {part: str(folder / charts.ISTIO / part) for part in ("base", "istiod", "cni", "ztunnel")}
        return {
            "bulkhead_gateway_api": {"version": plan.GATEWAY_API_VERSION, "source": str(folder / charts.GATEWAY_API)},
            "bulkhead_istio": {"version": plan.ISTIO_VERSION, "charts": istio},
            "bulkhead_metallb": {"version": plan.METALLB_VERSION, "chart": str(folder / charts.METALLB)},
            "bulkhead_tailscale": {"version": plan.TAILSCALE_VERSION, "chart": str(folder / charts.TAILSCALE)},
        }

    def bundle(self, version: str = "1.6.1") -> str:
        """The lab's definitions of the Gateway API as those of another version: only check mode sees them."""
        text = (Path(lab("charts").strip()) / charts.GATEWAY_API).read_text(encoding="utf-8")
        return text.replace(f"v{plan.GATEWAY_API_VERSION}", f"v{version}")

    def wg0(self) -> str:
        """A provider's configuration."""
        return world.client_config(self.paths.state, plan.VPN_SERVERS[1].name, 4).read_text()


def name_images(*, gone: bool = False) -> None:
    """Give the lab's images the names that the documentation has, or take them away."""
    for wanted, ours in STAND_INS.items():
        words = ("rm", wanted) if gone else ("tag", "--force", ours, wanted)
        lab("node-exec", "--", *CTR, *words, check=not gone)


def named(variables: Mapping[str, Any], config: str) -> list[dict[str, Any]]:
    """Objects that an inventory takes for granted: a user has made them."""
    gateways, clients = variables.get("bulkhead_vpn_gateways") or [], variables.get("bulkhead_vpn_clients") or []
    made = [
        _object("v1", "Secret", one["namespace"], one["config_secret"], stringData={"wg0.conf": config})
        for one in gateways
    ]
    oauth = (variables.get("bulkhead_tailscale") or {}).get("oauth_secret")
    if oauth:
        data = {"client_id": "somebody", "client_secret": "something"}
        made.append(_object("v1", "Secret", "tailscale", oauth, stringData=data))
    for one in clients:
        labels = {"app": one["name"]}
        container = {"name": "app", "image": TOOLBOX, "command": ["sleep", "infinity"]}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        more = {"serviceName": one["name"]} if one["kind"] == "StatefulSet" else {"strategy": {"type": "Recreate"}}
        made.append(_object("apps/v1", one["kind"], one["namespace"], one["name"], spec={**spec, **more}))
        for target in one.get("egress") or []:
            namespace, dummy, service = target["service"].partition("/")
            ports = [{"name": f"p{port}", "port": port} for port in target["ports"]]
            made.append(
                _object("v1", "Service", namespace, service, spec={"selector": {"app": service}, "ports": ports})
            )
    names = sorted({one["metadata"]["namespace"] for one in made})
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names] + made


def _object(version: str, kind: str, namespace: str, name: str, **content: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **content}


def make(objects: Iterable[Mapping[str, Any]]) -> None:
    """Create what is not there yet."""
    once = {(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in objects}
    stdin = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(once.values())})
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=stdin)
