# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube import _config
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443"}}],
    "users": [{"name": "u", "user": {"token": "from-file"}}],
    "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "one",
}


@pytest.fixture(autouse=True)
def empty_home(monkeypatch: Any, tmp_path: Any) -> Any:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def kubeconfig(tmp_path: Any) -> Any:
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(KUBECONFIG))
    return str(path)


def token_of(configuration: Any) -> Any:
    return configuration.auth_settings()["BearerToken"]["value"]


def test_file_and_its_context(kubeconfig: Any) -> None:
    configuration, target = _config.load({"kubeconfig": kubeconfig}, {})
    assert (target.server, target.identity) == ("10.0.0.1:6443", "context one")
    assert token_of(configuration) == "Bearer from-file"
    assert configuration.retries is False


def test_inline() -> None:
    configuration, target = _config.load({"kubeconfig": KUBECONFIG}, {})
    assert (target.identity, token_of(configuration)) == ("context one", "Bearer from-file")


def test_variable_and_default_path(kubeconfig: Any, empty_home: Any) -> None:
    assert _config.load({}, {"KUBECONFIG": kubeconfig})[1].server == "10.0.0.1:6443"
    (empty_home / ".kube").mkdir()
    (empty_home / ".kube" / "config").write_text(json.dumps(KUBECONFIG))
    assert _config.load({}, {})[1].server == "10.0.0.1:6443"


def test_host_and_api_key_need_no_file() -> None:
    configuration, target = _config.load({"host": "https://api.example:443/", "api_key": "given"}, {})
    assert target == _config.Target("api.example:443", "the given api_key")
    assert configuration.host == "https://api.example:443"
    assert token_of(configuration) == "Bearer given"


def test_options_win_over_the_file(kubeconfig: Any) -> None:
    params = {"kubeconfig": kubeconfig, "host": "https://10.9.9.9:1", "validate_certs": False}
    configuration, target = _config.load(params, {})
    assert (target.server, configuration.verify_ssl) == ("10.9.9.9:1", False)
    assert token_of(configuration) == "Bearer from-file"


def test_given_token_wins_over_the_file_for_good(kubeconfig: Any) -> None:
    configuration, dummy = _config.load({"kubeconfig": kubeconfig, "api_key": "given"}, {})
    # asked for twice: the file's loader refreshes its own token before each use
    assert [token_of(configuration), token_of(configuration)] == ["Bearer given", "Bearer given"]


def test_nothing_at_all(empty_home: Any) -> None:
    with pytest.raises(KubeError) as caught:
        _config.load({}, {})
    assert caught.value.msg == (
        f"No kubeconfig: {empty_home}/.kube/config does not exist and nothing else says where the cluster is: "
        "name one with the option kubeconfig or the variable K8S_AUTH_KUBECONFIG, or give host and api_key."
    )


@pytest.mark.parametrize("where", ["option", "variable"])
def test_named_file_is_missing(where: str) -> None:
    params = {"kubeconfig": "/nowhere/config"} if where == "option" else {}
    with pytest.raises(KubeError, match="^No kubeconfig: /nowhere/config does not exist: "):
        _config.load(params, {"KUBECONFIG": "/nowhere/config"} if where == "variable" else {})


def test_context_is_missing(kubeconfig: Any) -> None:
    with pytest.raises(KubeError) as caught:
        _config.load({"kubeconfig": kubeconfig, "context": "two"}, {})
    assert (
        caught.value.msg
        == f"The kubeconfig {kubeconfig} has no context two: name one that kubectl config get-contexts lists."
    )


@pytest.mark.parametrize(
    "content", ["{}", "a: [", "just text", json.dumps({**KUBECONFIG, "current-context": "gone"}), ""]
)
def test_broken_files(tmp_path: Any, content: str) -> None:
    path = tmp_path / "broken"
    path.write_text(content)
    with pytest.raises(KubeError) as caught:
        _config.load({"kubeconfig": str(path)}, {})
    assert str(path) in caught.value.msg
    assert "\n" not in caught.value.msg


def test_certificate_file_is_missing() -> None:
    with pytest.raises(KubeError) as caught:
        _config.load({"host": "https://h", "api_key": "k", "ca_cert": "/nowhere/ca"}, {})
    assert caught.value.msg == "The file /nowhere/ca named by the option ca_cert does not exist: correct the path."


@pytest.mark.parametrize("kubeconfig", [None, "/path", {}, {"users": None}, {"token": ""}])
def test_nothing_secret_where_nothing_is_inline(kubeconfig: Any) -> None:
    assert _config.secrets_of(kubeconfig) == set()


@pytest.mark.parametrize(
    "url, name",
    [
        ("https://user:secret@10.0.0.1:6443/k8s/clusters/c-1", "10.0.0.1:6443"),
        ("https://[2001:db8::1]:6443", "[2001:db8::1]:6443"),
        ("api.example", "api.example"),
    ],
)
def test_server_name_shows_no_credential(url: str, name: str) -> None:
    assert _config.server_name(url) == name
