#!/usr/bin/python
# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: killswitch_check
short_description: Prove that workloads leave by their VPN gateway, or say why that is not proven
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Reads what protects the clients of VPN gateways, makes a few harmless attempts to get past it from inside their
    pods, and judges each of two independent layers on each way out by itself.
  - Every check ends as V(pass), V(fail), V(unknown) or V(skipped). What could not be seen is V(unknown) and never counts
    as V(pass). An attempt counts as blocked only if the same target answered through the VPN in the same run and the
    guard counted the refused packets.
  - Probes run in containers of this collection, by exec, with the Python of the agent's image. In containers of the user
    only three files are read, where they have a shell; otherwise the pod's spec is judged, and the result says so.
  - Nothing is changed. With class V(C) in O(check_classes) disposable pods are made, labelled C(bulkhead.mesh/twin), and removed
    before the module ends - for each node that runs a pod of a client or gateway, and each namespace there, one that may
    send, and for each client or gateway one under a copy of its policy. Where policies of the namespace let an ordinary pod send
    nothing, the first brings a policy of its own that opens the targets alone. What twins show counts for their node only.
extends_documentation_fragment:
  - bulkhead.mesh._auth
  - bulkhead.mesh._attributes
  - bulkhead.mesh._attributes.info_module
  - bulkhead.mesh._attributes.bulkhead
attributes:
  check_mode:
    details:
      - In check mode class V(C) is left out, because it makes pods.
options:
  clients:
    description:
      - The workloads, a list as in the variable C(bulkhead_vpn_clients); see M(bulkhead.mesh.vpn_client). Those with
        C(state=absent) are left out.
    type: raw
    required: true
  gateways:
    description:
      - The VPN gateways, a list as in the variable C(bulkhead_vpn_gateways); see M(bulkhead.mesh.vpn_gateway).
    type: raw
    required: true
  check_classes:
    description:
      - Which checks are made. V(P) reads objects, counters and tables; V(A) makes a few attempts from the pods; V(C)
        creates disposable pods. Checks of other classes are V(skipped), and what only they could show is not proven.
      - When absent, V(P) and V(A). Without V(C) no verdict is better than V(protected_single_layer), because only twins
        show whether the network enforces policies.
    type: list
    elements: str
    choices: [P, A, C]
    default: [P, A]
  targets:
    description:
      - Servers that tell a caller its address. Attempts go to them, at most five packets per check, without any data. Only
        C(np-early) sends more - ten STUN requests a second from the twin's start on, until none was answered for two seconds
        and for at most 15.
      - Where pods have IPv6 addresses, C(np-enforced) needs a STUN server with one as well.
      - A kind that is not given has its default, which is a public service of somebody else; give an empty list for none.
        Names are looked up on the host that runs the module.
    type: dict
    default: {}
    suboptions:
      stun:
        description:
          - STUN servers. When absent, C(stun.cloudflare.com:3478) and C(stun.l.google.com:19302).
        type: list
        elements: dict
        suboptions:
          address:
            description: Address or name.
            type: str
            required: true
          port:
            description: UDP port. When absent, 3478.
            type: int
      http:
        description:
          - Web servers whose answer contains the caller's address and, without TLS, the parameter C(nonce) of the request.
            When absent, C(https://1.1.1.1/cdn-cgi/trace).
        type: list
        elements: dict
        suboptions:
          address:
            description: Address or name.
            type: str
            required: true
          port:
            description: TCP port. When absent, 80.
            type: int
          path:
            description: Path of the request. When absent, V(/).
            type: str
          host:
            description: Name in the request and in the certificate. When absent, the address.
            type: str
          tls:
            description: Whether to use TLS; the certificate then stands for the nonce.
            type: bool
            default: false
      dns:
        description:
          - Names whose TXT record states who asked. When absent, C(o-o.myaddr.l.google.com) at C(ns1.google.com).
        type: list
        elements: dict
        suboptions:
          address:
            description: Address or name of the server that has the record.
            type: str
            required: true
          port:
            description: Port. When absent, 53.
            type: int
          zone:
            description: Zone below which every name has the record; a nonce is asked for. Either this or O(targets.dns[].name).
            type: str
          name:
            description: The name that has the record.
            type: str
      bulk:
        description:
          - Web servers that give back 256 KiB of a request, for C(ovl-mtu). When absent, only echo of full size is tried.
        type: list
        elements: dict
        suboptions:
          address:
            description: Address or name.
            type: str
            required: true
          port:
            description: TCP port. When absent, 80.
            type: int
          path:
            description: Path of the request, if the body is given back. When absent, V(/).
            type: str
          host:
            description: Name in the request. When absent, the address.
            type: str
          tls:
            description: Whether to use TLS.
            type: bool
            default: false
          echo:
            description: Which part of the request the answer contains.
            type: str
            choices: [path, body]
            default: path
  real_addresses:
    description:
      - Public addresses that must never be seen, such as that of the site's uplink.
      - When absent, those that an unprotected twin is seen under (class V(C)); without both nothing can be told apart,
        and the verdict is V(unknown). Addresses of nodes are always added; a node whose addresses cannot be read, or with class
        V(C) one from which no twin saw an address, makes C(ctl-real) V(unknown).
    type: list
    elements: str
    default: []
  exit_addresses:
    description:
      - Addresses of the VPN provider. Any other one is then a failure.
      - When absent, every address that is not a real one is taken for the VPN's.
    type: list
    elements: str
    default: []
  require:
    description:
      - The worst verdict that is accepted for each client.
    type: str
    choices: [protected, protected_single_layer]
    default: protected
  accept_unknown:
    description:
      - Ids of checks that may stay V(unknown) without the task failing. Layers they would prove stay unproven.
      - When absent, none.
    type: list
    elements: str
    default: []
  accept_open_pods:
    description:
      - Pods, or workloads whose pods are named after them, as C(namespace/name), that use an account, a volume or the image of a
        client and may run without a guard. They leave by the node; nothing about them is checked.
      - When absent, none, and each such pod makes C(pod-stray) fail and the client V(unprotected).
    type: list
    elements: str
    default: []
  enforce:
    description:
      - Whether the task fails when a client is not as required. With V(false) RV(acceptable) says it.
    type: bool
    default: true
  twin_image:
    description:
      - Image of twins; it needs C(python3).
      - When absent, the image of the client's or gateway's own agent.
    type: str
  timeout:
    description:
      - Seconds to wait for each probe beyond the time its attempts need, and for each twin to run.
    type: int
    default: 60
  attempt_timeout:
    description:
      - Seconds to wait for one answer.
    type: float
    default: 2.0
  pod_networks:
    description:
      - Networks of pods, as C(cluster_networks.pods) of M(bulkhead.mesh.vpn_client). When absent, none is known.
    type: list
    elements: str
    default: []
  cluster_domain:
    description:
      - Domain of the cluster.
    type: str
    default: cluster.local
  ambient_namespaces:
    description:
      - Namespaces in an ambient mesh, as for M(bulkhead.mesh.vpn_client). When absent, none.
    type: list
    elements: str
    default: []
  ingress_gateways:
    description:
      - Namespace of each ingress gateway, as for M(bulkhead.mesh.vpn_client). When absent, none.
    type: dict
    default: {}
  probe_addresses:
    description:
      - Addresses of kubelet probes in a mesh, as for M(bulkhead.mesh.vpn_client). When absent, none.
    type: list
    elements: str
    default: []
requirements:
  - websocket-client (Python package on the host that runs the module; the package kubernetes brings it)
"""

EXAMPLES = r"""
- name: Prove it, with disposable pods
  bulkhead.mesh.killswitch_check:
    clients: "{{ bulkhead_vpn_clients }}"
    gateways: "{{ bulkhead_vpn_gateways }}"
    check_classes: [P, A, C]
    real_addresses: [192.0.2.44]

- name: Look every hour, with servers of one's own, and accept one layer
  bulkhead.mesh.killswitch_check:
    clients: "{{ bulkhead_vpn_clients }}"
    gateways: "{{ bulkhead_vpn_gateways }}"
    require: protected_single_layer
    real_addresses: [192.0.2.44]
    targets:
      stun: [{address: 203.0.113.10}]
      http: [{address: 203.0.113.10}]
      dns: [{address: 203.0.113.10, zone: probe.example}]
      bulk: [{address: 203.0.113.10}]
"""

RETURN = r"""
changed:
  description: Always V(false).
  returned: always
  type: bool
  sample: false
time:
  description: When the cluster was read, in UTC. What was made later is not in the result.
  returned: success, or when a client is not as required
  type: str
  sample: '2026-11-21T17:30:00Z'
verdict:
  description: The worst verdict of all clients; V(unknown) if there is none.
  returned: success, or when a client is not as required
  type: str
  sample: protected
acceptable:
  description: Whether every client is as O(require) asks, no check failed and none stayed unknown.
  returned: success, or when a client is not as required
  type: bool
  sample: true
reasons:
  description: What is wrong beside the clients below, as sentences, such as an attached workload that O(clients) does not name.
  returned: success, or when a client is not as required
  type: list
  elements: str
  sample: []
require:
  description: As given.
  returned: success, or when a client is not as required
  type: str
  sample: protected
clients:
  description: One entry for each client, in the order of the input.
  returned: success, or when a client is not as required
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of the workload.
      returned: always
      type: str
      sample: StatefulSet
    namespace:
      description: Its namespace.
      returned: always
      type: str
      sample: downloads
    name:
      description: Its name.
      returned: always
      type: str
      sample: qbittorrent
    gateway:
      description: Its gateway.
      returned: always
      type: str
      sample: vpnarr
    verdict:
      description: >-
        V(protected) when two layers hold on each way out, V(protected_single_layer) when one does on one of them,
        V(unprotected) when none does or a packet got out, V(unknown) when that cannot be said.
      returned: always
      type: str
      sample: protected
    layers:
      description:
        - Each layer with V(holds), V(late), V(broken) or V(unknown).
        - A policy is V(late) when the network enforces it only some time after a pod's start; it does not count as one that holds.
      returned: always
      type: dict
      sample: {guard: holds, policy: holds, gateway_firewall: holds, gateway_policy: holds}
    holding:
      description: The layers that hold on the weakest way out.
      returned: always
      type: list
      elements: str
      sample: [guard, policy]
    reason:
      description: Why the verdict is what it is.
      returned: always
      type: str
      sample: two layers hold on every way out
    failed:
      description: Checks that failed, with their targets.
      returned: always
      type: list
      elements: str
      sample: []
    unproven:
      description: Checks that stayed unknown, with their targets.
      returned: always
      type: list
      elements: str
      sample: []
    acceptable:
      description: Whether this client is as required.
      returned: always
      type: bool
      sample: true
    reasons:
      description: Why it is not, as sentences.
      returned: always
      type: list
      elements: str
      sample: []
checks:
  description: Every check on every pod, client and gateway, and on the inventory. Addresses are not in it.
  returned: success, or when a client is not as required
  type: list
  elements: dict
  contains:
    id:
      description: Id of the check.
      returned: always
      type: str
      sample: pod-dev-bind
    target:
      description: Namespace and name of the pod, client or gateway; V(inventory) for the check of the whole.
      returned: always
      type: str
      sample: downloads/qbittorrent-0
    result:
      description: V(pass), V(fail), V(unknown) or V(skipped).
      returned: always
      type: str
      sample: pass
    class:
      description: Class of the check.
      returned: always
      type: str
      sample: A
    layer:
      description: What it is about.
      returned: always
      type: str
      sample: guard
    control:
      description: The check that shows the attempt could have succeeded.
      returned: always
      type: str
      sample: ctl-tunnel
    expected:
      description: What it expects.
      returned: always
      type: str
      sample: refused and counted
    observed:
      description: What was seen.
      returned: always
      type: str
      sample: 'stun1 by bindtodevice as root: EPERM (local firewall)'
    reason:
      description: Why it did not pass.
      returned: always
      type: str
      sample: ''
    address_class:
      description: Whose address the far end saw - V(real), V(vpn), V(other) or V(none).
      returned: always
      type: str
      sample: none
    counter_delta:
      description: What the drop counters rose by, or null.
      returned: always
      type: int
      sample: 4
    duration_s:
      description: Seconds.
      returned: always
      type: float
      sample: 2.1
    node:
      description: Where the pod runs. What was seen counts for this node only.
      returned: always
      type: str
      sample: node-1
    leak:
      description: Whether a packet demonstrably got past the VPN.
      returned: always
      type: bool
      sample: false
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
      description: The kind of failure, V(NotAsRequired) for a client that is not as required.
      returned: failure
      type: str
      sample: NotAsRequired
    object:
      description: What it was about.
      returned: failure
      type: str
      sample: StatefulSet downloads/qbittorrent
    details:
      description: More words, or null.
      returned: failure
      type: str
      sample: null
"""

import ipaddress
import socket
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils import _argspec, _proof

# _remote is sent as text; Ansible packs what it finds imported.
# pylint: disable-next=unused-import
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import (
    _gather,
    _registry,
    _remote,  # noqa: F401
    _targets,
    _verdict,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _agent_source, _parse
from ansible_collections.bulkhead.mesh.plugins.module_utils._killswitch import _run, _wanted
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _exec

NOTHING: dict[str, Any] = {"changed": False, "verdict": "unknown", "acceptable": False, "clients": [], "checks": []}


def spec() -> dict[str, Any]:
    """The module's argument spec."""
    server = {"address": {"type": "str", "required": True}, "port": {"type": "int"}}
    web = {
        **server,
        "path": {"type": "str"},
        "host": {"type": "str"},
        "tls": {"type": "bool", "default": False},
    }
    kinds = {
        "stun": server,
        "http": web,
        "dns": {**server, "zone": {"type": "str"}, "name": {"type": "str"}},
        "bulk": {**web, "echo": {"type": "str", "choices": ["path", "body"], "default": "path"}},
    }
    targets = {kind: {"type": "list", "elements": "dict", "options": options} for kind, options in kinds.items()}
    strings = {"type": "list", "elements": "str", "default": []}
    return _argspec.merge(
        _argspec.auth(),
        {
            "clients": {"type": "raw", "required": True},
            "gateways": {"type": "raw", "required": True},
            "check_classes": {
                "type": "list",
                "elements": "str",
                "choices": list(_registry.CLASSES),
                "default": ["P", "A"],
            },
            "targets": {"type": "dict", "default": {}, "options": targets},
            "real_addresses": dict(strings),
            "exit_addresses": dict(strings),
            "require": {"type": "str", "choices": list(_verdict.REQUIREMENTS), "default": _verdict.PROTECTED},
            "accept_unknown": dict(strings),
            "accept_open_pods": dict(strings),
            "enforce": {"type": "bool", "default": True},
            "twin_image": {"type": "str"},
            "timeout": {"type": "int", "default": 60},
            "attempt_timeout": {"type": "float", "default": 2.0},
            "pod_networks": dict(strings),
            "cluster_domain": {"type": "str", "default": "cluster.local"},
            "ambient_namespaces": dict(strings),
            "ingress_gateways": {"type": "dict", "default": {}},
            "probe_addresses": dict(strings),
        },
    )


def lookup(name: str) -> list[str]:
    """Addresses of a name, none if it has none."""
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except OSError:
        return []


def addresses(params: dict[str, Any], option: str) -> list[str]:
    """Addresses in canonical spelling."""
    found = []
    for one in params[option]:
        try:
            found.append(str(ipaddress.ip_address(one)))
        except ValueError as exc:
            raise _proof.Refused(f"{option} has {one!r}: give addresses like 192.0.2.44, one for each entry.") from exc
    return found


def accepted_pods(given: list[str]) -> list[str]:
    """Names of pods or workloads with their namespace."""
    for one in given:
        namespace, slash, name = one.partition("/")
        if not (namespace and name) or "/" in name:
            raise _proof.Refused(f"accept_open_pods has {one!r}: give namespace/name of a pod or of its workload.")
    return given


def options(params: dict[str, Any], check_mode: bool) -> tuple[_run.Options, list[str]]:
    """How to check, and what cannot be used of ``targets``."""
    strangers = sorted(set(params["accept_unknown"]) - set(_registry.ids()))
    if strangers:
        raise _proof.Refused(
            f"accept_unknown has {strangers[0]!r}: no check has this id, use one of {_registry.ids()}."
        )
    targets, problems = _targets.parse(params["targets"], lookup)
    classes = [one for one in params["check_classes"] if not (check_mode and one == _registry.DISPOSABLE)]
    made = _run.Options(
        classes=classes,
        targets=targets,
        real=addresses(params, "real_addresses"),
        exits=addresses(params, "exit_addresses"),
        require=params["require"],
        accept_unknown=params["accept_unknown"],
        accept_open=accepted_pods(params["accept_open_pods"]),
        image=params["twin_image"],
        attempt_timeout=params["attempt_timeout"],
        mesh=_wanted.Mesh(
            pod_networks=params["pod_networks"],
            cluster_domain=params["cluster_domain"],
            ambient=params["ambient_namespaces"],
            ingress_gateways=params["ingress_gateways"],
            probe_addresses=params["probe_addresses"],
        ),
    )
    return made, problems


def execute(module: AnsibleModule) -> dict[str, Any]:
    """Read, probe, judge."""
    gateways, problems = _parse.parse_gateways(module.params["gateways"])
    clients, more = _parse.parse_clients(module.params["clients"], gateways)
    if problems or more:
        raise _proof.Refused("\n".join(str(one) for one in problems + more))
    how, unusable = options(module.params, module.check_mode)
    for one in unusable:
        module.warn(one)
    client = _client.Client(module.params)
    runner = _gather.Runner(client, _exec.Exec(client), _agent_source.read(), float(module.params["timeout"]))
    return _run.Run(runner, clients, gateways, how).go()


def main() -> None:
    """Wiring."""
    _proof.run(
        AnsibleModule(argument_spec=spec(), supports_check_mode=True),
        execute,
        NOTHING,
        judged="clients",
        reason="NotAsRequired",
        name=lambda one: f"{one['kind']} {one['namespace']}/{one['name']}",
        empty="no client was checked",
    )


if __name__ == "__main__":
    main()
