"""OCI image archives without an image builder: a tar with index, manifest, configuration and layers."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class ImageConfig:
    """What a container of the image starts with."""

    reference: str  # name:tag
    entrypoint: tuple[str, ...] = ()
    user: str = ""
    environment: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)


def files_layer(files: Sequence[tuple[Path, str]]) -> bytes:
    """A layer that holds ``files`` (source, absolute destination), with times and owners fixed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for source, destination in files:
            info = tarfile.TarInfo(destination.lstrip("/"))
            info.size, info.mode = source.stat().st_size, 0o755
            with source.open("rb") as handle:
                tar.addfile(info, handle)
    return buffer.getvalue()


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return "sha256:" + hashlib.file_digest(handle, "sha256").hexdigest()


def write_archive(target: Path, config: ImageConfig, layers: Sequence[Path], machine: str) -> None:
    """Write an OCI archive with uncompressed ``layers`` (tar files, lowest first) for ``machine`` (uname -m)."""
    described = [(path, _digest(path), path.stat().st_size) for path in layers]
    configuration = json.dumps(
        {
            "architecture": ARCHITECTURES[machine],
            "os": "linux",
            "config": {
                "Env": [SEARCH_PATH, *config.environment],
                "User": config.user,
                "Entrypoint": list(config.entrypoint) or None,
                "Labels": config.labels or None,
            },
            "rootfs": {"type": "layers", "diff_ids": [digest for _, digest, _ in described]},
        }
    ).encode()

    def descriptor(media_type: str, data: bytes) -> dict[str, object]:
        return {"mediaType": media_type, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}

    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, configuration),
            "layers": [{"mediaType": LAYER, "digest": digest, "size": size} for _, digest, size in described],
        }
    ).encode()
    annotations = {
        "io.containerd.image.name": config.reference,
        "org.opencontainers.image.ref.name": config.reference.rpartition(":")[2],
    }
    index = json.dumps(
        {"schemaVersion": 2, "manifests": [{**descriptor(MANIFEST, manifest), "annotations": annotations}]}
    ).encode()
    with tarfile.open(target, "w") as tar:

        def put(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        put("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        put("index.json", index)
        for data in (configuration, manifest):
            put("blobs/sha256/" + hashlib.sha256(data).hexdigest(), data)
        for path, digest, _ in described:
            tar.add(path, arcname="blobs/sha256/" + digest.removeprefix("sha256:"))
