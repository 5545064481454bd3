# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plain objects that tests start from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _pieces

Object = dict[str, Any]
_WORKLOAD: Object = {
    "apiVersion": "apps/v1",
    "kind": "StatefulSet",
    "metadata": {"name": "qbittorrent", "namespace": "downloads", "resourceVersion": "41"},
    "spec": {
        "replicas": 1,
        "serviceName": "qbittorrent",
        "selector": {"matchLabels": {"app": "qbittorrent"}},
        "template": {
            "metadata": {"labels": {"app": "qbittorrent"}},
            "spec": {
                "containers": [{"name": "app", "image": "example.org/qbittorrent:5"}],
                "dnsPolicy": "ClusterFirst",
                "restartPolicy": "Always",
                "securityContext": {},
            },
        },
    },
}
_SERVICE: Object = {
    "kind": "Service",
    "metadata": {"name": "radarr", "namespace": "core"},
    "spec": {
        "type": "ClusterIP",
        "clusterIP": "10.96.3.4",
        "clusterIPs": ["10.96.3.4"],
        "selector": {"app": "radarr"},
        "ports": [{"name": "http", "protocol": "TCP", "port": 7878, "targetPort": 7878}],
    },
}


def merged(base: Any, changes: Any) -> Any:
    """``base`` with ``changes`` laid over: mappings by key, None removes, anything else replaces."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return copy.deepcopy(changes)
    result = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


@pytest.fixture
def overlay_on() -> Callable[[Any, Any], Any]:
    """The function above."""
    return merged


@pytest.fixture
def workload() -> Callable[..., Object]:
    """Make a StatefulSet; ``pod`` and ``template`` are laid over its pod spec and template, the rest over itself."""

    def make(pod: Any = None, template: Any = None, **changes: Any) -> Object:
        made = merged(_WORKLOAD, changes)
        made["spec"]["template"] = merged(made["spec"]["template"], template or {})
        made["spec"]["template"]["spec"] = merged(made["spec"]["template"]["spec"], pod or {})
        return made

    return make


@pytest.fixture
def service() -> Callable[..., Object]:
    """Make a Service with changes laid over."""
    return lambda **changes: merged(_SERVICE, changes)


@pytest.fixture
def settings() -> Callable[..., _pieces.Settings]:
    """Make settings of a client."""

    def make(**changes: Any) -> _pieces.Settings:
        values: Object = {
            "client": "downloads.qbittorrent",
            "gateway": "vpnarr",
            "agent": "0123456789abcdef",
            "agent_files": ("__init__.py", "__main__.py", "guard.py"),
            "image": "example.org/agent:1",
            "resolver": "10.222.1.1",
            "config": {"role": "client", "gateway": "vpnarr", "vni": 7001},
        }
        return _pieces.Settings(**{**values, **changes})

    return make
