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

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _agent_files, _names
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client, Gateway

API = "admissionregistration.k8s.io/v1"
ENDPOINTS_POLICY = "bulkhead-vpn-endpoints"
# Also with the prefix that some runtimes accept.
CAPABILITIES = tuple(prefix + name for name in ("NET_ADMIN", "NET_RAW", "SYS_ADMIN") for prefix in ("", "CAP_")) + (
    "ALL",
)
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


def literal(value: Any) -> str:
    """A CEL literal of a string, number, list or map; JSON is one but for characters outside ASCII.

    >>> literal({"a": ["b"]})
    '{"a": ["b"]}'
    """
    return json.dumps(value)


def mixed(value: Any) -> str:
    """A CEL literal whose lists and maps may hold values of several types, which CEL else refuses.

    >>> mixed([{"name": "a", "readOnly": True}])
    'dyn([dyn({"name": dyn("a"), "readOnly": dyn(true)})])'
    """
    if isinstance(value, Mapping):
        text = "{" + ", ".join(f"{literal(key)}: {mixed(one)}" for key, one in value.items()) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(map(mixed, value)) + "]"
    else:
        text = literal(value)
    return f"dyn({text})"


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
        "entry": literal(_agent_files.ENTRY),
        "inits": "object.spec.?initContainers.orValue([])",
        "annotations": "object.metadata.?annotations.orValue({})",
        "labels": "object.metadata.?labels.orValue({})",
        "endpoint": f"object.spec.?volumes.orValue([]).filter(v, v.name == {literal(_names.ENDPOINT_VOLUME)})",
        "own": f"variables.inits.filter(c, !(c.name in {literal(list(_names.CONTAINERS))})) + object.spec.containers",
    }
    guard = "size(variables.inits) > 0 && variables.inits[0].name == " + literal(_names.GUARD)
    remedy = "run site.yml to attach the workload again, or detach it (state: absent)."
    validations = [
        (guard, f"The first init container of a pod of {client.object} has to be {_names.GUARD}: {remedy}"),
        (
            f"size(variables.inits) == 0 || {_blocking('variables.inits[0]')}",
            f"{_names.GUARD} of a pod of {client.object} has to end before anything else starts: {remedy}",
        ),
        (
            "size(variables.inits) == 0 || " + _any([_accepted(mark) for mark in accepted]),
            f"Guard and overlay of a pod of {client.object} are not those that were set up: {remedy}",
        ),
        (
            "!object.spec.?hostNetwork.orValue(false) && !object.spec.?hostPID.orValue(false) && "
            f"variables.own.all(c, {harmless('c')})",
            f"A pod of {client.object} must not be privileged, use the node's network or processes, or add "
            f"{', '.join(CAPABILITIES)}.",
        ),
        (
            f"object.spec.?ephemeralContainers.orValue([]).all(c, {harmless('c')})",
            f"Ephemeral containers in pods of {client.object} must not be privileged or add network capabilities.",
        ),
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
    rules = [_resources("", ["pods"], ["CREATE", "UPDATE"]), _resources("", ["pods/ephemeralcontainers"], ["UPDATE"])]
    return _policy(
        f"bulkhead-vpn-client.{client.id}",
        {_names.CLIENT_LABEL: client.id},
        {**_in_namespace(client.namespace, rules), "objectSelector": copy.deepcopy(dict(selector))},
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
    rule = _resources("apps", ["statefulsets", "statefulsets/scale"], ["CREATE", "UPDATE"])
    return _policy(
        f"bulkhead-vpn-gateway.{_names.client_id(gateway.namespace, gateway.name)}",
        {_names.GATEWAY_LABEL: gateway.name},
        _in_namespace(gateway.namespace, [{**rule, "resourceNames": [gateway.name]}]),
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
    concerned = _any(
        [
            f"request.userInfo.username in {known}",
            f"{literal(ours)}.exists(k, k in object.metadata.?annotations.orValue({{}}))",
            f"(oldObject != null && {literal(ours)}.exists(k, k in oldObject.metadata.?annotations.orValue({{}})))",
        ]
    )
    # A write to the status subresource takes annotations too, and a Binding copies its own to the pod.
    rules = [_resources("", ["pods", "pods/status", "pods/binding", "bindings"], ["CREATE", "UPDATE"])]
    return _policy(
        ENDPOINTS_POLICY, {}, {"resourceRules": rules}, validations, variables, {"concerns-endpoints": concerned}
    )


def endpoints_user(namespace: str) -> str:
    """The endpoint controller of one gateway namespace, as the API server knows it."""
    return f"system:serviceaccount:{namespace}:{_names.ENDPOINTS_ACCOUNT}"


def harmless(container: str) -> str:
    """CEL: this container is not privileged and adds no capability that gets around the guard."""
    security = f"{container}.?securityContext"
    return (
        f"!{security}.?privileged.orValue(false) && "
        f"!{security}.?capabilities.?add.orValue([]).exists(a, a.upperAscii() in {literal(list(CAPABILITIES))})"
    )


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
    return _any(
        [
            "request.operation == 'CREATE'",
            "object.spec != oldObject.spec",
            "object.metadata.?labels.orValue({}) != oldObject.metadata.?labels.orValue({})",
        ]
    )


def _any(expressions: Sequence[str]) -> str:
    return expressions[0] if len(expressions) == 1 else "(" + " || ".join(expressions) + ")"


def _resources(group: str, resources: Sequence[str], operations: Sequence[str]) -> _Object:
    return {
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "resources": list(resources),
        "operations": list(operations),
        "scope": "Namespaced",
    }


def _in_namespace(namespace: str, rules: Sequence[_Object]) -> _Object:
    selector = {"matchLabels": {_names.NAMESPACE_LABEL: namespace}}
    return {"namespaceSelector": selector, "resourceRules": list(rules)}


def _policy(
    name: str,
    labels: Mapping[str, str],
    constraints: Mapping[str, Any],
    validations: Sequence[tuple[str, str]],
    variables: Mapping[str, str] | None = None,
    conditions: Mapping[str, str] | None = None,
) -> list[_Object]:
    """Policy and binding of the same name; the binding denies wherever the policy's constraints match."""
    spec: _Object = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            **constraints,
        },
        "validations": [
            {"expression": expression, "message": message, "reason": "Forbidden"} for expression, message in validations
        ],
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
