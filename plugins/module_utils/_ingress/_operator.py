# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The Tailscale operator: its settings, the values of its chart, and what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import NOT_GIVEN
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._chart import at
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._gateways import read_tag
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._level import level
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._seen import Verdict
from ansible_collections.bulkhead.mesh.plugins.module_utils._reader import Reader

SETTINGS = "bulkhead_tailscale"
RELEASE, DEPLOYMENT, HOSTNAME = "tailscale-operator", "operator", "tailscale-operator"
CHART_SECRET = "operator-oauth"  # the Secret that the chart mounts by itself, and ours where the inventory names a file
PROXY_CLASS = "bulkhead"
API = "tailscale.com/v1alpha1"
STAMP = "bulkhead.mesh/oauth"  # on the operator's pod: it reads its credentials only when it starts
DEFAULT_CLAIM = "OPERATOR_DEFAULT_LOAD_BALANCER"
_TAGS = ("operator", "proxies")


@dataclass(frozen=True)
class Settings:
    """``bulkhead_tailscale``. ``proxy_class`` is the spec of a ProxyClass, or the name of one of somebody else."""

    version: str
    namespace: str = "tailscale"
    chart: str = RELEASE
    chart_repo: str = ""
    oauth_secret: str = ""
    oauth_file: str = ""
    login_server: str = ""
    tags: Mapping[str, Any] = field(default_factory=dict)
    proxy_class: Mapping[str, Any] | str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def secret(self) -> str:
        """Name of the Secret with the credentials; empty where the values bring them in another way."""
        return self.oauth_secret or (CHART_SECRET if self.oauth_file else "")


def settings(config: Mapping[str, Any]) -> Settings:
    """The settings of a mapping; None and empty values are those of the class."""
    names = Settings.__dataclass_fields__
    return Settings(**{"version": "", **{key: value for key, value in config.items() if value and key in names}})


def values(given: Settings, version: str) -> dict[str, Any]:
    """What is set under the user's own values; ``version`` is that of the Secret with the credentials."""
    operator: dict[str, Any] = {}
    proxies: dict[str, Any] = {}
    if given.tags.get("operator"):
        operator["defaultTags"] = list(given.tags["operator"])
    if given.tags.get("proxies"):
        proxies["defaultTags"] = ",".join(given.tags["proxies"])
    if class_name(given):
        proxies["defaultProxyClass"] = class_name(given)
    made: dict[str, Any] = {}
    if given.secret:
        operator["podAnnotations"] = {STAMP: version}
        if given.secret != CHART_SECRET:
            made["oauthSecretVolume"] = {"secret": {"secretName": given.secret}}
    if given.login_server:
        made["loginServer"] = given.login_server
    return {
        **made,
        **({"operatorConfig": operator} if operator else {}),
        **({"proxyConfig": proxies} if proxies else {}),
    }


def class_name(given: Settings) -> str:
    """The ProxyClass of all proxies that ask for none; empty for none."""
    return given.proxy_class if isinstance(given.proxy_class, str) else PROXY_CLASS


def class_objects(given: Settings) -> list[dict[str, Any]]:
    """Our own ProxyClass, if the settings have the spec of one."""
    if isinstance(given.proxy_class, str):
        return []
    name = {"name": PROXY_CLASS}
    return [{"apiVersion": API, "kind": "ProxyClass", "metadata": name, "spec": dict(given.proxy_class)}]


def home(given: Settings, facts: Mapping[str, Any] | None, state: str) -> dict[str, str]:
    """Namespace and name of the operator's Deployment; one that somebody else installed says so itself."""
    found = _operators(facts)
    if state == "external" and found:
        return {"namespace": str(found[0]["namespace"]), "name": str(found[0]["name"])}
    return {"namespace": given.namespace, "name": DEPLOYMENT}


def verdicts(given: Settings, facts: Mapping[str, Any] | None, state: str, check_mode: bool = False) -> list[Verdict]:
    """What stands in the way; without ``facts`` only the settings are judged."""
    server = facts["server"] if facts else ""
    if state == "external":
        return _missing(facts, server)
    if state == "absent":
        return _used(facts, check_mode)
    return [*_settings(given), *_credentials(given, facts), *_strangers(given, facts, server)]


def _settings(given: Settings) -> list[Verdict]:
    found = []
    try:
        level(given.version)
    except ValueError as exc:
        found.append(Verdict("tailscale-version", f"{SETTINGS}.version: {exc}"))
    reader = Reader(SETTINGS)
    if given.login_server and not _is_address(given.login_server):
        remedy = "write it like https://control.example.org, or leave it out for Tailscale's own"
        reader.wrong("login_server", given.login_server, "the URL of a control server has no path", remedy)
    if reader.keys(given.tags, "tags", _TAGS):
        for who in _TAGS:
            reader.list(given.tags.get(who), f"tags.{who}", read_tag)
    if not isinstance(given.proxy_class, Mapping):
        reader.name(given.proxy_class or "none", "proxy_class", 253, dots=True)
    found += [Verdict("tailscale-input", str(one)) for one in reader.problems]
    for one in at(given.values, "operatorConfig", "extraEnv") or ():
        if isinstance(one, Mapping) and one.get("name") == DEFAULT_CLAIM and str(one.get("value")).lower() == "true":
            msg = (
                f"{SETTINGS}.values sets {DEFAULT_CLAIM}, with which the operator takes every Service of type "
                "LoadBalancer without a class, also those of MetalLB: leave it out."
            )
            found.append(Verdict("tailscale-claims", msg))
    return found


def _is_address(text: Any) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except (ValueError, AttributeError):
        return False
    bare = not (parts.path.rstrip("/") or parts.query or parts.fragment or parts.username)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and bare and port != 0


def _credentials(given: Settings, facts: Mapping[str, Any] | None) -> list[Verdict]:
    reader = Reader(SETTINGS)
    for key in ("clientId", "clientSecret"):
        # Only that it is there is told: the value is what must not be shown.
        if at(given.values, "oauth", key) and not at(given.values, "oauth", "audience"):
            reason = "credentials in values would be in the release and in every diff"
            reader.wrong(
                f"values.oauth.{key}", "(hidden)", reason, "name a Secret in oauth_secret or a file in oauth_file"
            )
    if given.oauth_secret and given.oauth_file:
        reason = f"oauth_secret is {given.oauth_secret} as well, and only one can hold the credentials"
        reader.wrong("oauth_file", given.oauth_file, reason, "remove one of the two")
    own = at(given.values, "oauthSecretVolume") or at(given.values, "oauth", "audience")
    if not given.secret and not own and not reader.problems:
        reason = "the operator logs in with an OAuth client"
        remedy = (
            f"name a Secret of namespace {given.namespace} with client_id and client_secret, or a file in oauth_file"
        )
        reader.wrong("oauth_secret", NOT_GIVEN, reason, remedy)
    if given.oauth_secret:
        reader.name(given.oauth_secret, "oauth_secret", 253, dots=True)
    found = [Verdict("tailscale-oauth", str(one)) for one in reader.problems]
    place = f"{given.namespace}/{given.oauth_secret}"
    if not found and given.oauth_secret and facts and not facts["secrets"].get(place):
        msg = (
            f"{SETTINGS}.oauth_secret: Secret {place} does not exist: make it from two files that do not end with a line "
            f"end, with kubectl -n {given.namespace} create secret generic {given.oauth_secret} --from-file=client_id=FILE "
            "--from-file=client_secret=FILE."
        )
        found.append(Verdict("tailscale-secret", msg, True))
    return found


def _strangers(given: Settings, facts: Mapping[str, Any] | None, server: str) -> list[Verdict]:
    ours = f"helm:{given.namespace}/{RELEASE}"
    remedy = "set bulkhead_components.tailscale to external, or remove it."
    found = [
        Verdict(
            "other-operator",
            f"A Tailscale operator that this collection did not install runs on {server} (Deployment "
            f"{one['namespace']}/{one['name']}, owner {one['owner']}): {remedy}",
        )
        for one in _operators(facts)
        if one["owner"] != ours
    ]
    kinds = {} if facts is None else facts["tailnet"]["definitions"]
    others = sorted({str(owner) for owner in kinds.values() if owner != ours})
    if others and not found:
        msg = (
            f"The kinds of the Tailscale operator are on {server} already, owner {', '.join(others)}, and Helm does not "
            "take them over: remove them, or set bulkhead_components.tailscale to external."
        )
        found.append(Verdict("other-definitions", msg))
    return found


def _missing(facts: Mapping[str, Any] | None, server: str) -> list[Verdict]:
    if facts is None or _operators(facts):
        return []
    msg = (
        f"The Tailscale operator is not on {server}, but bulkhead_components.tailscale is external: install it, or set the "
        "component to managed."
    )
    return [Verdict("operator-missing", msg)]


def _used(facts: Mapping[str, Any] | None, check_mode: bool) -> list[Verdict]:
    """Without the operator nobody takes its finalizers away, and what is exposed could never be deleted."""
    if facts is None or not _operators(facts):
        return []
    users = [
        f"{one['kind']} {one['namespace']}/{one['name']}"
        for one in (*facts["exposed"], *facts["tailnet"]["ingresses"])
        # In check mode our own gateways are still there: a real run has removed them by now.
        if one["wanted"] and not (check_mode and one.get("ours"))
    ]
    users += [f"{one['kind']} {one['name']}" for one in facts["tailnet"]["custom"]]
    if not users:
        return []
    msg = (
        f"The Tailscale operator still serves {', '.join(users)}, which could not be deleted any more without it: take them "
        "off the tailnet first, or set bulkhead_components.tailscale to external."
    )
    return [Verdict("tailscale-used", msg)]


def _operators(facts: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = facts["tailnet"]["operators"] if facts else ()
    return found
