# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What a pod sees: the probe's manifest, and its output -> facts."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._cluster._finding import (
    Finding,
    Unknown,
    finding,
    known,
    unknown,
    yes_no,
)

HOW = "probe pod"
LABEL = "bulkhead.mesh/probe"
LABEL_VALUE = "cluster-info"
LIFETIME = 300  # seconds after which the kubelet stops a pod that nobody came back for
END = "== end"
FACTS = (
    "mtu",
    "default_routes",
    "families",
    "addresses",
    "resolv_conf",
    "rp_filter",
    "kernel",
    "vxlan",
    "wireguard",
    "tun",
)
_FILES = (  # section, file; read with nothing but a shell and cat
    ("mtu", "/sys/class/net/eth0/mtu"),
    ("route4", "/proc/net/route"),
    ("route6", "/proc/net/ipv6_route"),
    ("if6", "/proc/net/if_inet6"),
    ("trie", "/proc/net/fib_trie"),
    ("resolv", "/etc/resolv.conf"),
    ("rp_all", "/proc/sys/net/ipv4/conf/all/rp_filter"),
    ("rp_eth0", "/proc/sys/net/ipv4/conf/eth0/rp_filter"),
    ("kernel", "/proc/sys/kernel/osrelease"),
    ("misc", "/proc/misc"),
)
_MODULES = ("vxlan", "wireguard")


def manifest(name: str, namespace: str, image: str) -> dict[str, Any]:
    """The disposable pod: no privilege, no token, no mesh; it prints a few files of /proc and ends."""
    lines = [f"echo '== {section}'; cat {path} 2>/dev/null" for section, path in _FILES]
    lines += [f"echo '== module_{module}'; [ -d /sys/module/{module} ] && echo loaded" for module in _MODULES]
    lines.append(f"echo '{END}'")
    labels = {LABEL: LABEL_VALUE, "sidecar.istio.io/inject": "false", "istio.io/dataplane-mode": "none"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "annotations": {"linkerd.io/inject": "disabled"},
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": LIFETIME,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65534,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "probe",
                    "image": image,
                    "command": ["/bin/sh", "-c", "\n".join(lines)],
                    "resources": {"limits": {"cpu": "100m", "memory": "32Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def not_asked(reason: str) -> dict[str, Any]:
    """All pod-seen facts unknown, for one reason."""
    return {"node": None, **{fact: unknown(reason) for fact in FACTS}}


def facts(output: str, node: str | None) -> dict[str, Any]:
    """The probe's output -> findings, valid for pods on ``node``."""
    sections = _sections(output)
    if END not in output.splitlines():
        return {**not_asked("the probe's output is not complete"), "node": node}
    return {
        "node": node,
        "mtu": _number(sections, "mtu"),
        "default_routes": _routes(sections),
        "families": _families(sections),
        "addresses": _addresses(sections),
        "resolv_conf": _resolver(sections),
        "rp_filter": _rp_filter(sections),
        "kernel": _line(sections, "kernel"),
        "vxlan": _module(sections, "vxlan"),
        "wireguard": _module(sections, "wireguard"),
        "tun": _tun(sections),
    }


def _sections(output: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output.splitlines():
        if line.startswith("== "):
            current = sections.setdefault(line[3:].strip(), [])
        elif line.strip():
            current.append(line)
    return sections


def _first(sections: dict[str, list[str]], name: str) -> str:
    if not sections.get(name):
        raise Unknown(f"the pod has no {dict(_FILES).get(name, name)}")
    return sections[name][0].strip()


@finding
def _line(sections: dict[str, list[str]], name: str) -> Finding:
    return known(_first(sections, name), HOW)


@finding
def _number(sections: dict[str, list[str]], name: str) -> Finding:
    return known(int(_first(sections, name)), HOW)


@finding
def _rp_filter(sections: dict[str, list[str]]) -> Finding:
    """The kernel uses the larger of the two."""
    return known(max(int(_first(sections, "rp_all")), int(_first(sections, "rp_eth0"))), HOW)


@finding
def _routes(sections: dict[str, list[str]]) -> Finding:
    """``[{family, device, via}]``; via is null for a route straight to the device."""
    _first(sections, "route4")
    found = []
    for line in sections["route4"][1:]:
        fields = line.split()
        if fields[1] == "00000000" and fields[7] == "00000000":
            gateway = ipaddress.IPv4Address(int(fields[2], 16).to_bytes(4, "little"))
            found.append({"family": "IPv4", "device": fields[0], "via": None if int(gateway) == 0 else str(gateway)})
    for line in sections.get("route6", []):
        fields = line.split()
        if int(fields[0], 16) == 0 and fields[1] == "00" and fields[9] != "lo":
            gateway6 = ipaddress.IPv6Address(int(fields[4], 16))
            found.append({"family": "IPv6", "device": fields[9], "via": None if int(gateway6) == 0 else str(gateway6)})
    return known(found, HOW)


def _pod_addresses(sections: dict[str, list[str]]) -> list[str]:
    """Addresses but loopback and link-local: /proc has IPv4 ones only in the routing trie."""
    _first(sections, "trie")
    addresses = []
    for previous, line in zip(sections["trie"], sections["trie"][1:]):
        match = re.search(r"\|-- (\S+)", previous)
        if match and "/32 host LOCAL" in line:
            addresses.append(match.group(1))
    addresses += [str(ipaddress.IPv6Address(int(line.split()[0], 16))) for line in sections.get("if6", [])]
    usable = [
        a for a in addresses if not (ipaddress.ip_address(a).is_loopback or ipaddress.ip_address(a).is_link_local)
    ]
    return list(dict.fromkeys(usable))


@finding
def _addresses(sections: dict[str, list[str]]) -> Finding:
    return known(_pod_addresses(sections), HOW)


@finding
def _families(sections: dict[str, list[str]]) -> Finding:
    versions = {ipaddress.ip_address(address).version for address in _pod_addresses(sections)}
    return known([f"IPv{version}" for version in sorted(versions)], HOW)


@finding
def _resolver(sections: dict[str, list[str]]) -> Finding:
    """``{nameservers, search, options}`` of /etc/resolv.conf."""
    _first(sections, "resolv")
    value: dict[str, list[str]] = {"nameservers": [], "search": [], "options": []}
    for line in sections["resolv"]:
        word, dummy, rest = line.strip().partition(" ")
        if word == "nameserver":
            value["nameservers"].append(rest.strip())
        elif word in ("search", "options"):
            value[word] = rest.split()
    return known(value, HOW)


@finding
def _module(sections: dict[str, list[str]], module: str) -> Finding:
    """A module that is not loaded may still be loadable: only its presence can be known from a pod."""
    if sections.get(f"module_{module}"):
        return yes_no(True, HOW)
    raise Unknown(f"the module {module} is not loaded; whether the node can load it is not visible in a pod")


@finding
def _tun(sections: dict[str, list[str]]) -> Finding:
    _first(sections, "misc")
    if any(line.split()[-1] == "tun" for line in sections["misc"]):
        return yes_no(True, HOW)
    raise Unknown("the driver tun is not loaded; whether the node can load it is not visible in a pod")
