# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Value types of VPN egress, and the one form in which something wrong is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._pod_settings import PodSettings

Port = Union[int, str]  # a number, or the name of a Service's port


class _NotGiven:
    def __repr__(self) -> str:
        return "not given"


class _Untold:
    def __repr__(self) -> str:
        return "(not shown)"


NOT_GIVEN = _NotGiven()
UNTOLD = _Untold()  # a value that no message may show, because it could be a secret
_SHOWN = 80  # characters of a value in a sentence


@dataclass(frozen=True)
class Problem:
    """Something wrong: at ``path`` of ``object`` stands ``value``, why that cannot be, and what to do."""

    object: str
    path: str
    value: Any
    reason: str
    remedy: str

    def __str__(self) -> str:
        # The path of a whole variable names it already.
        named = self.path == self.object or self.path.startswith((f"{self.object}[", f"{self.object}."))
        where = self.path if named else f"{self.object}: {self.path}"
        what = "" if self.value is UNTOLD else f" is {shown(self.value)}"
        return f"{where}{what}: {self.reason}; {self.remedy}."

    def to_dict(self) -> dict[str, Any]:
        """For a module's result: the parts and the sentence."""
        value = None if self.value is NOT_GIVEN or self.value is UNTOLD else self.value
        return {"object": self.object, "path": self.path, "value": value, "msg": str(self)}


def shown(value: Any) -> str:
    """A value as a sentence shows it: as JSON, cut when long."""
    if value is NOT_GIVEN:
        return "not given"
    try:
        text = json.dumps(value, sort_keys=True)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


@dataclass(frozen=True)
class Gateway:
    """One VPN gateway. ``vni``, ``network`` and ``mtu`` are None when they are to be chosen."""

    name: str
    namespace: str
    config_secret: str
    engine: str = "wireguard"
    transport: str = "vxlan"
    port: int = _names.CARRIER_PORT
    vni: int | None = None
    network: str | None = None
    mtu: int | None = None
    state: str = "present"
    pod: PodSettings = field(default_factory=PodSettings, hash=False)

    @property
    def object(self) -> str:
        """In the words of messages."""
        return f"VPN gateway {self.namespace}/{self.name}"


@dataclass(frozen=True)
class EgressRule:
    """A Service the client may call directly; no ``ports`` are all ports of the Service."""

    namespace: str
    service: str
    ports: tuple[Port, ...] = ()

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service}"


@dataclass(frozen=True)
class IngressRule:
    """Who may call the client at ``ports`` (of the pod): a namespace or some of its pods, or an ingress gateway."""

    ports: tuple[int, ...]
    namespace: str | None = None
    pods: Mapping[str, str] = field(default_factory=dict)
    ingress_gateway: str | None = None
    protocol: str = "TCP"


@dataclass(frozen=True)
class Client:
    """One workload behind a gateway. ``replicas`` is room to reserve, 0 for what the workload has."""

    kind: str
    namespace: str
    name: str
    gateway: str = ""
    egress: tuple[EgressRule, ...] = ()
    ingress: tuple[IngressRule, ...] = ()
    replicas: int = 0
    state: str = "present"
    detach_to: str = "sealed"

    @property
    def id(self) -> str:
        """The value of the client label."""
        return _names.client_id(self.namespace, self.name)

    @property
    def object(self) -> str:
        """In the words of messages."""
        return f"{self.kind} {self.namespace}/{self.name}"
