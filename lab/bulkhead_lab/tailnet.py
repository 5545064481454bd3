"""The lab's tailnet: a control server with relay and API, and a computer elsewhere that is in it.

Functions that make things run inside the lab as root and may run again; ``oauth_file`` also works on the machine.
"""

from __future__ import annotations

import json
import os
import secrets
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

from . import laptop, net, plan
from .paths import INSIDE_BIN
from .service import Service

CLIENT_ID = "lab-client"
ANSWER_TIMEOUT = 5.0  # seconds
HOST_SERVICE = "tailnet-laptop"


def oauth_file(state: Path) -> Path:
    """Id and secret of the tailnet's one OAuth client, as JSON."""
    return state / "tailnet" / "oauth.json"


def write(state: Path) -> None:
    """Make the OAuth client's secret unless there is one."""
    file = oauth_file(state)
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".new")
    # Tailscale's own secrets look like this, and what looks for secrets in logs may look for the form.
    content = {"client_id": CLIENT_ID, "client_secret": f"tskey-client-{secrets.token_hex(16)}"}
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        json.dump(content, handle)
    temporary.rename(file)


def services(state: Path) -> list[Service]:
    """The programs of the tailnet, in the order of their start."""
    control = (
        f"{INSIDE_BIN}/labtailnet",
        f"-listen={plan.CONTROL4}",
        f"-port={plan.CONTROL_PORT}",
        f"-derp-port={plan.DERP_PORT}",
        f"-stun-port={plan.STUN_PORT}",
        f"-domain={plan.TAILNET_DOMAIN}",
        f"-oauth={oauth_file(state)}",
    )
    private = ("unshare", "--mount", "--propagation", "private")
    return [
        Service(
            "tailnet-control",
            control,
            plan.NS_CONTROL,
            ready=partial(net.accepts_tcp, plan.NS_CONTROL, plan.CONTROL4, plan.CONTROL_PORT),
        ),
        Service(
            HOST_SERVICE,
            (*private, "/usr/bin/python3", "-m", "bulkhead_lab.laptop"),
            plan.NS_TAILNET,
            ready=partial(laptop.joined, state),
        ),
    ]


def ask(what: str) -> Any:
    """What the control server says below /lab/: its ``nodes``, or the auth ``keys`` that were asked for."""

    def call() -> Any:
        with urllib.request.urlopen(f"{plan.LOGIN_SERVER}/lab/{what}", timeout=ANSWER_TIMEOUT) as answer:
            return json.load(answer)

    return net.in_netns(plan.NS_CONTROL, call)
