# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

NAMES = ("preflight_permissions", "preflight_problems", "cluster_summary")


def load(name: str) -> Any:
    module = importlib.import_module(f"ansible_collections.bulkhead.mesh.plugins.filter.{name}")
    return module.FilterModule().filters()[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["text", None, 3])
def test_wrong_input_is_one_sentence(name: str, value: Any) -> None:
    with pytest.raises(AnsibleFilterError, match=f"^{name} needs "):
        load(name)(value)


def test_bad_version_is_one_sentence() -> None:
    cluster = {"version": {"git": "v1.35.0", "major": 1, "minor": 35}, "server": "s"}
    with pytest.raises(
        AnsibleFilterError, match="'new' is no Kubernetes version: write it as major.minor, such as 1.30."
    ):
        load("preflight_problems")(cluster, minimum="new")


def test_permissions() -> None:
    assert load("preflight_permissions")({})[0]["resource"] == "nodes"
