# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Value types of the path matrix: who asks (vantage), for what (page), by which way (row), and what came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PATHS = "bulkhead_paths"
LAN, TAILNET, CONTROLLER, POD, CLIENT = "lan", "tailnet", "controller", "pod", "client"
HOSTS = (LAN, TAILNET, CONTROLLER)
KINDS = (*HOSTS, POD, CLIENT)
REACHED, REFUSED = "reached", "refused"
DECLARED, DERIVED, FOUND = "declared", "derived", "found"


@dataclass(frozen=True)
class Vantage:
    """From where is asked. Pods are disposable ones with these labels and this service account; ``meshed`` False keeps
    one out of an ambient mesh. Of a client ``namespace`` and ``name`` are those of the workload."""

    kind: str
    namespace: str = ""
    name: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    account: str = ""
    meshed: bool = True

    def __str__(self) -> str:
        if self.kind in HOSTS:
            return self.kind
        if self.kind == CLIENT:
            return f"client {self.namespace}/{self.name}"
        words = [f"pod in {self.namespace}", *(f"{key}={value}" for key, value in self.labels)]
        words += [f"as {self.account}"] if self.account else []
        return " ".join(words + ([] if self.meshed else ["outside the mesh"]))


@dataclass(frozen=True)
class Page:
    """What a Service answers at ``path``. ``content`` is a text that tells it from every other; without one it is
    recognised by what the Service itself answers in the same run."""

    namespace: str
    service: str
    port: int
    path: str = "/"
    tls: bool = False
    host: str = ""
    content: str = ""

    @property
    def service_key(self) -> tuple[str, str, int]:
        """The Service and its port, whatever the path."""
        return self.namespace, self.service, self.port

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service}:{self.port}"


@dataclass(frozen=True)
class Row:
    """One line of the matrix. ``gateway`` is the name of an ingress gateway, empty for the Service itself; ``path`` and
    ``listeners`` are those asked for there, no ``listeners`` are all of the gateway's."""

    source: Vantage
    page: Page
    expect: str
    gateway: str = ""
    path: str = ""
    listeners: tuple[str, ...] = ()
    origin: str = DERIVED
    route: str = ""  # of an object that nobody declared

    @property
    def key(self) -> tuple[object, ...]:
        """Rows with the same key ask the same question."""
        return self.source, self.gateway, self.page.service_key, self.path

    @property
    def target(self) -> str:
        """What is asked for, in words."""
        if not self.gateway:
            return f"Service {self.page}"
        of = f" by HTTPRoute {self.route}" if self.route else ""
        return f"gateway {self.gateway} {self.path} ({self.page}{of})"

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"


@dataclass(frozen=True)
class Try:
    """One request. ``primary`` ones all have to bring the page where it is to be reached."""

    address: str
    port: int
    path: str = "/"
    host: str = ""
    tls: bool = False
    content: str = ""
    primary: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """How a request ended. ``outcome`` is as in an attempt; ``status`` 0 is another protocol than HTTP."""

    outcome: str
    status: int = 0
    digest: str = ""
    title: str = ""
    location: str = ""
    content: bool = False
    detail: str = ""
    seconds: float = 0.0

    @property
    def spoke(self) -> bool:
        """Whether the far end said something: application data came back."""
        return self.outcome in ("answered", "wrong_answer")


Answers = Mapping[Try, Answer]
