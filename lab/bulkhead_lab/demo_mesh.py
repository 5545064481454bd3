"""The demo's story with a mesh: three gateways seen from the home network, and two workloads that talk inside the mesh."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from . import lifecycle, plan
from .errors import LabError
from .paths import Paths

PATIENCE = 45.0  # seconds until a route that was just made has to answer
ISTIO_NAMESPACE, ZTUNNEL = "istio-system", "app=ztunnel"
STRAY = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "stray", "namespace": "media"},
    "spec": {
        "parentRefs": [{"name": "arr", "namespace": "gateway-arr"}],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/stray"}}],
                "backendRefs": [{"name": "jellyfin", "port": 8096}],
            }
        ],
    },
}


@dataclass(frozen=True)
class Page:
    """A page that has to be on a gateway: its address, its path and a word of its text."""

    gateway: str
    path: str
    word: str


@dataclass(frozen=True)
class Talk:
    """A call from one workload to a Service, with the identities that both ends have to have."""

    namespace: str
    pod: str
    container: str
    url: str
    client: str
    server: str


PAGES = (
    Page("arr", "/radarr/", "radarr"),
    Page("arr", "/qbittorrent/", "qBittorrent"),
    Page("media", "/", "jellyfin"),
    Page("admin", "/", "dashboard"),
)


def identity(namespace: str, account: str) -> str:
    """SPIFFE id of a service account."""
    return f"spiffe://{plan.CLUSTER_DOMAIN}/ns/{namespace}/sa/{account}"


TALKS = (
    Talk(
        "core",
        "deployment/radarr",
        "web",
        "http://qbittorrent.downloads:8080/",
        identity("core", "radarr"),
        identity("downloads", "default"),
    ),
    Talk(
        "downloads",
        "qbittorrent-0",
        "bulkhead-overlay",
        "http://radarr.core:7878/",
        identity("downloads", "default"),
        identity("core", "radarr"),
    ),
)


def addresses(paths: Paths) -> dict[str, str]:
    """Gateway -> its address, as the cluster says it; only those that have one."""
    items = json.loads(lifecycle.kubectl(paths, "get", "gateways.gateway.networking.k8s.io", "-A", "-o", "json"))[
        "items"
    ]
    return {
        one["metadata"]["name"]: one["status"]["addresses"][0]["value"]
        for one in items
        if (one.get("status") or {}).get("addresses")
    }


def fetch(paths: Paths, url: str, where: str = plan.NS_LAN, seconds: int = 5) -> tuple[int, str]:
    """HTTP status and body that a machine outside gets, one of the home network if none is named; status 0 when nothing answers."""
    command = ["curl", "--silent", "--location", "--max-time", str(seconds), "--write-out", "\n%{http_code}", url]
    inside = lifecycle.enter_command(paths, where, command)
    done = subprocess.run(inside, capture_output=True, text=True, check=False)
    body, _, code = done.stdout.rpartition("\n")
    return int(code or 0), body


def gateways(paths: Paths) -> None:
    """Every page from the home network, the same pages on the other gateways, and a route of another segment."""
    where = addresses(paths)
    rows = []
    for page in PAGES:
        if page.gateway not in where:
            raise LabError(f"The gateway {page.gateway} has no address; see `lab kubectl get gateway -A`.")
        url = f"http://{where[page.gateway]}{page.path}"
        code, body = patiently(paths, url, page.word)
        if code != 200 or page.word not in body:
            raise LabError(
                f"{url} answered {code} and not the page of {page.word}; see `lab kubectl get httproute -A`."
            )
        rows.append(f"{page.gateway:8} {url:34} {code}  {page.word}")
    for other in ("media", "admin"):
        code, body = fetch(paths, f"http://{where[other]}/radarr/")
        if "radarr" in body:
            raise LabError(f"The gateway {other} serves the page of the segment arr.")
        rows.append(f"{other:8} {'http://' + where[other] + '/radarr/':34} {code}  not this segment's")
    code, reason = stray(paths, where["arr"])
    rows.append(f"{'arr':8} {'http://' + where['arr'] + '/stray':34} {code}  a route of segment media: {reason}")
    print(f"from the home network ({plan.LAN_CLIENT4}):\n" + "\n".join(rows))


def stray(paths: Paths, address: str) -> tuple[int, str]:
    """A route that tries to attach to a gateway of another segment; answers the page's status and the gateway's reason."""
    namespace, name = STRAY["metadata"]["namespace"], STRAY["metadata"]["name"]  # type: ignore[index]
    lifecycle.kubectl(paths, "apply", "-f", "-", stdin=json.dumps(STRAY))
    try:
        deadline, reason = time.monotonic() + PATIENCE, ""
        while not reason:
            route = json.loads(lifecycle.kubectl(paths, "-n", namespace, "get", "httproute", name, "-o", "json"))
            for parent in (route.get("status") or {}).get("parents") or []:
                accepted = {one["type"]: one for one in parent["conditions"]}.get("Accepted", {})
                if accepted.get("status") == "True":
                    raise LabError("A route of the segment media was accepted by the gateway of the segment arr.")
                reason = accepted.get("reason", reason)
            if time.monotonic() > deadline:
                raise LabError("Nobody judged a route of the segment media on the gateway arr, so it proves nothing.")
            time.sleep(0.5)
        code, body = fetch(paths, f"http://{address}/stray")
        if "jellyfin" in body:
            raise LabError("A route of the segment media is served by the gateway of the segment arr.")
        return code, reason
    finally:
        lifecycle.kubectl(paths, "-n", namespace, "delete", "httproute", name, "--wait=false")


def mesh(paths: Paths) -> None:
    """Calls between the download client and the mesh, and what ztunnel's log says of both ends."""
    for talk in TALKS:
        started = time.time()
        body = lifecycle.kubectl(
            paths,
            "-n",
            talk.namespace,
            "exec",
            talk.pod,
            "-c",
            talk.container,
            "--",
            "curl",
            "-sf",
            "-m",
            "10",
            talk.url,
        )
        if not body:
            raise LabError(f"{talk.url} answered nothing to {talk.namespace}/{talk.pod}.")
        line = _logged(paths, talk, started)
        print(f"{talk.client}\n  -> {talk.server}  over HBONE ({line})")


def _logged(paths: Paths, talk: Talk, started: float) -> str:
    """The address that the log names for the far end of such a call; LabError when there is none."""
    deadline = time.monotonic() + 15.0
    while time.monotonic() < deadline:
        seconds = f"--since={int(time.time() - started) + 2}s"
        log = lifecycle.kubectl(paths, "-n", ISTIO_NAMESPACE, "logs", "-l", ZTUNNEL, "--tail=-1", seconds)
        found = spoken(log.splitlines(), talk.client, talk.server)
        if found:
            return found
        time.sleep(0.5)
    raise LabError(f"ztunnel's log has no connection from {talk.client} to {talk.server} over HBONE.")


def spoken(lines: Sequence[str], client: str, server: str) -> str:
    """The far end of the last connection with these two identities on the mesh's port; empty when there is none. Pure."""
    for line in reversed(lines):
        far = re.search(r'dst\.addr="?([0-9a-fA-F.:\[\]]+:15008)', line)
        if far and f'src.identity="{client}"' in line and f'dst.identity="{server}"' in line:
            return far.group(1)
    return ""


def patiently(paths: Paths, url: str, word: str, where: str = plan.NS_LAN, seconds: int = 5) -> tuple[int, str]:
    """The same once the page is there, or at the end of all patience."""
    deadline = time.monotonic() + PATIENCE
    while True:
        code, body = fetch(paths, url, where, seconds)
        if (code == 200 and word in body) or time.monotonic() > deadline:
            return code, body
        time.sleep(1.0)
