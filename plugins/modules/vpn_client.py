#!/usr/bin/python
# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vpn_client
short_description: Put workloads behind a VPN gateway, and give them back
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Attaches StatefulSets and Deployments that somebody else owns to a VPN gateway by an edit of their pod template, and
    takes exactly that edit back when they are detached; what their owner changed in between stays.
  - Everything is judged and planned before anything is written. A client that cannot be what is asked is left as it is
    and holds up no other one; the task fails at its end with every name and reason. Then each step
    is done for all clients before the next one - NetworkPolicy and admission policy, which are read back and tried,
    then registration at the gateway, access for the endpoint controller, the pod template, the rollout. Detaching goes
    the other way round. A run that ends in the middle leaves every client untouched, sealed or stopped, and the next
    run completes it.
  - Pods are replaced only when their template changed. Pods of an older template that are not Ready are deleted, because
    a StatefulSet would wait for them for ever.
  - A client that is in no list any more stays sealed and is reported in RV(orphans), and its workload in a warning.
    Nothing is pruned. Pods of clients that no workload owns are reported in the same way (RV(left_behind)). So O(clients)
    is to be given as an empty list when the last client has left it.
extends_documentation_fragment:
  - bulkhead.mesh._auth
  - bulkhead.mesh._wait
  - bulkhead.mesh._attributes
  - bulkhead.mesh._attributes.bulkhead
attributes:
  check_mode:
    support: full
    details:
      - What would be written is sent as a dry run where the API server can judge it. A gateway that does not exist yet
        gets the numbers it is going to get, and its part is not tried.
  diff_mode:
    support: full
    details:
      - Shows pod templates, policies of clients and registrations.
  idempotent:
    support: full
options:
  clients:
    description:
      - The workloads, a list as in the variable C(bulkhead_vpn_clients).
      - Each entry has C(kind) (V(StatefulSet) or V(Deployment)), C(namespace), C(name) and C(gateway).
      - C(egress) is a list of Services the client may call without the VPN, each with C(service) as
        C(namespace/name) and C(ports). When absent, none. A Service has to lead to the pods of its selector and to
        nothing else. One that leads elsewhere, by its type, by C(externalIPs), by an EndpointSlice or by pods that use
        the node's network, is refused.
      - C(ingress) is a list of who may call the client, each with C(from), which has either C(namespace) and optionally
        C(pods) (labels), or C(ingress_gateway), with C(ports) of the pod, and optionally C(protocol). When absent, nobody.
      - C(replicas) is the number of pods to reserve inner addresses for. When absent, what the workload has.
      - C(state) is V(present) or V(absent). When absent, V(present).
      - C(detach_to) says what becomes of a workload with C(state=absent). When absent, V(sealed).
      - V(sealed) scales it to 0 and keeps guard and admission, and a policy that lets nothing out or in. Whoever scales it up
        again, a scaler or a chart's upgrade, gets pods that start with the guard and reach nothing. It stays so until
        the user says V(open) or V(stopped), or deletes the workload; the run after that removes what protected it.
      - V(stopped) scales it to 0 and takes everything back, so the next start is in the clear. It is refused where a
        HorizontalPodAutoscaler or a ScaledObject of KEDA targets the workload, or where these cannot be listed. Other
        scalers (an operator, a GitOps controller, a cron job) are not known - use V(sealed) where there is one.
      - V(open) lets it run on without the VPN.
      - V(sealed) and V(stopped) are refused where scaling to 0 would delete volumes (C(whenScaled) of the StatefulSet's
        C(persistentVolumeClaimRetentionPolicy) is C(Delete)).
    type: raw
    required: true
  gateways:
    description:
      - The VPN gateways, a list as in the variable C(bulkhead_vpn_gateways); see M(bulkhead.mesh.vpn_gateway). They
        have to be set up before, except in check mode.
    type: raw
    required: true
  cluster_networks:
    description:
      - Networks of the cluster in CIDR notation by what they are for. Packets that claim to come from one of them are
        not accepted out of the VPN, and inner networks keep clear of them.
      - When absent, none is known.
    type: dict
    default: {}
    suboptions:
      pods:
        description:
          - Networks of pods.
          - When absent, none.
        type: list
        elements: str
        default: []
      services:
        description:
          - Networks of Services.
          - When absent, none.
        type: list
        elements: str
        default: []
      nodes:
        description:
          - Addresses of nodes.
          - When absent, none.
        type: list
        elements: str
        default: []
  cluster_domain:
    description:
      - Domain of the cluster.
      - When absent, V(cluster.local).
    type: str
    default: cluster.local
  agent_image:
    description:
      - Image of the two containers that are added to each pod. It needs C(python3), C(ip) and C(nft).
      - When absent, a pinned image of netshoot.
    type: str
    default: docker.io/nicolaka/netshoot:v0.14
  agent_image_pull_policy:
    description:
      - When the image is pulled.
      - When absent, V(IfNotPresent).
    type: str
    choices: [IfNotPresent, Always, Never]
    default: IfNotPresent
  ambient_namespaces:
    description:
      - Namespaces in an ambient mesh.
      - When absent, none.
    type: list
    elements: str
    default: []
  ingress_gateways:
    description:
      - Ingress gateways by name, each with the namespace its pods are in.
      - When absent, none is known.
    type: dict
    default: {}
  probe_addresses:
    description:
      - Addresses that an ambient mesh shows kubelet probes under.
      - When absent, probes come from the node, which NetworkPolicy always lets in.
    type: list
    elements: str
    default: []
  max_parallel:
    description:
      - How many pods of attached workloads may start at the same time on one node. With more the workloads are changed
        in waves, each when the one before it is ready or waits for something that takes no processor. Everything that
        protects is in force for all of them before the first wave.
      - When absent, four for each processor that the node can allocate, and at least one; V(4) where nodes may not be
        listed.
    type: int
  defer:
    description:
      - Whether what is wrong with some clients is only told, in RV(failure) and RV(ignore:msg), for callers that fail after
        they have done more. What concerns all of them fails at once.
      - When absent, V(false).
    type: bool
    default: false
  force_conflicts:
    description:
      - Whether to take over fields of our policies that somebody else has written.
      - When absent, V(false), and such a field is an error that names its owner.
    type: bool
    default: false
seealso:
  - module: bulkhead.mesh.vpn_gateway
"""

EXAMPLES = r"""
- name: Put a download client behind the VPN
  bulkhead.mesh.vpn_client:
    gateways:
      - name: vpnarr
        namespace: vpn
        config_secret: mullvad-wg0
    clients:
      - kind: StatefulSet
        namespace: downloads
        name: qbittorrent
        gateway: vpnarr
        egress:
          - service: core/radarr
            ports: [7878]
        ingress:
          - from:
              namespace: core
            ports: [8080]
    cluster_networks:
      pods: [10.244.0.0/16]
      services: [10.96.0.0/16]

- name: Detach it and leave it sealed, without a pod
  bulkhead.mesh.vpn_client:
    gateways:
      - name: vpnarr
        namespace: vpn
        config_secret: mullvad-wg0
    clients:
      - kind: StatefulSet
        namespace: downloads
        name: qbittorrent
        state: absent

- name: Detach it and let it go on without the VPN
  bulkhead.mesh.vpn_client:
    gateways:
      - name: vpnarr
        namespace: vpn
        config_secret: mullvad-wg0
    clients:
      - kind: StatefulSet
        namespace: downloads
        name: qbittorrent
        state: absent
        detach_to: open
"""

RETURN = r"""
clients:
  description: The clients in the order of O(clients); in check mode as they would be.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of the workload.
      returned: success
      type: str
      sample: StatefulSet
    namespace:
      description: Its namespace.
      returned: success
      type: str
      sample: downloads
    name:
      description: Its name.
      returned: success
      type: str
      sample: qbittorrent
    state:
      description: >-
        V(attached) (all pods are guarded and Ready), V(sealed) (guarded, not all Ready; or detached to V(sealed)),
        V(rolling) (some pods are still of the template before), V(stopped) (no pods wanted), V(open) (not attached) or
        V(missing) (no such workload).
      returned: success
      type: str
      sample: attached
    action:
      description: V(attach), V(update), V(detach), V(none), or V(refused) for one that RV(problems) are about.
      returned: success
      type: str
      sample: attach
    steps:
      description: The steps that were taken, in order.
      returned: success
      type: list
      elements: str
      sample: [attach.policy, attach.admission, attach.effective, attach.registration, attach.template, attach.rollout]
    inner_addresses:
      description: Addresses of its pods behind the gateway, by the number of the pod.
      returned: success
      type: list
      elements: str
      sample: [10.222.1.2]
    pods:
      description: Its pods as seen last.
      returned: success
      type: list
      elements: dict
      contains:
        name:
          description: Name of the pod.
          returned: success
          type: str
          sample: qbittorrent-0
        ready:
          description: Whether it is Ready.
          returned: success
          type: bool
          sample: true
        inner_address:
          description: Its address behind the gateway, null for a pod without the guard.
          returned: success
          type: str
          sample: 10.222.1.2
        gateway_address:
          description: The gateway's address as the endpoint controller told the pod, null if it told nothing.
          returned: success
          type: str
          sample: 10.244.0.12
orphans:
  description: What belongs to clients that are in no list. Workloads among them stay sealed.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of the object.
      returned: success
      type: str
      sample: StatefulSet
    namespace:
      description: Its namespace, null for a cluster-wide object.
      returned: success
      type: str
      sample: downloads
    name:
      description: Its name.
      returned: success
      type: str
      sample: sabnzbd
    client:
      description: The client it belongs to.
      returned: success
      type: str
      sample: downloads.sabnzbd
    reason:
      description: What it is there for.
      returned: success
      type: str
      sample: it is attached and stays sealed behind its gateway
    msg:
      description: The whole sentence, for a workload with what to do.
      returned: success
      type: str
      sample: >-
        StatefulSet downloads/sabnzbd is attached to a VPN gateway and bulkhead_vpn_clients does not name it: it stays as
        it is; add it to bulkhead_vpn_clients again, or give it back: list it with state absent and detach_to open, or
        delete the workload and list it with state absent once more.
left_behind:
  description: >-
    Pods with the label or the guard of a client, listed or not, that the client's workload does not own. No rollout, scaling
    or detaching reaches them. They are looked for in all namespaces with clients, and by the label everywhere.
  returned: always
  type: list
  elements: dict
  contains:
    namespace:
      description: Namespace of the pod.
      returned: success
      type: str
      sample: downloads
    name:
      description: Its name.
      returned: success
      type: str
      sample: qbittorrent-0
    client:
      description: The client that its label names, null if it has lost that label.
      returned: success
      type: str
      sample: downloads.qbittorrent
    guarded:
      description: Whether it has the guard.
      returned: success
      type: bool
      sample: true
    reason:
      description: Why it is not the workload's.
      returned: success
      type: str
      sample: no workload owns it
    msg:
      description: The whole sentence with the command that deletes it.
      returned: success
      type: str
      sample: >-
        Pod downloads/qbittorrent-0 of VPN client downloads.qbittorrent is left behind: no workload owns it. Nothing replaces
        or ends it: look whether you still need it, then kubectl -n downloads delete pod qbittorrent-0
plan:
  description: What was to be done, in order.
  returned: always
  type: list
  elements: dict
  contains:
    step:
      description: Name of the step.
      returned: success
      type: str
      sample: attach.policy
    object:
      description: The object it is about.
      returned: success
      type: str
      sample: NetworkPolicy downloads/bulkhead-vpn-client-qbittorrent
problems:
  description: >-
    What is wrong with the input, when nothing was written because of it; or with clients, which were left as they are
    because of it.
  returned: failure
  type: list
  elements: dict
  contains:
    object:
      description: The object it is about.
      returned: failure
      type: str
      sample: StatefulSet downloads/qbittorrent
    path:
      description: Where in it.
      returned: failure
      type: str
      sample: spec.template.spec.hostNetwork
    value:
      description: What is there, null for nothing.
      returned: failure
      type: raw
      sample: true
    msg:
      description: The whole sentence with the remedy.
      returned: failure
      type: str
      sample: >-
        StatefulSet downloads/qbittorrent: spec.template.spec.hostNetwork is true: the pod would use the node's own
        network, which a guard cannot close; remove it.
failure:
  description: What failed, for programs; RV(ignore:msg) says it in a sentence.
  returned: failure, and with O(defer) for what is wrong with some clients
  type: dict
  contains:
    code:
      description: HTTP status, or null where there was none.
      returned: failure
      type: int
      sample: 409
    reason:
      description: The kind of failure.
      returned: failure
      type: str
      sample: NotReady
    object:
      description: What it was about.
      returned: failure
      type: str
      sample: StatefulSet downloads/qbittorrent
    details:
      description: The words of the library or server behind it.
      returned: failure
      type: str
      sample: ''
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils import _argspec, _module
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _agent_source, _orphans, _parse
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._client_objects import Site
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._vpn_client import _prepare, _read, _result, _run, _waves

# For tests only: name a step, and the run ends after it as if it had been killed there.
STOP_AFTER = "BULKHEAD_STOP_AFTER"
NOTHING: dict[str, Any] = {"changed": False, "clients": [], "orphans": [], "left_behind": [], "plan": []}


def spec() -> dict[str, Any]:
    """The module's argument spec."""
    networks = {name: {"type": "list", "elements": "str", "default": []} for name in ("pods", "services", "nodes")}
    return _argspec.merge(
        _argspec.auth(),
        _argspec.wait(),
        {
            "clients": {"type": "raw", "required": True},
            "gateways": {"type": "raw", "required": True},
            "cluster_networks": {"type": "dict", "default": {}, "options": networks},
            "cluster_domain": {"type": "str", "default": "cluster.local"},
            "agent_image": {"type": "str", "default": "docker.io/nicolaka/netshoot:v0.14"},
            "agent_image_pull_policy": {
                "type": "str",
                "choices": ["IfNotPresent", "Always", "Never"],
                "default": "IfNotPresent",
            },
            "ambient_namespaces": {"type": "list", "elements": "str", "default": []},
            "ingress_gateways": {"type": "dict", "default": {}},
            "probe_addresses": {"type": "list", "elements": "str", "default": []},
            "max_parallel": {"type": "int"},
            "defer": {"type": "bool", "default": False},
            "force_conflicts": {"type": "bool", "default": False},
        },
    )


def site(params: dict[str, Any]) -> Site:
    """What all clients share."""
    return Site(
        agent_files=_agent_source.read(),
        image=params["agent_image"],
        image_pull_policy=params["agent_image_pull_policy"],
        cluster_domain=params["cluster_domain"],
        cluster_networks=params["cluster_networks"],
        ambient=params["ambient_namespaces"],
        ingress_gateways=params["ingress_gateways"],
        probe_addresses=params["probe_addresses"],
    )


def options(params: dict[str, Any], check_mode: bool) -> _run.Options:
    """How to carry it out."""
    return _run.Options(
        check=check_mode,
        force=params["force_conflicts"],
        timeout=params["wait_timeout"],
        sleep=params["wait_sleep"],
        stop_after=os.environ.get(STOP_AFTER),
        max_parallel=params["max_parallel"],
    )


def execute(module: AnsibleModule, client: _client.Client) -> dict[str, Any]:
    """Read, judge, plan, carry out; what was reached by a failure is in its result too."""
    gateways, problems = _parse.parse_gateways(module.params["gateways"])
    clients, more = _parse.parse_clients(module.params["clients"], gateways)
    problems += more + _waves.bad_limit(module.params["max_parallel"])
    if problems:
        raise _prepare.Refused(problems)
    shared = site(module.params)
    held = _read.read(client, client.target, clients, gateways, shared.agent)
    work = _prepare.prepare(clients, gateways, held, shared, predict=module.check_mode)
    run = _run.Run(client, client.target, work, shared, options(module.params, module.check_mode))
    try:
        run.go()
        failed = _result.failure(clients, work, run.failures)
    except KubeError as exc:
        failed = {"failed": True, "msg": exc.msg, "failure": exc.failure}
    except _run.Stopped as exc:
        failed = {"failed": True, "msg": f"Stopped after {exc}, as the test asked.", "failure": {"reason": "Stopped"}}
    orphans = _orphans.orphans(clients, held, work.before)
    for warning in [*run.warnings, *_result.warnings(work, run.started_again, orphans)]:
        module.warn(warning)
    result = {
        "changed": run.changed,
        "clients": _result.clients(clients, work, run.done, run.live, module.check_mode),
        "orphans": orphans,
        "left_behind": [one.to_dict() for one in _result.left_behind(held)],
        "plan": _result.plan(work),
        **failed,
    }
    if module._diff:
        result["diff"] = _result.diff(work)
    return result


def main() -> None:
    """Wiring."""
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    _module.prepare(module)
    try:
        result = execute(module, _client.Client(module.params))
    except _prepare.Refused as exc:
        failure = {"code": None, "reason": "Refused", "object": exc.problems[0].object, "details": None}
        problems = [problem.to_dict() for problem in exc.problems]
        module.fail_json(msg=str(exc), problems=problems, failure=failure, **NOTHING)
    except KubeError as exc:
        module.fail_json(msg=exc.msg, failure=exc.failure, **NOTHING)
    _module.end(module, result, defer=module.params["defer"])


if __name__ == "__main__":
    main()
