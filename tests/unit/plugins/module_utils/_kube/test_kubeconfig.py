# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes")
pytest.importorskip("yaml")

from ansible_collections.bulkhead.mesh.plugins.filter.kubeconfig_source import kubeconfig_source
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _config, _kubeconfig
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError

CLUSTER = {"server": "https://127.0.0.1:16443", "certificate-authority": "pki/ca.crt"}
USER = {"client-certificate": "pki/admin.crt", "client-key": "/keys/admin.key"}


def config(name: str, cluster: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "users": [{"name": name, "user": user}],
    }


def write(path: Path, content: dict[str, Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return str(path)


def login(**more: Any) -> dict[str, Any]:
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", **more}}


def script(path: Path, text: str) -> str:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_files_named_by_the_kubeconfig_are_relative_to_it(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path / "homelab" / "config", config("homelab", CLUSTER, {**USER, **login(command="./bin/login")}))
    monkeypatch.chdir(tmp_path)
    found = kubeconfig_source("./homelab/config")
    assert found["clusters"][0]["cluster"]["certificate-authority"] == f"{tmp_path}/homelab/pki/ca.crt"
    user = found["users"][0]["user"]
    assert (user["client-certificate"], user["client-key"]) == (f"{tmp_path}/homelab/pki/admin.crt", "/keys/admin.key")
    assert user["exec"]["command"] == f"{tmp_path}/homelab/./bin/login"
    monkeypatch.chdir("/")
    assert kubeconfig_source(found) == found


def test_a_path_that_is_enough_stays_a_path(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path / "config", config("one", {"server": "https://a"}, {**login(command="in-path"), "token": "t"}))
    monkeypatch.chdir(tmp_path)
    assert kubeconfig_source("config") == f"{tmp_path}/config"


@pytest.mark.parametrize("value", ["", None, "/nowhere/config", "/nowhere/a:/nowhere/b"])
def test_what_leads_nowhere_is_left_to_the_modules(value: Any) -> None:
    assert kubeconfig_source(value) == value


def test_two_files(tmp_path: Path) -> None:
    first = write(tmp_path / "a", config("work", {"server": "https://first"}, {"token": "1"}))
    both = config("homelab", {"server": "https://second"}, {"token": "2"})
    both["clusters"] += config("work", {"server": "https://shadowed"}, {})["clusters"]
    second = write(tmp_path / "b", both)
    name = f"{first}:/nowhere/config:{second}"
    assert _config.load({"kubeconfig": name}, {})[1].server == "first"  # current-context of the first file
    assert _config.load({"kubeconfig": name, "context": "homelab"}, {})[1].server == "second"
    assert _config.load({}, {"KUBECONFIG": name})[1].identity == "context work"
    merged = kubeconfig_source(name)
    assert [one["cluster"]["server"] for one in merged["clusters"]] == ["https://first", "https://second"]


def test_relative_path_of_the_option(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path / "config", config("one", {"server": "https://a"}, {"token": "t"}))
    monkeypatch.chdir(tmp_path)
    assert _config.load({"kubeconfig": "./config"}, {})[1].server == "a"


@pytest.mark.parametrize(
    "body, sentence",
    [
        (None, "could not be run (not found): install it, or name its path in the kubeconfig."),
        ("echo no session >&2; exit 3", "ended with 3 and said: no session: run it by hand and log in again."),
        ("exit 1", "ended with 1: run it by hand and log in again."),
        ("echo nonsense", "gave no credentials (exec: failed to decode process output: "),
        (
            'echo \'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {}}\'',
            "gave no credentials (exec: missing token or clientCertificateData field in plugin output): "
            "run it by hand to see what it prints.",
        ),
    ],
)
def test_login_program_fails(tmp_path: Path, body: str | None, sentence: str, capfd: Any) -> None:
    program = script(tmp_path / "login", body) if body else "login-that-is-not-installed"
    with pytest.raises(KubeError) as caught:
        _config.load({"kubeconfig": config("homelab", {"server": "https://a"}, login(command=program))}, {})
    assert caught.value.msg.startswith(f"The login program {program} of context homelab {sentence}")
    assert caught.value.failure["reason"] == "LoginFailed"
    assert "rights" not in caught.value.msg and "Role" not in caught.value.msg
    assert capfd.readouterr().err == ""  # the library's own line does not get out


def test_login_program_works(tmp_path: Path) -> None:
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "fresh"}}
    program = script(tmp_path / "login", f"echo '{json.dumps(answer)}'")
    handlers = list(logging.getLogger().handlers)
    loaded, _target = _config.load({"kubeconfig": config("one", {"server": "https://a"}, login(command=program))}, {})
    assert loaded.auth_settings()["BearerToken"]["value"] == "Bearer fresh"
    assert logging.getLogger().handlers == handlers


def test_user_of() -> None:
    made = config("one", {}, {"token": "t"})
    assert _kubeconfig.user_of(made, None) == {"token": "t"}
    assert _kubeconfig.user_of(made, "other") == {}
    assert _kubeconfig.user_of({"contexts": None}, "one") == {}
