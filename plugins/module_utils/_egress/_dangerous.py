# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The one list of settings that let a pod get around its guard, with reason and remedy.

Attaching refuses them in a workload, admission in workloads and pods, and the check ``pod-caps`` finds them in live
pods. Each entry is told once as data; the CEL expression and the judgement in Python are made from it.

Not in the list, on purpose: block volumes (``volumeDevices``) are disks and no way into a network; ``/dev/kvm`` starts
machines that send by the pod's own network; ``hostIPC`` shares memory and no sockets. A ``hostPath`` behind a
PersistentVolume cannot be seen from the pod.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import NOT_GIVEN

# Capability -> its bit in the kernel.
CAPABILITIES = {
    "BPF": 39,
    "DAC_READ_SEARCH": 2,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "SYS_ADMIN": 21,
    "SYS_MODULE": 16,
    "SYS_PTRACE": 19,
    "SYS_RAWIO": 17,
}
# Runtimes may accept the prefix where a capability is added. Where one is dropped they do not.
_ADDED = ("ALL", *(prefix + name for name in CAPABILITIES for prefix in ("", "CAP_")))
_DROPPED = ("ALL", "NET_RAW")
# Whoever reaches one of these can enter another network namespace, or have the node start something.
_NODE_PATHS = (
    "/etc/cni",
    "/etc/kubernetes",
    "/opt/cni",
    "/proc",
    "/run/containerd",
    "/run/cri-dockerd.sock",
    "/run/crio",
    "/run/dbus",
    "/run/docker",
    "/run/docker.sock",
    "/run/k3s",
    "/run/netns",
    "/run/podman",
    "/run/systemd",
    "/var/lib/containerd",
    "/var/lib/docker",
    "/var/lib/kubelet",
    "/var/lib/rancher",
)
# Programs drive network hardware or the node's memory with these, past the kernel's network stack.
_DEVICES = (
    "/dev/infiniband",
    "/dev/kmem",
    "/dev/mem",
    "/dev/net",
    "/dev/port",
    "/dev/uio[0-9]*",
    "/dev/vfio",
    "/dev/vhost-net",
)
_DEVICE_RESOURCES = r"(^|[/_.-])(dpdk|infiniband|rdma|tun|uio|vfio|vhost)([/_.-]|$)|sriov"
_NETWORKS = r"^(k8s\.v1\.cni\.cncf\.io/networks|v1\.multus-cni\.io/default-network)$"
_NOT_NEEDED = "remove it"
_ELSEWHERE = "remove it, or move what needs it to a workload of its own"
_Item = Mapping[str, Any]
_Seen = tuple[str, Any]  # path and value


def paths_pattern(paths: Iterable[str]) -> str:
    """A regular expression, of RE2 as well, for paths of the node that are one of these, in one, or above one.

    It also takes any path with ``..``, and ``/var/run`` for ``/run``, to which it is a link.
    """
    slash, end = r"/+(\./+)*", r"(/+\.?)*$"

    def below(parts: Sequence[str]) -> str:
        first, rest = parts[0], parts[1:]
        deeper = rf"({slash}{below(rest)})?" if rest else "(/.*)?"
        return first + deeper

    named = [[part.replace(".", r"\.") for part in path.strip("/").split("/")] for path in paths]
    every = "|".join(rf"(var{slash})?{below(one)}" if one[0] == "run" else below(one) for one in named)
    return rf"(^|/)\.\.(/|$)|^(/|\./)*({every})?{end}"


@dataclass(frozen=True)
class Equals:
    """A field has this value; ``default`` is what it is when nobody sets it."""

    path: str
    bad: Any
    default: Any

    def cel(self, item: str) -> str:
        """CEL: the item does not have it."""
        return f"{_at(item, self.path)}.orValue({_text(self.default)}) != {_text(self.bad)}"

    def find(self, item: _Item) -> list[_Seen]:
        """What the item has of it."""
        held = _get(item, self.path)
        return [(self.path, held)] if held is not None and held == self.bad else []


@dataclass(frozen=True)
class Differs:
    """A field has any value but this one, which is also what it is when nobody sets it."""

    path: str
    good: Any

    def cel(self, item: str) -> str:
        """CEL: the item does not have it."""
        return f"{_at(item, self.path)}.orValue({_text(self.good)}) == {_text(self.good)}"

    def find(self, item: _Item) -> list[_Seen]:
        """What the item has of it."""
        held = _get(item, self.path)
        return [(self.path, held)] if held not in (None, self.good) else []


@dataclass(frozen=True)
class Within:
    """A list has one of these values; upper and lower case mean the same."""

    path: str
    values: tuple[str, ...]

    def cel(self, item: str) -> str:
        """CEL: the item does not have it."""
        return f"!{_at(item, self.path)}.orValue([]).exists(one, one.upperAscii() in {_text(list(self.values))})"

    def find(self, item: _Item) -> list[_Seen]:
        """What the item has of it."""
        return [(self.path, one) for one in _get(item, self.path) or [] if one.upper() in self.values]


@dataclass(frozen=True)
class Without:
    """A list has none of these values; upper and lower case mean the same."""

    path: str
    values: tuple[str, ...]

    def cel(self, item: str) -> str:
        """CEL: the item has one of them."""
        return f"{_at(item, self.path)}.orValue([]).exists(one, one.upperAscii() in {_text(list(self.values))})"

    def find(self, item: _Item) -> list[_Seen]:
        """The list, if none of them is in it."""
        held = list(_get(item, self.path) or [])
        return [] if any(one.upper() in self.values for one in held) else [(self.path, held or NOT_GIVEN)]


@dataclass(frozen=True)
class Matches:
    """A text, or with ``keys`` a key of a map, is of this pattern."""

    path: str
    pattern: str
    keys: bool = False

    def cel(self, item: str) -> str:
        """CEL: the item does not have it."""
        held, pattern = _at(item, self.path), _text(self.pattern)
        if self.keys:
            return f"!{held}.orValue({{}}).exists(one, one.matches({pattern}))"
        return f"!{held}.hasValue() || !{held}.value().matches({pattern})"

    def find(self, item: _Item) -> list[_Seen]:
        """What the item has of it."""
        held = _get(item, self.path)
        if self.keys:
            return [(f"{self.path}.{key}", held[key]) for key in held or {} if re.search(self.pattern, key)]
        return [(self.path, held)] if held is not None and re.search(self.pattern, held) else []


def _at(item: str, path: str) -> str:
    return item + "".join(f".?{part}" for part in path.split("."))


def _get(item: Any, path: str) -> Any:
    for part in path.split("."):
        item = (item or {}).get(part)
    return item


def _text(value: Any) -> str:
    return json.dumps(value)


@dataclass(frozen=True)
class Setting:
    """One entry: how it is seen, why it must not be, and the way out. ``attaching`` mends those marked ``mended``."""

    test: Equals | Differs | Within | Without | Matches
    reason: str
    remedy: str
    mended: bool = False

    @property
    def path(self) -> str:
        """The field, from the pod or container on."""
        return self.test.path


HOST_NETWORK = Setting(
    Equals("spec.hostNetwork", True, False),
    "the pod would use the node's own network, which a guard cannot close",
    _NOT_NEEDED,
)
POD = (
    HOST_NETWORK,
    Setting(
        Equals("spec.hostPID", True, False), "the pod could enter the network namespace of any process", _NOT_NEEDED
    ),
    Setting(
        Equals("spec.shareProcessNamespace", True, False),
        "the application could reach into the overlay container",
        _NOT_NEEDED,
    ),
    Setting(
        Equals("spec.hostUsers", False, True), "the guard has to be loaded with the node's user namespace", _NOT_NEEDED
    ),
    Setting(
        Matches("metadata.annotations", _NETWORKS, keys=True), "a second network is a way past the VPN", _NOT_NEEDED
    ),
)
# Also volumes that nobody mounts: an ephemeral container may mount them later.
VOLUME = (
    Setting(
        Matches("hostPath.path", paths_pattern(_NODE_PATHS)),
        "it leads to the container runtime, to other network namespaces or to what the node starts",
        "mount the directory the application needs, and no more",
    ),
    Setting(
        Matches("hostPath.path", paths_pattern(_DEVICES)),
        "with such a device a program sends past the pod's network",
        _ELSEWHERE,
    ),
)
CONTAINER = (
    Setting(
        Equals("securityContext.privileged", True, False), "a privileged container can remove the guard", _ELSEWHERE
    ),
    Setting(
        Within("securityContext.capabilities.add", _ADDED), "with it the container can get around the guard", _ELSEWHERE
    ),
    Setting(
        Without("securityContext.capabilities.drop", _DROPPED),
        "runtimes give NET_RAW to a container that does not drop it, and raw frames get around the guard",
        "drop NET_RAW or ALL",
        mended=True,
    ),
    Setting(Differs("securityContext.procMount", "Default"), "it shows the node's kernel", _NOT_NEEDED),
    Setting(
        Matches("resources.limits", _DEVICE_RESOURCES, keys=True),
        "with such a device a program sends past the pod's network",
        _ELSEWHERE,
    ),
)
EPHEMERAL = (
    *CONTAINER,
    Setting(
        Matches("targetContainerName", f"^({'|'.join(_names.CONTAINERS)})$"),
        "it would share the processes of the container that keeps the guard",
        "target a container of the application",
    ),
)


@dataclass(frozen=True)
class Found:
    """A setting in a pod or pod template: where it stands, in the words of messages, and its value."""

    setting: Setting
    path: str
    value: Any


def foreign(pod: _Item) -> Iterator[tuple[_Item, Sequence[Setting]]]:
    """Containers of a pod or template that are not ours, each with what it must not have."""
    spec = pod["spec"]
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        if container["name"] not in _names.CONTAINERS:
            yield container, CONTAINER
    for container in spec.get("ephemeralContainers") or []:
        yield container, EPHEMERAL


def find(pod: _Item) -> list[Found]:
    """Everything of the list that a pod or pod template has."""
    found = [Found(one, *seen) for one in POD for seen in one.test.find(pod)]
    held = [(f"volume {one['name']}", one, VOLUME) for one in pod["spec"].get("volumes") or []]
    held += [(f"container {one['name']}", one, settings) for one, settings in foreign(pod)]
    for where, item, settings in held:
        told = set()
        for one in settings:
            # One reason is enough: a path may lead to several things.
            seen = [(path, value) for path, value in one.test.find(item) if path not in told]
            found += [Found(one, f"{where}: {path}", value) for path, value in seen]
            told |= {path for path, dummy in seen} if one in VOLUME else set()
    return found


def variables(pod: str) -> dict[str, str]:
    """CEL variables that ``validations`` uses; ``pod`` is the expression of a pod or pod template."""
    ours = _text(list(_names.CONTAINERS))
    return {
        "pod": f"dyn({pod})",
        "volumes": "variables.pod.spec.?volumes.orValue([])",
        "foreign": (
            f"variables.pod.spec.?initContainers.orValue([]).filter(c, !(c.name in {ours}))"
            " + variables.pod.spec.containers"
        ),
        "ephemeral": "variables.pod.spec.?ephemeralContainers.orValue([])",
    }


def validations(subject: str) -> list[tuple[str, str, str]]:
    """CEL expression, message, and CEL expression of a message that names the place, for each entry of the list."""
    made = []
    for setting in POD:
        message = f"{subject}: {setting.path}: {setting.reason}; {setting.remedy}."
        made.append((setting.test.cel("variables.pod"), message, _text(message)))
    lists = (
        ("volumes", "volume", VOLUME),
        ("foreign", "container", CONTAINER),
        ("ephemeral", "ephemeral container", EPHEMERAL),
    )
    for variable, what, settings in lists:
        for setting in settings:
            holds = setting.test.cel("c")
            named = f'variables.{variable}.filter(c, !({holds})).map(c, string(c.name)).join(", ")'
            before, after = f"{subject}: {what}", f": {setting.path}: {setting.reason}; {setting.remedy}."
            shown = f"{_text(before + ' ')} + {named} + {_text(after)}"
            made.append((f"variables.{variable}.all(c, {holds})", before + after, shown))
    return made


def bits(held: int) -> list[str]:
    """The capabilities of the list that a set of the kernel has."""
    return sorted(name for name, bit in CAPABILITIES.items() if held >> bit & 1)
