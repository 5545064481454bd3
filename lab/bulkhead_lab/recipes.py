"""What the lab is built from: Go programs, a root file system for node and outside world, images."""

from __future__ import annotations

from pathlib import Path

from . import plan, recipes_mesh, recipes_tailnet
from .build import Recipe
from .makers import SLIM, SUITE, debian, debian_image, files_image, go_programs
from .paths import CHECKOUT_LAB

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
OUTSIDE_PACKAGES = ("opentracker", "python3-libtorrent", "wireguard-tools")
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
    "wireguard-tools",
)
# Debian's wireguard-go is of 2022: it handles each packet by itself, where newer ones take many at once.
GO_WIREGUARD = CHECKOUT_LAB / "go-wireguard"
QBITTORRENT_PACKAGES = ("iproute2", "qbittorrent-nox")


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
        go_programs("wireguard", ["golang.zx2c4.com/wireguard"], 10, module=GO_WIREGUARD),
        debian_image(
            "toolbox",
            "lab.local/toolbox:1",
            TOOLBOX_PACKAGES,
            files=[("wireguard", "wireguard", "/usr/local/bin/wireguard-go")],
        ),
        debian_image("qbittorrent", "lab.local/qbittorrent:1", QBITTORRENT_PACKAGES),
        go_programs(
            "tools",
            ("./cmd/apiforward", "./cmd/pause", "./cmd/target"),
            40,
            sources=("cmd/apiforward", "cmd/pause", "cmd/target", "internal/target"),
        ),
        go_programs("labkube", ("./cmd/labkube",), 420, sources=("cmd/labkube",), ldflags=stamp),
        go_programs("coredns", ("./cmd/coredns",), 40, sources=("cmd/coredns",)),
        go_programs(
            "netpol",
            ("./cmd/netpol", "./cmd/netpol-cni"),
            20,
            sources=("cmd/netpol", "cmd/netpol-cni", "internal/netpol"),
        ),
        files_image("pause", "lab.local/pause:1", [("tools", "pause", "/pause")], user="65535:65535"),
        files_image("coredns", "lab.local/coredns:1", [("coredns", "coredns", "/coredns")]),
        *recipes_mesh.recipes(),
        *recipes_tailnet.recipes(),
    ]
