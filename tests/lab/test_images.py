"""Image archives that a user drops into the extra-images folder."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_lab import apply, kubectl, lab

from bulkhead_lab.oci import ImageConfig, files_layer, write_archive
from bulkhead_lab.paths import Paths

REFERENCE = "example.test/dropped:1"


@pytest.fixture
def dropped(tmp_path: Path) -> Iterator[None]:
    """An archive whose one program is the lab's pause."""
    paths = Paths.from_environment()
    program = next(paths.build.glob("tools-*/pause"))
    layer = tmp_path / "layer.tar"
    layer.write_bytes(files_layer([(program, "/dropped")]))
    archive = paths.extra_images / "dropped.tar"
    write_archive(archive, ImageConfig(REFERENCE, entrypoint=("/dropped",)), [layer], platform.machine())
    yield
    archive.unlink()
    kubectl("delete", "pod", "dropped", "--ignore-not-found", "--grace-period=0", "--force")


@pytest.mark.usefixtures("dropped")
def test_a_dropped_image_runs() -> None:
    lab("images")
    container = {"name": "app", "image": REFERENCE, "imagePullPolicy": "Never"}
    apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "dropped"}, "spec": {"containers": [container]}})
    kubectl("wait", "--for=condition=Ready", "pod/dropped", "--timeout=30s")
