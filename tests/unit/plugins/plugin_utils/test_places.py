# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where files lie, and where none may be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible.inventory import manager

from ansible_collections.bulkhead.mesh.plugins.filter.local_path import local_path
from ansible_collections.bulkhead.mesh.plugins.filter.report_files import report_files
from ansible_collections.bulkhead.mesh.plugins.plugin_utils import _places

VERIFY, PATHS, STATUS = "bulkhead_verify_reports", "bulkhead_paths_reports", "bulkhead_status"
NOTHING: dict[str, Any] = {VERIFY: {}, PATHS: {}, STATUS: {}}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which ansible-playbook is started; $PWD is another one, as for a program that a program starts."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PWD", "/elsewhere")
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("PLACE", "/srv/place")
    return folder


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("files/a.yml", "{here}/files/a.yml"),
        ("../a.yml", "{above}/a.yml"),
        ("/etc/a.yml", "/etc/a.yml"),
        ("~/a.yml", "/home/ada/a.yml"),
        ("$PLACE/a.yml", "/srv/place/a.yml"),
        ("https://example.org/a.yml", "https://example.org/a.yml"),
        ("oci://example.org/chart", "oci://example.org/chart"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_relative_path_begins_where_the_playbook_was_started(here: Path, path: Any, expected: str) -> None:
    assert local_path(path) == expected.format(here=here, above=here.parent)


@pytest.mark.parametrize(
    ("chart", "path"), [("metallb", False), ("istio/base", False), ("./charts/metallb", True), ("../charts", True)]
)
def test_a_name_is_no_path_where_both_may_stand(here: Path, chart: str, path: bool) -> None:
    (here / "metallb").mkdir()  # of that name there may be anything
    assert local_path(chart, marked=True) == (str((here / chart).resolve()) if path else chart)


def test_a_path_that_is_none() -> None:
    with pytest.raises(AnsibleFilterError, match=r"^local_path needs a path, and got \['a'\]: pass a text.$"):
        local_path(["a"])


def test_without_a_word_everything_is_in_the_folder_of_reports(here: Path) -> None:
    told = report_files(NOTHING, "reports", ["/etc/ansible/hosts", "localhost,"])
    folder = str(here / "reports")
    assert told == {
        "files": {
            VERIFY: {"json": f"{folder}/verify.json", "html": f"{folder}/verify.html"},
            PATHS: {"json": f"{folder}/paths.json", "html": f"{folder}/paths.html"},
            STATUS: {"html": f"{folder}/status.html"},
        },
        "folders": [folder],
        "problems": [],
    }


def test_what_is_named_goes_there_and_what_is_empty_nowhere(here: Path) -> None:
    given = {VERIFY: {"html": "", "junit": "out/verify.xml", "stale_after": 3}, PATHS: {"json": None, "html": None}}
    told = report_files(given, "reports")
    assert told["files"] == {
        VERIFY: {"json": f"{here}/reports/verify.json", "junit": f"{here}/out/verify.xml"},
        PATHS: {},
    }
    assert told["folders"] == [f"{here}/out", f"{here}/reports"]


@pytest.mark.parametrize("folder", ["", None])
def test_without_a_folder_only_what_is_named(here: Path, folder: Any) -> None:
    assert report_files({**NOTHING, VERIFY: {"json": "a.json"}}, folder)["files"] == {
        VERIFY: {"json": f"{here}/a.json"},
        PATHS: {},
        STATUS: {},
    }


def test_a_project_that_is_its_own_inventory_gets_a_hidden_folder(here: Path) -> None:
    told = report_files(NOTHING, "reports", [str(here)])
    assert told["folders"] == [f"{here}/.reports"]
    assert told["problems"] == []
    # One beside it needs none, also where the names begin alike.
    assert report_files(NOTHING, "reports", [f"{here}-other"])["folders"] == [f"{here}/reports"]


def test_what_the_next_run_would_read_is_refused(here: Path) -> None:
    inventory = here / "inventory"
    inventory.mkdir()
    (inventory / "hosts.yml").write_text("all:\n", encoding="utf-8")
    given = {VERIFY: {"json": "inventory/deep/verify.json"}, STATUS: {"html": "group_vars/all/status.html"}}
    folder = report_files(given, "", ["inventory"])["problems"]
    assert folder == [
        f"{VERIFY}.json is {inventory}/deep/verify.json, and Ansible reads every file in {inventory} as inventory: name a file "
        "outside of it, or leave it out, then it has a place of its own.",
        f"{STATUS}.html is {here}/group_vars/all/status.html, and Ansible reads every file in group_vars as variables: name a file "
        "outside of it.",
    ]
    # A hidden folder is not read, and of a single file only itself.
    assert report_files({VERIFY: {"json": "inventory/.out/verify.json"}}, "", ["inventory"])["problems"] == []
    file = str(inventory / "hosts.yml")
    assert report_files({VERIFY: {"json": "inventory/verify.json"}}, "", [file])["problems"] == []
    assert report_files({VERIFY: {"json": file}}, "", [file])["problems"] == [
        f"{VERIFY}.json is {file}, which is the inventory itself: name another file."
    ]


def test_the_policy_of_the_tailnet_is_a_file_like_others(here: Path) -> None:
    given = {"bulkhead_tailnet_policy": {"file": "policy.hujson", "groups": {"family": ["arr"]}}}
    assert report_files(given)["files"] == {"bulkhead_tailnet_policy": {"file": f"{here}/policy.hujson"}}
    assert [one.partition(" is ")[0] for one in report_files(given, "", ["."])["problems"]] == [
        "bulkhead_tailnet_policy.file"
    ]


def test_places_that_cannot_hold_a_file(here: Path) -> None:
    (here / "out").mkdir()
    (here / "file").write_text("", encoding="utf-8")
    given = {
        VERIFY: {"json": "out", "html": "file/a.html"},
        PATHS: {"html": "same.html"},
        STATUS: {"html": "./same.html"},
    }
    assert report_files(given)["problems"] == [
        f"{VERIFY}.json is {here}/out, which is a folder: name a file in it.",
        f"{VERIFY}.html is {here}/file/a.html, and {here}/file is a file and no folder: name another one.",
        f"{STATUS}.html and {PATHS}.html are both {here}/same.html: give each a file of its own.",
    ]


@pytest.mark.parametrize("value", [None, "text", {VERIFY: "verify.json"}])
def test_wrong_input_is_one_sentence(value: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="^report_files needs variables"):
        report_files(value)


def test_files_that_ansible_passes_over_are_those_of_ansible() -> None:
    """What a hidden folder, and folders of variables, rest on."""
    assert manager.IGNORED.search(b".reports")
    assert not manager.IGNORED.search(b"reports")
    assert all(manager.IGNORED.search(name.encode()) for name in _places._READ)
