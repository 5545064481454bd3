# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Why a call did not get through, or was not allowed, in one true sentence with the remedy."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError

ANONYMOUS = "system:anonymous"


@dataclass(frozen=True)
class Target:
    """Whom we talk to, in the words of messages: ``server`` is host and port only, never a path or a credential.

    ``proxy`` is the proxy's host and port, empty without one; ``certificate`` is the file of the client certificate.
    """

    server: str
    identity: str
    proxy: str = ""
    certificate: str = ""


def unreachable(exc: BaseException, target: Target) -> KubeError:
    """Sort a failed connection: an expired certificate, a dead proxy and a wrong address have different remedies."""
    details = " ".join(str(exc).split())
    reason, sentence = _cause(type(exc).__name__, details, target)
    return KubeError(sentence, reason=reason, object_=target.server, details=details)


def _cause(kind: str, details: str, target: Target) -> tuple[str, str]:
    server = f"{target.server} ({target.identity})"
    if kind == "ProxyError" or "Cannot connect to proxy" in details or "Tunnel connection failed" in details:
        proxy = target.proxy or "that the environment names"
        return "ProxyFailed", (
            f"The proxy {proxy} does not lead to the API server {server}: start the proxy, correct HTTPS_PROXY or the "
            "kubeconfig's proxy-url, or name the server in NO_PROXY."
        )
    if "certificate has expired" in details:
        return "ExpiredCertificate", (
            f"The certificate of the API server {server} has expired: renew the cluster's certificates, or correct "
            "this machine's clock if it is wrong."
        )
    if "certificate is not yet valid" in details:
        return "UntrustedCertificate", (
            f"The certificate of the API server {server} is not valid yet: correct this machine's clock."
        )
    if "Hostname mismatch" in details or "IP address mismatch" in details or "doesn't match" in details:
        return "UntrustedCertificate", (
            f"The certificate of the API server {server} is for other names: use one of those in the kubeconfig, or set "
            "tls-server-name there."
        )
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return "UntrustedCertificate", (
            f"The certificate of the API server {server} is not trusted: give its CA with ca_cert or in the kubeconfig."
        )
    if kind == "SSLError" or "SSL" in details:
        return "TlsFailed", (
            f"No TLS connection to the API server {server}: "
            "check the scheme and port of its address, and the client certificate."
        )
    return "Unreachable", (
        f"The API server {server} cannot be reached: "
        "check that it runs and that this machine has a route to it, or name another kubeconfig or context."
    )


def unauthorized(target: Target) -> KubeError:
    """The API server knows none of the credentials that were given."""
    ended = expiry(target.certificate)
    if ended is not None and ended < time.time():
        day = time.strftime("%Y-%m-%d", time.gmtime(ended))
        sentence = (
            f"The client certificate of {target.identity} for the API server {target.server} expired on {day}: renew it "
            "(kubeadm certs renew, k3s certificate rotate, or a new kubeconfig from your provider)."
        )
    else:
        sentence = (
            f"The API server {target.server} does not accept the credentials of {target.identity}: "
            "renew the token or certificate."
        )
    return KubeError(sentence, reason="Unauthorized", code=401, object_=target.server)


def expiry(certificate: str) -> float | None:
    """When a certificate file ends, in seconds since 1970; None where that cannot be read."""
    decode = getattr(getattr(ssl, "_ssl", None), "_test_decode_cert", None)
    if not certificate or decode is None:
        return None
    try:
        return float(ssl.cert_time_to_seconds(decode(certificate)["notAfter"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_anonymous(message: str) -> bool:
    """Whether the API server forbade a call because it recognised no credentials, which is no matter of rights."""
    return f'"{ANONYMOUS}"' in message


def unrecognised(target: Target, details: str) -> KubeError:
    """The API server took the call for an anonymous one: who was not recognised is never told to ask for rights."""
    return KubeError(
        f"The API server {target.server} received no credentials from {target.identity} that it knows, and took the call "
        "for an anonymous one: log in again, correct the user of that context, or use another context.",
        reason="Unauthorized",
        code=403,
        object_=target.server,
        details=details,
    )
