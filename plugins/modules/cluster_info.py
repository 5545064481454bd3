#!/usr/bin/python
# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_info
short_description: Find out what a Kubernetes cluster is made of
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Reads version, nodes, networks, name service, network provider, policy kinds, Pod Security levels, meshes,
    Gateway API and load balancers of a cluster, with one LIST for each kind.
  - Every fact is a finding of three keys. C(value) is the fact, C(found_by) says how it was found, and where it cannot
    be known C(value) is V(unknown) and C(reason) says why. What the caller may not read is
    V(unknown), never absent or empty.
  - Nothing is stored on the cluster except for the short life of the probe pod, see O(probe). Permissions are asked for
    by access reviews, and the service range, where no object names it, by a dry run; the API server stores neither.
extends_documentation_fragment:
  - bulkhead.mesh._auth
  - bulkhead.mesh._wait
  - bulkhead.mesh._attributes
  - bulkhead.mesh._attributes.info_module
  - bulkhead.mesh._attributes.bulkhead
options:
  probe:
    description:
      - Whether to create one disposable pod that reads what only a pod sees, such as its MTU and its routes. The pod
        has no privilege and no token, is deleted before the module ends, and the result is not reported as a change.
      - In check mode no pod is created and these facts are V(unknown).
    type: bool
    default: false
  probe_image:
    description:
      - Image of the probe pod; anything with C(/bin/sh) and C(cat).
      - When absent, an image of busybox.
    type: str
    default: docker.io/library/busybox:1.37.0
  probe_namespace:
    description:
      - Existing namespace for the probe pod; the level V(restricted) of Pod Security is enough.
      - When absent, V(default).
    type: str
    default: default
  can_i:
    description:
      - Permissions to ask about, all at once; see RV(cluster.permissions).
      - When absent, none.
    type: list
    elements: dict
    default: []
    suboptions:
      verb:
        description:
          - What is to be done, such as V(list) or V(create).
        type: str
        required: true
      group:
        description:
          - API group of the resource; the empty string is the core group.
          - When absent, the core group.
        type: str
        default: ''
      resource:
        description:
          - Resource in its plural form, such as V(pods).
        type: str
        required: true
      namespace:
        description:
          - Namespace in which it is to be done.
          - When absent, in all namespaces, or on a cluster-wide resource.
        type: str
"""

EXAMPLES = r"""
- name: Look at the cluster of the current context
  bulkhead.mesh.cluster_info:
  register: result

- name: Show the service networks and how they were found
  ansible.builtin.debug:
    var: result.cluster.networks.service_cidrs

- name: See the cluster as a pod sees it, with an image of an own registry
  bulkhead.mesh.cluster_info:
    context: homelab
    probe: true
    probe_image: registry.example.com/library/busybox:1.37.0

- name: Ask whether NetworkPolicies may be created
  bulkhead.mesh.cluster_info:
    can_i:
      - verb: create
        group: networking.k8s.io
        resource: networkpolicies
        namespace: downloads
"""

RETURN = r"""
cluster:
  description: >-
    What was found. Unless said otherwise, each entry is a finding with the keys C(value), C(found_by) and C(reason).
  returned: success
  type: dict
  contains:
    server:
      description: Host and port of the API server, as a plain string.
      returned: success
      type: str
      sample: 10.0.0.1:6443
    user:
      description: Whom the API server takes the caller for; the value has C(name) and C(groups).
      returned: success
      type: dict
      sample: {value: {name: admin, groups: ["system:authenticated"]}, found_by: SelfSubjectReview, reason: null}
    version:
      description: Version of the API server, as plain values.
      returned: success
      type: dict
      contains:
        git:
          description: The version as the server writes it.
          returned: success
          type: str
          sample: v1.35.4+k3s1
        major:
          description: First number of the version.
          returned: success
          type: int
          sample: 1
        minor:
          description: Second number of the version.
          returned: success
          type: int
          sample: 35
    platform:
      description: >-
        Distribution: V(k3s), V(k3d), V(rke2), V(microk8s), V(minikube), V(kind), V(gke), V(eks), V(aks),
        V(openshift), or V(plain) where nothing marks one.
      returned: success
      type: dict
      sample: {value: k3s, found_by: version v1.35.4+k3s1, reason: null}
    nodes:
      description: >-
        Nodes with C(name), C(ready), C(addresses), C(pod_cidrs), C(kubelet), C(runtime), C(os_image), C(kernel) and
        C(architecture).
      returned: success
      type: dict
      sample:
        value:
          - name: node1
            ready: 'yes'
            addresses: [10.0.0.10]
            pod_cidrs: [10.42.0.0/24]
            kubelet: v1.35.4
            runtime: containerd://2.1.0
            os_image: Debian GNU/Linux 13
            kernel: 6.12.0
            architecture: amd64
        found_by: list nodes
        reason: null
    networks:
      description: Networks in canonical spelling.
      returned: success
      type: dict
      contains:
        pod_cidrs:
          description: Networks of pods; the whole ranges where something names them, else the shares of the nodes.
          returned: success
          type: dict
          sample: {value: [10.42.0.0/16], found_by: podCIDRs of nodes, reason: null}
        service_cidrs:
          description: Networks of Services.
          returned: success
          type: dict
          sample: {value: [10.43.0.0/16], found_by: ServiceCIDR objects, reason: null}
        node_cidrs:
          description: The nodes' own addresses as host networks.
          returned: success
          type: dict
          sample: {value: [10.0.0.10/32], found_by: InternalIP addresses of nodes, reason: null}
    dns:
      description: The cluster's name service.
      returned: success
      type: dict
      contains:
        service:
          description: The Service that pods resolve by; the value has C(namespace), C(name), C(addresses) and C(ports).
          returned: success
          type: dict
          sample:
            value:
              namespace: kube-system
              name: kube-dns
              addresses: [10.43.0.10]
              ports: [{port: 53, protocol: UDP, target: 53}]
            found_by: label k8s-app=kube-dns
            reason: null
        domain:
          description: Domain of the cluster.
          returned: success
          type: dict
          sample: {value: cluster.local, found_by: ConfigMap kube-system/coredns, reason: null}
        node_local:
          description: Whether nodes run a DNS cache of their own, V(yes) or V(no).
          returned: success
          type: dict
          sample: {value: 'no', found_by: no DaemonSet of NodeLocal DNSCache, reason: null}
    cni:
      description: The provider of the pod network.
      returned: success
      type: dict
      contains:
        name:
          description: Its name.
          returned: success
          type: dict
          sample: {value: calico, found_by: DaemonSet kube-system/calico-node, reason: null}
        policy_support:
          description: Whether it enforces NetworkPolicy, V(yes) or V(no). Only traffic can prove it.
          returned: success
          type: dict
          sample:
            value: unknown
            found_by: null
            reason: 'the provider is not known: NetworkPolicy objects may have no effect'
        socket_lb:
          description: >-
            Whether Services are translated inside the sockets of pods, V(yes) or V(no); a pod's packets then name a backend
            and not the Service.
          returned: success
          type: dict
          sample: {value: "yes", found_by: ConfigMap cilium-config beside DaemonSet kube-system/cilium, reason: null}
    policy_kinds:
      description: Kinds present that can forbid traffic.
      returned: success
      type: dict
      sample: {value: [networkpolicies.networking.k8s.io], found_by: API discovery, reason: null}
    psa:
      description: >-
        Pod Security levels by namespace, each with C(enforce), C(warn) and C(audit), null where there is no label.
      returned: success
      type: dict
      sample:
        value: {default: {enforce: null, warn: null, audit: null}}
        found_by: labels of namespaces
        reason: null
    vpn:
      description: >-
        What this collection keeps for VPN clients, whatever an inventory says by now - C(clients) that are protected,
        namespaces with C(gateways), and the C(labels) that the role P(bulkhead.mesh.namespaces#role) has given to the
        namespaces of the former.
      returned: success
      type: dict
      sample:
        value:
          clients: [{namespace: downloads, client: downloads.qbittorrent}]
          gateways: [vpn]
          labels: {downloads: {pod-security.kubernetes.io/enforce: privileged}}
        found_by: labels of NetworkPolicies, ConfigMaps and namespaces
        reason: null
    mesh:
      description: Service meshes.
      returned: success
      type: dict
      contains:
        istio:
          description: >-
            Istio; the value has C(installed), C(control_planes) (each with C(namespace), C(name), C(revision),
            C(version) and C(owner)), C(ztunnel), C(istio_cni), C(crds) and C(tags).
          returned: success
          type: dict
          sample:
            value: {installed: 'no', control_planes: [], ztunnel: null, istio_cni: null, crds: 'no', tags: {}}
            found_by: Deployments with label app=istiod, DaemonSets ztunnel and istio-cni-node, webhook labels
            reason: null
        linkerd:
          description: Linkerd; the value has C(installed), and C(namespace) and C(version) where it is.
          returned: success
          type: dict
          sample: {value: {installed: 'no'}, found_by: no Deployment of its control plane, reason: null}
    gateway_api:
      description: The Gateway API; the value has C(installed), C(crds), C(bundle_version), C(channel) and C(classes).
      returned: success
      type: dict
      sample:
        value: {installed: 'yes', crds: [gateways, httproutes], bundle_version: v1.6.0, channel: standard, classes: []}
        found_by: CustomResourceDefinitions and GatewayClass objects
        reason: null
    metallb:
      description: MetalLB; the value has C(installed), and C(namespace), C(version), C(owner) and C(pools) where it is.
      returned: success
      type: dict
      sample: {value: {installed: 'no'}, found_by: no Deployment of its controller, reason: null}
    tailscale:
      description: The Tailscale operator; the value has C(installed), and C(namespace) and C(owner) where it is.
      returned: success
      type: dict
      sample:
        value: {installed: 'no'}
        found_by: no Deployment of the operator together with its API group
        reason: null
    servicelb:
      description: Whether the load balancer of k3s takes Services, V(yes) or V(no).
      returned: success
      type: dict
      sample: {value: 'no', found_by: 'no DaemonSet svclb-*, no node of k3s', reason: null}
    traefik:
      description: Traefik; the value has C(installed), and C(namespace) and C(addresses) where it is.
      returned: success
      type: dict
      sample:
        value: {installed: 'no'}
        found_by: no Deployment with label app.kubernetes.io/name=traefik
        reason: null
    pod:
      description: What a pod sees. All of it is V(unknown) unless O(probe=true).
      returned: success
      type: dict
      contains:
        node:
          description: Node the probe ran on, as a plain string; other nodes may differ.
          returned: success
          type: str
          sample: node1
        mtu:
          description: MTU of C(eth0).
          returned: success
          type: dict
          sample: {value: 1450, found_by: probe pod, reason: null}
        default_routes:
          description: >-
            Default routes, each with C(family), C(device) and C(via), which is null for a route straight to the device.
          returned: success
          type: dict
          sample: {value: [{family: IPv4, device: eth0, via: 10.42.0.1}], found_by: probe pod, reason: null}
        families:
          description: IP families of the pod's addresses.
          returned: success
          type: dict
          sample: {value: [IPv4, IPv6], found_by: probe pod, reason: null}
        addresses:
          description: The pod's addresses except loopback and link-local ones.
          returned: success
          type: dict
          sample: {value: [10.42.0.7], found_by: probe pod, reason: null}
        resolv_conf:
          description: Resolver settings; the value has C(nameservers), C(search) and C(options).
          returned: success
          type: dict
          sample:
            value: {nameservers: [10.43.0.10], search: [default.svc.cluster.local], options: ['ndots:5']}
            found_by: probe pod
            reason: null
        rp_filter:
          description: Reverse path filter that is in effect on C(eth0), V(0) to V(2).
          returned: success
          type: dict
          sample: {value: 0, found_by: probe pod, reason: null}
        kernel:
          description: Release of the kernel.
          returned: success
          type: dict
          sample: {value: 6.12.0, found_by: probe pod, reason: null}
        vxlan:
          description: Whether the kernel has VXLAN loaded; V(yes) or V(unknown).
          returned: success
          type: dict
          sample: {value: 'yes', found_by: probe pod, reason: null}
        wireguard:
          description: Whether the kernel has WireGuard loaded; V(yes) or V(unknown).
          returned: success
          type: dict
          sample:
            value: unknown
            found_by: null
            reason: the module wireguard is not loaded; whether the node can load it is not visible in a pod
        tun:
          description: Whether the kernel has the TUN driver loaded; V(yes) or V(unknown).
          returned: success
          type: dict
          sample: {value: 'yes', found_by: probe pod, reason: null}
    permissions:
      description: The permissions of O(can_i) in the same order, as a plain list.
      returned: success
      type: list
      elements: dict
      contains:
        verb:
          description: As asked.
          returned: success
          type: str
          sample: create
        group:
          description: As asked.
          returned: success
          type: str
          sample: networking.k8s.io
        resource:
          description: As asked.
          returned: success
          type: str
          sample: networkpolicies
        namespace:
          description: As asked; null for all namespaces.
          returned: success
          type: str
          sample: downloads
        allowed:
          description: V(yes), V(no), or V(unknown) where the API server gave no answer.
          returned: success
          type: str
          sample: 'yes'
        reason:
          description: The API server's reason, where it gave one.
          returned: success
          type: str
          sample: 'RBAC: allowed by ClusterRoleBinding "admins"'
    unreadable:
      description: What the caller was not allowed to read, as a plain list; findings that depend on it are V(unknown).
      returned: success
      type: list
      elements: dict
      contains:
        request:
          description: What was asked.
          returned: success
          type: str
          sample: list nodes
        reason:
          description: What came of it.
          returned: success
          type: str
          sample: not allowed to list nodes
failure:
  description: What failed, for programs; RV(ignore:msg) says it in a sentence.
  returned: failure
  type: dict
  contains:
    code:
      description: HTTP status, or null where there was none.
      returned: failure
      type: int
      sample: 401
    reason:
      description: The kind of failure.
      returned: failure
      type: str
      sample: Unreachable
    object:
      description: What it was about.
      returned: failure
      type: str
      sample: 10.0.0.1:6443
    details:
      description: The words of the library or server behind it.
      returned: failure
      type: str
      sample: connection refused
"""

from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils import _argspec, _module
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster import _facts, _networks, _pod, _requests, _version
from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import Snapshot, is_known
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _disposable, _pod_outcome
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request

Pod = Callable[[], "dict[str, Any]"]


def spec() -> dict[str, Any]:
    """The module's argument spec."""
    permission = {
        "verb": {"type": "str", "required": True},
        "group": {"type": "str", "default": ""},
        "resource": {"type": "str", "required": True},
        "namespace": {"type": "str"},
    }
    return _argspec.merge(
        _argspec.auth(),
        _argspec.wait(),
        {
            "probe": {"type": "bool", "default": False},
            "probe_image": {"type": "str", "default": "docker.io/library/busybox:1.37.0"},
            "probe_namespace": {"type": "str", "default": "default"},
            "can_i": {"type": "list", "elements": "dict", "default": [], "options": permission},
        },
    )


def probe(client: _client.Caller, params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Findings of the probe pod, or why there are none."""
    if not params["probe"]:
        return _pod.not_asked("only a probe pod can see it (probe: true)")
    if check_mode:
        return _pod.not_asked("no probe pod is created in check mode")
    name = _disposable.unique_name("bulkhead-probe")
    manifest = _pod.manifest(name, params["probe_namespace"], params["probe_image"])
    try:
        output, node = _disposable.run_pod(
            client, manifest, timeout=params["wait_timeout"], sleep=params["wait_sleep"], stuck=_pod_outcome.disposable
        )
    except _disposable.ProbeFailed as exc:
        return _pod.not_asked(str(exc))
    return _pod.facts(output, node)


def gather(client: _client.Caller, server: str, wanted: list[dict[str, Any]], pod: Pod) -> dict[str, Any]:
    """Ask in rounds and turn the answers into facts; the first request alone finds out whether anyone answers."""
    question = Request("/version", "read the version")
    answer = client.call(question)
    try:
        version = _version.version(answer.body)
    except ValueError as exc:
        raise KubeError(
            f"The server {server} answered /version with status {answer.status} and no version: "
            "check that the address is that of a Kubernetes API server.",
            reason="NotKubernetes",
            code=answer.status,
            object_=server,
        ) from exc
    asked: dict[str, Request] = {}
    answers: dict[str, Answer] = {}

    def ask(requests: dict[str, Request]) -> Snapshot:
        asked.update(requests)
        answers.update(_client.read_all(client, requests))
        return Snapshot(answers, {name: request.what for name, request in asked.items()})

    snapshot = ask({**_requests.first(), **_requests.can_i(wanted)})
    snapshot = ask(_requests.second(snapshot))
    if not is_known(_networks.services(snapshot)):
        ask(_requests.service_range())
    return _facts.cluster(server, version, answers, {n: r.what for n, r in asked.items()}, pod(), wanted)


def main() -> None:
    """Read and return."""
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    _module.prepare(module)
    try:
        client = _client.Client(module.params)
        cluster = gather(
            client,
            client.target.server,
            module.params["can_i"],
            lambda: probe(client, module.params, module.check_mode),
        )
    except KubeError as exc:
        module.fail_json(msg=exc.msg, failure=exc.failure, changed=False)
    module.exit_json(changed=False, cluster=cluster)


if __name__ == "__main__":
    main()
