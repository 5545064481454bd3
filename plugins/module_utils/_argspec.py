# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Pieces of argument specs; each has a doc fragment of the same name in ``plugins/doc_fragments``."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import env_fallback

Spec = dict[str, Any]


def auth() -> Spec:
    """How to reach the cluster, named as in kubernetes.core (fragment ``_auth``)."""
    return {
        "kubeconfig": {"type": "raw", "no_log": False, "fallback": (env_fallback, ["K8S_AUTH_KUBECONFIG"])},
        "context": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_CONTEXT"])},
        "host": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_HOST"])},
        "api_key": {"type": "str", "no_log": True, "fallback": (env_fallback, ["K8S_AUTH_API_KEY"])},
        "ca_cert": {"type": "path", "aliases": ["ssl_ca_cert"], "fallback": (env_fallback, ["K8S_AUTH_SSL_CA_CERT"])},
        "client_cert": {"type": "path", "aliases": ["cert_file"], "fallback": (env_fallback, ["K8S_AUTH_CERT_FILE"])},
        "client_key": {
            "type": "path",
            "no_log": False,
            "aliases": ["key_file"],
            "fallback": (env_fallback, ["K8S_AUTH_KEY_FILE"]),
        },
        "validate_certs": {
            "type": "bool",
            "aliases": ["verify_ssl"],
            "fallback": (env_fallback, ["K8S_AUTH_VERIFY_SSL"]),
        },
    }


def wait(timeout: int = 120) -> Spec:
    """How long to wait and how often to look (fragment ``_wait``)."""
    return {
        "wait_timeout": {"type": "int", "default": timeout},
        "wait_sleep": {"type": "float", "default": 1.0},
    }


def merge(*pieces: Spec) -> Spec:
    """One spec from several pieces; an option named twice is a programming error."""
    merged: Spec = {}
    for piece in pieces:
        twice = merged.keys() & piece.keys()
        if twice:
            raise ValueError(f"options specified twice: {', '.join(sorted(twice))}")
        merged.update(piece)
    return merged
