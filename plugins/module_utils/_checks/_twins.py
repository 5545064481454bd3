# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Twin pods and the copy of a policy between them. Pure.

The client's admission policy refuses any unguarded pod its selector takes, so a twin never carries the client's labels.
Instead the policy's egress rules are copied under a label that only one twin has: the copy shows that the network
enforces these rules on this node now, and np-selects shows that the real policy selects the real pod.

Where policies of the namespace limit what an ordinary pod may send, the control brings a policy of its own that opens
the targets and nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _pod_outcome

LABEL = "bulkhead.mesh/twin"  # value: the run
SIDE = "bulkhead.mesh/twin-side"
# What a twin shows must not depend on whether its namespace is in a mesh.
OUTSIDE, OUT = "istio.io/dataplane-mode", "none"
COVERED, CONTROL = "covered", "control"
CONTAINER = "twin"
EVERY, QUIET, LONGEST = (
    0.1,
    3.0,
    15.0,
)  # seconds between packets, without an answer until the end, and until the end at most
ENOUGH = 3  # answers that show the control can be reached
LIFE = 300  # seconds after which the kubelet ends a twin that nobody removed
_Object = dict[str, Any]


def labels(run: str, side: str) -> dict[str, str]:
    """Labels of one twin; nothing else has them."""
    return {LABEL: run, SIDE: side, OUTSIDE: OUT}


def orders(targets: Sequence[Mapping[str, Any]], enough: int) -> _Object:
    """What the first program of a twin does: see ``_remote.early``. With ``enough`` it ends after so many answers."""
    return {"targets": list(targets), "every": EVERY, "quiet": QUIET, "longest": LONGEST, "enough": enough}


def pod(name: str, run: str, side: str, like: Mapping[str, Any], image: str, program: Sequence[str] = ()) -> _Object:
    """An unguarded pod on the node of ``like``, without token and capabilities.

    ``program`` is Python's source and its arguments; without it the pod only waits to be used.
    """
    metadata, spec = like["metadata"], like["spec"]
    program = program or (f"import time;time.sleep({LIFE})",)
    made: _Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": labels(run, side),
        },
        "spec": {
            "nodeName": spec.get("nodeName"),
            "restartPolicy": "Never",
            "activeDeadlineSeconds": LIFE,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "tolerations": [{"operator": "Exists"}],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65534,
                "runAsGroup": 65534,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": CONTAINER,
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-I", "-c", *program],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    "resources": {
                        "requests": {"cpu": "10m", "memory": "32Mi"},
                        "limits": {"cpu": "500m", "memory": "96Mi"},
                    },
                }
            ],
        },
    }
    if spec.get("imagePullSecrets"):
        made["spec"]["imagePullSecrets"] = copy.deepcopy(spec["imagePullSecrets"])
    return made


def policy(name: str, run: str, original: Mapping[str, Any]) -> _Object:
    """The egress half of a policy, for the covered twin of this run only."""
    egress = copy.deepcopy(original["spec"].get("egress") or [])
    return _policy(name, original["metadata"]["namespace"], run, COVERED, egress)


def allowance(name: str, run: str, namespace: str, targets: Iterable[tuple[str, str, int]]) -> _Object:
    """What the control needs where an ordinary pod may not send: exactly these targets (protocol, address, port)."""
    egress = [
        {
            "to": [{"ipBlock": {"cidr": f"{address}/{128 if ':' in address else 32}"}}],
            "ports": [{"protocol": protocol, "port": port}],
        }
        for protocol, address, port in targets
    ]
    return _policy(name, namespace, run, CONTROL, egress)


def _policy(name: str, namespace: str, run: str, side: str, egress: Sequence[_Object]) -> _Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "labels": {LABEL: run}},
        "spec": {
            "podSelector": {"matchLabels": {LABEL: run, SIDE: side}},
            "policyTypes": ["Egress"],
            **({"egress": list(egress)} if egress else {}),
        },
    }


def stuck(pod_: Mapping[str, Any]) -> str | None:
    """Why a twin will never run; None while it may."""
    reason = _pod_outcome.disposable(pod_)
    if reason:
        return reason
    status = pod_.get("status") or {}
    for one in status.get("containerStatuses") or []:
        ended = (one.get("state") or {}).get("terminated")
        if ended:
            return f"it ended with exit code {ended.get('exitCode')}: {ended.get('message') or ended.get('reason')}"
    if status.get("phase") in ("Failed", "Succeeded"):
        return f"it is {status['phase']}: {status.get('message') or status.get('reason') or 'no explanation'}"
    return None
