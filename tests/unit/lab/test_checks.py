"""Bad machines: the exact sentence for each."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bulkhead_lab import checks
from bulkhead_lab.errors import LabError


def message(function: object, *arguments: object) -> str:
    with pytest.raises(LabError) as caught:
        function(*arguments)  # type: ignore[operator]
    return str(caught.value)


def test_not_root() -> None:
    assert message(checks.machine, "Linux", "x86_64", 1000) == (
        "The lab makes namespaces and mounts and needs root, and the user id is 1000: run it as root, for example with sudo."
    )


def test_not_linux() -> None:
    assert message(checks.machine, "Darwin", "x86_64", 0) == (
        "The lab runs on Linux only, and this system is Darwin: use a Debian virtual machine."
    )


def test_unknown_processor() -> None:
    assert "this machine is riscv64" in message(checks.machine, "Linux", "riscv64", 0)


def test_too_little_disk() -> None:
    assert message(checks.disk, Path("/var/cache"), 3 * checks.GIB, True) == (
        "The file system of /var/cache has 3.0 GiB free and building the lab from source takes 20 GiB: "
        "free some space, or name a folder elsewhere in BULKHEAD_LAB_HOME."
    )
    assert "running the lab takes 6 GiB" in message(checks.disk, Path("/x"), 3 * checks.GIB, False)
    checks.disk(Path("/x"), checks.WARM_GIB * checks.GIB, False)


def test_missing_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert message(checks.programs) == (
        "The lab needs the Debian package(s) mmdebstrap, mount, util-linux: run `apt-get install mmdebstrap mount util-linux`."
    )


def test_port_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        monkeypatch.setattr(checks.plan, "API_LOOPBACK_PORT", port)
        assert f"The loopback port {port} for the cluster's API is taken" in message(checks.loopback_port)


def test_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert checks.existing_folder(tmp_path / "a" / "b") == tmp_path
