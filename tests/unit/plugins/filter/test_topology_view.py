# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.filter.topology_view import FilterModule
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.topology import sites

view = FilterModule().filters()["topology_view"]


def test_views() -> None:
    assert view(sites.whole()).endswith("last proof 12 min ago.")
    assert view(sites.whole(), "html").startswith("<!doctype html>")
    assert view(sites.whole(), "json").startswith("{")


@pytest.mark.parametrize(
    "value, name, words",
    [
        (sites.whole(), "pdf", "topology_view has no view 'pdf': use text, json, html."),
        ({"topology": {}}, "text", "topology_view needs what topology_info returns: pass its key topology."),
        ("text", "text", "topology_view needs what topology_info returns: pass its key topology."),
    ],
)
def test_bad_input(value: Any, name: str, words: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        view(value, name)
    assert str(caught.value) == words
