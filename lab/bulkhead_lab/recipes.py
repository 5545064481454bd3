"""What the lab is built from: Go programs, a root file system for node and outside world, images."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from . import plan
from .build import Recipe, hash_files, run
from .errors import LabError
from .oci import ImageConfig, files_layer, write_archive
from .paths import CHECKOUT_LAB

GO = CHECKOUT_LAB / "go"
SUITE = "bookworm"  # its containerd and runc are the ones the lab was tried with
NODE_PACKAGES = (
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "ipset",
    "iptables",
    "kmod",
    "openssl",
    "runc",
    "tini",
)
OUTSIDE_PACKAGES = ("opentracker", "python3-libtorrent", "wireguard-go", "wireguard-tools")
TOOLBOX_PACKAGES = (
    "bind9-dnsutils",
    "ca-certificates",
    "conntrack",
    "curl",
    "iperf3",
    "iproute2",
    "iptables",
    "iputils-ping",
    "nftables",
    "procps",
    "python3",
    "socat",
    "tcpdump",
    "wireguard-go",
    "wireguard-tools",
)
QBITTORRENT_PACKAGES = ("iproute2", "qbittorrent-nox")
SLIM = tuple(f"path-exclude=/usr/share/{part}/*" for part in ("doc", "info", "locale", "man"))


def find_go() -> str:
    """The Go tool: from ``$BULKHEAD_GO``, PATH, or Go's usual place."""
    for candidate in (os.environ.get("BULKHEAD_GO"), shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise LabError(
        "The lab builds Kubernetes from source and found no Go: put go 1.26 or newer on PATH, or name it in BULKHEAD_GO."
    )


def debian(target: Path, packages: Sequence[str]) -> None:
    """Debian's minimal system plus ``packages`` into ``target`` (a folder, or a tar file if it ends in .tar)."""
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}"]
    argv += [f"--dpkgopt={option}" for option in SLIM]
    argv += [SUITE, str(target)]
    mirror = os.environ.get("BULKHEAD_DEBIAN_MIRROR")  # absent: mmdebstrap's own default
    run([*argv, *([mirror] if mirror else [])], what=f"Building Debian's file system for {target.parent.name}")


def _go_recipe(
    name: str, commands: Sequence[str], sources: Sequence[str], estimate: float, ldflags: str = ""
) -> Recipe:
    """Static Go programs ``cmd/COMMAND`` whose result depends on ``sources`` below lab/go."""
    flags = f"-s -w {ldflags}".strip()

    def make(target: Path, _: dict[str, Path]) -> None:
        packages = [f"./cmd/{command}" for command in commands]
        run(
            [find_go(), "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", f"{target}/", *packages],
            what=f"Building {', '.join(commands)}",
            cwd=GO,
            env={"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
        )

    files = [GO / "go.mod", GO / "go.sum", *(GO / source for source in sources)]
    return Recipe(name, (hash_files([f for f in files if f.exists()], GO), flags), make, estimate=estimate)


def _debian_image(name: str, reference: str, packages: Sequence[str], **config: object) -> Recipe:
    image = ImageConfig(reference, **config)  # type: ignore[arg-type]

    def make(target: Path, _: dict[str, Path]) -> None:
        layer = target / "layer.tar"
        debian(layer, packages)
        write_archive(target / "image.tar", image, [layer], platform.machine())
        layer.unlink()

    return Recipe(f"image-{name}", (SUITE, *packages, *SLIM, repr(image)), make, estimate=45)


def _program_image(name: str, reference: str, part: str, program: str, **config: object) -> Recipe:
    """A scratch image with one static program of the part ``part`` as its entry point."""
    image = ImageConfig(reference, entrypoint=(f"/{program}",), **config)  # type: ignore[arg-type]

    def make(target: Path, parts: dict[str, Path]) -> None:
        layer = target / "layer.tar"
        layer.write_bytes(files_layer([(parts[part] / program, f"/{program}")]))
        write_archive(target / "image.tar", image, [layer], platform.machine())
        layer.unlink()

    return Recipe(f"image-{name}", (repr(image),), make, needs=(part,), estimate=2)


def _root_file_system() -> Recipe:
    packages = tuple(sorted({*TOOLBOX_PACKAGES, *NODE_PACKAGES, *OUTSIDE_PACKAGES}))

    def make(target: Path, _: dict[str, Path]) -> None:
        debian(target / "root", packages)

    return Recipe("rootfs", (SUITE, *packages, *SLIM), make, estimate=60)


def recipes() -> list[Recipe]:
    """All parts in build order."""
    version, minor = plan.KUBERNETES_VERSION, plan.KUBERNETES_VERSION.split(".")[1]
    stamp = " ".join(
        f"-X k8s.io/component-base/version.{key}={value}"
        for key, value in (("gitVersion", f"v{version}"), ("gitMajor", "1"), ("gitMinor", minor))
    )
    return [
        _root_file_system(),
        _debian_image("toolbox", "lab.local/toolbox:1", TOOLBOX_PACKAGES),
        _debian_image("qbittorrent", "lab.local/qbittorrent:1", QBITTORRENT_PACKAGES),
        _go_recipe(
            "tools",
            ("apiforward", "pause", "target"),
            ("cmd/apiforward", "cmd/pause", "cmd/target", "internal/target"),
            40,
        ),
        _go_recipe("labkube", ("labkube",), ("cmd/labkube",), 420, stamp),
        _go_recipe("coredns", ("coredns",), ("cmd/coredns",), 40),
        _go_recipe("netpol", ("netpol", "netpol-cni"), ("cmd/netpol", "cmd/netpol-cni", "internal/netpol"), 20),
        _program_image("pause", "lab.local/pause:1", "tools", "pause", user="65535:65535"),
        _program_image("coredns", "lab.local/coredns:1", "coredns", "coredns"),
    ]
