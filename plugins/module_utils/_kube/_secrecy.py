# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Keep the content of Secrets out of results, diffs and logs."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _config

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Redactor:
    """Replaces values by markers. The key is this run's own: equal values have equal markers, and nobody can guess."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or os.urandom(16)

    def marker(self, value: object) -> str:
        """What is shown in place of ``value``."""
        digest = hmac.new(self._key, str(value).encode(), hashlib.sha256).hexdigest()
        return f"<secret {digest[:12]}>"

    def secret(self, item: object) -> Any:
        """A Secret (or a part of one) without its values; anything that is not a mapping stays as it is."""
        if not isinstance(item, Mapping):
            return item
        shown = dict(item)
        for part in ("data", "stringData"):
            if part in shown:
                values = shown[part]
                known = isinstance(values, Mapping)
                shown[part] = {n: self.marker(v) for n, v in values.items()} if known else self.marker(values)
        metadata = shown.get("metadata")
        if isinstance(metadata, Mapping) and isinstance(metadata.get("annotations"), Mapping):
            notes = {n: self.marker(v) if n == _LAST_APPLIED else v for n, v in metadata["annotations"].items()}
            shown["metadata"] = {**metadata, "annotations": notes}
        return shown

    def objects(self, manifests: object) -> Any:
        """A list of manifests as the input gave them, well-formed or not."""
        if not isinstance(manifests, list):
            return manifests if manifests is None else self.marker(manifests)
        return [
            self.secret(item)
            if isinstance(item, Mapping) and not _harmless(item)
            else item
            if isinstance(item, Mapping)
            else self.marker(item)
            for item in manifests
        ]


def _harmless(item: Mapping[str, Any]) -> bool:
    """Whether the object is certainly no Secret; without a kind it may be one."""
    return bool(item.get("kind")) and "secret" not in str(item["kind"]).lower()


class ObjectsModule(AnsibleModule):
    """A module whose option ``objects`` may hold Secrets: they are neither logged nor given back."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """``no_log`` keeps the whole invocation out of the system log, which marks only whole options."""
        super().__init__(*args, no_log=True, **kwargs)

    def exit_json(self, **kwargs: Any) -> NoReturn:
        """Return; with the options as they may be shown."""
        super().exit_json(**self._shown(kwargs))

    def fail_json(self, msg: str, **kwargs: Any) -> NoReturn:
        """Fail; also called by the check of the options, before a module's own code runs."""
        super().fail_json(msg, **self._shown(kwargs))

    def _shown(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        params = self.params if isinstance(self.params, dict) else {}
        self.no_log_values.update(_config.secrets_of(params.get("kubeconfig")))
        shown = {**params, "objects": Redactor().objects(params.get("objects"))}
        return {"invocation": {"module_args": shown}, **kwargs}
