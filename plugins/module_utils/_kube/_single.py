# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Apply and delete single objects of kinds that are known beforehand; who owns a field in the way is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._client import Caller, demand
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import APPLY_PATCH, Answer, Request

MANAGER = "bulkhead.mesh"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
# kind -> root of its API and plural
KINDS = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "Role": (RBAC, "roles"),
    "RoleBinding": (RBAC, "rolebindings"),
    "ValidatingAdmissionPolicy": (ADMISSION, "validatingadmissionpolicies"),
    "ValidatingAdmissionPolicyBinding": (ADMISSION, "validatingadmissionpolicybindings"),
}


def path(one: Mapping[str, Any]) -> str:
    """Path of an object in the API."""
    root, plural = KINDS[one["kind"]]
    metadata = one["metadata"]
    place = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{place}/{plural}/{metadata['name']}"


def reference(one: Mapping[str, Any]) -> str:
    """Kind, namespace and name, in the words of messages."""
    metadata = one["metadata"]
    return f"{one['kind']} " + "/".join(metadata[key] for key in ("namespace", "name") if key in metadata)


def get_object(client: Caller, target: Target, like: Mapping[str, Any]) -> dict[str, Any] | None:
    """The live object of the same kind and name, None if there is none."""
    request = Request(path(like), f"get {reference(like)}")
    answer = client.call(request)
    if answer.status == 404:
        return None
    return {**demand(answer, request, target), "kind": like["kind"]}


def apply_objects(
    client: Caller,
    target: Target,
    objects: Iterable[Mapping[str, Any]],
    dry_run: bool = False,
    force: bool = False,
    manager: str = MANAGER,
) -> list[dict[str, Any]]:
    """Server-side apply, one after the other in the order given; answers what the server holds then."""
    query = {"fieldManager": manager, "force": str(force).lower(), **({"dryRun": "All"} if dry_run else {})}
    held = []
    for one in objects:
        request = Request(
            path(one), f"apply {reference(one)}", method="PATCH", body=one, query=query, content_type=APPLY_PATCH
        )
        answer = client.call(request)
        if answer.status == 409:
            raise _conflict(one, answer)
        held.append(dict(demand(answer, request, target)))
    return held


def _conflict(one: Mapping[str, Any], answer: Answer) -> KubeError:
    causes = (answer.body.get("details") or {}).get("causes") or []
    fields = ", ".join(f"{cause.get('field')} ({cause.get('message')})" for cause in causes) or answer.message
    return KubeError(
        f"{reference(one)} has fields that somebody else owns: {fields}: "
        "stop that from writing them, or take them over with force_conflicts.",
        reason="Conflict",
        code=409,
        object_=reference(one),
        details=answer.message,
    )


def delete_objects(client: Caller, target: Target, objects: Iterable[Mapping[str, Any]], dry_run: bool = False) -> None:
    """Delete exactly the objects that were read; what is gone already is as good."""
    query = {"dryRun": "All"} if dry_run else {}
    for one in objects:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": one["metadata"]["uid"]}}
        request = Request(path(one), f"delete {reference(one)}", method="DELETE", query=query, body=body)
        answer = client.call(request)
        if answer.status != 404:
            demand(answer, request, target)
