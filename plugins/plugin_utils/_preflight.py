# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What the inventory wants against what the cluster is: pure judgement, one sentence for each problem."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Problem = dict[str, str]
COMPONENTS = ("gateway_api", "istio", "metallb", "tailscale")
STATES = ("managed", "external", "absent")
MINIMUM_BY_COMPONENT = {"istio": "1.32"}
NAMES = {
    "gateway_api": "the Gateway API",
    "istio": "Istio",
    "metallb": "MetalLB",
    "tailscale": "the Tailscale operator",
}
# Namespaces whose pods need more than Pod Security's baseline: node agents, speakers, proxies.
PRIVILEGED_BY_COMPONENT = {"istio": "istio-system", "metallb": "metallb-system", "tailscale": "tailscale"}
_CRDS = ("apiextensions.k8s.io", "customresourcedefinitions", None)
_ROLES = ("rbac.authorization.k8s.io", "clusterroles", None)
# What each managed component takes; (group, resource, namespace), each with the verbs of an apply.
_WRITES: dict[str, tuple[tuple[str, str, str | None], ...]] = {
    "gateway_api": (_CRDS,),
    "istio": (
        _CRDS,
        _ROLES,
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", None),
        ("", "namespaces", None),
        ("apps", "deployments", "istio-system"),
        ("apps", "daemonsets", "istio-system"),
    ),
    "metallb": (
        _CRDS,
        _ROLES,
        ("", "namespaces", None),
        ("apps", "deployments", "metallb-system"),
        ("apps", "daemonsets", "metallb-system"),
    ),
    "tailscale": (_CRDS, _ROLES, ("", "namespaces", None), ("apps", "deployments", "tailscale")),
}
_WRITE_VERBS = ("create", "patch")
# Without these the cluster cannot be judged at all.
_READS = (("", "nodes"), ("", "namespaces"), ("", "services"), ("apps", "daemonsets"), ("apps", "deployments"))


def permissions(components: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the caller must be allowed to, for option can_i of cluster_info; each once, reads first."""
    wanted = [{"verb": "list", "group": group, "resource": resource, "namespace": None} for group, resource in _READS]
    for component in COMPONENTS:
        if components.get(component) == "managed":
            wanted += [
                {"verb": verb, "group": group, "resource": resource, "namespace": namespace}
                for group, resource, namespace in _WRITES[component]
                for verb in _WRITE_VERBS
            ]
    once: list[dict[str, Any]] = []
    for permission in wanted:
        if permission not in once:
            once.append(permission)
    return once


def problems(
    cluster: Mapping[str, Any],
    components: Mapping[str, str],
    minimum: str,
    privileged: Sequence[str],
    vpn: bool = False,
) -> list[Problem]:
    """All problems as ``[{rule, msg}]``, in a fixed order; a Kubernetes too old is judged no further.

    ``vpn``: whether there are VPN gateways.
    """
    too_old = _version(cluster, components, minimum)
    if too_old:
        return too_old
    return [
        *_permissions(cluster),
        *_pod_security(cluster, components, privileged),
        *(_addresses(cluster) if vpn else []),
        *_externals(cluster, components),
        *_clashes(cluster, components),
    ]


def parse_version(text: str) -> tuple[int, int]:
    """``major.minor`` as numbers; ValueError names the bad value.

    >>> parse_version("1.30")
    (1, 30)
    """
    match = re.fullmatch(r"v?(\d+)\.(\d+)(\..*)?", text)
    if not match:
        raise ValueError(f"{text!r} is no Kubernetes version: write it as major.minor, such as 1.30.")
    return int(match.group(1)), int(match.group(2))


def _version(cluster: Mapping[str, Any], components: Mapping[str, str], minimum: str) -> list[Problem]:
    needed, who = minimum, "this collection"
    for component, version in MINIMUM_BY_COMPONENT.items():
        if components.get(component) == "managed" and parse_version(version) > parse_version(needed):
            needed, who = version, f"{NAMES[component]} as a managed component"
    seen = cluster["version"]
    if (seen["major"], seen["minor"]) >= parse_version(needed):
        return []
    msg = (
        f"Kubernetes {seen['git'].lstrip('v')} on {cluster['server']} is too old: {who} needs {needed} or newer; "
        f"upgrade the cluster"
    )
    if needed != minimum and (seen["major"], seen["minor"]) >= parse_version(minimum):
        msg += ", or leave the component out of bulkhead_components"
    return [{"rule": "kubernetes-version", "msg": msg + "."}]


def _permissions(cluster: Mapping[str, Any]) -> list[Problem]:
    """One sentence for all that is refused: a user without rights would otherwise read twenty."""
    user = cluster["user"]["value"]["name"] if cluster["user"]["value"] != "unknown" else "the caller"
    found = []
    refused = [_permission(p) for p in cluster["permissions"] if p["allowed"] == "no"]
    unsure = [_permission(p) for p in cluster["permissions"] if p["allowed"] == "unknown"]
    if refused:
        msg = (
            f"{user} is not allowed on {cluster['server']} to {', '.join(refused)}: "
            "grant it by a ClusterRole, or use another context."
        )
        found.append({"rule": "permission", "msg": msg})
    if unsure:
        msg = (
            f"{cluster['server']} does not say whether {user} may {', '.join(unsure)}: "
            "make SelfSubjectAccessReview work for this user."
        )
        found.append({"rule": "permission-unknown", "msg": msg})
    return found


def _permission(permission: Mapping[str, Any]) -> str:
    group, namespace = permission["group"], permission["namespace"]
    resource = f"{permission['resource']}.{group}" if group else permission["resource"]
    return f"{permission['verb']} {resource}" + (f" in {namespace}" if namespace else "")


def _pod_security(
    cluster: Mapping[str, Any], components: Mapping[str, str], privileged: Iterable[str]
) -> list[Problem]:
    levels = cluster["psa"]["value"]
    names = [*privileged, *(n for c, n in PRIVILEGED_BY_COMPONENT.items() if components.get(c) == "managed")]
    if levels == "unknown":  # the missing permission has its own sentence
        return []
    found = []
    for name in dict.fromkeys(names):
        level = (levels.get(name) or {}).get("enforce")
        if level not in (None, "privileged"):
            msg = (
                f"Namespace {name} enforces the Pod Security level {level}, which refuses pods with NET_ADMIN: "
                f"set its label pod-security.kubernetes.io/enforce to privileged."
            )
            found.append({"rule": "pod-security", "msg": msg})
    return found


def _addresses(cluster: Mapping[str, Any]) -> list[Problem]:
    """The overlay and the tunnel carry IPv4 between pods."""
    networks = cluster["networks"]["pod_cidrs"]["value"]
    if not isinstance(networks, list) or not networks or any("." in one for one in networks):
        return []
    msg = (
        f"Pods on {cluster['server']} have IPv6 addresses only ({', '.join(networks)}), and VPN gateways reach their clients "
        "by IPv4: give the cluster both families, or leave bulkhead_vpn_gateways out."
    )
    return [{"rule": "ipv6-only", "msg": msg}]


def _externals(cluster: Mapping[str, Any], components: Mapping[str, str]) -> list[Problem]:
    found = []
    for component in COMPONENTS:
        if components.get(component) != "external":
            continue
        finding = cluster["mesh"]["istio"] if component == "istio" else cluster[component]
        name = NAMES[component]
        if finding["value"] == "unknown":
            msg = (
                f"Whether {name} is on {cluster['server']} is unknown ({finding['reason']}), "
                f"but bulkhead_components.{component} is external: let the caller read it."
            )
            found.append({"rule": "external-unknown", "msg": msg})
        elif finding["value"]["installed"] != "yes":
            msg = (
                f"{name[0].upper() + name[1:]} is not on {cluster['server']}, but bulkhead_components.{component} "
                "is external: install it, or set the component to managed."
            )
            found.append({"rule": "external-missing", "msg": msg})
    return found


def _clashes(cluster: Mapping[str, Any], components: Mapping[str, str]) -> list[Problem]:
    found = []
    if components.get("metallb") == "managed" and cluster["servicelb"]["value"] == "yes":
        msg = (
            f"The load balancer of k3s (ServiceLB) runs on {cluster['server']} and takes every Service before MetalLB: "
            "start the k3s servers with --disable=servicelb, or set bulkhead_components.metallb to absent."
        )
        found.append({"rule": "servicelb", "msg": msg})
    istio = cluster["mesh"]["istio"]["value"]
    if components.get("istio") == "managed" and istio != "unknown":
        for plane in istio["control_planes"]:
            if not plane["owner"].startswith("helm:"):
                msg = (
                    f"An Istio that Helm does not know runs on {cluster['server']} (Deployment "
                    f"{plane['namespace']}/{plane['name']}, owner {plane['owner']}): "
                    "set bulkhead_components.istio to external, or remove it."
                )
                found.append({"rule": "other-istio", "msg": msg})
    return found


def summary(cluster: Mapping[str, Any]) -> list[str]:
    """A few lines about the cluster for the terminal."""
    nodes = cluster["nodes"]["value"]
    ready = "unknown" if nodes == "unknown" else f"{sum(n['ready'] == 'yes' for n in nodes)} of {len(nodes)} ready"
    dns = cluster["dns"]["service"]["value"]
    dns_text = "unknown" if dns == "unknown" else f"{dns['namespace']}/{dns['name']} {', '.join(dns['addresses'])}"
    networks = cluster["networks"]
    rows = [
        ("Cluster", f"{cluster['server']}, Kubernetes {cluster['version']['git']}, {cluster['platform']['value']}"),
        ("Nodes", ready),
        ("Pods", _joined(networks["pod_cidrs"])),
        ("Services", _joined(networks["service_cidrs"])),
        ("DNS", f"{dns_text}, domain {cluster['dns']['domain']['value']}"),
        (
            "CNI",
            f"{cluster['cni']['name']['value']}, enforces NetworkPolicy: {cluster['cni']['policy_support']['value']}",
        ),
        ("Istio", _istio(cluster["mesh"]["istio"]["value"])),
        ("Gateway API", _installed(cluster["gateway_api"]["value"], "bundle_version")),
        ("MetalLB", _installed(cluster["metallb"]["value"], "version")),
        ("Tailscale", _installed(cluster["tailscale"]["value"], "version")),
    ]
    lines = [f"{title + ':':<13}{text}" for title, text in rows]
    if cluster["unreadable"]:
        lines.append(f"{'Not readable:':<13} " + ", ".join(entry["request"] for entry in cluster["unreadable"]))
    return lines


def _joined(finding: Mapping[str, Any]) -> str:
    value = finding["value"]
    return value if isinstance(value, str) else ", ".join(value)


def _installed(value: Any, version: str) -> str:
    if value == "unknown":
        return "unknown"
    return str(value.get(version) or "yes") if value["installed"] == "yes" else "no"


def _istio(value: Any) -> str:
    if value == "unknown":
        return "unknown"
    planes = [f"{p['version']} ({p['namespace']}, revision {p['revision']})" for p in value["control_planes"]]
    return ", ".join(planes) + (", ambient" if value["ztunnel"] else "") if planes else "no"
