"""Charts and manifests as the lab hands them out, and the recipes that they and the images come from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bulkhead_lab import charts, plan, recipes, recipes_mesh
from bulkhead_lab.build import keys
from bulkhead_lab.errors import LabError

CHART = "apiVersion: v2\nname: istiod\n# replaced at build time\nversion: 1.0.0\nappVersion: 1.0.0\nicon: x\n"


def test_a_chart_carries_the_version_of_its_release() -> None:
    assert charts.released(CHART, "1.31.1") == CHART.replace("1.0.0", "1.31.1")


@pytest.mark.parametrize("chart", ["version: 1.0.0\n", CHART + "version: 2.0.0\n"])
def test_a_chart_of_another_form_is_refused(chart: str) -> None:
    with pytest.raises(LabError, match="version lines instead of 2: look at charts.py"):
        charts.released(chart, "1.31.1")


def test_the_bootstrap_names_no_extension_that_plain_envoy_lacks() -> None:
    template = "a {{- if .metadata_discovery }} b {{- end }} {{- if .zone }}"
    assert charts.without_metadata_discovery(template) == "a {{- if false }} b {{- end }} {{- if .zone }}"
    with pytest.raises(LabError, match="no longer names metadata discovery"):
        charts.without_metadata_discovery("a {{- if .zone }}")


def test_joined_documents_stay_apart() -> None:
    assert charts.joined(["a: 1", "b: 2\n"]) == "a: 1\n---\nb: 2\n"


def test_charts_are_written_from_the_modules(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for place in charts.ISTIO_CHARTS.values():
        folder = source / "manifests" / "charts" / place / "templates"
        folder.mkdir(parents=True)
        (folder / "one.yaml").write_text("kind: One\n")
        (folder.parent / "Chart.yaml").write_text(CHART)
    charts.write_istio(source, tmp_path / "istio")
    assert {folder.name for folder in (tmp_path / "istio").iterdir()} == {"base", "istiod", "cni", "ztunnel", "gateway"}
    assert (tmp_path / "istio/istiod/templates/one.yaml").read_text() == "kind: One\n"
    assert f"appVersion: {plan.ISTIO_VERSION}\n" in (tmp_path / "istio/cni/Chart.yaml").read_text()
    standard = source / "config" / "crd" / "standard"
    standard.mkdir(parents=True)
    for name in ("b_vap_safeupgrades", "a_gateways"):
        (standard / f"{name}.yaml").write_text(f"kind: {name}\n")
    charts.write_gateway_api(source, tmp_path / "gateway-api.yaml")
    assert (tmp_path / "gateway-api.yaml").read_text() == "kind: a_gateways\n---\nkind: b_vap_safeupgrades\n"


def test_tailscales_chart_brings_its_definitions_as_a_release_does(tmp_path: Path) -> None:
    deploy = tmp_path / "source" / "cmd" / "k8s-operator" / "deploy"
    (deploy / "chart" / "templates").mkdir(parents=True)
    (deploy / "chart" / "Chart.yaml").write_text('version: 0.1.0\nappVersion: "stable"\n')
    (deploy / "crds").mkdir()
    (deploy / "crds" / "tailscale.com_proxyclasses.yaml").write_text("kind: One\n")
    charts.write_tailscale(tmp_path / "source", tmp_path / "chart")
    version = plan.TAILSCALE_VERSION
    assert (tmp_path / "chart/Chart.yaml").read_text() == f"version: {version}\nappVersion: {version}\n"
    template = (tmp_path / "chart/templates/proxyclasses.yaml").read_text()
    assert template == "{{ if .Values.installCRDs -}}\nkind: One\n{{- end -}}\n"


def pinned(module: Path, name: str) -> str:
    """The version of a module in the ``go.mod`` of a folder."""
    found = re.search(rf"^(?:require)?\s+{re.escape(name)} v(\S+)", (module / "go.mod").read_text(), re.MULTILINE)
    assert found, name
    return found[1]


def test_the_plan_names_the_versions_that_are_built() -> None:
    assert pinned(recipes_mesh.GO_METALLB, "go.universe.tf/metallb") == plan.METALLB_VERSION
    assert pinned(recipes_mesh.GO_ISTIO, "sigs.k8s.io/gateway-api") == plan.GATEWAY_API_VERSION
    assert pinned(recipes_mesh.GO_TAILNET, recipes_mesh.TAILSCALE) == plan.TAILSCALE_VERSION
    assert pinned(recipes_mesh.GO_ISTIO, "helm.sh/helm/v3") == plan.HELM_VERSION
    replaced = f"replace istio.io/api => istio.io/api v{plan.ISTIO_VERSION}\n"
    assert replaced in (recipes_mesh.GO_ISTIO / "go.mod").read_text()


def test_every_recipe_comes_after_what_it_needs_and_has_a_name_of_its_own() -> None:
    everything = recipes.recipes()
    assert len(keys(everything)) == len(everything)  # keys() fails on a need that comes later


def test_a_changed_image_gets_a_new_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(recipes.recipes())
    monkeypatch.setattr(recipes_mesh, "BOOTSTRAP", "/elsewhere.json")
    after = keys(recipes.recipes())
    assert {name for name in before if before[name] != after[name]} == {"image-istio-proxyv2"}


def test_images_carry_the_names_that_the_charts_ask_for() -> None:
    assert plan.istio_image("pilot") == "lab.local/istio/pilot:1.31.1"
    assert plan.tailscale_image("tailscale") == "lab.local/tailscale/tailscale:v1.98.10"
    assert plan.metallb_image("speaker") == "lab.local/metallb/speaker:v0.15.2"


def test_there_is_an_image_for_every_name_that_the_charts_ask_for() -> None:
    assert {f"image-istio-{name}" for name in plan.ISTIO_IMAGES} <= {recipe.name for recipe in recipes_mesh.images()}
