# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Disposable pods that prove images on a node before anything that works is replaced by pods that run them. Pure.

Proven is what a replacement would stumble over: that the node gets each image, that its program can be started, and
that the agent's tools are in it. The pod has no capability but that of binding low ports, no token and no volume.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _controller, _names
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _pod_outcome

LABEL = _names.PREFIX + "trial"
LABELS = {LABEL: "images", **_controller.OUTSIDE_MESH}
LIFE = 900  # seconds after which the kubelet ends a pod that nobody removed
TOOLS = ("ip", "nft")
ENGINE_TOOLS = (*TOOLS, "wg")
SCRIPT = """\
import shutil, subprocess, sys
if sys.version_info < (3, 8):
    sys.exit("its python3 is too old: " + sys.version.split()[0])
missing = [one for one in sys.argv[1:] if not shutil.which(one)]
if missing:
    sys.exit("it lacks " + ", ".join(missing))
for one in ("ip", "-V"), ("nft", "--version"):
    done = subprocess.run(one, capture_output=True, text=True)
    if done.returncode:
        sys.exit(" ".join(one) + " fails: " + (done.stderr or done.stdout).strip())
"""
_VERSION = ("-version",)  # of an image that only has its own program, which is CoreDNS
_BIND = "NET_BIND_SERVICE"
_PLACEMENT = (
    "nodeSelector",
    "affinity",
    "tolerations",
    "topologySpreadConstraints",
    "schedulerName",
    "priorityClassName",
)
_DEFAULTED = ("schedulerName",)  # by the API server
_Object = dict[str, Any]


def pod(name: str, namespace: str, spec: Mapping[str, Any], containers: Sequence[_Object], node: str | None) -> _Object:
    """The disposable pod: on ``node``, or wherever a pod with ``spec`` may go."""
    made: _Object = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": LIFE,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": list(containers),
    }
    for key in ("imagePullSecrets", "serviceAccountName"):
        if spec.get(key):
            made[key] = copy.deepcopy(spec[key])
    if node is None:
        made.update({key: copy.deepcopy(spec[key]) for key in _PLACEMENT if spec.get(key)})
    else:
        # Not by nodeName: the kubelet would refuse a pod that it has no room for, instead of waiting.
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        made["affinity"], made["tolerations"] = {"nodeAffinity": required}, [{"operator": "Exists"}]
    metadata = {"name": name, "namespace": namespace, "labels": dict(LABELS)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": made}


def placement(workload: Mapping[str, Any]) -> dict[str, Any]:
    """What says where pods of a workload run and with which secrets they pull."""
    spec = ((workload.get("spec") or {}).get("template") or {}).get("spec") or {}
    return {key: spec[key] for key in (*_PLACEMENT, "imagePullSecrets") if spec.get(key) and key not in _DEFAULTED}


def containers(ours: Iterable[Mapping[str, Any]]) -> list[_Object]:
    """One container for each image of ``ours``, with the tools that all its containers need."""
    found: dict[str, _Object] = {}
    for one in ours:
        made = found.setdefault(one["image"], _container(f"image-{len(found)}", one))
        if runs_agent(one) and "command" in made:
            made["command"] = _command(sorted({*_tools(one), *made["command"][len(_command(())) :]}))
    return list(found.values())


def runs_agent(container: Mapping[str, Any]) -> bool:
    """Whether a container of ours runs the agent; the others have a program of their own."""
    return bool((container.get("command") or [""])[0] == "python3")


def _tools(container: Mapping[str, Any]) -> tuple[str, ...]:
    """What a container that runs the agent needs besides python3."""
    return {"engine": ENGINE_TOOLS, "endpoints": ()}.get(container["command"][-1], TOOLS)


def _command(tools: Sequence[str]) -> list[str]:
    return ["python3", "-I", "-c", SCRIPT, *tools]


def _container(name: str, like: Mapping[str, Any]) -> _Object:
    security = copy.deepcopy(dict(like.get("securityContext") or {}))
    added = (security.get("capabilities") or {}).get("add") or []
    security["capabilities"] = {"drop": ["ALL"], **({"add": [_BIND]} if _BIND in added else {})}
    made: _Object = {
        "name": name,
        "image": like["image"],
        "imagePullPolicy": like.get("imagePullPolicy", "IfNotPresent"),
        "resources": copy.deepcopy(dict(like.get("resources") or {})),
        "securityContext": security,
        # What it said last is then in the pod's status.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return {**made, **({"command": _command(_tools(like))} if runs_agent(like) else {"args": list(_VERSION)})}


def runs(pod_: Mapping[str, Any], wanted: Mapping[str, Any], agent: str) -> bool:
    """Whether this pod of ours has run what the container ``wanted`` needs: its image, for no less, by this agent."""
    notes = pod_["metadata"].get("annotations") or {}
    for container, status in _pod_outcome.containers(pod_):
        state = status.get("state") or {}
        started = "running" in state or (state.get("terminated") or {}).get("exitCode") == 0
        if container.get("image") != wanted["image"] or not started or not status.get("imageID"):
            continue
        if not runs_agent(wanted):
            if not runs_agent(container):
                return True
        elif runs_agent(container) and notes.get(_names.AGENT_ANNOTATION) == agent:
            if set(_tools(wanted)) <= set(_tools(container)):
                return True
    return False


def unproven(
    wanted: Sequence[Mapping[str, Any]], node: str | None, pods: Iterable[Mapping[str, Any]], agent: str
) -> bool:
    """Whether any of these containers needs an image that no pod of ours has run on ``node`` (None: on any node)."""
    here = [one for one in pods if node is None or (one.get("spec") or {}).get("nodeName") == node]
    return not all(any(runs(one, container, agent) for one in here) for container in wanted)


def verdict(pod_: Mapping[str, Any]) -> str | None:
    """How a trial ended: empty for well, None while it goes on, else what is wrong, with the remedy."""
    proven = 0
    for container, status in _pod_outcome.containers(pod_):
        state, image = status.get("state") or {}, container.get("image")
        ended = state.get("terminated")
        said = " ".join(str((ended or {}).get("message") or "it says nothing").split()).rstrip(".")
        if ended and ended.get("reason") in ("StartError", "ContainerCannotRun"):
            return f"image {image} cannot be started: {said}; use one that has python3 and its program"
        if ended and ended.get("exitCode") and "command" in container:
            need = "use one that has python3, ip and nft, and for the engine wg"
            return f"image {image} cannot be used: {said} (exit code {ended['exitCode']}); {need}"
        # A program that does not know -version has been pulled and started all the same.
        proven += bool(ended or ("running" in state and "command" not in container))
    return "" if proven == len(pod_["spec"]["containers"]) else None
