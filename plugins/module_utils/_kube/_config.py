# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Module options -> a configured kubernetes client; says in one sentence what is missing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _kubeconfig, _login
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._connection import Target
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError

if TYPE_CHECKING:
    from kubernetes.client.configuration import Configuration

REMEDY = "name one with the option kubeconfig or the variable K8S_AUTH_KUBECONFIG, or give host and api_key"
SECRET_KEYS = ("token", "password", "client-key-data", "id-token", "refresh-token", "access-token", "client-secret")
IN_CLUSTER = "KUBERNETES_SERVICE_HOST"


def server_name(url: str) -> str:
    """Host and port of an API URL.

    >>> server_name("https://user:secret@10.0.0.1:6443/k8s/clusters/c-1")
    '10.0.0.1:6443'
    """
    parts = urlsplit(url if "//" in url else f"//{url}")
    return parts.netloc.rpartition("@")[2] or url


def load(params: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[Configuration, Target]:
    """The client configuration from options of fragment ``_auth``; absent ones come from the kubeconfig.

    ``environment`` are the variables of this process.
    """
    from kubernetes.client.configuration import Configuration

    configuration = Configuration()
    if params.get("host") and (params.get("api_key") or params.get("client_cert")):
        identity = "the given api_key" if params.get("api_key") else f"the client certificate {params['client_cert']}"
    elif params.get("kubeconfig") or environment.get("KUBECONFIG") or os.path.exists(_default_path()):
        identity = _from_kubeconfig(params, environment, configuration)
    elif environment.get(IN_CLUSTER):
        identity = _in_cluster(configuration)
    else:
        raise KubeError(
            f"No kubeconfig: {_default_path()} does not exist and nothing else says where the cluster is: {REMEDY}.",
            reason="NoKubeconfig",
        )
    _override(params, configuration)
    configuration.retries = False  # a bounded connect timeout is no bound when it is tried four times
    configuration.connection_pool_maxsize = 16
    proxy = server_name(configuration.proxy) if configuration.proxy else ""
    return configuration, Target(server_name(configuration.host), identity, proxy, configuration.cert_file or "")


def secrets_of(kubeconfig: object) -> set[str]:
    """The secrets inside an inline kubeconfig, which the spec cannot mark: the same option also takes a path."""
    if isinstance(kubeconfig, Mapping):
        own = {str(v) for k, v in kubeconfig.items() if k in SECRET_KEYS and v and not isinstance(v, (Mapping, list))}
        return own.union(*(secrets_of(value) for value in kubeconfig.values()))
    if isinstance(kubeconfig, list):
        return set().union(*(secrets_of(entry) for entry in kubeconfig))
    return set()


def _default_path() -> str:
    return os.path.join(os.path.expanduser("~"), ".kube", "config")


def _from_kubeconfig(params: Mapping[str, Any], environment: Mapping[str, str], configuration: Configuration) -> str:
    from kubernetes.config import kube_config
    from kubernetes.config.config_exception import ConfigException

    source, context = params.get("kubeconfig"), params.get("context")
    inline = isinstance(source, Mapping)
    name = "the inline kubeconfig" if inline else str(source or environment.get("KUBECONFIG") or _default_path())
    try:
        config = source if isinstance(source, Mapping) else _read(name)
        context = context or config.get("current-context")
        with _login.Complaints() as complaints:
            kube_config.load_kube_config_from_dict(config, context=context, client_configuration=configuration)
    except ConfigException as exc:
        if context and "object with name" in str(exc):
            raise KubeError(
                f"The kubeconfig {name} has no context {context}: name one that kubectl config get-contexts lists.",
                reason="NoContext",
                object_=str(context),
            ) from exc
        raise KubeError(
            f"The kubeconfig {name} cannot be used: {_one_line(exc)}: check it with kubectl config view.",
            reason="BadKubeconfig",
            object_=name,
        ) from exc
    except KubeError:
        raise
    except Exception as exc:  # a YAML error, a permission, an unreadable certificate: the library wraps none of them
        raise KubeError(
            f"The kubeconfig {name} cannot be read ({type(exc).__name__}): check it with kubectl config view.",
            reason="BadKubeconfig",
            object_=name,
            details=_one_line(exc),
        ) from exc
    failed = _login.failure(_kubeconfig.user_of(config, context), f"context {context}", complaints)
    if failed:
        raise failed
    return f"context {context}"


def _read(name: str) -> dict[str, Any]:
    paths = _kubeconfig.paths_of(name)
    if not any(os.path.exists(path) for path in paths):
        raise KubeError(f"No kubeconfig: {name} does not exist: {REMEDY}.", reason="NoKubeconfig", object_=name)
    return _kubeconfig.read(paths)


def _in_cluster(configuration: Configuration) -> str:
    from kubernetes.config import incluster_config
    from kubernetes.config.config_exception import ConfigException

    try:
        incluster_config.load_incluster_config(client_configuration=configuration)
    except ConfigException as exc:
        raise KubeError(
            f"This pod's service account cannot be used: {_one_line(exc)}: mount its token, or {REMEDY}.",
            reason="NoKubeconfig",
        ) from exc
    return "this pod's service account"


def _override(params: Mapping[str, Any], configuration: Configuration) -> None:
    if params.get("host"):
        configuration.host = params["host"].rstrip("/")
    if params.get("api_key"):
        configuration.refresh_api_key_hook = None
        # clients before and after release 35 look under different names
        configuration.api_key = {"authorization": f"Bearer {params['api_key']}"}
        configuration.api_key_prefix = {}
    for option, attribute in (("ca_cert", "ssl_ca_cert"), ("client_cert", "cert_file"), ("client_key", "key_file")):
        path = params.get(option)
        if path:
            if not os.path.exists(path):
                raise KubeError(
                    f"The file {path} named by the option {option} does not exist: correct the path.",
                    reason="NoFile",
                    object_=path,
                )
            setattr(configuration, attribute, path)
    if params.get("ca_cert") and getattr(configuration, "ca_cert_data", None):
        configuration.ca_cert_data = None
    if params.get("validate_certs") is not None:
        configuration.verify_ssl = params["validate_certs"]


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split()).rstrip(".")
