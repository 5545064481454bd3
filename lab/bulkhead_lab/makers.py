"""How the kinds of parts are made: Go programs, Debian file systems, images with programs."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from .build import Recipe, hash_files, run
from .errors import LabError
from .oci import ImageConfig, files_layer, write_archive
from .paths import CHECKOUT_LAB

GO = CHECKOUT_LAB / "go"
SUITE = "bookworm"  # its containerd and runc are the ones the lab was tried with
SLIM = tuple(f"path-exclude=/usr/share/{part}/*" for part in ("doc", "info", "locale", "man"))
GO_SETTINGS = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}


def find_go() -> str:
    """The Go tool: from ``$BULKHEAD_GO``, PATH, or Go's usual place."""
    for candidate in (os.environ.get("BULKHEAD_GO"), shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise LabError(
        "The lab builds Kubernetes from source and found no Go: put go 1.26.5 or newer on PATH, or name it in BULKHEAD_GO."
    )


def debian(target: Path, packages: Sequence[str]) -> None:
    """Debian's minimal system plus ``packages`` into ``target`` (a folder, or a tar file if it ends in .tar)."""
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}"]
    argv += [f"--dpkgopt={option}" for option in SLIM]
    argv += [SUITE, str(target)]
    mirror = os.environ.get("BULKHEAD_DEBIAN_MIRROR")  # absent: mmdebstrap's own default
    run([*argv, *([mirror] if mirror else [])], what=f"Building Debian's file system for {target.parent.name}")


def go_programs(
    name: str,
    packages: Sequence[str],
    estimate: float,
    *,
    module: Path = GO,
    sources: Sequence[str] = (),
    ldflags: str = "",
    tags: Sequence[str] = (),
) -> Recipe:
    """Static programs from ``packages`` as the module in the folder ``module`` pins them.

    ``sources`` are the files and folders of that module that the programs are made of; packages of other modules
    need none, since go.sum says what they are.
    """
    flags = f"-s -w {ldflags}".strip()
    options = ["-trimpath", "-buildvcs=false", *([f"-tags={','.join(tags)}"] if tags else [])]

    def make(target: Path, _: dict[str, Path]) -> None:
        run(
            [find_go(), "build", *options, "-ldflags", flags, "-o", f"{target}/", *packages],
            what=f"Building {', '.join(package.rpartition('/')[2] for package in packages)}",
            cwd=module,
            env=GO_SETTINGS,
        )

    files = [module / "go.mod", module / "go.sum", *(module / source for source in sources)]
    foreign = [package for package in packages if not package.startswith("./")]
    inputs = (hash_files([f for f in files if f.exists()], module), flags, *foreign, *tags)
    return Recipe(name, inputs, make, estimate=estimate)


def debian_image(
    name: str, reference: str, packages: Sequence[str], *, files: Sequence[tuple[str, str, str]] = (), **config: object
) -> Recipe:
    """An image that is a Debian system with ``packages``, and on it ``files`` (part, name in it, path in the image)."""
    image = ImageConfig(reference, **config)  # type: ignore[arg-type]

    def make(target: Path, parts: dict[str, Path]) -> None:
        layers = [target / "layer.tar"]
        debian(layers[0], packages)
        if files:
            layers.append(target / "files.tar")
            layers[1].write_bytes(files_layer([(parts[part] / file, path) for part, file, path in files]))
        write_archive(target / "image.tar", image, layers, platform.machine())
        for layer in layers:
            layer.unlink()

    inputs = (SUITE, *packages, *SLIM, repr(image), *(":".join(file) for file in files))
    needs = tuple(dict.fromkeys(part for part, _, _ in files))
    return Recipe(f"image-{name}", inputs, make, needs=needs, estimate=45)


def files_image(
    name: str,
    reference: str,
    files: Sequence[tuple[str, str, str]],
    *,
    base: str | None = None,
    **config: object,
) -> Recipe:
    """An image with ``files`` (part, name in it, path in the image), on the file system ``base`` or on nothing.

    The first file is the entry point. ``base`` names a part that holds ``layer.tar``.
    """
    image = ImageConfig(reference, entrypoint=(files[0][2],), **config)  # type: ignore[arg-type]
    needs = tuple(dict.fromkeys([*([base] if base else []), *(part for part, _, _ in files)]))

    def make(target: Path, parts: dict[str, Path]) -> None:
        layer = target / "layer.tar"
        layer.write_bytes(files_layer([(parts[part] / file, path) for part, file, path in files]))
        layers = [parts[base] / "layer.tar", layer] if base else [layer]
        write_archive(target / "image.tar", image, layers, platform.machine())
        layer.unlink()

    places = tuple(":".join(file) for file in files[1:])
    return Recipe(f"image-{name}", (repr(image), *places), make, needs=needs, estimate=2)
