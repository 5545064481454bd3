# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Variables about what is proven and shown. Pure."""

from __future__ import annotations

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._registry import CLASSES
from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import HOSTS, REACHED, REFUSED
from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory._field import (
    STATUS,
    VERIFY,
    Field,
    Variable,
    choice,
    flag,
    keyed,
    listed,
    number,
    text,
    texts,
    tree,
)

REQUIRED = ("protected", "protected_single_layer")


def _server(what: str, port: int, **more: Field) -> Field:
    keys = {
        "address": text("Address or name.", "203.0.113.10", needed=True),
        "port": number("Port.", port, absent=str(port)),
        **more,
    }
    return listed(what, keyed("A server.", keys))


def _web() -> dict[str, Field]:
    return {
        "path": text("Path of the request.", "/", absent="V(/)"),
        "host": text("Name in the request.", "target.example", absent="the address"),
        "tls": flag("Whether to use TLS.", False, absent="no"),
    }


_TARGETS = {
    "stun": _server("STUN servers.", 3478),
    "http": _server("Web servers that answer the caller's address.", 80, **_web()),
    "dns": _server(
        "Names whose TXT record says who asked.",
        53,
        zone=text("Zone below which every name has the record; either this or name.", "probe.example"),
        name=text("The name that has it.", ""),
    ),
    "bulk": _server("Web servers that give a request back.", 80, **_web()),
}


def _reports(*views: str) -> dict[str, Field]:
    return {view: text(f"Where {view} is written.", f"reports/x.{view}", absent="nowhere") for view in views}


_FROM = {
    "namespace": text("Namespace of the asking pod.", "core"),
    "labels": tree("Its labels.", {"app": "radarr"}, absent="none"),
    "service_account": text("Its ServiceAccount.", "radarr", absent="the default one"),
    "mesh": flag("Whether it may be in the mesh.", absent="yes"),
    "client": text("A VPN client, in place of a namespace.", "qbittorrent"),
}
_TO = {
    "service": text("Service, as NAMESPACE/NAME.", "core/radarr"),
    "port": number("Its port.", 7878),
    "scheme": text("http or https.", "http", absent="V(http)"),
    "gateway": text("An ingress gateway, in place of a Service.", "arr"),
    "route": text("A route of it.", "core/radarr"),
    "path": text("Path.", "/radarr/", absent="V(/)"),
    "host": text("Host.", "arr.example.org", absent="that of the route"),
    "content": text("Text that is on that page only.", "Radarr", absent="a twin is asked"),
}
_PATH = {
    "from": Field("any", "lan, tailnet, controller, or a mapping.", keys=_FROM, needed=True),
    "to": keyed("What is asked for.", _TO, needed=True),
    "expect": choice("What has to come of it.", (REACHED, REFUSED), needed=True),
}
_HOST = {"command": texts("Words in front of python3.", "ssh", "laptop", absent="this machine is asked")}
VARIABLES: dict[str, Variable] = {
    "bulkhead_verify_check_classes": Variable(
        Field("list", "Classes of checks.", list(CLASSES), each=choice("A class.", CLASSES), absent="all"), (VERIFY,)
    ),
    "bulkhead_verify_targets": Variable(
        keyed("Servers that tell a caller its address.", _TARGETS, absent="public ones"), (VERIFY,)
    ),
    "bulkhead_verify_require": Variable(
        choice("The worst verdict that is accepted.", REQUIRED, absent="V(protected)"), (VERIFY,)
    ),
    "bulkhead_verify_accept_unknown": Variable(
        texts("Checks that may stay unknown.", "ovl-mtu", absent="none"), (VERIFY,)
    ),
    "bulkhead_verify_accept_open_pods": Variable(
        texts("Pods and workloads that look like a client and may run without a guard.", "core/backup", absent="none"),
        (VERIFY, STATUS),
    ),
    "bulkhead_reports": Variable(
        text("Folder of reports that are not named.", "reports", absent="V(reports), where the playbook was started"),
        (VERIFY, STATUS),
    ),
    "bulkhead_verify_reports": Variable(
        keyed("Reports about clients.", _reports("json", "junit", "html")), (VERIFY, STATUS)
    ),
    "bulkhead_real_addresses": Variable(
        texts("Addresses that must never be seen outside.", "192.0.2.10", absent="learnt from a twin"), (VERIFY,)
    ),
    "bulkhead_exit_addresses": Variable(
        texts("Addresses of the VPN provider.", "198.51.100.5", absent="any but a real one"), (VERIFY, STATUS)
    ),
    "bulkhead_paths": Variable(
        listed("Who is to reach what.", keyed("A path.", _PATH), absent="what the inventory implies"),
        (VERIFY,),
        parsed=True,
    ),
    "bulkhead_paths_derive": Variable(flag("Whether what is implied is checked too.", absent="no"), (VERIFY,)),
    "bulkhead_paths_accept_unknown": Variable(
        texts("Vantages whose paths may stay unknown.", "lan", absent="none"), (VERIFY,)
    ),
    "bulkhead_paths_reports": Variable(keyed("Reports about paths.", _reports("json", "junit", "html")), (VERIFY,)),
    "bulkhead_vantages": Variable(
        keyed("How hosts outside the cluster are asked.", {name: keyed("A host.", _HOST) for name in HOSTS}), (VERIFY,)
    ),
    "bulkhead_status": Variable(
        keyed(
            "The picture.",
            {
                **_reports("html", "json"),
                "report": text("Report with the verdicts.", "reports/verify.json", absent="that of verify"),
                "stale_after": number("Hours after which a proof is stale.", 24, absent="24"),
            },
        ),
        (STATUS,),
    ),
}
