# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""ValidatingAdmissionPolicies: what the API server itself refuses about clients, gateways and their annotations."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _agent_files, _dangerous, _names
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._cel import any_of, literal, mixed, selects
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Gateway

API = "admissionregistration.k8s.io/v1"
ENDPOINTS_POLICY = "bulkhead-vpn-endpoints"
POD_INDEX = "apps.kubernetes.io/pod-index"


# Not in a container of ours: each would let it run, read or be told something else.
FOREIGN = ("args", "envFrom", "lifecycle", "livenessProbe", "readinessProbe", "volumeDevices", "workingDir")
_Object = dict[str, Any]


@dataclass(frozen=True)
class GuardMark:
    """A guard that is accepted, and its overlay: the hash of their agent, their image, and what they are given.

    ``env`` and ``mounts`` of both containers and ``endpoint``, the volume with the gateway's address, are JSON;
    ``probe`` is the kind of the overlay's start-up probe.
    """

    agent: str
    image: str
    env: str
    mounts: str
    endpoint: str
    probe: str


def mark_of(template: Mapping[str, Any]) -> GuardMark | None:
    """The mark of a pod template or pod, None if no guard comes first that runs the agent it names, or no overlay next."""
    spec = template.get("spec") or {}
    first, second = [*(spec.get("initContainers") or []), {}, {}][:2]
    agent = ((template.get("metadata") or {}).get("annotations") or {}).get(_names.AGENT_ANNOTATION)
    if first.get("name") != _names.GUARD or not agent or first.get("command") != _agent_files.command(agent, "guard"):
        return None
    volumes = [one for one in spec.get("volumes") or [] if one["name"] == _names.ENDPOINT_VOLUME]
    asked = second.get("startupProbe") or {}
    probe = next((kind for kind, known in _probes(agent).items() if asked.get(kind) == known), None)
    if probe is None:
        return None
    env, mounts, endpoint = (
        json.dumps(one, sort_keys=True) for one in (first.get("env") or [], first.get("volumeMounts") or [], volumes)
    )
    return GuardMark(agent, str(first.get("image", "")), env, mounts, endpoint, probe)


def client_admission(
    client: Client, selector: Mapping[str, Any], accepted: Sequence[GuardMark], size: int | None = None
) -> list[_Object]:
    """Policy and binding: pods of this client start with an accepted guard or not at all.

    While a new agent is rolled out ``accepted`` holds the old one too: a StatefulSet may still have to replace a pod of
    the old revision. ``size`` is the number of inner addresses, which a pod's number must not reach.
    """
    if not accepted:
        raise ValueError("at least one guard has to be accepted")
    variables = {
        **guard_variables("object"),
        "before": "oldObject == null ? {} : oldObject.metadata.?labels.orValue({})",
    }
    remedy = "run site.yml to attach the workload again, or detach it (state: absent)."
    validations = [
        *guard_validations(f"a pod of {client.object}", accepted, remedy),
        (
            f"oldObject == null || !({selects(selector, 'variables.before')}) || ({selects(selector, 'variables.labels')})",
            f"A pod of {client.object} keeps the labels of its selector: without them no policy would hold it. Delete the "
            "pod, or change the labels in the workload.",
        ),
        (
            f"variables.labels[?{literal(_names.CLIENT_LABEL)}].orValue('') == {literal(client.id)}",
            f"A pod of {client.object} has to have the label {_names.CLIENT_LABEL}: {client.id}: {remedy}",
        ),
        *_dangerous.validations(f"A pod of {client.object}"),
    ]
    if size is not None:
        index = f"variables.labels[{literal(POD_INDEX)}]"
        validations.append(
            (
                f"!({literal(POD_INDEX)} in variables.labels) || int({index}) < {size}",
                f"{client.object} has {size} inner addresses: set replicas of the VPN client to what it needs and run "
                "site.yml, then scale it.",
            )
        )
    rules = [resources("", ["pods"], ["CREATE", "UPDATE"]), resources("", ["pods/ephemeralcontainers"], ["UPDATE"])]
    return policy_and_binding(
        f"bulkhead-vpn-client.{client.id}",
        {_names.CLIENT_LABEL: client.id},
        {**in_namespace(client.namespace, rules), "objectSelector": copy.deepcopy(dict(selector))},
        validations,
        variables,
        # Pods from before the workload was attached still have to lose their finalizers.
        {"new-or-changed": _changed()},
    )


def gateway_admission(gateway: Gateway) -> list[_Object]:
    """Policy and binding: the gateway's StatefulSet never has more than one replica, also by its scale subresource."""
    # In a Scale no replicas are 0; in a StatefulSet the API server has filled in 1.
    validations = [
        (
            "object.spec.?replicas.orValue(0) <= 1",
            f"{gateway.object} is one pod: two would share its addresses. Add another gateway for more capacity.",
        )
    ]
    rule = resources("apps", ["statefulsets", "statefulsets/scale"], ["CREATE", "UPDATE"])
    return policy_and_binding(
        f"bulkhead-vpn-gateway.{_names.client_id(gateway.namespace, gateway.name)}",
        {_names.GATEWAY_LABEL: gateway.name},
        in_namespace(gateway.namespace, [{**rule, "resourceNames": [gateway.name]}]),
        validations,
    )


def endpoints_admission(gateways: Sequence[Gateway]) -> list[_Object]:
    """Policy and binding: addresses and peers are written by the endpoint controllers, on their pods, and nothing else.

    The controller of a namespace may write on pods of that namespace's gateways and of their clients, wherever they
    are. A client's pod names its gateway in the label ``bulkhead.mesh/vpn-gateway``.
    """
    writers: dict[str, list[str]] = {}
    for gateway in sorted(gateways, key=lambda one: (one.namespace, one.name)):
        writers.setdefault(endpoints_user(gateway.namespace), []).append(gateway.name)
    ours = list(_names.ENDPOINT_ANNOTATIONS)
    # The writer of no gateway is nobody; an empty map literal would have no types.
    known = literal(writers or {"nobody": [""]})
    variables = {
        "writers": known,
        "ours": literal(ours),
        "before": "request.operation == 'CREATE' ? {} : oldObject.metadata.?annotations.orValue({})",
        "after": "object.metadata.?annotations.orValue({})",
        "writer": "request.userInfo.username in variables.writers",
        "gateway": f"object.metadata.?labels[?{literal(_names.GATEWAY_LABEL)}].orValue('')",
    }
    same = "(k in variables.before ? variables.before[k] : '') == (k in variables.after ? variables.after[k] : '')"
    present = "(k in variables.before) == (k in variables.after)"
    validations = [
        (
            f"variables.ours.all(k, {present} && {same}) || (request.operation == 'UPDATE' && variables.writer && "
            "variables.gateway in variables.writers[request.userInfo.username])",
            f"Only the endpoint controller of the VPN gateway writes {', '.join(ours)}, on pods that exist.",
        ),
        (
            "!variables.writer || request.operation != 'UPDATE' || (dyn(object).spec == dyn(oldObject).spec && "
            "object.metadata.?labels.orValue({}) == oldObject.metadata.?labels.orValue({}) && "
            "object.metadata.?ownerReferences.orValue([]) == oldObject.metadata.?ownerReferences.orValue([]) && "
            "object.metadata.?finalizers.orValue([]) == oldObject.metadata.?finalizers.orValue([]) && "
            f"variables.before.all(k, k in variables.ours || k in variables.after) && "
            f"variables.after.all(k, k in variables.ours || (k in variables.before && {same})))",
            f"The endpoint controller of a VPN gateway writes nothing but {', '.join(ours)}.",
        ),
    ]
    concerned = any_of(
        [
            f"request.userInfo.username in {known}",
            f"{literal(ours)}.exists(k, k in object.metadata.?annotations.orValue({{}}))",
            f"(oldObject != null && {literal(ours)}.exists(k, k in oldObject.metadata.?annotations.orValue({{}})))",
        ]
    )
    # A write to the status subresource takes annotations too, and a Binding copies its own to the pod.
    rules = [resources("", ["pods", "pods/status", "pods/binding", "bindings"], ["CREATE", "UPDATE"])]
    return policy_and_binding(
        ENDPOINTS_POLICY, {}, {"resourceRules": rules}, validations, variables, {"concerns-endpoints": concerned}
    )


def endpoints_user(namespace: str) -> str:
    """The endpoint controller of one gateway namespace, as the API server knows it."""
    return f"system:serviceaccount:{namespace}:{_names.ENDPOINTS_ACCOUNT}"


def guard_variables(template: str) -> dict[str, str]:
    """CEL variables for ``guard_validations``; ``template`` is the expression of a pod or pod template."""
    volumes = f"{template}.spec.?volumes.orValue([])"
    return {
        "entry": literal(_agent_files.ENTRY),
        "inits": f"{template}.spec.?initContainers.orValue([])",
        "annotations": f"{template}.metadata.?annotations.orValue({{}})",
        "labels": f"{template}.metadata.?labels.orValue({{}})",
        "endpoint": f"{volumes}.filter(v, v.name == {literal(_names.ENDPOINT_VOLUME)})",
        **_dangerous.variables(template),
    }


def guard_validations(what: str, accepted: Sequence[GuardMark], remedy: str) -> list[tuple[str, str]]:
    """The guard comes first, alone, and is an accepted one; so is its overlay."""
    return [
        (
            f"size(variables.inits) > 0 && variables.inits[0].name == {literal(_names.GUARD)}",
            f"The first init container of {what} has to be {_names.GUARD}: {remedy}",
        ),
        (
            f"size(variables.inits) == 0 || {_blocking('variables.inits[0]')}",
            f"{_names.GUARD} of {what} has to end before anything else starts: {remedy}",
        ),
        (
            "size(variables.inits) == 0 || " + any_of([_accepted(mark) for mark in accepted]),
            f"Guard and overlay of {what} are not those that were set up: {remedy}",
        ),
    ]


def _blocking(container: str) -> str:
    return f"!has({container}.restartPolicy)"


def _accepted(mark: GuardMark) -> str:
    """CEL: init containers 0 and 1 and the annotation are of this agent.

    The overlay is judged too: it keeps NET_ADMIN for the whole life of the pod, and its name exempts it elsewhere.
    """
    checks = [
        "size(variables.inits) > 1",
        f"variables.inits[1].name == {literal(_names.OVERLAY)}",
        *_runs_agent("variables.inits[0]", mark, "guard"),
        *_runs_agent("variables.inits[1]", mark, "overlay"),
        _asks("variables.inits[1]", mark),
        f"dyn(variables.endpoint) == {mixed(json.loads(mark.endpoint))}",
        f"variables.annotations[?{literal(_names.AGENT_ANNOTATION)}].orValue('') == {literal(mark.agent)}",
    ]
    return "(" + " && ".join(checks) + ")"


def _probes(agent: str) -> dict[str, _Object]:
    """Whom an overlay's start-up probe may ask, by the kind of asking: the agent, or as an older one had it a command."""
    older = {"command": _agent_files.command(agent, "probe", "overlay")}
    return {"httpGet": _agent_files.probe()["httpGet"], "exec": older}


def _asks(container: str, mark: GuardMark) -> str:
    """CEL: the start-up probe of a container asks whom the mark says."""
    probe = f"{container}.?startupProbe.?{mark.probe}"
    if mark.probe == "exec":
        return f"{probe}.?command.orValue([]) == {_command(mark.agent, 'probe', 'overlay')}"
    asked = _probes(mark.agent)[mark.probe]
    return f"{probe}.hasValue() && dyn({probe}.value()) == {mixed(asked)}"


def _runs_agent(container: str, mark: GuardMark, command: str) -> list[str]:
    """CEL: the container runs this command of the agent with what it was given, and has no more power than it needs."""
    security = f"{container}.?securityContext"
    return [
        f"{container}.image == {literal(mark.image)}",
        f"{container}.?command.orValue([]) == {_command(mark.agent, command)}",
        f"dyn({container}.?env.orValue([])) == {mixed(json.loads(mark.env))}",
        f"dyn({container}.?volumeMounts.orValue([])) == {mixed(json.loads(mark.mounts))}",
        *(f"!has({container}.{field})" for field in FOREIGN),
        f"!{security}.?privileged.orValue(false)",
        f"{security}.?capabilities.?add.orValue([]) == ['NET_ADMIN']",
    ]


def _command(agent: str, *arguments: str) -> str:
    """CEL: a command line of the agent; its long entry is there once, as a variable."""
    line = _agent_files.command(agent, *arguments)
    return f"[{', '.join('variables.entry' if part == _agent_files.ENTRY else literal(part) for part in line)}]"


def _changed() -> str:
    return any_of(
        [
            "request.operation == 'CREATE'",
            "object.spec != oldObject.spec",
            "object.metadata.?labels.orValue({}) != oldObject.metadata.?labels.orValue({})",
        ]
    )


def resources(group: str, resources: Sequence[str], operations: Sequence[str]) -> _Object:
    return {
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "resources": list(resources),
        "operations": list(operations),
        "scope": "Namespaced",
    }


def in_namespace(namespace: str, rules: Sequence[_Object]) -> _Object:
    selector = {"matchLabels": {_names.NAMESPACE_LABEL: namespace}}
    return {"namespaceSelector": selector, "resourceRules": list(rules)}


def policy_and_binding(
    name: str,
    labels: Mapping[str, str],
    constraints: Mapping[str, Any],
    validations: Sequence[tuple[str, ...]],
    variables: Mapping[str, str] | None = None,
    conditions: Mapping[str, str] | None = None,
) -> list[_Object]:
    """Policy and binding of the same name; the binding denies wherever the policy's constraints match.

    Each validation is an expression and a message, perhaps with an expression of a better message.
    """
    spec: _Object = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            **constraints,
        },
        "validations": [_validation(*one) for one in validations],
    }
    if variables:
        spec["variables"] = [{"name": key, "expression": text} for key, text in variables.items()]
    if conditions:
        spec["matchConditions"] = [{"name": key, "expression": text} for key, text in conditions.items()]
    metadata = {"name": name, "labels": dict(labels)}
    return [
        {"apiVersion": API, "kind": "ValidatingAdmissionPolicy", "metadata": metadata, "spec": spec},
        {
            "apiVersion": API,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": copy.deepcopy(metadata),
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]


def _validation(expression: str, message: str, better: str | None = None) -> _Object:
    made = {"expression": expression, "message": message, "reason": "Forbidden"}
    return {**made, "messageExpression": better} if better else made
