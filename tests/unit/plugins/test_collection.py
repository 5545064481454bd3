# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must agree across files of the collection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.bulkhead.mesh.plugins.plugin_utils import _preflight

ROOT = Path(__file__).resolve().parents[3]


def read(*parts: Any) -> Any:
    return yaml.safe_load(ROOT.joinpath(*parts).read_text())


def test_action_group_lists_every_module() -> None:
    modules = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py") if path.stem != "__init__")
    assert modules
    assert sorted(read("meta", "runtime.yml")["action_groups"]["bulkhead"]) == modules


def test_components_are_the_same_everywhere() -> None:
    spec = read("roles", "preflight", "meta", "argument_specs.yml")["argument_specs"]["main"]["options"]
    components = spec["preflight_components"]["options"]
    assert sorted(components) == sorted(_preflight.COMPONENTS)
    assert all(option["choices"] == list(_preflight.STATES) for option in components.values())
    example = (ROOT / "inventories" / "example" / "group_vars" / "all" / "bulkhead.yml").read_text(encoding="utf-8")
    assert sorted(re.findall(r"(?m)^#  (\w+): (?:managed|external|absent)", example)) == sorted(_preflight.COMPONENTS)


def test_defaults_of_the_site_are_those_of_the_roles() -> None:
    site = (ROOT / "playbooks" / "site.yml").read_text(encoding="utf-8")
    written = re.findall(r"(?m)^ +((?:gateway_api|metallb)_\w+): .*default\('([^']*)'\)", site)
    assert len(written) > 5
    for name, value in written:
        role = "gateway_api" if name.startswith("gateway_api") else "metallb"
        if name != "gateway_api_istio_version":
            assert str(read("roles", role, "defaults", "main.yml")[name]) == value, name


def test_defaults_are_those_of_the_argument_specs() -> None:
    spec = read("roles", "preflight", "meta", "argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = {name: option["default"] for name, option in spec.items() if "default" in option}
    assert read("roles", "preflight", "defaults", "main.yml") == defaults
