# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The agent's files as an immutable ConfigMap, and the command line that runs nothing but those files."""

from __future__ import annotations

import hashlib
from typing import Any, Mapping, Sequence

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names

MOUNT = "/opt/bulkhead"
PACKAGE = "bulkhead_agent"
HASH_LENGTH = 16

# Arguments: the hash expected, then the agent's command. -I keeps the environment of the pod out of the interpreter.
ENTRY = f"""\
import hashlib, os, runpy, sys
sys.path.insert(0, "{MOUNT}")
folder = "{MOUNT}/{PACKAGE}"
digest = hashlib.sha256()
for name in sorted(os.listdir(folder)):
    with open(os.path.join(folder, name), "rb") as file:
        digest.update(name.encode() + b"\\0" + file.read() + b"\\0")
wanted = sys.argv.pop(1)
found = digest.hexdigest()[:{HASH_LENGTH}]
if found != wanted:
    sys.exit(f"The agent's files have the hash {{found}}, the pod template names {{wanted}}: apply the VPN client again.")
runpy.run_module("{PACKAGE}", run_name="__main__", alter_sys=True)
"""


def agent_hash(files: Mapping[str, str]) -> str:
    """The hash of the agent's sources, ``{file name: text}``, as the entry line computes it."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name].encode() + b"\0")
    return digest.hexdigest()[:HASH_LENGTH]


def config_map_name(agent: str) -> str:
    """Name of the ConfigMap that holds the agent with this hash."""
    return f"{_names.AGENT_VOLUME}-{agent}"


def config_map(namespace: str, files: Mapping[str, str]) -> dict[str, Any]:
    """The agent for the pods of one namespace; immutable, so that the files are those the name says."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_map_name(agent_hash(files)), "namespace": namespace},
        "immutable": True,
        "data": dict(sorted(files.items())),
    }


def command(agent: str, *arguments: str) -> list[str]:
    """The command of a container that runs the agent, for example ``command(hash, "guard")``."""
    return ["python3", "-I", "-B", "-c", ENTRY, agent, *arguments]


def volume(agent: str, file_names: Sequence[str]) -> dict[str, Any]:
    """The pod's volume of the agent, with the API's defaults spelled out."""
    items = [{"key": name, "path": f"{PACKAGE}/{name}"} for name in sorted(file_names)]
    source = {"name": config_map_name(agent), "items": items, "defaultMode": 0o444}
    return {"name": _names.AGENT_VOLUME, "configMap": source}


def mount() -> dict[str, Any]:
    """Where our containers find the agent."""
    return {"name": _names.AGENT_VOLUME, "mountPath": MOUNT, "readOnly": True}
