# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Names that pods, policies, the agent and the checks share."""

from __future__ import annotations

import hashlib

PREFIX = "bulkhead.mesh/"

# On the pod template of a client.
CLIENT_LABEL = PREFIX + "vpn-client"
GATEWAY_LABEL = PREFIX + "vpn-gateway"  # also on gateway pods
AGENT_ANNOTATION = PREFIX + "agent"
ORIGINAL_ANNOTATION = PREFIX + "original"
DNS_CAPTURE_ANNOTATION = "ambient.istio.io/dns-capture"

# Written on pods by the endpoint controller, at run time only.
ADDRESS_ANNOTATION = PREFIX + "gateway-address"
PEERS_ANNOTATION = PREFIX + "peers"
DIRECT_ANNOTATION = PREFIX + "direct"
ENDPOINT_ANNOTATIONS = (ADDRESS_ANNOTATION, PEERS_ANNOTATION, DIRECT_ANNOTATION)
ENDPOINTS_ACCOUNT = "bulkhead-endpoints"

ROLE_LABEL = PREFIX + "role"
GATEWAY_ROLE = "gateway"

GUARD = "bulkhead-guard"
OVERLAY = "bulkhead-overlay"
CONTAINERS = (GUARD, OVERLAY)
AGENT_VOLUME = "bulkhead-agent"
ENDPOINT_VOLUME = "bulkhead-endpoint"
VOLUMES = (AGENT_VOLUME, ENDPOINT_VOLUME)

CARRIER_PORT = 14789  # UDP; 4789 and 8472 are dropped by some network plugins
HBONE_PORT = 15008  # TCP; where an ambient mesh receives
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
INGRESS_GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"

_LABEL_LENGTH = 63


def client_id(namespace: str, name: str) -> str:
    """One label value for one workload; too long ones are cut and keep apart by a hash.

    >>> client_id("downloads", "qbittorrent")
    'downloads.qbittorrent'
    """
    return fit(f"{namespace}.{name}", _LABEL_LENGTH)


def fit(text: str, length: int) -> str:
    """``text``, or when it is longer its beginning and eight digits of its hash: at most ``length`` characters."""
    if len(text) <= length:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: length - 9].rstrip('.-')}-{digest}"


def gateway_pod_labels(gateway: str) -> dict[str, str]:
    """Labels that every pod of this gateway carries and no other pod does."""
    return {ROLE_LABEL: GATEWAY_ROLE, GATEWAY_LABEL: gateway}
