"""Image archives that a user drops into the extra-images folder."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_lab import apply, kubectl, lab

from bulkhead_lab import plan
from bulkhead_lab.oci import ImageConfig, files_layer, write_archive
from bulkhead_lab.paths import Paths

REFERENCE = "example.test/dropped:1"
REAL_ZTUNNEL = "example.test/istio/ztunnel:1.31.1-distroless"
CTR = ("node-exec", "--", "ctr", "-n", "k8s.io", "images")


def drop(tmp_path: Path, reference: str) -> Path:
    """Put an archive into the folder whose one program is the lab's pause."""
    paths = Paths.from_environment()
    program = next(paths.build.glob("tools-*/pause"))
    layer = tmp_path / "layer.tar"
    layer.write_bytes(files_layer([(program, "/dropped")]))
    archive = paths.extra_images / "dropped.tar"
    write_archive(archive, ImageConfig(reference, entrypoint=("/dropped",)), [layer], platform.machine())
    return archive


def digest(reference: str) -> str:
    """What a name on the node stands for."""
    lines = [line.split() for line in lab(*CTR, "ls", f"name=={reference}").splitlines()]
    return next(words[2] for words in lines if words[0] == reference)


@pytest.fixture
def dropped(tmp_path: Path) -> Iterator[None]:
    """A user's image of a name that the lab does not know."""
    archive = drop(tmp_path, REFERENCE)
    yield
    archive.unlink()
    kubectl("delete", "pod", "dropped", "--ignore-not-found", "--grace-period=0", "--force")


@pytest.mark.usefixtures("dropped")
def test_a_dropped_image_runs() -> None:
    lab("images")
    container = {"name": "app", "image": REFERENCE, "imagePullPolicy": "Never"}
    apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "dropped"}, "spec": {"containers": [container]}})
    kubectl("wait", "--for=condition=Ready", "pod/dropped", "--timeout=30s")


@pytest.fixture
def own_ztunnel() -> Iterator[str]:
    """The digest of the lab's ztunnel image, which is back afterwards."""
    name = plan.istio_image("ztunnel")
    before = digest(name)
    yield before
    key = json.loads(Paths.from_environment().parts.read_text())["image-istio-ztunnel"]
    lab(*CTR, "import", f"/opt/lab/build/image-istio-ztunnel-{key}/image.tar")
    lab(*CTR, "rm", REAL_ZTUNNEL)
    assert digest(name) == before


def test_a_dropped_ztunnel_takes_the_place_of_the_labs(tmp_path: Path, own_ztunnel: str) -> None:
    archive = drop(tmp_path, REAL_ZTUNNEL)
    try:
        lab("images")
    finally:
        archive.unlink()
    assert digest(plan.istio_image("ztunnel")) == digest(REAL_ZTUNNEL) != own_ztunnel
