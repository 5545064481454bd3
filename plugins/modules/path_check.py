#!/usr/bin/python
# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: path_check
short_description: Prove who reaches which page, and who does not
version_added: 0.1.0
author:
  - bulkhead.mesh contributors (@bulkhead-mesh)
description:
  - Asks for the pages of applications from the home network, a tailnet, pods and VPN clients, by every address the cluster
    has for a gateway or Service, and compares with a matrix of who is to reach what.
  - A path is reached only when the page itself came back, recognised by what its Service answers pods in the same run, or
    by a text that the matrix names. It is refused only when the page came from no address while the same gateway or
    Service answered somebody else in the same run, and something had answered the one who was refused.
  - Everything else is V(unknown), which is never good. A vantage that is not available is V(unknown) and named.
  - Nothing is changed. With class V(C) in O(check_classes) disposable pods are made where the matrix asks from pods and in the
    namespaces of the Services it asks for, labelled C(bulkhead.mesh/twin), never ready, and removed before the module ends.
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
  paths:
    description:
      - The matrix, a list as in the variable C(bulkhead_paths). Each entry has C(from), C(to) and C(expect), which is
        V(reached) or V(refused).
      - C(from) is V(lan), V(tailnet), V(controller), a mapping with C(client), the name of a VPN client, or a mapping with
        C(namespace) and if needed C(labels), C(service_account) and C(mesh=false) for a disposable pod.
      - C(to) is a mapping with C(gateway), the name of an ingress gateway, and C(path) or C(route), or one with C(service)
        as namespace/name, C(port) and if needed C(path), C(scheme) and C(host). Both take C(content), a text that is on that
        page and on no other.
      - When absent, the matrix that O(gateways), O(clients) and O(namespaces) imply.
    type: raw
  derive:
    description:
      - Whether the implied matrix is checked too; an entry of O(paths) wins over an implied one that asks the same.
      - When absent, V(true) without O(paths) and V(false) with it.
    type: bool
  gateways:
    description:
      - The ingress gateways, a list as in the variable C(bulkhead_ingress_gateways).
      - When absent, none.
    type: raw
    default: []
  clients:
    description:
      - The VPN clients, a list as in the variable C(bulkhead_vpn_clients); see M(bulkhead.mesh.vpn_client).
      - When absent, none.
    type: raw
    default: []
  vpn_gateways:
    description:
      - The VPN gateways, a list as in the variable C(bulkhead_vpn_gateways). Needed with O(clients).
      - When absent, none.
    type: raw
    default: []
  namespaces:
    description:
      - Namespaces of applications, a list as in the variable C(bulkhead_namespaces). A pod of each that has C(segments) asks
        for the pages of VPN clients.
      - When absent, none.
    type: list
    elements: dict
    default: []
  vantages:
    description:
      - How hosts outside the cluster are asked, by name (V(lan), V(tailnet), V(controller)).
      - When V(lan) is absent, the host that runs the module is asked if it is on the network of every gateway's address, else V(lan)
        is not available. V(controller) is always that host.
    type: dict
    default: {}
    suboptions:
      lan:
        description: A computer on the home network.
        type: dict
        suboptions: &host
          command:
            description:
              - Words in front of C(python3 -I -), such as V([ssh, laptop]). That host needs Python 3.9 or later; the program
                comes by standard input and writes nothing.
              - When absent, the host that runs the module is asked.
            type: list
            elements: str
            default: []
      tailnet:
        description: A computer on the tailnet.
        type: dict
        suboptions: *host
      controller:
        description: The host that runs the module.
        type: dict
        suboptions: *host
  check_classes:
    description:
      - Which checks are made. V(A) asks from hosts and from pods of VPN clients, V(C) from disposable pods. Paths of other
        classes are V(skipped). V(P) is accepted for the sake of lists that are shared with M(bulkhead.mesh.killswitch_check).
      - When absent, V(P) and V(A). Without V(C) only pages with C(content) are recognised.
    type: list
    elements: str
    choices: [P, A, C]
    default: [P, A]
  accept_unknown:
    description:
      - Vantages whose paths may stay V(unknown), such as V(lan), or V(pod) and V(client) for all of a kind.
      - When absent, none.
    type: list
    elements: str
    default: []
  enforce:
    description:
      - Whether the task fails when a path is not as declared. With V(false) RV(acceptable) says it.
    type: bool
    default: true
  twin_image:
    description:
      - Image of disposable pods; it needs C(python3).
    type: str
    default: docker.io/nicolaka/netshoot:v0.14
  timeout:
    description:
      - Seconds to wait for each probe beyond the time its attempts need, and for each pod to run.
    type: int
    default: 60
  attempt_timeout:
    description:
      - Seconds to wait for one answer. What did not answer is asked once more, for twice as long; where answers take longer
        than this, silence is V(unknown).
    type: float
    default: 2.0
  settle:
    description:
      - Seconds that policies and mesh may take until they know a new pod. Paths that are not as declared are asked again until
        then; what a new pod reached only at first is said in RV(checks[].observed).
    type: float
    default: 10.0
requirements:
  - websocket-client (Python package on the host that runs the module; the package kubernetes brings it)
"""

EXAMPLES = r"""
- name: Prove what the inventory implies, from a computer on the home network
  bulkhead.mesh.path_check:
    gateways: "{{ bulkhead_ingress_gateways }}"
    clients: "{{ bulkhead_vpn_clients }}"
    vpn_gateways: "{{ bulkhead_vpn_gateways }}"
    namespaces: "{{ bulkhead_namespaces }}"
    check_classes: [P, A, C]
    vantages:
      lan: {command: [ssh, laptop]}

- name: Prove a few paths of one's own
  bulkhead.mesh.path_check:
    gateways: "{{ bulkhead_ingress_gateways }}"
    check_classes: [P, A, C]
    paths:
      - {from: lan, to: {gateway: arr, path: /radarr/, content: Radarr}, expect: reached}
      - {from: {namespace: media}, to: {service: core/radarr, port: 7878}, expect: refused}
      - from: {namespace: core, labels: {app: overseerr}, service_account: overseerr}
        to: {service: core/radarr, port: 7878}
        expect: reached
"""

RETURN = r"""
changed:
  description: Always V(false).
  returned: always
  type: bool
  sample: false
verdict:
  description: V(not_as_declared) if a path is not, V(as_declared) if all were shown to be, else V(unknown).
  returned: success, or when a path is not as declared
  type: str
  sample: as_declared
acceptable:
  description: Whether every path is as declared, or unknown where O(accept_unknown) allows it.
  returned: success, or when a path is not as declared
  type: bool
  sample: true
require:
  description: Always V(as_declared).
  returned: success, or when a path is not as declared
  type: str
  sample: as_declared
vantages:
  description: One entry for each place that was asked from.
  returned: success, or when a path is not as declared
  type: list
  elements: dict
  contains:
    name:
      description: The place.
      returned: always
      type: str
      sample: pod in core
    kind:
      description: V(lan), V(tailnet), V(controller), V(pod) or V(client).
      returned: always
      type: str
      sample: pod
    verdict:
      description: As RV(verdict), of its paths alone.
      returned: always
      type: str
      sample: as_declared
    counts:
      description: How many of its paths ended how.
      returned: always
      type: dict
      sample: {pass: 4, fail: 0, unknown: 0, skipped: 0}
    reason:
      description: The same in words.
      returned: always
      type: str
      sample: 4 pass
    acceptable:
      description: Whether all of its paths are acceptable.
      returned: always
      type: bool
      sample: true
    reasons:
      description: Why not, as sentences.
      returned: always
      type: list
      elements: str
      sample: []
paths:
  description: The matrix, one entry for each path.
  returned: success, or when a path is not as declared
  type: list
  elements: dict
  contains:
    from:
      description: Who asked.
      returned: always
      type: str
      sample: lan
    gateway:
      description: Name of the ingress gateway that was asked, null for the Service itself.
      returned: always
      type: str
      sample: arr
    service:
      description: The Service whose page was asked for, as namespace/name.
      returned: always
      type: str
      sample: core/radarr
    port:
      description: Its port.
      returned: always
      type: int
      sample: 7878
    path:
      description: The path that was asked for.
      returned: always
      type: str
      sample: /radarr/
    route:
      description: HTTPRoute that leads there and is in no inventory, else null.
      returned: always
      type: str
      sample: null
    expect:
      description: V(reached) or V(refused).
      returned: always
      type: str
      sample: reached
    seen:
      description: V(reached), V(refused) or V(unknown).
      returned: always
      type: str
      sample: reached
    result:
      description: V(pass), V(fail), V(unknown) or V(skipped).
      returned: always
      type: str
      sample: pass
    origin:
      description: V(declared) in O(paths), V(derived) from the inventory, or V(found) as a route in the cluster.
      returned: always
      type: str
      sample: derived
checks:
  description: Controls and paths, in the form of M(bulkhead.mesh.killswitch_check).
  returned: success, or when a path is not as declared
  type: list
  elements: dict
  contains:
    id:
      description: V(path-reached) or V(path-refused), or a control, V(ctl-vantage), V(ctl-page) or V(ctl-gateway).
      returned: always
      type: str
      sample: path-refused
    target:
      description: Who asks for what.
      returned: always
      type: str
      sample: 'lan -> gateway media /radarr/ (core/radarr:7878)'
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
      description: V(path) or V(control).
      returned: always
      type: str
      sample: path
    control:
      description: The check that shows the attempt could have succeeded.
      returned: always
      type: str
      sample: ctl-gateway
    expected:
      description: What it expects.
      returned: always
      type: str
      sample: refused
    observed:
      description: What each address answered.
      returned: always
      type: str
      sample: '192.0.2.102:80 HTTP 404; lan got an answer'
    reason:
      description: Why it did not pass.
      returned: always
      type: str
      sample: ''
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
      description: The kind of failure, V(NotAsDeclared) for a path that is not as declared.
      returned: failure
      type: str
      sample: NotAsDeclared
    object:
      description: What it was about.
      returned: failure
      type: str
      sample: lan
    details:
      description: More words, or null.
      returned: failure
      type: str
      sample: null
"""

import threading
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils import _argspec, _proof

# _remote is sent as text; Ansible packs what it finds imported.
# pylint: disable-next=unused-import
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import (
    _gather,
    _registry,
    _remote,  # noqa: F401
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _agent_source
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _parse as _vpn
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress import _gateways
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _client, _exec
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths import (
    _derive,
    _model,
    _parse,
    _plan,
    _run,
    _seen,
    _vantage,
)

NOTHING: dict[str, Any] = {
    "changed": False,
    "verdict": "unknown",
    "acceptable": False,
    "vantages": [],
    "paths": [],
    "checks": [],
}
ROUTES = "/proc/net/route"


def spec() -> dict[str, Any]:
    """The module's argument spec."""
    host = {"type": "dict", "options": {"command": {"type": "list", "elements": "str", "default": []}}}
    return _argspec.merge(
        _argspec.auth(),
        {
            "paths": {"type": "raw"},
            "derive": {"type": "bool"},
            "gateways": {"type": "raw", "default": []},
            "clients": {"type": "raw", "default": []},
            "vpn_gateways": {"type": "raw", "default": []},
            "namespaces": {"type": "list", "elements": "dict", "default": []},
            "vantages": {"type": "dict", "default": {}, "options": dict.fromkeys(_model.HOSTS, host)},
            "check_classes": {
                "type": "list",
                "elements": "str",
                "choices": list(_registry.CLASSES),
                "default": ["P", "A"],
            },
            "accept_unknown": {"type": "list", "elements": "str", "default": []},
            "enforce": {"type": "bool", "default": True},
            "twin_image": {"type": "str", "default": "docker.io/nicolaka/netshoot:v0.14"},
            "timeout": {"type": "int", "default": 60},
            "attempt_timeout": {"type": "float", "default": 2.0},
            "settle": {"type": "float", "default": 10.0},
        },
    )


def shell(module: AnsibleModule) -> _vantage.Shell:
    """Runs commands of the inventory, bounded in time."""

    def run(words: Sequence[str], stdin: str, timeout: float) -> _exec.Output:
        late = threading.Event()

        def bound(process: Any) -> None:
            def end() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(timeout, end)
            timer.daemon = True
            timer.start()

        code, out, err = module.run_command(
            list(words), data=stdin, handle_exceptions=False, before_communicate_callback=bound
        )
        return _exec.Output(code, out, f"it did not end within {timeout:g} s" if late.is_set() else err)

    return run


def routing_table() -> str:
    """This machine's routes, empty where the kernel does not show them."""
    try:
        with open(ROUTES, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


def execute(module: AnsibleModule) -> dict[str, Any]:
    """Read, ask, judge."""
    params = module.params
    gateways, problems = _gateways.parse_gateways(params["gateways"])
    vpn, more = _vpn.parse_gateways(params["vpn_gateways"])
    clients, last = _vpn.parse_clients(params["clients"], vpn)
    problems = [*problems, *more, *last]
    declared: list[_model.Row] = []
    if not problems and params["paths"] is not None:
        declared, problems = _parse.parse(params["paths"], gateways, clients)
    if problems:
        raise _proof.Refused("\n".join(str(one) for one in problems))
    client = _client.Client(params)
    seen = _seen.read(client, client.target)
    hosts = {name: _vantage.Host(tuple(one["command"])) for name, one in params["vantages"].items() if one is not None}
    derive = params["paths"] is None if params["derive"] is None else params["derive"]
    derived = (
        _derive.derive(gateways, clients, params["namespaces"], seen, tailnet=_model.TAILNET in hosts) if derive else []
    )
    rows = _derive.declared_over(declared, derived)
    known = {*_model.KINDS, *(str(row.source) for row in rows)}
    for one in params["accept_unknown"]:
        if one not in known:
            raise _proof.Refused(f"accept_unknown has {one!r}: nobody asks from there, use one of {sorted(known)}.")
    world = _plan.World({one.name: one for one in gateways if one.present}, seen, _seen.owned(clients, seen))
    options = _run.Options(
        classes=[one for one in params["check_classes"] if not (module.check_mode and one == _registry.DISPOSABLE)],
        hosts=hosts,
        routes=routing_table(),
        attempt_timeout=params["attempt_timeout"],
        settle=params["settle"],
        accept_unknown=params["accept_unknown"],
    )
    runner = _gather.Runner(client, _exec.Exec(client), _agent_source.read(), float(params["timeout"]))
    yard = _vantage.Yard(runner, params["twin_image"])
    return _run.Run(runner, yard, shell(module), world, rows, options).go()


def main() -> None:
    """Wiring."""
    _proof.run(
        AnsibleModule(argument_spec=spec(), supports_check_mode=True),
        execute,
        NOTHING,
        judged="vantages",
        reason="NotAsDeclared",
        name=lambda one: str(one["name"]),
        empty="The matrix is empty, so nothing is proven: give gateways or paths.",
    )


if __name__ == "__main__":
    main()
