# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    """Options of ``module_utils/_argspec.auth``."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of a kubeconfig, several of them separated by V(:), or the content of one as a dictionary.
      - When absent, E(K8S_AUTH_KUBECONFIG), E(KUBECONFIG), C(~/.kube/config) and the service account of the pod are
        tried in this order.
    type: raw
  context:
    description:
      - Context of the kubeconfig to use.
      - When absent, E(K8S_AUTH_CONTEXT) and then the kubeconfig's current context are used.
    type: str
  host:
    description:
      - URL of the API server.
      - When absent, E(K8S_AUTH_HOST) and then the server of the context are used.
      - Together with O(api_key) or O(client_cert) no kubeconfig is read at all.
    type: str
  api_key:
    description:
      - Bearer token to authenticate with.
      - When absent, E(K8S_AUTH_API_KEY) and then the credentials of the context are used.
    type: str
  ca_cert:
    description:
      - Path of the CA certificates that the API server's certificate is checked with.
      - When absent, E(K8S_AUTH_SSL_CA_CERT) and then those of the context are used.
    type: path
    aliases: [ssl_ca_cert]
  client_cert:
    description:
      - Path of a client certificate to authenticate with.
      - When absent, E(K8S_AUTH_CERT_FILE) and then the one of the context are used.
    type: path
    aliases: [cert_file]
  client_key:
    description:
      - Path of the key of O(client_cert).
      - When absent, E(K8S_AUTH_KEY_FILE) and then the one of the context are used.
    type: path
    aliases: [key_file]
  validate_certs:
    description:
      - Whether the API server's certificate is checked.
      - When absent, E(K8S_AUTH_VERIFY_SSL) and then the context decide; a context that says nothing means V(true).
    type: bool
    aliases: [verify_ssl]
requirements:
  - kubernetes >= 24.2.0 (Python package on the host that runs the module)
"""
