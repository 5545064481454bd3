# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of ``topology_info`` for tests of the views: one where all is well, one where much is not, and one of nothing."""

from __future__ import annotations

import copy
from typing import Any

EVIL = "<script>alert('x')</script>&\"'"
LONG = "a-name-as-long-as-kubernetes-lets-a-name-of-a-workload-be-63-end"


def namespace(name: str, capture: str = "ambient", **more: Any) -> dict[str, Any]:
    plain = {"wanted": capture, "segments": [], "pods": {"in": 2}, "state": "as_labelled", "reason": ""}
    return {"name": name, "capture": capture, **plain, **more}


def route(namespace: str, name: str, port: int, path: str, **more: Any) -> dict[str, Any]:
    backend = {"path": path, "service": f"{namespace}/{name}", "port": port}
    plain = {"kind": "HTTPRoute", "hostnames": [], "backends": [backend], "state": "attached", "reason": ""}
    return {"namespace": namespace, "name": name, **plain, **more}


def ingress(name: str, address: str, *routes: Any, **more: Any) -> dict[str, Any]:
    return {
        "namespace": f"gateway-{name}",
        "name": name,
        "declared": True,
        "class": "istio",
        "segments": [name],
        "exposure": "lan",
        "addresses": [address],
        "tailnet": None,
        "listeners": [{"name": "http", "port": 80, "protocol": "HTTP", "hostname": ""}],
        "routes": list(routes),
        "routes_reason": "",
        "state": "ready",
        "reason": "",
        **more,
    }


def gateway(name: str, **more: Any) -> dict[str, Any]:
    return {
        "namespace": "vpn",
        "name": name,
        "declared": True,
        "state": "ready",
        "reason": "",
        "network": "10.222.1.0/24",
        "exit": {"addresses": ["198.51.100.5"], "state": "confirmed", "reason": ""},
        **more,
    }


LAYERS = ("guard", "policy", "gateway_firewall", "gateway_policy")


def client(name: str, behind: str = "north", **more: Any) -> dict[str, Any]:
    return {
        "kind": "StatefulSet",
        "namespace": "downloads",
        "name": name,
        "declared": True,
        "gateway": behind,
        "attached": True,
        "pods": 1,
        "services": [f"downloads/{name}"],
        "state": "protected",
        "reason": "two layers hold on every way out",
        "layers": dict.fromkeys(LAYERS, "holds"),
        "stale": False,
        "as_required": True,
        **more,
    }


def proof(**more: Any) -> dict[str, Any]:
    return {"state": "read", "reason": "", "time": "2026-11-21T17:00:00Z", "age_s": 720, "stale": False, **more}


def left_behind(name: str = "alone", guarded: bool = True) -> dict[str, Any]:
    words = f"Pod downloads/{name} of VPN client downloads.qbittorrent is left behind"
    return {"namespace": "downloads", "name": name, "client": "downloads.qbittorrent", "guarded": guarded, "msg": words}


def whole() -> dict[str, Any]:
    """The demo, with a tailnet."""
    tailnet = {"name": "arr.tail-scale.ts.net", "addresses": ["100.64.0.3"], "reason": ""}
    radarr, qbittorrent = (
        route("core", "radarr", 7878, "/radarr"),
        route("downloads", "qbittorrent", 8080, "/qbittorrent"),
    )
    return {
        "server": "192.0.2.1:6443",
        "read_at": "2026-11-21T17:12:00Z",
        "unreadable": [],
        "namespaces": [
            namespace("admin", segments=["admin"]),
            namespace("core", segments=["arr"]),
            namespace("downloads", segments=["arr"]),
            namespace("media", segments=["media"]),
            namespace("vpn", "none", pods={"out": 2}),
        ],
        "ingress_gateways": [
            ingress("arr", "172.30.0.101", radarr, qbittorrent, exposure="both", tailnet=tailnet),
            ingress("media", "172.30.0.102", route("media", "jellyfin", 8096, "/")),
            ingress("admin", "172.30.0.103", route("admin", "dashboard", 9000, "/")),
        ],
        "vpn_gateways": [gateway("north")],
        "vpn_clients": [client("qbittorrent")],
        "orphans": [],
        "left_behind": [],
        "proof": proof(),
    }


def troubled() -> dict[str, Any]:
    """Everything that may go wrong at once, with long and hostile names."""
    made = copy.deepcopy(whole())
    refused = {"state": "not_attached", "reason": "Accepted is False: NotAllowedByListeners"}
    made["unreadable"] = [{"kind": "GRPCRoute", "reason": "not able to list grpcroutes (status 403: forbidden)"}]
    made["namespaces"] += [
        namespace(LONG, "unknown", state="unknown", reason="not able to list pods", pods=None),
        namespace(
            "games",
            "sidecar",
            wanted="ambient",
            state="differs",
            reason="the inventory wants ambient, labels say sidecar",
        ),
    ]
    many = [route(LONG, f"application-with-quite-a-long-name-{number}", 8080, f"/{number}") for number in range(4)]
    paths = [route("core", "radarr", 7878, f"/radarr/version-{number}/with/a/long/path") for number in range(7)]
    made["ingress_gateways"] += [
        ingress(LONG, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", *many, exposure="unknown", declared=False),
        ingress("refused", "", route("games", "server", 80, "/", **refused), *paths, addresses=[], state="not_ready"),
        ingress(
            "gone", "", addresses=[], exposure="unknown", state="missing", reason="the inventory names it", listeners=[]
        ),
        ingress("inside", "", route("core", "radarr", 7878, "/api"), addresses=[], exposure="cluster"),
        ingress(
            "waiting",
            "",
            addresses=[],
            exposure="tailnet",
            tailnet={"name": "", "addresses": [], "reason": "its device has not joined the tailnet"},
            routes_reason="not able to list grpcroutes",
        ),
    ]
    unsure = {"addresses": ["198.51.100.5", "198.51.100.6"], "state": "unknown", "reason": "no report was given"}
    wrong = {"addresses": [], "state": "wrong", "reason": "the far end saw a real address"}
    made["vpn_gateways"] += [
        gateway("south", exit=unsure, state="not_ready", reason="bulkhead-engine: waits", declared=False),
        gateway(LONG, exit=wrong),
    ]
    nothing: dict[str, Any] = {"layers": {}, "services": []}
    made["vpn_clients"] += [
        client("open", state="unprotected", reason="pod open-0 runs without the guard", attached=False, **nothing),
        client(
            LONG, "south", state="unknown", reason="its pods are newer than the last proof", declared=False, **nothing
        ),
        client("old", LONG, stale=True),
        client("odd", as_required=False, reason="mesh-enrolled (downloads/odd-0) failed: it is not in the mesh"),
        client("single", state="protected_single_layer", layers={**dict.fromkeys(LAYERS, "holds"), "policy": "broken"}),
        client("new", "south", state="never_verified", reason="the report does not name it", **nothing),
        client("asleep", state="stopped", reason="no pod runs", pods=0, **nothing),
        client("lost", "nowhere", state="missing", reason="there is no such workload", pods=0, **nothing),
        client(EVIL, "north", namespace=EVIL, kind="Deployment", reason=EVIL, services=[]),
    ]
    made["orphans"] = [
        {"kind": "StatefulSet", "namespace": EVIL, "name": EVIL, "msg": f"StatefulSet {EVIL} is attached"}
    ]
    made["left_behind"] = [left_behind(), left_behind(name="unguarded", guarded=False)]
    made["proof"] = proof(age_s=260000, stale=True)
    return made


def nothing() -> dict[str, Any]:
    """A cluster on which there is nothing to show, never verified."""
    lists = ("namespaces", "ingress_gateways", "vpn_gateways", "vpn_clients", "orphans", "left_behind", "unreadable")
    empty: dict[str, Any] = {name: [] for name in lists}
    none = proof(state="none", reason="no report was given", time=None, age_s=None)
    return {"server": "192.0.2.1:6443", "read_at": "2026-11-21T17:12:00Z", **empty, "proof": none}


SITES = {"whole": whole, "troubled": troubled, "nothing": nothing}
