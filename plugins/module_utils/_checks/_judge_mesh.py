# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Judges of the mesh next to the VPN: who is captured and who is not, and what of the mesh could take traffic along. Pure.

Capture is judged by what is in force in the pod's network namespace, and the annotation only besides: a pod can stay
annotated without rules, and rules of running pods change when the mesh's agent restarts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import (
    GatewayEvidence,
    MeshView,
    PodEvidence,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import (
    Finding,
    Missing,
    failed,
    passed,
    skipped,
    unknown,
)

# Written by the agent of Istio's ambient mode (1.31): captured; rules are set but nobody serves them.
REDIRECTION, CAPTURED, PENDING = "ambient.istio.io/redirection", "enabled", "pending"
DNS_CAPTURE = "ambient.istio.io/dns-capture"
MODE_LABEL, OUT = "istio.io/dataplane-mode", "none"
# Ports of the mesh inside a captured pod: outbound, inbound in plain, names.
OUTBOUND, INBOUND, NAMES = 15001, 15006, 15053
KNOWN = frozenset({OUTBOUND, INBOUND, NAMES})
_NO_MESH = "the pod is not in a mesh, as declared"


def _redirects(probe: Any) -> list[int] | Missing:
    """Ports that rules in the pod's network namespace send its traffic to."""
    fact = probe if isinstance(probe, Missing) else probe.fact("mesh")
    return fact if isinstance(fact, Missing) else sorted(fact["redirects"])


def _annotation(pod: Mapping[str, Any], name: str) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(name) or "")


def _shown(ports: Iterable[int]) -> str:
    return ", ".join(str(port) for port in ports) or "none"


def dataplane(evidence: PodEvidence | GatewayEvidence) -> str:
    """What serves as ztunnel, as far as it is known; results rest on it."""
    if isinstance(evidence, GatewayEvidence):
        return evidence.dataplane
    return "" if isinstance(evidence.mesh, Missing) else evidence.mesh.dataplane


def _inside(evidence: PodEvidence) -> MeshView | Finding:
    """What is known of the mesh around a pod that is declared to be in it."""
    if isinstance(evidence.mesh, Missing):
        return unknown(str(evidence.mesh))
    return evidence.mesh if evidence.mesh.declared else skipped(_NO_MESH)


def _redirected(evidence: PodEvidence) -> tuple[list[int], MeshView] | Finding:
    """Where the pod's traffic is sent to, beside what is known of the mesh around it."""
    ports = _redirects(evidence.probe)
    if isinstance(ports, Missing):
        return unknown(str(ports))
    return unknown(str(evidence.mesh)) if isinstance(evidence.mesh, Missing) else (ports, evidence.mesh)


def capture_off(evidence: PodEvidence) -> Finding:
    """dns-capture-off: no rule of the mesh takes the pod's names, and none will after the mesh's agent restarted."""
    ports = _redirects(evidence.probe)
    if isinstance(ports, Missing):
        return unknown(str(ports))
    if NAMES in ports:
        reason = "the mesh asks the cluster's resolver for the pod's names, and that one asks from outside the VPN"
        return failed(f"redirected to {_shown(ports)}", reason)
    view = evidence.mesh
    if isinstance(view, Missing):
        return unknown(str(view))
    if view.declared and _annotation(evidence.pod, DNS_CAPTURE) != "false":
        return failed(
            f"annotation {DNS_CAPTURE} is not false", "the mesh takes the pod's names at its agent's next start"
        )
    return passed(f"redirected to {_shown(ports)}")


def enrolled(evidence: PodEvidence) -> Finding:
    """mesh-enrolled: in the mesh or out of it, as the inventory says, by rules and by annotation."""
    found = _redirected(evidence)
    if isinstance(found, Finding):
        return found
    ports, view = found
    told = _annotation(evidence.pod, REDIRECTION)
    seen = f"redirected to {_shown(ports)}; annotation {told or 'absent'}"
    if not view.declared:
        if ports or told:
            return failed(seen, "the pod is in a mesh that the inventory does not name")
        return passed(f"out, as declared; {seen}")
    if told == PENDING:
        return failed(seen, "the rules are set and nobody serves them: the pod has no traffic in the mesh")
    if OUTBOUND not in ports or told != CAPTURED:
        return failed(seen, "the pod should be in the mesh and is not")
    return passed(f"in, as declared; {seen}")


def rules(evidence: PodEvidence) -> Finding:
    """mesh-rules: the redirections are those this collection was tried with."""
    found = _redirected(evidence)
    if isinstance(found, Finding):
        return found
    ports, view = found
    if not ports and not view.declared:
        return skipped(_NO_MESH)
    strange = sorted(set(ports) - KNOWN)
    if strange:
        return failed(
            f"redirected to {_shown(strange)}", "these ports are none of the mesh's: it may work in another way"
        )
    backend = evidence.probe.fact("mesh")["backend"]  # not Missing: there are ports
    return passed(f"{backend}: {_shown(ports)}")


def probes(evidence: PodEvidence) -> Finding:
    """mesh-probe: the kubelet's probes pass from the address under which the mesh shows them."""
    view = _inside(evidence)
    if isinstance(view, Finding):
        return view
    if isinstance(view.probe_addresses, Missing):
        return unknown(str(view.probe_addresses))
    conditions = {one["type"]: one for one in (evidence.pod.get("status") or {}).get("conditions") or []}
    ready = conditions.get("Ready")
    if ready is None:
        return unknown("the pod says nothing about being Ready")
    known = ", ".join(view.probe_addresses)
    if ready.get("status") != "True":
        return failed(f"not Ready: {ready.get('message') or 'no message'}", f"probes from {known} may not get in")
    return passed(f"Ready; probes come from {known}")


def audit(evidence: PodEvidence) -> Finding:
    """mesh-se-audit: nothing in the mesh takes the pod's traffic to the outside another way."""
    view = _inside(evidence)
    if isinstance(view, Finding):
        return view
    if isinstance(view.audit, Missing):
        return unknown(str(view.audit))
    if view.audit:
        return failed("; ".join(view.audit), "traffic to these hosts would leave from somewhere else")
    return passed("no ServiceEntry and no waypoint on the way out")


def talks_out(evidence: PodEvidence) -> Finding:
    """mesh-out: a call to a Service of the inventory goes through the mesh with both identities."""
    return _talks(evidence, "mesh-out")


def talks_in(evidence: PodEvidence) -> Finding:
    """mesh-in: a call from a workload that may come in goes through the mesh with both identities."""
    return _talks(evidence, "mesh-in")


def _talks(evidence: PodEvidence, name: str) -> Finding:
    view = _inside(evidence)
    if isinstance(view, Finding):
        return view
    if name not in view.ports:
        return skipped("the inventory names nobody in the mesh for it")
    ports = view.ports[name]
    if isinstance(ports, Missing):
        return unknown(f"no call was made: {ports}")
    return _recorded(view, ports, view.peers.get(name, frozenset()))


def _recorded(view: MeshView, ports: Collection[int], wanted: Collection[tuple[str, str]]) -> Finding:
    """Whether the data plane's log has the calls from these local ports with a pair of identities that is wanted."""
    if isinstance(view.records, Missing):
        return unknown(str(view.records))
    found = [one for one in view.records if one.port in ports]
    if not ports or not found:
        return unknown("the mesh's log does not have this call")
    bare = [one for one in found if not (one.source and one.destination)]
    if bare:
        return failed("a call without identities", "it went past the mesh, in plain")
    strange = [one for one in found if (one.source, one.destination) not in wanted]
    if strange:
        return failed(
            f"{strange[0].source} -> {strange[0].destination}", "these are not the identities of the two ends"
        )
    return passed(f"{found[0].source} -> {found[0].destination}")


def gateway_out(evidence: GatewayEvidence) -> Finding:
    """mesh-gw-none: the VPN gateway is not in the mesh, and an enrolled namespace would not change that."""
    pod = evidence.pod
    if isinstance(pod, Missing):
        return unknown(str(pod))
    told = _annotation(pod, REDIRECTION)
    if told:
        return failed(f"annotation {told}", "the mesh has taken the gateway: names leak and forwarded TCP breaks")
    if (pod["metadata"].get("labels") or {}).get(MODE_LABEL) != OUT:
        return failed(f"label {MODE_LABEL} is not {OUT}", "an enrolled namespace would take the gateway into the mesh")
    if isinstance(evidence.namespace_mode, Missing):
        return unknown(str(evidence.namespace_mode))
    if evidence.namespace_mode not in ("", OUT):
        reason = "the gateway's namespace is enrolled, and only the pod's own label keeps it out"
        return failed(f"namespace label {MODE_LABEL} is {evidence.namespace_mode}", reason)
    ports = _redirects(evidence.probe)
    if isinstance(ports, Missing):
        return unknown(str(ports))
    if ports:
        return failed(
            f"redirected to {_shown(ports)}", "the mesh has taken the gateway: names leak and forwarded TCP breaks"
        )
    return passed("no annotation, no rule, kept out by its own label")
