#!/usr/bin/python
# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: object_set
short_description: Keep a set of Kubernetes objects as it is described
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Reads, compares, writes and prunes a whole list of objects at once. What is already as wanted costs one LIST for
    each kind and namespace and is not written.
  - Objects are written by server-side apply with a field manager of the set's own, so fields of others stay, and a
    field that has left the input is removed.
  - Every change is tried by a dry run before anything is written. Bad input, conflicts and refusals of the API server
    are all named at once, and then nothing has changed.
  - Membership follows the labels of Kubernetes ApplySets. The set keeps a record in a ConfigMap of its name. A run that
    was killed is completed by the next one.
  - It is not meant for workloads that somebody else edits too.
extends_documentation_fragment:
  - bulkhead.mesh._auth
  - bulkhead.mesh._wait
  - bulkhead.mesh._attributes
  - bulkhead.mesh._attributes.bulkhead
attributes:
  check_mode:
    support: full
    details:
      - Changes are predicted by dry runs on the API server, so its defaults and its admission are part of them.
      - Objects whose namespace or kind does not exist yet are predicted from the input alone and marked in
        RV(objects[].predicted).
  diff_mode:
    support: full
    details:
      - Shows only the fields that the set manages. In place of each value of a Secret it shows a marker that differs
        when the value does, and that says nothing outside of this run.
  idempotent:
    support: full
options:
  name:
    description:
      - Name of the set, and of the ConfigMap that holds its record.
    type: str
    required: true
  namespace:
    description:
      - Namespace of the ConfigMap that holds the set's record. It may be one of O(objects).
      - The objects themselves may be in any namespace.
    type: str
    required: true
  state:
    description:
      - V(present) makes the set exactly O(objects).
      - V(absent) deletes the members of the set and its record. Adopted ones are given back. Kinds of O(objects) are
        looked at as well, for the case that the record is lost.
    type: str
    choices: [present, absent]
    default: present
  objects:
    description:
      - Complete manifests, in any order. They are written in an order that lets each one work at once.
      - Every namespaced object names its namespace.
      - Needed for O(state=present); when absent for O(state=absent), the record alone names the members.
    type: list
    elements: dict
  prune:
    description:
      - Whether members that are not in O(objects) any more are deleted, or given back if they were adopted. With
        V(false) they stay members.
    type: bool
    default: true
  prune_protect:
    description:
      - Kinds that are never deleted, neither by O(prune) nor by O(state=absent), each as V(Kind) or V(Kind.group). Their
        objects stay members.
      - When absent, kinds whose deletion deletes what other people own.
    type: list
    elements: str
    default: [Namespace, CustomResourceDefinition, PersistentVolumeClaim]
  release:
    description:
      - Kinds that are given back instead of deleted or kept, though the set made their objects, each as V(Kind) or
        V(Kind.group). Nothing of the set stays on them, so its record can go.
      - Given back means that the fields go that only this set has given a value, and its labels and annotations with
        them. Where the object cannot do without such a field, that is an error and nothing is changed.
      - When absent, only adopted objects are given back.
    type: list
    elements: str
    default: []
  adopt:
    description:
      - Existing objects that may become members, as V(Kind/namespace/name), or V(Kind/name) for cluster-wide ones. The
        wildcards V(*) and V(?) are allowed.
      - An adopted object is marked by the annotation C(bulkhead.mesh/adopted) and never deleted. When it leaves the set
        it is given back like those of O(release), whatever O(prune_protect) says.
      - When absent, an object that exists and is not a member is refused. A member of another set always is.
    type: list
    elements: str
    default: []
  force_conflicts:
    description:
      - Whether to take over fields that others manage with other values. The former value is not remembered. Such a
        field goes when an adopted object is given back.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until the objects are ready and deleted ones are gone. Deployments, StatefulSets, DaemonSets,
        CustomResourceDefinitions, APIServices and Namespaces are ready by their status, others when they exist.
      - Deletion begins when the others are ready.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Keep a namespace and its default policy
  bulkhead.mesh.object_set:
    name: downloads-base
    namespace: downloads
    objects:
      - apiVersion: v1
        kind: Namespace
        metadata:
          name: downloads
      - apiVersion: networking.k8s.io/v1
        kind: NetworkPolicy
        metadata:
          name: default-deny
          namespace: downloads
        spec:
          podSelector: {}
          policyTypes: [Ingress, Egress]

- name: See what a folder of manifests would change
  bulkhead.mesh.object_set:
    name: monitoring
    namespace: monitoring
    objects: "{{ query('ansible.builtin.fileglob', 'manifests/*.yml') | map('ansible.builtin.file') | map('from_yaml') }}"
  check_mode: true
  diff: true

- name: Take over an existing ConfigMap, and wait for the workloads
  bulkhead.mesh.object_set:
    name: resolver
    namespace: vpn
    adopt:
      - ConfigMap/vpn/resolver
    wait: true
    objects: "{{ resolver_objects }}"

- name: Give the ConfigMap back as it was, and delete the rest
  bulkhead.mesh.object_set:
    name: resolver
    namespace: vpn
    state: absent

- name: Remove everything of the set, namespaces too
  bulkhead.mesh.object_set:
    name: downloads-base
    namespace: downloads
    state: absent
    prune_protect: []
"""

RETURN = r"""
objects:
  description:
    - What was done with each object, or would be in check mode; those of the input in its order, then those that left it.
    - On failure only those that were done or needed nothing.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of the object.
      returned: always
      type: str
      sample: ConfigMap
    api_version:
      description: Its group and version.
      returned: always
      type: str
      sample: v1
    namespace:
      description: Its namespace, null for a cluster-wide object.
      returned: always
      type: str
      sample: downloads
    name:
      description: Its name.
      returned: always
      type: str
      sample: settings
    action:
      description: >-
        V(create), V(update), V(adopt), V(unchanged), V(prune) for one that is deleted, V(release) for one that is given
        back, or V(kept) for a former object that O(prune) or O(prune_protect) keeps.
      returned: always
      type: str
      sample: update
    predicted:
      description: >-
        Whether the API server could not be asked before, because a namespace, kind or role that the object needs did not
        exist yet.
      returned: always
      type: bool
      sample: false
requests:
  description: How many requests were made.
  returned: always
  type: dict
  contains:
    gets:
      description: Reads of one object, and of the kinds of the cluster.
      returned: always
      type: int
      sample: 3
    lists:
      description: Reads of several objects.
      returned: always
      type: int
      sample: 5
    dry_runs:
      description: Questions about changes; they store nothing.
      returned: always
      type: int
      sample: 0
    applies:
      description: Objects written or given back.
      returned: always
      type: int
      sample: 0
    deletes:
      description: Objects deleted.
      returned: always
      type: int
      sample: 0
failure:
  description: What failed, for programs; RV(ignore:msg) says it in a sentence.
  returned: failure
  type: dict
  contains:
    code:
      description: HTTP status, or null where there was none.
      returned: failure
      type: int
      sample: 403
    reason:
      description: The kind of the first failure.
      returned: failure
      type: str
      sample: Conflict
    object:
      description: What the first failure is about.
      returned: failure
      type: str
      sample: ConfigMap downloads/settings
    details:
      description: The words of the library or server behind it.
      returned: failure
      type: str
      sample: connection refused
    problems:
      description: All that is wrong.
      returned: when several things can be wrong at once
      type: list
      elements: dict
      contains:
        object:
          description: What it is about.
          returned: always
          type: str
          sample: objects[0] (ConfigMap settings)
        msg:
          description: What is wrong, in one sentence.
          returned: always
          type: str
          sample: "objects[0] (ConfigMap settings) has no namespace: add metadata.namespace."
"""

from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils import _argspec, _module
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _calls, _client, _diff, _plan, _reconcile
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._apply import Report, Waiting
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._applyset import ObjectSet
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._secrecy import ObjectsModule, Redactor

PROTECTED = ["Namespace", "CustomResourceDefinition", "PersistentVolumeClaim"]


def spec() -> dict[str, Any]:
    """The module's argument spec."""
    return _argspec.merge(
        _argspec.auth(),
        _argspec.wait(),
        {
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "objects": {"type": "list", "elements": "dict"},
            "prune": {"type": "bool", "default": True},
            "prune_protect": {"type": "list", "elements": "str", "default": PROTECTED},
            "release": {"type": "list", "elements": "str", "default": []},
            "adopt": {"type": "list", "elements": "str", "default": []},
            "force_conflicts": {"type": "bool", "default": False},
            "wait": {"type": "bool", "default": False},
        },
    )


def job(params: dict[str, Any], check_mode: bool) -> _reconcile.Job:
    """The options as the engine takes them."""
    options = _plan.Options(
        adopt=params["adopt"],
        prune=params["prune"],
        protect=params["prune_protect"],
        release=params["release"],
        force=params["force_conflicts"],
        check=check_mode,
    )
    return _reconcile.Job(
        ObjectSet(params["name"], params["namespace"]),
        params["objects"] or [],
        params["state"] == "present",
        options,
        params["wait"],
        Waiting(params["wait_timeout"], params["wait_sleep"]),
    )


def result(report: Report, counts: dict[str, int], *, check: bool, failed: bool) -> dict[str, Any]:
    """The keys that every end of a run has."""
    steps = report.steps
    if failed:
        steps = [s for s in steps if s.key in report.written or s.action in (_plan.UNCHANGED, _plan.KEPT)]
    return {
        "changed": _reconcile.changed(report, check=check and not failed),
        "objects": [_plan.entry(step) for step in steps],
        "requests": counts,
    }


def main() -> None:
    """Read, plan, apply and return."""
    module = ObjectsModule(
        argument_spec=spec(), required_if=[("state", "present", ["objects"])], supports_check_mode=True
    )
    report = Report()
    counts = dict.fromkeys(_calls.COUNTED, 0)
    _module.require(module, "kubernetes", **result(report, counts, check=module.check_mode, failed=True))
    if module.params["state"] == "present" and module.params["objects"] is None:
        # given, but null: an empty variable must not prune the whole set
        module.fail_json(
            msg="objects is null: give the list of objects, or [] to prune all of them.",
            **result(report, counts, check=module.check_mode, failed=True),
        )
    task = job(module.params, module.check_mode)
    try:
        connection = _client.Client(module.params)
        client = _calls.Session(connection)
        counts = client.counts
        _reconcile.reconcile(client, connection.target, task, report)
    except KubeError as exc:
        module.fail_json(
            msg=exc.msg, failure=exc.failure, **result(report, counts, check=module.check_mode, failed=True)
        )
    for warning in report.warnings:
        module.warn(warning)
    shown = {}
    if module._diff:
        shown["diff"] = _diff.diffs(report.steps, task.owner.manager, Redactor())
    module.exit_json(**result(report, counts, check=module.check_mode, failed=False), **shown)


if __name__ == "__main__":
    main()
