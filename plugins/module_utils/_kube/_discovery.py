# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Which kinds the cluster has, where they live and how they are addressed; from aggregated discovery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
ACCEPT = ",".join([_AGGREGATED.format("v2"), _AGGREGATED.format("v2beta1"), "application/json"])
CRD = ("apiextensions.k8s.io", "CustomResourceDefinition")


@dataclass(frozen=True)
class Resource:
    """A kind and where its objects are found."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    writable: bool = True  # whether it can be applied and deleted: reviews, for example, cannot
    has_status: bool = False  # a status that only its own subresource writes
    served: bool = True  # False: it comes with a CustomResourceDefinition that is not there yet

    @property
    def api_version(self) -> str:
        """As in a manifest: ``apps/v1``, or ``v1`` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_kind(self) -> str:
        """As in ApplySet annotations: ``Deployment.apps``, or ``Service`` for the core group."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def full_name(self) -> str:
        """As people say it: ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "") -> str:
        """URL path of one object, of a kind in one namespace, or of a kind everywhere."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=":"))
        return "/".join(parts)


class Kinds:
    """The kinds of one cluster."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        """``resources`` in the order of preference: the first version of a kind is its preferred one."""
        self._exact: dict[tuple[str, str], Resource] = {}
        self._preferred: dict[tuple[str, str], Resource] = {}
        for resource in resources:
            self._exact.setdefault((resource.api_version, resource.kind), resource)
            self._preferred.setdefault((resource.group, resource.kind), resource)

    def find(self, api_version: str, kind: str) -> Resource | None:
        """The resource of a manifest's apiVersion and kind."""
        return self._exact.get((api_version, kind))

    def preferred(self, group_kind: str) -> Resource | None:
        """The resource of ``Kind.group`` in the version the server prefers."""
        kind, dummy, group = group_kind.partition(".")
        return self._preferred.get((group, kind))

    def every(self) -> list[Resource]:
        """Each kind once, in the version the server prefers."""
        return list(self._preferred.values())

    def plus(self, resources: Iterable[Resource]) -> Kinds:
        """These kinds and others; what is here already stays as it is."""
        return Kinds([*self._exact.values(), *resources])


def requests() -> dict[str, Request]:
    """The two requests that name every kind."""
    return {
        "core": Request("/api", "read the core API", accept=ACCEPT),
        "groups": Request("/apis", "read the API groups", accept=ACCEPT),
    }


def kinds(answers: Mapping[str, Answer], server: str) -> Kinds:
    """Kinds from the answers of ``requests``; ``server`` is its name in messages."""
    found: list[Resource] = []
    for name in ("core", "groups"):
        answer = answers[name]
        if not answer.ok or not is_aggregated(answer.body):
            raise KubeError(
                f"The API server {server} does not name its kinds at once (status {answer.status}): "
                "Kubernetes 1.30 or newer is needed.",
                reason="NoDiscovery",
                code=answer.status,
                object_=server,
            )
        found += [_resource(*one) for one in entries(answer.body)]
    return Kinds(found)


def is_aggregated(body: Mapping[str, Any]) -> bool:
    """Whether an answer to one of ``requests`` names kinds; old servers and proxies answer something else."""
    return body.get("kind") == "APIGroupDiscoveryList"


def entries(body: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(group, version, resource) of an aggregated answer; the preferred version of a group comes first."""
    for group in body.get("items") or []:
        for version in group.get("versions") or []:
            for entry in version.get("resources") or []:
                yield (group.get("metadata") or {}).get("name") or "", version["version"], entry


def _resource(group: str, version: str, entry: Mapping[str, Any]) -> Resource:
    kind = (entry.get("responseKind") or {}).get("kind") or ""
    return Resource(
        group=group,
        version=version,
        kind=kind,
        plural=entry["resource"],
        namespaced=entry.get("scope") == "Namespaced",
        writable={"get", "patch", "delete"} <= set(entry.get("verbs") or []),
        has_status=any(sub.get("subresource") == "status" for sub in entry.get("subresources") or []),
    )


def promised(objects: Iterable[Mapping[str, Any]]) -> list[Resource]:
    """Kinds that the CustomResourceDefinitions among ``objects`` define."""
    found = []
    for manifest in objects:
        if manifest.get("kind") != CRD[1] or not str(manifest.get("apiVersion")).startswith(CRD[0] + "/"):
            continue
        spec = manifest.get("spec")
        names = spec.get("names") if isinstance(spec, dict) else None
        versions = spec.get("versions") if isinstance(spec, dict) else None
        if not isinstance(names, dict) or not isinstance(versions, list):
            continue  # the API server will say what is wrong with it
        for version in versions:
            if isinstance(version, dict) and version.get("served", True):
                found.append(
                    Resource(
                        group=str(spec.get("group")),
                        version=str(version.get("name")),
                        kind=str(names.get("kind")),
                        plural=str(names.get("plural")),
                        namespaced=spec.get("scope") == "Namespaced",
                        has_status="status" in (version.get("subresources") or {}),
                        served=False,
                    )
                )
    return found
