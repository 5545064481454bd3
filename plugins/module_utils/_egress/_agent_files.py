# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The agent's files as an immutable ConfigMap, and the command line that runs nothing but those files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import ENTRY, content_hash
from ansible_collections.bulkhead.mesh.plugins.module_utils._agent.config import HEALTH_PATH, HEALTH_PORT
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names

MOUNT = "/opt/bulkhead"
PACKAGE = "bulkhead_agent"


def agent_hash(files: Mapping[str, str]) -> str:
    """The hash of the agent's sources, ``{file name: text}``, as the entry line computes it."""
    return content_hash({name: text.encode() for name, text in files.items()})


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
    # -I: neither the working directory of the image nor the pod's environment says what is imported.
    return ["python3", "-I", "-c", ENTRY, agent, *arguments]


def probe(**timing: int) -> dict[str, Any]:
    """A probe that the agent answers while it runs, with the API's defaults spelled out: the kubelet starts nothing."""
    return {"httpGet": {"path": HEALTH_PATH, "port": HEALTH_PORT, "scheme": "HTTP"}, **timing}


def volume(agent: str, file_names: Sequence[str]) -> dict[str, Any]:
    """The pod's volume of the agent, with the API's defaults spelled out."""
    items = [{"key": name, "path": f"{PACKAGE}/{name}"} for name in sorted(file_names)]
    source = {"name": config_map_name(agent), "items": items, "defaultMode": 0o444}
    return {"name": _names.AGENT_VOLUME, "configMap": source}


def mount() -> dict[str, Any]:
    """Where our containers find the agent."""
    return {"name": _names.AGENT_VOLUME, "mountPath": MOUNT, "readOnly": True}
