# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Kubeconfigs as kubectl reads them: several files joined by a colon, and files named relative to the kubeconfig."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

_CLUSTER_FILES = ("certificate-authority",)
_USER_FILES = ("client-certificate", "client-key", "tokenFile")
_LISTS = ("clusters", "contexts", "users")
_Config = dict[str, Any]


def paths_of(name: str) -> list[str]:
    """The paths of a kubeconfig setting, absolute; relative ones are relative to the current folder.

    >>> paths_of("/a/config:/b/config")
    ['/a/config', '/b/config']
    """
    return [os.path.abspath(os.path.expanduser(path)) for path in name.split(os.pathsep) if path]


def read(paths: Sequence[str]) -> _Config:
    """The files that exist as one kubeconfig; the first one that names something wins, as with kubectl.

    Raises OSError, yaml.YAMLError, and ValueError for a file that holds no mapping.
    """
    merged: _Config = {}
    for path in paths:
        if os.path.exists(path):
            merged = merge(merged, with_absolute_paths(_load(path), os.path.dirname(path)))
    return merged


def names_relative_files(path: str) -> bool:
    """Whether a kubeconfig means something else when a copy of it is read elsewhere; raises as ``read`` does."""
    content = _load(path)
    return with_absolute_paths(content, os.path.dirname(path)) != with_absolute_paths(content, os.sep)


def _load(path: str) -> Mapping[str, Any]:
    import yaml

    with open(path, encoding="utf-8") as file:
        content = yaml.safe_load(file)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds no mapping")
    return content


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> _Config:
    """Both in one: what ``first`` names stays as it is there."""
    merged = {**second, **{key: value for key, value in first.items() if value is not None}}
    for key in _LISTS:
        known = _entries(first, key)
        names = {one.get("name") for one in known}
        merged[key] = known + [one for one in _entries(second, key) if one.get("name") not in names]
    if not first.get("current-context") and second.get("current-context"):
        merged["current-context"] = second["current-context"]
    return merged


def with_absolute_paths(config: Mapping[str, Any], folder: str) -> _Config:
    """A copy in which the files it names are absolute; relative ones are relative to ``folder``."""
    made = dict(config)
    made["clusters"] = [
        {**one, "cluster": _absolute(one.get("cluster"), _CLUSTER_FILES, folder)}
        for one in _entries(config, "clusters")
    ]
    made["users"] = [{**one, "user": _user(one.get("user"), folder)} for one in _entries(config, "users")]
    return made


def user_of(config: Mapping[str, Any], context: str | None) -> Mapping[str, Any]:
    """The user that a context logs in as; empty where the kubeconfig does not say."""
    name = context or config.get("current-context")
    contexts = {one.get("name"): one.get("context") or {} for one in _entries(config, "contexts")}
    users = {one.get("name"): one.get("user") or {} for one in _entries(config, "users")}
    user = users.get((contexts.get(name) or {}).get("user"))
    return user if isinstance(user, Mapping) else {}


def _entries(config: Mapping[str, Any], key: str) -> list[_Config]:
    listed = config.get(key)
    return [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []


def _absolute(settings: Any, keys: Sequence[str], folder: str) -> Any:
    if not isinstance(settings, Mapping):
        return settings
    return {key: os.path.join(folder, value) if key in keys and value else value for key, value in settings.items()}


def _user(settings: Any, folder: str) -> Any:
    user = _absolute(settings, _USER_FILES, folder)
    login = user.get("exec") if isinstance(user, Mapping) else None
    # A bare name is looked up in PATH; one with a slash is relative to the kubeconfig.
    if isinstance(login, Mapping) and os.sep in str(login.get("command") or ""):
        user["exec"] = {**login, "command": os.path.join(folder, login["command"])}
    return user
