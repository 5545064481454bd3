"""An OCI archive is what the specification says: digests, sizes and references agree."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

from bulkhead_lab.oci import ImageConfig, files_layer, write_archive


def test_every_blob_is_named_by_its_content(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"#!/bin/true\n")
    layer = tmp_path / "layer.tar"
    layer.write_bytes(files_layer([(program, "/usr/bin/program")]))
    archive = tmp_path / "image.tar"
    write_archive(
        archive, ImageConfig("lab.local/x:7", entrypoint=("/usr/bin/program",), user="1:1"), [layer], "x86_64"
    )
    with tarfile.open(archive) as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    for name, data in files.items():
        if name.startswith("blobs/sha256/"):
            assert name == "blobs/sha256/" + hashlib.sha256(data).hexdigest()

    def blob(descriptor: dict[str, object]) -> bytes:
        data = files["blobs/sha256/" + str(descriptor["digest"]).removeprefix("sha256:")]
        assert len(data) == descriptor["size"]
        return data

    index = json.loads(files["index.json"])["manifests"][0]
    assert index["annotations"]["io.containerd.image.name"] == "lab.local/x:7"
    manifest = json.loads(blob(index))
    config = json.loads(blob(manifest["config"]))
    assert config["config"]["Entrypoint"] == ["/usr/bin/program"]
    assert (config["architecture"], config["config"]["User"]) == ("amd64", "1:1")
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
    assert blob(manifest["layers"][0]) == layer.read_bytes()


def test_a_layer_does_not_depend_on_when_it_is_made(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"x")
    first = files_layer([(program, "/x")])
    program.touch()
    assert files_layer([(program, "/x")]) == first
