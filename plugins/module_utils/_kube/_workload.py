# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Workloads of users: a patch that is refused when somebody else was faster, scaling, and how far a rollout is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._client import Caller, demand
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
MANAGER = "bulkhead.mesh"
PLURALS = {"StatefulSet": "statefulsets", "Deployment": "deployments", "ReplicaSet": "replicasets"}
STATEFUL_REVISION = "controller-revision-hash"
DEPLOYMENT_REVISION = "deployment.kubernetes.io/revision"
TEMPLATE_HASH = "pod-template-hash"
_Object = Mapping[str, Any]


@dataclass(frozen=True)
class Rollout:
    """How far a rollout is. ``stale`` are pods that nobody but us will replace; ``waiting`` says what is missing."""

    done: bool
    waiting: str = ""
    stale: tuple[_Object, ...] = ()
    current: tuple[_Object, ...] = ()


def path(workload: _Object) -> str:
    """Path of a StatefulSet or Deployment in the API."""
    metadata = workload["metadata"]
    return f"/apis/apps/v1/namespaces/{metadata['namespace']}/{PLURALS[workload['kind']]}/{metadata['name']}"


def reference(workload: _Object) -> str:
    """Kind, namespace and name, in the words of messages."""
    return f"{workload['kind']} {workload['metadata']['namespace']}/{workload['metadata']['name']}"


def patch_tested(
    client: Caller,
    target: Target,
    where: str,
    what: str,
    operations: Sequence[Mapping[str, Any]],
    dry_run: bool = False,
) -> _Object:
    """Apply a JSON Patch whose first operation tests the resourceVersion; a lost race is a KubeError ``Changed``."""
    if not operations or operations[0].get("path") != "/metadata/resourceVersion":
        raise ValueError("the first operation has to test the resourceVersion")
    query = {"fieldManager": MANAGER, **({"dryRun": "All"} if dry_run else {})}
    request = Request(
        where, f"patch {what}", method="PATCH", body=list(operations), query=query, content_type=JSON_PATCH
    )
    answer = client.call(request)
    # A failed test is 422 without saying so; a value that is not valid is 422 with its causes.
    causes = (answer.body.get("details") or {}).get("causes")
    if answer.status == 409 or (answer.status == 422 and not causes):
        raise KubeError(
            f"{what} was changed by somebody else during this run: run it again.",
            reason="Changed",
            code=answer.status,
            object_=what,
            details=answer.message,
        )
    return demand(answer, request, target)


def scale(client: Caller, target: Target, workload: _Object, replicas: int, dry_run: bool = False) -> _Object:
    """Set the number of replicas; the resourceVersion makes sure it is the workload that was read."""
    body = {
        "metadata": {"resourceVersion": workload["metadata"]["resourceVersion"]},
        "spec": {"replicas": replicas},
    }
    query = {"fieldManager": MANAGER, **({"dryRun": "All"} if dry_run else {})}
    what = reference(workload)
    request = Request(path(workload), f"scale {what}", method="PATCH", body=body, query=query, content_type=MERGE_PATCH)
    answer = client.call(request)
    if answer.status == 409:
        raise KubeError(
            f"{what} was changed by somebody else during this run: run it again.",
            reason="Changed",
            code=409,
            object_=what,
            details=answer.message,
        )
    return demand(answer, request, target)


def delete_pod(client: Caller, target: Target, pod: _Object) -> bool:
    """Delete exactly this pod with its own grace period; False if it is gone or another one by now."""
    metadata = pod["metadata"]
    where = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
    body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": metadata["uid"]}}
    what = f"delete pods {metadata['name']} in {metadata['namespace']}"
    request = Request(where, what, method="DELETE", body=body)
    answer = client.call(request)
    if answer.status in (404, 409):
        return False
    demand(answer, request, target)
    return True


def last_line(client: Caller, pod: _Object, container: str) -> str:
    """The last line a container wrote, empty if it has none or nobody may read it."""
    metadata = pod["metadata"]
    where = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log"
    query = {"container": container, "tailLines": "1"}
    what = f"read the log of pod {metadata['name']} in {metadata['namespace']}"
    answer = client.call(Request(where, what, query=query, accept="*/*"))
    if not answer.ok:
        return ""
    # A line that is a JSON object comes decoded.
    text = answer.body.get("text")
    return " ".join(str(text).split()) if text is not None else str(dict(answer.body) or "")


def last_warning(client: Caller, workload: _Object, owned: Iterable[_Object] = ()) -> str:
    """The message of the newest warning about a workload or what it owns, such as a refused pod; empty if none."""
    return last_warnings(client, workload, owned)[0]


def last_warnings(client: Caller, workload: _Object, owned: Iterable[_Object] = ()) -> tuple[str, str]:
    """The same, and what the API server said to the newest pod it did not take since the workload was written last."""
    stamps = [
        str(one.get("time") or "")
        for one in workload["metadata"].get("managedFields") or []
        if one.get("subresource") != "status"
    ]
    written = max(stamps, default="")
    found = sorted(_warnings(client, workload, owned), key=_seen)
    refused = [one for one in found if one.get("reason") == "FailedCreate" and _seen(one)[:19] >= written[:19]]
    last, newest = (" ".join(str(one[-1].get("message", "")).split()) if one else "" for one in (found, refused))
    return last, newest


def _warnings(client: Caller, workload: _Object, owned: Iterable[_Object]) -> list[_Object]:
    metadata = workload["metadata"]
    names = {metadata["name"], *(one["metadata"]["name"] for one in owned)}
    namespace = metadata["namespace"]
    request = Request(
        f"/api/v1/namespaces/{namespace}/events",
        f"read the events of {namespace}",
        query={"fieldSelector": "type=Warning", "limit": "500"},
    )
    answer = client.call(request)
    events = answer.body.get("items") or [] if answer.ok else []
    return [one for one in events if (one.get("involvedObject") or {}).get("name") in names]


def _seen(event: _Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def own_pods(workload: _Object, pods: Iterable[_Object], replica_sets: Iterable[_Object] = ()) -> list[_Object]:
    """The pods a workload made, by owner references, ordered by name with numbers as numbers."""
    owners = {(workload["kind"], workload["metadata"]["name"])}
    owners |= {("ReplicaSet", one["metadata"]["name"]) for one in own_replica_sets(workload, replica_sets)}
    namespace = workload["metadata"]["namespace"]
    found = [one for one in pods if one["metadata"].get("namespace") == namespace and _controllers(one) & owners]
    return sorted(found, key=lambda one: (len(one["metadata"]["name"]), one["metadata"]["name"]))


def own_replica_sets(workload: _Object, replica_sets: Iterable[_Object]) -> list[_Object]:
    """The ReplicaSets of a Deployment; none for other kinds."""
    if workload["kind"] != "Deployment":
        return []
    owner, namespace = (workload["kind"], workload["metadata"]["name"]), workload["metadata"]["namespace"]
    return [one for one in replica_sets if one["metadata"].get("namespace") == namespace and owner in _controllers(one)]


def _controllers(one: _Object) -> set[tuple[str, str]]:
    owners = one["metadata"].get("ownerReferences") or []
    return {(owner["kind"], owner["name"]) for owner in owners if owner.get("controller")}


def is_ready(pod: _Object) -> bool:
    """Whether a pod is Ready and stays."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def replicas_of(workload: _Object) -> int:
    """How many pods are wanted; the API's default is one."""
    replicas = workload["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def rollout(workload: _Object, pods: Sequence[_Object], replica_sets: Iterable[_Object] = ()) -> Rollout:
    """Judge a rollout from one look at the workload and ``own_pods``; ``replica_sets`` are needed for a Deployment.

    Done means: the controller has seen the newest template, exactly the wanted number of pods exists, each of them is
    of that template and Ready.
    """
    status, metadata = workload.get("status") or {}, workload["metadata"]
    what, wanted = reference(workload), replicas_of(workload)
    if (status.get("observedGeneration") or 0) < metadata.get("generation", 0):
        # What status says about revisions is still about an older template: nobody may be replaced yet.
        return Rollout(False, f"the controller has not seen the newest template of {what}")
    newest = _revision(workload, replica_sets)
    if newest is None:
        return Rollout(wanted == 0 and not pods, f"{what} has no revision of the newest template")
    label = STATEFUL_REVISION if workload["kind"] == "StatefulSet" else TEMPLATE_HASH
    current = [one for one in pods if (one["metadata"].get("labels") or {}).get(label) == newest]
    old = [one for one in pods if one not in current]
    ready = [one for one in current if is_ready(one)]
    stale = tuple(one for one in old if not is_ready(one) and "deletionTimestamp" not in one["metadata"])
    if old:
        names = ", ".join(one["metadata"]["name"] for one in old)
        return Rollout(False, f"still of an older template: {names}", stale, tuple(current))
    if len(ready) == len(current) == wanted:
        return Rollout(True, "", (), tuple(current))
    return Rollout(False, f"{len(ready)} of {wanted} pods of {what} are ready", (), tuple(current))


def _revision(workload: _Object, replica_sets: Iterable[_Object]) -> str | None:
    """The label value of pods of the newest template."""
    if workload["kind"] == "StatefulSet":
        return (workload.get("status") or {}).get("updateRevision")
    owned = own_replica_sets(workload, replica_sets)
    template = (workload.get("spec") or {}).get("template")
    if template is not None and any("template" in (one.get("spec") or {}) for one in owned):
        # While a Recreate ends old pods the Deployment still says the number of the old revision, of which all is Ready.
        return next((_hash(one) for one in owned if _same_template(one, template)), None)
    number = (workload["metadata"].get("annotations") or {}).get(DEPLOYMENT_REVISION)
    for one in owned:
        if number and (one["metadata"].get("annotations") or {}).get(DEPLOYMENT_REVISION) == number:
            return _hash(one)
    return None


def _hash(replica_set: _Object) -> str | None:
    return (replica_set["metadata"].get("labels") or {}).get(TEMPLATE_HASH)


def _same_template(replica_set: _Object, template: _Object) -> bool:
    """Whether a ReplicaSet was made of this template; its own has one label more."""
    held = (replica_set.get("spec") or {}).get("template") or {}
    metadata = {**(held.get("metadata") or {})}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != TEMPLATE_HASH}
    wanted = template.get("metadata") or {}
    others = [{k: v for k, v in one.items() if k not in ("labels", "creationTimestamp")} for one in (metadata, wanted)]
    return bool(
        labels == (wanted.get("labels") or {}) and others[0] == others[1] and held.get("spec") == template.get("spec")
    )


def blocked_container(pod: _Object) -> tuple[str, str]:
    """The first container that keeps a pod from being Ready, in the order they start, and in what state it is."""
    status, spec = pod.get("status") or {}, pod["spec"]
    for key, listed in (("initContainerStatuses", "initContainers"), ("containerStatuses", "containers")):
        held = {one["name"]: one for one in status.get(key) or []}
        for container in spec.get(listed) or []:
            one = held.get(container["name"], {})
            blocked = _blocked(container, one, listed == "initContainers")
            if blocked:
                return container["name"], blocked
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            return "", f"not scheduled: {condition.get('message', condition.get('reason', ''))}"
    return "", str(status.get("phase", "Pending"))


def _blocked(container: _Object, status: _Object, init: bool) -> str:
    """Why this container is not as far as it has to be; empty if it is."""
    state = status.get("state") or {}
    if "waiting" in state:
        text = " ".join(str(state["waiting"].get(key) or "") for key in ("reason", "message")).strip()
        return f"waiting: {text or 'not started'}"
    if "terminated" in state:
        code = state["terminated"].get("exitCode", 0)
        ended_well = init and code == 0 and container.get("restartPolicy") != "Always"
        return "" if ended_well else f"ended with exit code {code}"
    if "running" in state:
        if init and container.get("restartPolicy") != "Always":
            return "still running"
        good = status.get("started") if init else status.get("ready")
        return "" if good else ("not started by its start-up probe" if init else "not ready")
    return ""


def list_request(kind: str, namespace: str) -> Request:
    """LIST of the pods of a namespace, or of its workloads of one kind."""
    if kind == "Pod":
        return pods_request(namespace)
    plural = PLURALS[kind]
    return Request(f"/apis/apps/v1/namespaces/{namespace}/{plural}", f"list {plural} in {namespace}")


def pods_request(namespace: str) -> Request:
    """LIST of the pods of a namespace."""
    return Request(f"/api/v1/namespaces/{namespace}/pods", f"list pods in {namespace}")


def replica_sets_request(namespace: str) -> Request:
    """LIST of the ReplicaSets of a namespace."""
    return Request(f"/apis/apps/v1/namespaces/{namespace}/replicasets", f"list replicasets in {namespace}")
