# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What is there: members of a set by its label, and wanted objects that are not among them by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _applyset, _calls, _client, _objects
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._config import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._discovery import Kinds, Resource
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._objects import Desired, Key
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request

FEW = 3  # from this many namespaces on one LIST of all of them is cheaper
Found = dict[Key, tuple[Resource, Mapping[str, Any]]]


def resources(where: _applyset.Members, desired: Iterable[Desired], kinds: Kinds) -> list[Resource]:
    """The kinds to look for, in the version the input uses, else the preferred one; what is not served is left out."""
    wanted = {item.resource.group_kind: item.resource for item in desired}
    found = [wanted.get(name) or kinds.preferred(name) for name in sorted(where.group_kinds)]
    return [resource for resource in found if resource is not None and resource.served]


def members(
    client: _client.Caller,
    target: Target,
    owner: _applyset.ObjectSet,
    looked_for: Iterable[Resource],
    namespaces: Iterable[str],
) -> Found:
    """All objects with the set's label of these kinds, in these namespaces or cluster-wide."""
    places = sorted(namespaces)
    narrow, wide = {}, {}
    for resource in looked_for:
        if not resource.namespaced or len(places) > FEW:
            wide[resource] = _calls.listing(resource, "", owner.labels)
        else:
            narrow.update({(resource, place): _calls.listing(resource, place, owner.labels) for place in places})
    answers: list[tuple[Resource, Request, Answer]] = []
    for resource, answer in _client.read_all(client, wide).items():
        if answer.status == 403 and resource.namespaced:
            # allowed in single namespaces only, perhaps
            narrow.update({(resource, place): _calls.listing(resource, place, owner.labels) for place in places})
        else:
            answers.append((resource, wide[resource], answer))
    for place, answer in _client.read_all(client, narrow).items():
        answers.append((place[0], narrow[place], answer))
    found: Found = {}
    for resource, request, answer in answers:
        if answer.status == 404:
            continue  # the kind has gone since discovery
        for item in _client.demand(answer, request, target).get("items") or []:
            found[_objects.key_of(resource, item)] = (resource, item)
    return found


def others(client: _client.Caller, target: Target, desired: Iterable[Desired]) -> Found:
    """The wanted objects that exist, each by its name."""
    asked = {
        item.key: (item.resource, _calls.get(item.resource, item.key.namespace, item.key.name)) for item in desired
    }
    answers = _client.read_all(client, {key: request for key, (dummy, request) in asked.items()})
    found: Found = {}
    for key, answer in answers.items():
        if answer.status != 404:
            resource, request = asked[key]
            found[key] = (resource, _client.demand(answer, request, target))
    return found
