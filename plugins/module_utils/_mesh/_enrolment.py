# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Whether pods are in the mesh as their namespaces say: one judgement for each pod, from its object alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MODE = "istio.io/dataplane-mode"
INJECTION = "istio-injection"
REVISION = "istio.io/rev"
REDIRECTION = "ambient.istio.io/redirection"
SIDECAR = "sidecar.istio.io/status"
INJECT = "sidecar.istio.io/inject"
PROXY = "istio-proxy"
MESHES = ("ambient", "sidecar", "none", "unmanaged")
# Never in the mesh: the mesh itself, what carries addresses for it, and the node's own parts.
FORBIDDEN = ("kube-system", "metallb-system", "tailscale")
# States of a pod. What is wanted: IN or OUT; EXEMPT by its own specification; the others are not there yet.
IN, OUT, EXEMPT, IDLE = "in", "out", "exempt", "not_running"
NO_NETWORK = "no_network"
WAITING, RESTART, WRONG = "waiting", "needs_restart", "wrong"
_Object = Mapping[str, Any]


@dataclass(frozen=True)
class Wanted:
    """How the pods of one namespace are to be in the mesh."""

    name: str
    mesh: str


@dataclass(frozen=True)
class Judged:
    """One pod: its state, and why where that is not what is wanted."""

    namespace: str
    name: str
    state: str
    reason: str = ""

    def to_dict(self) -> dict[str, str]:
        """As returned by the module."""
        return {"namespace": self.namespace, "name": self.name, "state": self.state, "reason": self.reason}


def forbidden(istio_namespace: str, more: Iterable[str] = ()) -> tuple[str, ...]:
    """Names of the namespaces that stay out, each once."""
    return tuple(dict.fromkeys((istio_namespace, *FORBIDDEN, *more)))


def problems(wanted: Sequence[Wanted], closed: Iterable[str]) -> list[str]:
    """Namespaces that are to be enrolled and may not be, or are named twice."""
    found, stay_out, seen = [], set(closed), set()
    for one in wanted:
        if one.name in seen:
            found.append(f"The namespace {one.name} is listed twice: remove one of the entries.")
        seen.add(one.name)
        if one.mesh in ("ambient", "sidecar") and one.name in stay_out:
            found.append(
                f"Namespace {one.name} is to be in the mesh (mesh: {one.mesh}), but it must stay out, because the mesh, "
                "addresses or a VPN gateway depend on it: set its mesh to none, or move the workload to a namespace of "
                "its own."
            )
    return found


def injected_by(labels: _Object) -> str:
    """The label by which new pods of a namespace get a sidecar, with its value; empty for none."""
    if labels.get(INJECTION) == "enabled":
        return f"{INJECTION}=enabled"
    return f"{REVISION}={labels[REVISION]}" if labels.get(REVISION) and labels.get(INJECTION) != "disabled" else ""


def namespace_problem(wanted: Wanted, live: _Object | None) -> str:
    """Why the labels of a namespace do not say what is wanted; empty if they do."""
    if live is None:
        return f"namespace {wanted.name} does not exist"
    labels = live["metadata"].get("labels") or {}
    mode = labels.get(MODE)
    injected = labels.get(INJECTION) == "enabled" or bool(labels.get(REVISION))
    if labels.get(INJECTION) and labels.get(REVISION):
        return f"namespace {wanted.name} has both labels {INJECTION} and {REVISION}, of which Istio follows only one"
    if wanted.mesh == "ambient" and mode != "ambient":
        return f"the label {MODE} of namespace {wanted.name} is {mode or 'absent'}, not ambient"
    if wanted.mesh == "sidecar" and (mode == "ambient" or not injected):
        return f"namespace {wanted.name} has no label {INJECTION}=enabled, or {MODE}=ambient beside it"
    if wanted.mesh == "none" and (mode == "ambient" or injected):
        return f"namespace {wanted.name} is in the mesh by its labels, but it is to be out"
    return ""


def judge(mesh: str, pod: _Object) -> Judged:
    """The state of one pod of a namespace whose pods are to be in the mesh as ``mesh`` says."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}

    def result(state: str, reason: str = "") -> Judged:
        return Judged(metadata["namespace"], metadata["name"], state, reason)

    if status.get("phase") in ("Succeeded", "Failed"):
        return result(IDLE, "it has ended")
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    captured = annotations.get(REDIRECTION)
    if mesh == "sidecar":
        return result(*_sidecar(labels, spec, status, captured))
    if mesh == "ambient":
        return result(*_ambient(labels, annotations, spec, status, captured))
    if captured is None:
        return result(OUT)
    if labels.get(MODE) == "ambient":
        return result(WRONG, f"its own label {MODE}=ambient keeps it in the mesh")
    return result(WAITING, f"its annotation {REDIRECTION} is still {captured}")


def _ambient(
    labels: _Object, annotations: _Object, spec: _Object, status: _Object, captured: str | None
) -> tuple[str, str]:
    exempt = _exempt(labels, annotations, spec)
    if exempt and captured is None:
        return EXEMPT, exempt
    if exempt:
        return WAITING, f"{exempt}, but its annotation {REDIRECTION} is still {captured}"
    if captured == "enabled":
        return IN, ""
    if captured == "pending":
        return WAITING, "it is redirected, but no ztunnel has taken it: it has no network"
    if not spec.get("nodeName"):
        return IDLE, "it is on no node yet"
    if not status.get("podIP"):
        if _without_sandbox(status):
            # Its network is still to be made, and will be made in the mesh: nothing is left to wait for.
            return NO_NETWORK, "it has no network yet: see what it waits for, such as a volume, with kubectl describe"
        return WAITING, "it has no address yet"
    return WAITING, f"it has no annotation {REDIRECTION}"


def _without_sandbox(status: _Object) -> bool:
    """Whether the kubelet says that it has not made the pod's network yet (condition of Kubernetes 1.29)."""
    conditions = {one.get("type"): one.get("status") for one in status.get("conditions") or []}
    return conditions.get("PodReadyToStartContainers") == "False"


def _exempt(labels: _Object, annotations: _Object, spec: _Object) -> str:
    if spec.get("hostNetwork"):
        return "it has the node's network"
    if labels.get(MODE) == "none":
        return f"its own label {MODE}=none keeps it out"
    if SIDECAR in annotations:
        return "it has a sidecar"
    return ""


def _sidecar(labels: _Object, spec: _Object, status: _Object, captured: str | None) -> tuple[str, str]:
    if captured is not None:
        return WAITING, f"its annotation {REDIRECTION} is still {captured}"
    if spec.get("hostNetwork"):
        return EXEMPT, "it has the node's network"
    if labels.get(INJECT) == "false":
        return EXEMPT, f"its own label {INJECT}=false keeps it out"
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    if not any(one["name"] == PROXY for one in containers):
        return RESTART, "it was made before its namespace was to have sidecars: restart its workload"
    if not spec.get("nodeName"):
        return IDLE, "it is on no node yet"
    states = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    if any(one["name"] == PROXY and one.get("ready") for one in states):
        return IN, ""
    return WAITING, f"its container {PROXY} is not ready"


def closed_problems(namespaces: Iterable[_Object], pods: Iterable[_Object], closed: Iterable[str]) -> list[str]:
    """Forbidden namespaces that are in the mesh after all: by label, or by a captured pod."""
    stay_out, found = set(closed), []
    for one in namespaces:
        labels, name = one["metadata"].get("labels") or {}, one["metadata"]["name"]
        if name in stay_out and labels.get(MODE) == "ambient":
            found.append(f"namespace {name} must stay out of the mesh, but its label {MODE} is ambient")
    for pod in pods:
        metadata = pod["metadata"]
        captured = (metadata.get("annotations") or {}).get(REDIRECTION)
        if metadata["namespace"] in stay_out and captured is not None:
            found.append(
                f"pod {metadata['namespace']}/{metadata['name']} must stay out of the mesh, but it is captured"
            )
    return found


def summary(wanted: Sequence[Wanted], judged: Iterable[Judged]) -> list[dict[str, Any]]:
    """For each namespace how many pods are in which state."""
    rows = {one.name: {"name": one.name, "mesh": one.mesh, "pods": {}} for one in wanted}
    for pod in judged:
        counts: dict[str, int] = rows[pod.namespace]["pods"]  # type: ignore[assignment]
        counts[pod.state] = counts.get(pod.state, 0) + 1
    return list(rows.values())
