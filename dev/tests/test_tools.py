"""Choice of interpreters, package list, pip settings, caches, tarballs."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from bulkhead_dev import artifact, debian, environment, interpreters, sources
from bulkhead_dev.errors import ToolError, Unavailable
from bulkhead_dev.lab import Lab
from bulkhead_dev.places import made_once

VERSIONS = ["3.12", "3.13", "3.14"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([("/shims/python3.12", None), ("/real/python3.13", "3.13")], ("/real/python3.13", "3.13")),
        ([("/a", "3.14"), ("/b", "3.12"), ("/c", "3.12")], ("/b", "3.12")),
        ([("/a", "3.11"), ("/b", "3.15"), ("/c", "2.7")], None),
        ([], None),
    ],
)
def test_lowest_supported_python_that_runs_is_chosen(
    found: list[tuple[str, str | None]], expected: tuple[str, str] | None
) -> None:
    assert interpreters.choose_python(found, VERSIONS) == expected


def test_a_named_python_is_the_only_candidate(tmp_path: Path) -> None:
    environ = {"BULKHEAD_PYTHON": "/named/python", "PATH": "/usr/bin", "HOME": str(tmp_path)}
    assert list(interpreters.python_candidates(VERSIONS, environ, tmp_path)) == ["/named/python"]


def test_pyenv_versions_are_candidates_after_path(tmp_path: Path) -> None:
    python = tmp_path / ".pyenv/versions/3.12.1/bin/python3"
    python.parent.mkdir(parents=True)
    python.touch()
    candidates = list(interpreters.python_candidates(["3.12"], {"PATH": "/one:/two", "HOME": str(tmp_path)}, tmp_path))
    assert candidates == ["/one/python3.12", "/two/python3.12", "/one/python3", "/two/python3", str(python)]


def test_a_shim_folder_on_path_tells_where_the_versions_are(tmp_path: Path) -> None:
    python = tmp_path / "pyenv/versions/3.12.1/bin/python3"
    python.parent.mkdir(parents=True)
    python.touch()
    environ = {"PATH": f"{tmp_path}/pyenv/shims", "HOME": str(tmp_path / "another")}
    assert str(python) in list(interpreters.python_candidates(["3.12"], environ, tmp_path))


def test_a_shim_that_fails_does_not_count(tmp_path: Path) -> None:
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    assert list(interpreters.running([str(shim), str(tmp_path / "absent")])) == [(str(shim), None)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("go version go1.26.1 linux/amd64", (1, 26, 1)), ("go version go1.9", (1, 9, 0)), ("devel", None), (None, None)],
)
def test_go_version(text: str | None, expected: tuple[int, int, int] | None) -> None:
    assert interpreters.go_version(text) == expected


def test_go_versions_compare_as_numbers() -> None:
    assert (interpreters.go_version("go version go1.9.9") or (9, 9, 9)) < (1, 26, 5)


def test_package_list() -> None:
    text = "# comment\n\nshellcheck shellcheck lint # why\nabsent no-such-program-anywhere lab\n"
    packages = debian.parse(text)
    assert [package.name for package in packages] == ["shellcheck", "absent"]
    assert [package.name for package in debian.missing(packages, "lab")] == ["absent"]
    assert debian.missing(packages, "other") == []
    with pytest.raises(ToolError, match="three words"):
        debian.parse("only-one-word\n")


def test_missing_package_without_root_is_one_sentence_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = tmp_path / "list"
    listing.write_text("absent no-such-program-anywhere lab\n")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ToolError) as caught:
        debian.require(listing, "lab")
    assert str(caught.value) == "Missing for lab: absent; install with: apt-get install absent."


def test_pip_settings_of_the_environment_win_over_files() -> None:
    listing = ":env:.index-url='https://one.example/simple'\nglobal.index-url='https://two.example/simple'\ninstall.no-deps='yes'"
    assert environment.pip_settings(listing) == (
        "[global]\nindex-url = https://one.example/simple\n[install]\nno-deps = yes\n"
    )


def test_folder_counts_only_when_its_making_ended(tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    with pytest.raises(RuntimeError), made_once(folder) as empty:
        assert empty == folder
        (folder / "half").touch()
        raise RuntimeError
    with made_once(folder) as empty:
        assert empty == folder
        assert not (folder / "half").exists()
    with made_once(folder) as empty:
        assert empty is None


def test_user_settings_do_not_leak_into_tools(tmp_path: Path) -> None:
    places = environment.Places(tmp_path, tmp_path / "cache")
    environ = {
        "HOME": "/home/me",
        "PATH": "/home/me/.pyenv/shims",
        "ANSIBLE_HOME": "/x",
        "VIRTUAL_ENV": "/y",
        "PYTHONPATH": "/z",
        "HTTPS_PROXY": "http://proxy.example",
    }
    env = environment.tool_environment(places, tmp_path / "venv", [tmp_path / "ws"], environ)
    assert not {"ANSIBLE_HOME", "VIRTUAL_ENV", "PYTHONPATH"} & set(env)
    assert env["HTTPS_PROXY"] == "http://proxy.example"
    assert "shims" not in env["PATH"]
    assert env["HOME"] == str(tmp_path / "cache/home")
    assert env["GOPATH"] == "/home/me/go"
    assert env["ANSIBLE_COLLECTIONS_PATH"] == str(tmp_path / "ws")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("#!/bin/sh\n", True),
        ("#!/usr/bin/env bash\n", True),
        ("#!/bin/bash -eu\n", True),
        ("#!/usr/bin/env python3\n", False),
        ("# sh\n", False),
        ("", False),
    ],
)
def test_is_shell(line: str, expected: bool) -> None:
    assert sources.is_shell(line) is expected


def test_go_packages_with_tests_and_without_the_heavy_ones(tmp_path: Path) -> None:
    for name in ("cmd/labkube/main.go", "cmd/target/main.go", "internal/a/b/b.go", "internal/a/b/b_test.go"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    packages = sources.go_packages(tmp_path)
    assert packages == ["./cmd/labkube", "./cmd/target", "./internal/a/b"]
    assert sources.light(packages) == ["./cmd/target", "./internal/a/b"]
    assert sources.with_tests(tmp_path, packages) == ["./internal/a/b"]


def test_go_modules_are_those_with_code_of_ours(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="lab/go is not in this checkout"):
        sources.go_modules(tmp_path)
    for name in ("go/go.mod", "go/cmd/target/main.go", "go-istio/go.mod", "go-istio/internal/a/a.go", "go-pins/go.mod"):
        (tmp_path / "lab" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lab" / name).touch()
    assert [module.name for module in sources.go_modules(tmp_path)] == ["go", "go-istio"]


def test_the_labs_programs_come_last_on_the_path(tmp_path: Path) -> None:
    program = tmp_path / "lab" / "lab"
    program.parent.mkdir()
    program.write_text("import sys\nprint('/built/' + sys.argv[1])\n")
    assert Lab(tmp_path, tmp_path / "cache").path("/own:/usr/bin") == "/own:/usr/bin:/built/programs"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["MANIFEST.json", "plugins", "plugins/modules/a.py", "LICENSE"], []),
        (["plugins", "lab", "lab/lab", ".workspace/x", "tests"], [".workspace", "lab", "tests"]),
    ],
)
def test_unwanted_in_tarball(names: list[str], expected: list[str]) -> None:
    assert artifact.unwanted(names) == expected


def test_repacked_collection_lists_only_files_that_are_there(tmp_path: Path) -> None:
    collection = tmp_path / "core"
    (collection / "plugins").mkdir(parents=True)
    (collection / "plugins/a.py").write_text("a")
    names = [".", "plugins", "plugins/a.py", "tests/gone.py"]
    (collection / "FILES.json").write_text(json.dumps({"files": [{"name": name} for name in names], "format": 1}))
    (collection / "MANIFEST.json").write_text(json.dumps({"file_manifest_file": {"chksum_sha256": "old"}}))
    artifact.repack(collection, tmp_path / "out.tar.gz")
    with tarfile.open(tmp_path / "out.tar.gz") as archive:
        listing = archive.extractfile("FILES.json").read()  # type: ignore[union-attr]
        manifest = json.loads(archive.extractfile("MANIFEST.json").read())  # type: ignore[union-attr]
        members = archive.getnames()
    assert [entry["name"] for entry in json.loads(listing)["files"]] == [".", "plugins", "plugins/a.py"]
    assert manifest["file_manifest_file"]["chksum_sha256"] == hashlib.sha256(listing).hexdigest()
    assert members == ["MANIFEST.json", "FILES.json", "plugins", "plugins/a.py"]
