#!/usr/bin/python
# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: topology_info
short_description: Find out who reaches what, and where traffic leaves
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Reads namespaces and their mesh, ingress gateways with addresses and routes, VPN gateways, and clients behind them, with one
    LIST for each kind. It proves nothing itself; verdicts are those of the last report of M(bulkhead.mesh.killswitch_check).
  - What cannot be read is named in RV(topology.unreadable) and shown as unknown. A verdict is unknown as well where pods
    are newer than the report, and a client that no report names is C(never_verified).
  - Only where a Service is exposed to a tailnet, Secrets of the Tailscale operator's proxies are read, by their label and in
    the proxies' namespace, for name and addresses of the device.
extends_documentation_fragment:
  - bulkhead.mesh._auth
  - bulkhead.mesh._attributes
  - bulkhead.mesh._attributes.info_module
  - bulkhead.mesh._attributes.bulkhead
options:
  report:
    description:
      - JSON report that the role P(bulkhead.mesh.verify#role) wrote, on the host that this module runs on.
      - When absent, or when there is no such file, nothing is verified.
    type: path
  stale_after:
    description:
      - Hours after which a proof is marked as stale.
    type: int
    default: 24
  exit_addresses:
    description:
      - Addresses of the VPN provider that O(report) was made with. Reports themselves have no addresses.
      - When absent, the exit is shown without an address.
    type: list
    elements: str
    default: []
  accept_open_pods:
    description:
      - Pods, or workloads whose pods are named after them, as C(namespace/name), that use an account, a volume or the image of a
        client and may run without a guard; see M(bulkhead.mesh.killswitch_check).
      - When absent, none, and each such pod makes the client V(unprotected).
    type: list
    elements: str
    default: []
  namespaces:
    description:
      - The namespaces, as in the variable C(bulkhead_namespaces); C(name) and C(mesh) are looked at.
      - When absent, those that are in the mesh or take part in something shown.
    type: list
    elements: dict
    default: []
  ingress_gateways:
    description:
      - The gateways, as in the variable C(bulkhead_ingress_gateways); C(namespace), C(name) and C(state) are looked at.
      - When absent, none is missed, and all that exist are marked as not in the inventory.
    type: list
    elements: dict
    default: []
  gateways:
    description:
      - The VPN gateways, as in the variable C(bulkhead_vpn_gateways); C(namespace), C(name) and C(state) are looked at.
      - When absent, none is missed, and all that exist are marked as not in the inventory.
    type: list
    elements: dict
    default: []
  clients:
    description:
      - The workloads, as in the variable C(bulkhead_vpn_clients); C(kind), C(namespace), C(name), C(gateway) and C(state)
        are looked at.
      - When absent, none is missed, and all that are attached are marked as not in the inventory.
    type: list
    elements: dict
    default: []
seealso:
  - module: bulkhead.mesh.killswitch_check
  - plugin: bulkhead.mesh.topology_view
    plugin_type: filter
"""

EXAMPLES = r"""
- name: See who reaches what
  bulkhead.mesh.topology_info:
    report: build/verify.json
    clients: "{{ bulkhead_vpn_clients }}"
    gateways: "{{ bulkhead_vpn_gateways }}"
  register: result

- name: Show it
  ansible.builtin.debug:
    msg: "{{ result.topology | bulkhead.mesh.topology_view }}"
"""

RETURN = r"""
topology:
  description: What was found.
  returned: success
  type: dict
  contains:
    server:
      description: The API server.
      returned: success
      type: str
      sample: 192.0.2.1:6443
    read_at:
      description: When it was read, in UTC.
      returned: success
      type: str
      sample: '2026-11-21T17:30:00Z'
    orphans:
      description: Workloads that are attached to a VPN gateway and that no inventory names, each with C(msg), which says what to do.
      returned: success
      type: list
      elements: dict
      sample: []
    left_behind:
      description: Pods with the label or the guard of a VPN client that no workload owns, each with C(msg), which says what to do.
      returned: success
      type: list
      elements: dict
      sample: []
    unreadable:
      description: Kinds that could not be read, each with the reason.
      returned: success
      type: list
      elements: dict
      sample: []
    namespaces:
      description:
        - Namespaces with C(capture) (V(ambient), V(sidecar), V(none) or V(unknown)), what the inventory has C(wanted), their
          C(segments), C(pods) by their state in the mesh (null if unknown), and C(state) with its C(reason) -
          V(as_labelled), V(differs), V(missing) or V(unknown).
      returned: success
      type: list
      elements: dict
      sample:
        - name: core
          wanted: ambient
          capture: ambient
          segments: [arr]
          pods: {in: 1}
          state: as_labelled
          reason: ''
    ingress_gateways:
      description:
        - Gateways that let somebody in, with C(class), C(exposure) (V(lan), V(tailnet), V(both), V(cluster) or V(unknown)),
          C(addresses), C(tailnet) (C(name), C(addresses) and C(reason); null where not exposed), C(segments) that may attach
          (V(*) for all namespaces), C(listeners), C(routes) of HTTP and gRPC with their C(backends), whether they are
          C(declared) in the inventory, and C(state) with its C(reason) - V(ready), V(not_ready), V(missing) or V(unknown).
      returned: success
      type: list
      elements: dict
      sample:
        - namespace: gateway-arr
          name: arr
          declared: true
          class: istio
          segments: [arr]
          exposure: lan
          addresses: [192.0.2.101]
          tailnet: null
          listeners: [{name: http, port: 80, protocol: HTTP, hostname: ''}]
          routes:
            - kind: HTTPRoute
              namespace: core
              name: radarr
              hostnames: []
              backends: [{path: /radarr, service: core/radarr, port: 7878}]
              state: attached
              reason: ''
          routes_reason: ''
          state: ready
          reason: ''
    vpn_gateways:
      description:
        - VPN gateways with their overlay C(network), C(exit) and C(state), which is V(ready), V(not_ready), V(missing) or
          V(unknown). The C(exit) has C(addresses) as in O(exit_addresses) and C(state), which is V(confirmed) when the report
          says so of the pod that runs, V(wrong) or V(unknown).
      returned: success
      type: list
      elements: dict
      sample:
        - namespace: vpn
          name: north
          declared: true
          state: ready
          reason: ''
          network: 10.222.1.0/24
          exit: {addresses: [198.51.100.5], state: confirmed, reason: ''}
    vpn_clients:
      description:
        - Clients of the inventory, and workloads that are attached without being in it. C(state) is a verdict of
          M(bulkhead.mesh.killswitch_check), or V(never_verified), V(stopped) or V(missing). C(layers) are those of the report,
          empty where it cannot be used; C(stale) says that it is older than O(stale_after), C(as_required) is V(false) where it
          found something else wrong.
      returned: success
      type: list
      elements: dict
      sample:
        - kind: StatefulSet
          namespace: downloads
          name: qbittorrent
          declared: true
          gateway: north
          attached: true
          pods: 1
          services: [downloads/qbittorrent]
          state: protected
          reason: two layers hold on every way out
          layers: {guard: holds, policy: holds, gateway_firewall: holds, gateway_policy: holds}
          stale: false
          as_required: true
    proof:
      description:
        - The report. C(state) is V(read), V(none) or V(unreadable); C(time) and C(age_s), in seconds, are null where it does
          not say when it was made.
      returned: success
      type: dict
      sample: {state: read, reason: '', time: '2026-11-21T17:00:00Z', age_s: 1800, stale: false}
failure:
  description: What failed, for programs; RV(ignore:msg) says it in a sentence.
  returned: failure
  type: dict
"""

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils import _argspec, _module
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._topology import _standing
from ansible_collections.bulkhead.mesh.plugins.module_utils._topology_info import _look


def spec() -> dict[str, Any]:
    """The module's argument spec."""
    listed = {"type": "list", "elements": "dict", "default": []}
    return _argspec.merge(
        _argspec.auth(),
        {
            "report": {"type": "path"},
            "stale_after": {"type": "int", "default": 24},
            "exit_addresses": {"type": "list", "elements": "str", "default": []},
            "accept_open_pods": {"type": "list", "elements": "str", "default": []},
            **dict.fromkeys(_look.LISTS, listed),
        },
    )


def read_report(path: str | None) -> _standing.Proof:
    """The report as a proof; a file that is not there or cannot be read is no proof of anything."""
    if path is None:
        return _standing.proof(None)
    try:
        return _standing.proof(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _standing.Proof("none", f"there is no report {path}")
    except (OSError, UnicodeError) as exc:
        return _standing.proof(None, f"{path} cannot be read: {exc}")


def main() -> None:
    """Read and return."""
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    params = module.params
    _module.prepare(module)
    try:
        wanted = _look.inventory(params)
        client = _client.Client(params)
        now = datetime.now(timezone.utc)
        proof = read_report(params["report"])
        topology = _look.look(client, client.target, wanted, proof, now, params["stale_after"] * 3600)
    except KubeError as exc:
        module.fail_json(msg=exc.msg, failure=exc.failure, changed=False)
    if proof.state == "unreadable":
        module.warn(f"The report of the last proof is not used: {proof.reason}.")
    module.exit_json(changed=False, topology=topology)


if __name__ == "__main__":
    main()
