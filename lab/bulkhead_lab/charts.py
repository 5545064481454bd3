"""Charts and manifests as users get them from release pages, taken from the modules' sources."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from . import plan
from .errors import LabError

# Names below the finished part.
ISTIO, METALLB, TAILSCALE = "istio", "metallb", "tailscale-operator"
GATEWAY_API = f"gateway-api-{plan.GATEWAY_API_VERSION}-standard.yaml"
BOOTSTRAP = "envoy_bootstrap_tmpl.json"
# Istio's charts by the name in Chart.yaml, which is the folder's name here, and where its sources keep them.
ISTIO_CHARTS = {
    "base": "base",
    "istiod": "istio-control/istio-discovery",
    "cni": "istio-cni",
    "ztunnel": "ztunnel",
    "gateway": "gateway",
}
_VERSION = re.compile(r"^(version|appVersion): .*$", re.MULTILINE)
# The one extension of Istio's bootstrap that only Istio's own Envoy has.
_METADATA_DISCOVERY = "if .metadata_discovery"


def released(chart: str, version: str) -> str:
    """The text of a Chart.yaml with the version that the release would give it; sources carry a placeholder."""
    text, count = _VERSION.subn(rf"\1: {version}", chart)
    if count != 2:
        raise LabError(f"A Chart.yaml has {count} version lines instead of 2: look at charts.py.")
    return text


def without_metadata_discovery(template: str) -> str:
    """Istio's bootstrap template for a plain Envoy."""
    if _METADATA_DISCOVERY not in template:
        raise LabError("Istio's bootstrap template no longer names metadata discovery: look at charts.py.")
    return template.replace(_METADATA_DISCOVERY, "if false")


def joined(documents: list[str]) -> str:
    """Several YAML files as one."""
    return "---\n".join(text if text.endswith("\n") else text + "\n" for text in documents)


def write_istio(source: Path, target: Path) -> None:
    """Istio's charts, one folder each."""
    for name, place in ISTIO_CHARTS.items():
        shutil.copytree(source / "manifests" / "charts" / place, target / name, copy_function=shutil.copyfile)
        chart = target / name / "Chart.yaml"
        chart.write_text(released(chart.read_text(encoding="utf-8"), plan.ISTIO_VERSION), encoding="utf-8")


def write_metallb(source: Path, target: Path) -> None:
    """MetalLB's chart with its subcharts."""
    shutil.copytree(source / "charts" / "metallb", target, copy_function=shutil.copyfile)


def write_gateway_api(source: Path, target: Path) -> None:
    """Gateway API's standard channel as one file: definitions and the policy that guards their upgrades."""
    files = sorted((source / "config" / "crd" / "standard").glob("*.yaml"))
    target.write_text(joined([file.read_text(encoding="utf-8") for file in files]), encoding="utf-8")


def write_bootstrap(source: Path, target: Path) -> None:
    """The proxy image's bootstrap template."""
    template = source / "tools" / "packaging" / "common" / "envoy_bootstrap.json"
    target.write_text(without_metadata_discovery(template.read_text(encoding="utf-8")), encoding="utf-8")


def conditional(definition: str) -> str:
    """A definition as Tailscale's released chart has it: a template that ``installCRDs`` switches."""
    return "{{ if .Values.installCRDs -}}\n" + definition.rstrip("\n") + "\n{{- end -}}\n"


def write_tailscale(source: Path, target: Path) -> None:
    """The operator's chart; its sources keep the definitions beside it, its releases inside."""
    deploy = source / "cmd" / "k8s-operator" / "deploy"
    shutil.copytree(deploy / "chart", target, copy_function=shutil.copyfile)
    chart = target / "Chart.yaml"
    chart.write_text(released(chart.read_text(encoding="utf-8"), plan.TAILSCALE_VERSION), encoding="utf-8")
    for file in sorted((deploy / "crds").glob("*.yaml")):
        name = file.name.partition("_")[2]
        (target / "templates" / name).write_text(conditional(file.read_text(encoding="utf-8")), encoding="utf-8")
