# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The namespace of Istio before its charts, and what the control plane leaves behind after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._addons import owner
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import METADATA_ONLY, Answer, Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import wait_until
from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh import _charts, _leftovers

Wait = Callable[..., "tuple[bool, object]"]
PATIENCE = 120.0  # seconds until a deleted namespace is gone
_MANAGER = {"fieldManager": _workload.MANAGER}
_DRY = {"dryRun": "All"}
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_CLASSES = "/apis/gateway.networking.k8s.io/v1/gatewayclasses"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_Object = Mapping[str, Any]


@dataclass
class Surroundings:
    """One run; ``actions`` are sentences about what was done, or would be done in check mode."""

    client: _client.Caller
    target: Target
    namespace: str
    check_mode: bool
    actions: list[str] = field(default_factory=list)
    kept: str = ""
    wait: Wait = wait_until

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}"

    def present(self) -> None:
        """Make the namespace, or let the agents' pods into one that has no Pod Security level."""
        live = self._live()
        if live is not None and "deletionTimestamp" in live["metadata"]:
            self._gone()
            live = None
        patch = _leftovers.namespace_patch(live)
        if patch is None:
            return
        if live is None:
            patch["metadata"]["name"] = self.namespace
            self._write(Request("/api/v1/namespaces", f"create namespaces {self.namespace}", "POST", patch))
            self.actions.append(f"create Namespace {self.namespace}")
        else:
            self._patch(patch)
            self.actions.append(f"set the Pod Security level of Namespace {self.namespace} to privileged")

    def absent(self, crds: bool) -> None:
        """Delete what istiod made, the CRDs of our release if ``crds``, and the namespace if we made it."""
        live = self._live()
        for kind, one, path in self._left():
            self._delete(kind, one, path)
        if crds:
            ours = f"helm:{self.namespace}/{_charts.RELEASES['base']}"
            for one in self._list(Request(_CRDS, "list customresourcedefinitions", accept=METADATA_ONLY)):
                if one["metadata"]["name"].endswith(".istio.io") and owner(one) == ours:
                    self._delete("CustomResourceDefinition", one, f"{_CRDS}/{one['metadata']['name']}")
        if live is not None:
            self._namespace(live)

    def _left(self) -> list[tuple[str, _Object, str]]:
        """(kind, object, path) of what the control plane made by itself."""
        here = self.namespace
        labels = {"labelSelector": ",".join(f"{k}={v}" for k, v in _leftovers.CONFIG_LABEL.items())}
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{here}/leases"
        asked = {
            "ConfigMap": Request("/api/v1/configmaps", "list configmaps", query=labels, accept=METADATA_ONLY),
            "lock": Request(f"{self._path}/configmaps", f"list configmaps in {here}", accept=METADATA_ONLY),
            "Lease": Request(leases, f"list leases in {here}"),
            "GatewayClass": Request(_CLASSES, "list gatewayclasses"),
            # Nobody needs the key in it.
            "Secret": Request(
                f"{self._path}/secrets/{_leftovers.CA_SECRET}", f"get secrets in {here}", accept=_METADATA
            ),
        }
        found: dict[str, tuple[str, _Object, str]] = {}
        for name, request in asked.items():
            kind = "ConfigMap" if name == "lock" else name
            items = [one] if name == "Secret" and (one := self._one(request)) else []
            for item in items if name == "Secret" else self._list(request):
                if _leftovers.is_left(kind, item, here):
                    path = _path(kind, item)
                    found[path] = (kind, item, path)
        return list(found.values())

    def _strangers(self) -> list[str]:
        """What is in the namespace and is not ours, Kubernetes', or on its way out."""
        found = []
        for kind, path in (
            ("ConfigMap", "configmaps"),
            ("Secret", "secrets"),
            ("Service", "services"),
            ("ServiceAccount", "serviceaccounts"),
            ("Pod", "pods"),
            ("PersistentVolumeClaim", "persistentvolumeclaims"),
        ):
            request = Request(f"{self._path}/{path}", f"list {path} in {self.namespace}", accept=METADATA_ONLY)
            found += [(kind, one) for one in self._list(request)]
        return _leftovers.strangers(
            (kind, one["metadata"]["name"])
            for kind, one in found
            if "deletionTimestamp" not in one["metadata"] and not _leftovers.is_left(kind, one, self.namespace)
        )

    def _namespace(self, live: _Object) -> None:
        if "deletionTimestamp" in live["metadata"]:
            self._gone()
            return
        made = (live["metadata"].get("annotations") or {}).get(_leftovers.CREATED) == _leftovers.ROLE
        strangers = self._strangers() if made else []
        if made and not strangers:
            self._delete("Namespace", live, self._path)
            self._gone()
            return
        if made:
            self.kept = f"Namespace {self.namespace} stays, because it holds {', '.join(strangers[:5])}"
        patch = _leftovers.release_patch(live)
        if patch:
            self._patch(patch)
            self.actions.append(f"take our marks off Namespace {self.namespace}")

    def _gone(self) -> None:
        """Wait for the end of the namespace: one that is on its way out takes nothing new."""
        if self.check_mode:
            return
        done, dummy = self.wait(lambda: (self._live() is None, None), timeout=PATIENCE, sleep=0.5)
        if not done:
            raise KubeError(
                f"Namespace {self.namespace} is still being deleted after {PATIENCE:g} s: see what holds it with "
                f"'kubectl get namespace {self.namespace} -o yaml'.",
                reason="NotGone",
                object_=f"Namespace {self.namespace}",
            )

    def _live(self) -> _Object | None:
        return self._one(Request(self._path, f"get namespaces {self.namespace}"))

    def _one(self, request: Request) -> _Object | None:
        answer = self.client.call(request)
        return None if answer.status == 404 else _client.demand(answer, request, self.target)

    def _list(self, request: Request) -> list[_Object]:
        answer = _client.list_all(self.client, request)
        if answer.status == 404:
            return []  # the kind is not served
        return list(_client.demand(answer, request, self.target).get("items") or [])

    def _patch(self, body: Mapping[str, Any]) -> None:
        what = f"patch namespaces {self.namespace}"
        self._write(Request(self._path, what, "PATCH", body, content_type=_workload.MERGE_PATCH))

    def _write(self, request: Request) -> Answer:
        query = {**_MANAGER, **(_DRY if self.check_mode else {})}
        request = Request(
            request.path, request.what, request.method, request.body, query, content_type=request.content_type
        )
        answer = self.client.call(request)
        _client.demand(answer, request, self.target)
        return answer

    def _delete(self, kind: str, one: _Object, path: str) -> None:
        metadata = one["metadata"]
        place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
        self.actions.append(f"delete {kind} {place}{metadata['name']}")
        if self.check_mode:
            return
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": metadata["uid"]}}
        request = Request(path, f"delete {kind} {place}{metadata['name']}", "DELETE", body)
        answer = self.client.call(request)
        if answer.status not in (404, 409):
            _client.demand(answer, request, self.target)


def _path(kind: str, one: _Object) -> str:
    name, namespace = one["metadata"]["name"], one["metadata"].get("namespace", "")
    if kind == "GatewayClass":
        return f"{_CLASSES}/{name}"
    if kind == "Lease":
        return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
    return f"/api/v1/namespaces/{namespace}/{kind.lower()}s/{name}"
