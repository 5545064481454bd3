"""The demo's story with a tailnet: who answers a computer elsewhere, by which name, and who does not."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from . import demo_mesh, lifecycle, plan
from .client import lab_call
from .errors import LabError
from .paths import Paths

LOOKUP, FETCH = 5, 8  # seconds


@dataclass(frozen=True)
class Page:
    """A page that a name of the tailnet has to have."""

    name: str
    path: str
    word: str


PAGES = (Page("arr", "/radarr/", "radarr"), Page("media", "/", "jellyfin"))
ABSENT = "admin"  # its gateway is on the home network only
ABSENT_ADDRESS = "172.30.0.103"  # as inventories/lab gives it


def run(paths: Paths, *command: str) -> tuple[int, str]:
    """Exit code and output of a command on the computer in the tailnet."""
    inside = lifecycle.enter_command(paths, plan.NS_TAILNET, list(command))
    done = subprocess.run(inside, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def resolve(paths: Paths, name: str) -> str:
    """The IPv4 address that a name has for that computer; empty for none."""
    dummy, said = run(paths, "timeout", str(LOOKUP), "getent", "ahostsv4", name)
    return said.split()[0] if said.split() else ""


def fetch(paths: Paths, url: str) -> tuple[int, str]:
    """HTTP status and body that it gets; status 0 when nothing answers."""
    return demo_mesh.fetch(paths, url, plan.NS_TAILNET, FETCH)


def nodes(paths: Paths) -> dict[str, list[str]]:
    """Short names of the tailnet's devices with their addresses, as the control server tells them."""
    return {one["name"].partition(".")[0]: one["addresses"] for one in lab_call(paths, "tailnet", what="nodes")}


def tailnet(paths: Paths) -> None:
    """Two gateways by their names, and the third by neither name nor address."""
    rows = []
    for page in PAGES:
        code, body = patiently(paths, f"http://{page.name}{page.path}", page.word)
        address, known = resolve(paths, page.name), nodes(paths).get(page.name, [])
        if code != 200 or page.word not in body:
            raise LabError(
                f"http://{page.name}{page.path} answered {code} on the tailnet and not the page of {page.word}."
            )
        if not address or address not in known:
            raise LabError(f"The name {page.name} means {address or 'nothing'} there, and the device has {known}.")
        rows.append(f"{page.name:8} {address:16} {'http://' + page.name + page.path:28} {code}  {page.word}")
    address = resolve(paths, ABSENT)
    if address or ABSENT in nodes(paths):
        raise LabError(f"The tailnet knows {ABSENT} ({address}), whose gateway is on the home network only.")
    rows.append(f"{ABSENT:8} {'no such name':16} {'http://' + ABSENT_ADDRESS + '/':28} {_refused(paths)}")
    print(f"from a computer elsewhere ({plan.TAILNET_CLIENT4}), over the tailnet:\n" + "\n".join(rows))


def _refused(paths: Paths) -> str:
    code, _ = fetch(paths, f"http://{ABSENT_ADDRESS}/")
    if code:
        raise LabError(f"http://{ABSENT_ADDRESS}/ answered {code} to a computer outside the home network.")
    return "  -  not reached"


def patiently(paths: Paths, url: str, word: str) -> tuple[int, str]:
    """What it gets once the page is there, or at the end of all patience."""
    return demo_mesh.patiently(paths, url, word, plan.NS_TAILNET, FETCH)
